use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;

/// Measures from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch(Instant);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "a benchmark runs on real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Returns the nanoseconds that each of `count` took.
pub(crate) fn ns_each(took: Duration, count: u64) -> f64 {
    took.as_secs_f64() * 1e9 / count as f64
}

/// Returns what of this process is in memory.
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Returns the memory of each of `count` idle actors; what the caller kept to reach them is not theirs.
pub(crate) fn bytes_each(before: u64, count: u64, bytes_per_handle: usize) -> anyhow::Result<f64> {
    let bytes = resident_bytes()?.saturating_sub(before) as f64;
    Ok(bytes / count as f64 - bytes_per_handle as f64)
}

/// The schedule of a ticker, and how late its ticks came. Tick k is due k ms after the start.
#[derive(Debug)]
pub(crate) struct Ticks {
    watch: Watch,
    count: usize,
    lateness: Vec<Duration>,
}

impl Ticks {
    pub(crate) fn new(count: u64) -> Self {
        Self { watch: Watch::start(), count: count as usize, lateness: Vec::with_capacity(count as usize) }
    }

    /// Says how long it is until the next tick.
    pub(crate) fn delay(&self) -> Duration {
        self.due().saturating_sub(self.watch.elapsed())
    }

    /// Notes that the ticker runs, for all ticks that are due: those that it slept through were late as well. Says whether
    /// that was all.
    pub(crate) fn tick(&mut self) -> bool {
        let now = self.watch.elapsed();
        while self.lateness.len() < self.count
            && let Some(late) = now.checked_sub(self.due())
        {
            self.lateness.push(late);
        }
        self.lateness.len() == self.count
    }

    /// Returns by how many microseconds 99% of the ticks were late at most, beside the steadiest schedule that fits.
    ///
    /// The earliest tick is the schedule's zero: timers of all peers have a grid of 1 ms, and where between two of its lines
    /// a ticker starts is chance. This hides less than 1 ms, since a ticker that wakes up late notes the latest tick as well.
    pub(crate) fn p99_us(mut self) -> f64 {
        self.lateness.sort_unstable();
        let p99 = self.lateness[self.lateness.len() * 99 / 100];
        (p99 - self.lateness[0]).as_secs_f64() * 1e6
    }

    fn due(&self) -> Duration {
        Duration::from_millis(self.lateness.len() as u64 + 1)
    }
}
