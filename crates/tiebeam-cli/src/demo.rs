//! The main job: real flights through a cluster that loses nodes, and every figure exact at the end.

mod chaos;
mod gaps;
mod table;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tiebeam_node::wire::Instant;

use self::chaos::{Blow, Chaos, Kill};
use self::gaps::{Gap, Gaps};
use self::watch::{Progress, Watch};
use crate::app::{self, Report};
use crate::flights::{self, Reference};
use crate::local::{LocalCluster, Ports};

const CORES: usize = 3;
const EDGES: usize = 2;

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a run may make no progress at all before it is called stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// What may be asked of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The flights to stream: zstd-compressed CSV.
    #[arg(long, default_value = "testbed/data/flights.csv.zst")]
    file: PathBuf,
    /// Where the five nodes keep their data; emptied first.
    #[arg(long, default_value = ".tiebeam/demo")]
    dir: PathBuf,
    /// Draws the moments and the order of the kills; the same seed draws the same. Drawn itself if absent.
    #[arg(long, env = "CHAOS_SEED")]
    seed: Option<u64>,
    /// What to kill on the way.
    #[arg(long, value_enum, default_value = "one-by-one")]
    chaos: Chaos,
    /// Take another loopback address than 127.0.0.1, so that several runs can go on at once.
    #[arg(long)]
    free_ports: bool,
    /// Exit when done instead of leaving the dashboard open (also: DEMO_EXIT=1).
    #[arg(long)]
    exit: bool,
}

/// Runs the demo; returns whether every figure was exact.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ tiebeam_node::world::random());
    let file = args.file.canonicalize().with_context(|| format!("file {} can't be read", args.file.display()))?;
    empty(&args.dir)?;
    let ports = if args.free_ports { Ports::Free } else { Ports::Default };
    let mut cluster = LocalCluster::lay_out(&args.dir, CORES, EDGES, ports, |name| app::sections(name, &file))?;

    say(&format!("reading {} plainly, to know what must come out", args.file.display()));
    let expected = Expected::read(&file)?;
    say(&format!("starting {CORES} core and {EDGES} edge nodes in {}, chaos seed {seed}", args.dir.display()));
    let start = tiebeam_node::world::now();
    cluster.start_all()?;
    let mut kills = args.chaos.plan(seed);
    let outcome = stream(&mut cluster, &expected, &mut kills)?;
    let took = tiebeam_node::world::now().since(start);
    let exact = table::print(&outcome.report, &expected, &outcome.gaps, took, seed);
    if args.exit || std::env::var("DEMO_EXIT").is_ok_and(|v| v == "1") {
        return Ok(exact);
    }
    say(&format!("the dashboard stays at http://{}/ until Ctrl-C", cluster.nodes[0].http));
    wait_for_ctrl_c()?;
    Ok(exact)
}

/// What must come out.
#[derive(Debug)]
struct Expected {
    plain: Reference,
    /// One for each cancelled flight.
    workflows: u64,
    /// Those whose last step fails for good.
    compensated: u64,
    /// Attempts of steps that fail and are tried again.
    retries: u64,
}

impl Expected {
    fn read(file: &Path) -> Result<Self> {
        let plain = flights::reference(file)?;
        let (mut workflows, mut compensated, mut retries) = (0, 0, 0);
        for row in flights::reader(file)? {
            let (line, raw) = row?;
            if flights::parse(&raw).is_ok_and(|flight| flight.cancelled) {
                workflows += 1;
                compensated += u64::from(app::fails_for_good(line));
                retries += if app::fails_twice(line) { 2 } else { 0 };
            }
        }
        Ok(Self { plain, workflows, compensated, retries })
    }
}

struct Outcome {
    report: Report,
    gaps: Vec<Gap>,
}

fn stream(cluster: &mut LocalCluster, expected: &Expected, kills: &mut Vec<Kill>) -> Result<Outcome> {
    let bars = Bars::new(expected);
    let watch = Watch::new(cluster);
    let mut gaps = Gaps::default();
    let mut progress = Progress::default();
    let mut last_step = tiebeam_node::world::now();
    let mut blow: Option<Blow> = None;
    loop {
        cluster.check()?;
        let now = tiebeam_node::world::now();
        let moved = progress.merge(watch.look());
        if !moved.is_empty() {
            last_step = now;
            gaps.step(moved, now);
        }
        bars.show(&progress);
        if let Some(report) = watch.report()
            && report.done
            && kills.is_empty()
            && blow.is_none()
        {
            bars.finish();
            return Ok(Outcome { report, gaps: gaps.finish() });
        }
        if now.since(last_step) > PATIENCE {
            bail!("no progress for {PATIENCE:?}; the nodes' trace lines are in {}", cluster.logs().display());
        }
        let done = progress.fraction(expected);
        if let Some(last) = &blow {
            if last.heal(cluster, now)? {
                blow = None;
            }
        } else if kills.first().is_some_and(|kill| done >= kill.at)
            && watch.all_ready(cluster)
            && let Some(struck) = kills[0].strike(cluster, &watch)?
        {
            kills.remove(0);
            bars.note(&format!("killed {} with SIGKILL at {:.0} % of the work", struck.what, done * 100.0));
            gaps.kill(struck.what.clone(), struck.at);
            blow = Some(struck);
        }
        pause(now);
    }
}

/// Sleeps until the next look is due.
fn pause(looked: Instant) {
    let left = LOOK.saturating_sub(tiebeam_node::world::now().since(looked));
    #[expect(clippy::disallowed_methods, reason = "the demo's own loop is a plain thread, outside every runtime")]
    std::thread::sleep(left);
}

fn empty(dir: &Path) -> Result<()> {
    // Only what a demo laid out is removed: a mistyped --dir must not cost anybody's files.
    let ours = dir.join("ca").exists() || dir.join("logs").exists();
    if dir.read_dir().map_or(true, |mut entries| entries.next().is_none()) {
        return Ok(());
    }
    if !ours {
        bail!("directory {} is not empty and no demo's; name another with --dir", dir.display());
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("directory {} can't be emptied", dir.display()))
}

fn wait_for_ctrl_c() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the demo talks to a person")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// One bar for each thing that happens; text lines instead where there is no terminal.
struct Bars {
    bars: Vec<ProgressBar>,
    _all: indicatif::MultiProgress,
}

impl Bars {
    fn new(expected: &Expected) -> Self {
        let all = indicatif::MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let plain = &expected.plain;
        let rows = plain.rows + plain.bad_rows();
        let lengths = [("published", rows), ("consumed", plain.rows), ("workflows", expected.workflows)];
        let style = ProgressStyle::with_template("{prefix:>10} {bar:40} {human_pos:>8} of {human_len} ({elapsed})");
        let style = style.expect("the template is a constant");
        let bar = |(name, length): (&'static str, u64)| {
            all.add(ProgressBar::new(length).with_style(style.clone()).with_prefix(name))
        };
        let bars = lengths.into_iter().map(bar).collect();
        Self { bars, _all: all }
    }

    fn show(&self, progress: &Progress) {
        for (bar, value) in self.bars.iter().zip([progress.published(), progress.consumed(), progress.ended()]) {
            bar.set_position(value);
        }
    }

    fn note(&self, text: &str) {
        match self.bars.first() {
            Some(bar) if !bar.is_hidden() => bar.println(text),
            _ => say(text),
        }
    }

    fn finish(&self) {
        self.bars.iter().for_each(ProgressBar::abandon);
    }
}
