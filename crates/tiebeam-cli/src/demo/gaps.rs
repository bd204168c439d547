use std::time::Duration;

use tiebeam_node::wire::Instant;

/// Measures how long nothing moved after each kill.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    kills: Vec<(String, Duration)>,
    /// Since when nothing has moved.
    still_since: Option<Instant>,
}

impl Gaps {
    /// Notes that something moved by `now`.
    pub(crate) fn step(&mut self, now: Instant) {
        self.close(now);
        self.still_since = Some(now);
    }

    /// Notes a kill: gaps from now on are put down to it.
    pub(crate) fn kill(&mut self, name: String, now: Instant) {
        self.still_since = Some(now);
        self.kills.push((name, Duration::ZERO));
    }

    /// Returns each kill with the longest time without progress between it and the next one (or `now`).
    pub(crate) fn longest(mut self, now: Instant) -> Vec<(String, Duration)> {
        self.close(now);
        self.kills
    }

    fn close(&mut self, now: Instant) {
        if let (Some((_, longest)), Some(since)) = (self.kills.last_mut(), self.still_since) {
            *longest = (*longest).max(now.since(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_put_down_to_the_kill_before_it() {
        let at = |ms: u64| Instant { nanos: ms * 1_000_000 };
        let mut gaps = Gaps::default();
        gaps.step(at(100));
        gaps.step(at(5_000));
        gaps.kill("core-1".to_owned(), at(5_100));
        gaps.step(at(6_000));
        gaps.step(at(6_100));
        gaps.kill("edge-2".to_owned(), at(7_000));
        gaps.step(at(7_200));
        let longest: Vec<u128> = gaps.longest(at(7_300)).into_iter().map(|(_, gap)| gap.as_millis()).collect();
        assert_eq!(longest, [900, 200]);
    }
}
