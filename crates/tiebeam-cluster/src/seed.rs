//! Where a node that knows nobody looks for the others.
//!
//! Addresses are dialled as they are. Names and files are looked at again and again, each by a task of its own: a slow name
//! server holds up nothing else. What a name or file no longer says is dialled no longer once it has been of no use for a
//! quarter of an hour; what can't be resolved leaves what was found before.

mod book;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use self::book::SeedBook;
use crate::node::{Node, lock};

/// How many addresses one name or file may lead to; of more the first in order are taken.
pub const SEED_ADDRESSES_MAX: usize = 64;
/// The longest file of seeds, in bytes; a longer one is refused.
pub const SEED_FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long to wait for a name before it counts as not resolved. It is waited for to its end all the same before it is asked
/// for again, so that no more than one question is under way for each name.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// Names and files are looked at no more often than this allows, whatever is configured.
const INTERVAL_MIN: Duration = Duration::from_millis(60);

/// Where to ask for the others. Written as
///
/// - `10.0.0.1:4400` or `[::1]:4400`: an address;
/// - `core.example:4400` or `dns:core.example:4400`: a name, with all its addresses. A headless service of Kubernetes is such
///   a name, with one address for each pod;
/// - `file:/etc/tiebeam/seeds`: a file with addresses and names, one a line; empty lines and what follows a `#` don't count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// An address.
    Address(SocketAddr),
    /// A name, resolved again and again.
    Name {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A file, read again and again.
    File(PathBuf),
}

/// A text is no [`Seed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed:?}: {why}")]
pub struct ParseSeedError {
    /// The text.
    pub seed: String,
    /// What is wrong with it, and what it may be.
    pub why: &'static str,
}

impl FromStr for Seed {
    type Err = ParseSeedError;

    fn from_str(seed: &str) -> Result<Self, ParseSeedError> {
        let wrong = |why| Err(ParseSeedError { seed: seed.to_owned(), why });
        if let Some(path) = seed.strip_prefix("file:") {
            return if path.is_empty() { wrong("a file has a path") } else { Ok(Self::File(path.into())) };
        }
        if let Ok(address) = seed.parse::<SocketAddr>() {
            return if address.port() == 0 { wrong(BAD_PORT) } else { Ok(Self::Address(address)) };
        }
        let name = seed.strip_prefix("dns:").unwrap_or(seed);
        let Some((host, port)) = name.rsplit_once(':') else {
            return wrong("expected ADDRESS:PORT, NAME:PORT or file:PATH");
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else { return wrong(BAD_PORT) };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !(1..=HOST_BYTES_MAX).contains(&host.len()) || !host.bytes().all(is_plain) {
            return wrong("a host has 1 to 253 letters, digits, hyphens, underscores or dots");
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

const BAD_PORT: &str = "a port is a number from 1 to 65535";
/// RFC 1035, 3.1, less what is not written.
const HOST_BYTES_MAX: usize = 253;

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "dns:{host}:{port}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Seed {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// The addresses among `seeds`.
pub(crate) fn addresses(seeds: &[Seed]) -> impl Iterator<Item = SocketAddr> {
    seeds.iter().filter_map(|seed| if let Seed::Address(address) = seed { Some(*address) } else { None })
}

/// What must be looked up.
pub(crate) fn lookups(seeds: &[Seed]) -> impl Iterator<Item = (usize, &Seed)> {
    seeds.iter().enumerate().filter(|(_, seed)| !matches!(seed, Seed::Address(_)))
}

/// Looks one seed up again and again, for ever.
pub(crate) async fn run(node: Arc<Node>, book: Arc<Mutex<SeedBook>>, index: usize, seed: Seed) {
    loop {
        let found = look(resolve(&seed), |timed_out| learn(&node, &book, index, &seed, timed_out)).await;
        let failed = found.is_err();
        learn(&node, &book, index, &seed, found);
        let interval = node.config.seeds_interval.max(INTERVAL_MIN);
        let is_alone = failed || node.view().live.is_empty();
        let pause = if is_alone { interval / 6 } else { interval };
        // Up to a tenth more, so that nodes that started together don't ask together for ever.
        let jitter = pause / 10 * u32::try_from(tiebeam_world::random() % 1_000).unwrap_or(0) / 1_000;
        tiebeam_world::sleep(pause + jitter).await;
    }
}

/// The addresses of a seed, or why there are none.
type Found = Result<BTreeSet<SocketAddr>, String>;

fn learn(node: &Node, book: &Mutex<SeedBook>, index: usize, seed: &Seed, found: Found) {
    let change = lock(book).resolved(index, found);
    match &change.said {
        Some(Err(error)) => tracing::warn!(%seed, error, "seed can't be resolved"),
        Some(Ok(())) => tracing::info!(%seed, "seed is resolved again"),
        None => {}
    }
    if change.added.is_empty() && change.removed.is_empty() {
        return;
    }
    tracing::debug!(%seed, added = ?change.added, removed = ?change.removed, "seed leads elsewhere");
    let now = tiebeam_world::now();
    let mut view = node.view();
    for address in change.added.into_iter().filter(|address| *address != node.me.address) {
        view.dialler.configure(now, address, None);
    }
    for address in change.removed {
        view.dialler.release(now, address);
    }
    drop(view);
    node.dial.notify_one();
}

/// Waits for what a seed leads to. Tells `late` if that takes too long, and waits on.
async fn look(resolving: impl Future<Output = Found>, late: impl FnOnce(Found)) -> Found {
    let mut looking = pin!(resolving);
    match tiebeam_world::timeout(RESOLVE_MAX, &mut looking).await {
        Ok(found) => found,
        Err(_) => {
            late(Err(format!("no answer within {} s", RESOLVE_MAX.as_secs())));
            looking.await
        }
    }
}

async fn resolve(seed: &Seed) -> Found {
    match seed {
        Seed::Address(address) => Ok([*address].into()),
        Seed::Name { host, port } => resolve_name(host, *port).await,
        Seed::File(path) => {
            let path = path.clone();
            let text = tiebeam_world::blocking(move || read(&path)).await.map_err(|error| error.to_string())??;
            let mut found = BTreeSet::new();
            for seed in parse_file(&text)? {
                match seed {
                    Seed::Name { host, port } => found.extend(resolve_name(&host, port).await?),
                    Seed::Address(address) => found.extend([address]),
                    Seed::File(_) => {}
                }
            }
            Ok(found)
        }
    }
}

async fn resolve_name(host: &str, port: u16) -> Found {
    let found: BTreeSet<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|error| format!("{host}: {error}"))?.collect();
    if found.is_empty() { Err(format!("{host}: has no address")) } else { Ok(found) }
}

fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    // One byte more, by which too long a file is known.
    file.take(SEED_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > SEED_FILE_BYTES_MAX {
        return Err(format!("file has more than {SEED_FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// Reads all lines of a file of seeds, or says which one is wrong: half a file is worse than the one before.
fn parse_file(text: &str) -> Result<Vec<Seed>, String> {
    let lines =
        text.lines().enumerate().map(|(number, line)| (number + 1, line.split('#').next().unwrap_or("").trim()));
    let seeds: Vec<Seed> = lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| match line.parse() {
            Ok(Seed::File(_)) => Err(format!("line {number}: a file of seeds names no other file")),
            Ok(seed) => Ok(seed),
            Err(error) => Err(format!("line {number}: {error}")),
        })
        .collect::<Result<_, _>>()?;
    if seeds.len() > SEED_ADDRESSES_MAX {
        return Err(format!("file has {} seeds, more than the limit of {SEED_ADDRESSES_MAX}", seeds.len()));
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Seed>().map(|seed| format!("{seed}"));
        for (text, expected) in [
            ("10.0.0.1:4400", "10.0.0.1:4400"),
            ("[::1]:4400", "[::1]:4400"),
            ("core.example:4400", "dns:core.example:4400"),
            ("dns:tiebeam-core.ns.svc:4400", "dns:tiebeam-core.ns.svc:4400"),
            ("file:/etc/tiebeam/seeds", "file:/etc/tiebeam/seeds"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected));
        }
        for (text, expected) in [
            ("core", "seed \"core\": expected ADDRESS:PORT, NAME:PORT or file:PATH"),
            ("core:0", "seed \"core:0\": a port is a number from 1 to 65535"),
            ("10.0.0.1:0", "seed \"10.0.0.1:0\": a port is a number from 1 to 65535"),
            ("core:http", "seed \"core:http\": a port is a number from 1 to 65535"),
            ("::1:4400", "seed \"::1:4400\": a host has 1 to 253 letters, digits, hyphens, underscores or dots"),
            ("file:", "seed \"file:\": a file has a path"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn file_is_taken_whole_or_not_at_all() {
        let text = "# cores\n10.0.0.1:4400\n\n core.example:4400 # the other one\n";
        let shown = parse_file(text).map(|seeds| seeds.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(shown, Ok(vec!["10.0.0.1:4400".to_owned(), "dns:core.example:4400".to_owned()]));
        assert_eq!(parse_file(""), Ok(vec![]));
        let wrong = parse_file("10.0.0.1:4400\ncore\n").unwrap_err();
        assert_eq!(wrong, "line 2: seed \"core\": expected ADDRESS:PORT, NAME:PORT or file:PATH");
        assert_eq!(parse_file("file:x").unwrap_err(), "line 1: a file of seeds names no other file");
        assert!(parse_file(&"10.0.0.1:1\n".repeat(65)).is_err());
    }

    /// A question that is given up would still run, and one more with each round.
    #[tokio::test(start_paused = true)]
    async fn slow_answer_is_said_to_be_late_and_taken_when_it_comes() {
        let slow = async {
            tiebeam_world::sleep(RESOLVE_MAX * 3).await;
            Ok(BTreeSet::from(["127.0.0.1:1".parse().unwrap()]))
        };
        let mut said = None;
        let found = look(slow, |late| said = Some(late)).await;
        assert_eq!(said, Some(Err("no answer within 5 s".to_owned())));
        assert_eq!(found.map(|found| found.len()), Ok(1));
    }
}
