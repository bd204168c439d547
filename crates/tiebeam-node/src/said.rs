//! What the node has its members hear: whether it is ready, and how busy it is.

use std::sync::Arc;
use std::time::Duration;

use tiebeam_admin::Source as _;
use tiebeam_cluster::{Cluster, Readiness};
use tiebeam_wire::Instant;

use crate::status::Status;

/// How often it looks at itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much a look weighs against all before it, in percent: a moment's work is no load.
const WEIGHT_PERCENT: u64 = 30;

/// Says how the node is, for ever.
pub(crate) async fn run(cluster: Cluster, status: Arc<Status>) {
    let mut busy = Busy::new(tiebeam_world::now(), busy_nanos());
    loop {
        let health = status.health();
        cluster.set_ready(match health.ready {
            true => Readiness::Ready,
            false => Readiness::NotReady(health.reasons.join("; ")),
        });
        tiebeam_world::sleep(LOOK_EVERY).await;
        cluster.set_load(busy.look(tiebeam_world::now(), busy_nanos()));
    }
}

/// For how long the runtime's workers have worked until now, each, on average, in nanoseconds. Actors are among what they
/// work on.
fn busy_nanos() -> u64 {
    let metrics = tokio::runtime::Handle::current().metrics();
    let workers = metrics.num_workers();
    let busy: Duration = (0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
    u64::try_from(busy.as_nanos() / workers.max(1) as u128).unwrap_or(u64::MAX)
}

/// The share of time that workers work, smoothed.
struct Busy {
    looked: Instant,
    nanos: u64,
    /// In hundredths of a percent, so that rounding doesn't add up.
    share: u64,
}

impl Busy {
    const fn new(looked: Instant, nanos: u64) -> Self {
        Self { looked, nanos, share: 0 }
    }

    /// Takes in for how long workers have worked until now, and returns the load in percent.
    fn look(&mut self, now: Instant, nanos: u64) -> u32 {
        let elapsed = u64::try_from(now.since(self.looked).as_nanos()).unwrap_or(u64::MAX);
        if elapsed > 0 {
            let worked = nanos.saturating_sub(self.nanos);
            let share = u64::try_from(u128::from(worked) * 10_000 / u128::from(elapsed)).unwrap_or(10_000).min(10_000);
            self.share = (self.share * (100 - WEIGHT_PERCENT) + share * WEIGHT_PERCENT) / 100;
            (self.looked, self.nanos) = (now, nanos);
        }
        u32::try_from(self.share / 100).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn load_follows_the_share_of_time_that_is_worked_and_not_each_moment() {
        let mut busy = Busy::new(Instant { nanos: 0 }, 0);
        let mut worked = 0;
        let loads: Vec<u32> = (1..=8)
            .map(|second| {
                // Four seconds of full work, then none.
                worked += if second <= 4 { SECOND } else { 0 };
                busy.look(Instant { nanos: second * SECOND }, worked)
            })
            .collect();
        assert_eq!(loads, [30, 51, 65, 75, 53, 37, 26, 18]);
        let now = Instant { nanos: 8 * SECOND };
        assert_eq!(busy.look(now, worked), 18, "no time, no news");
    }
}
