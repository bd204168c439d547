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

/// Returns the microseconds that each of `count` took.
pub(crate) fn us_each(took: Duration, count: u64) -> f64 {
    took.as_secs_f64() * 1e6 / count as f64
}

/// Returns within how many microseconds 99% were done; `took` is not empty.
pub(crate) fn p99_us(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took[took.len() * 99 / 100].as_secs_f64() * 1e6
}

/// Returns what of a process is in memory.
pub(crate) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
