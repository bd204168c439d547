//! Whether more is likely to arrive soon, so that a thread that has nothing else to do should look for it. Pure.

use std::time::{Duration, Instant};

/// Learns from whether looking was worth it. Two nodes that talk keep each other hot; keep-alives and gossip, which come
/// alone, soon cost nothing but an attempt now and then.
#[derive(Debug, Default)]
pub(super) struct Heat {
    until: Option<Instant>,
    /// Attempts in a row that saw nothing arrive.
    misses: u32,
    /// Arrivals that start no attempt.
    skips: u32,
}

impl Heat {
    /// Something has arrived, and somebody had to be woken for it.
    pub(super) fn woken(&mut self, now: Instant) {
        self.settle();
        match self.skips.checked_sub(1) {
            Some(left) => self.skips = left,
            None => self.until = Some(now + ATTEMPT),
        }
    }

    /// Something has arrived while somebody looked.
    pub(super) fn hit(&mut self, now: Instant) {
        self.misses = 0;
        self.until = Some(now + ATTEMPT);
    }

    /// Says whether to look.
    pub(super) fn is_hot(&mut self, now: Instant) -> bool {
        let is_hot = self.until.is_some_and(|until| now < until);
        if !is_hot {
            self.settle();
        }
        is_hot
    }

    /// Ends an attempt that saw nothing.
    fn settle(&mut self) {
        if self.until.take().is_some() {
            self.misses = self.misses.saturating_add(1);
            self.skips =
                if self.misses < MISSES_FREE { 0 } else { 1 << (self.misses - MISSES_FREE).min(SKIPS_LOG_MAX) };
        }
    }
}

/// How long to look. Being woken on a core that sleeps takes about half as long, and two nodes that both were asleep must
/// find each other awake after one exchange.
const ATTEMPT: Duration = Duration::from_micros(200);
/// Attempts in a row that may be in vain before some are left out.
const MISSES_FREE: u32 = 4;
/// At most one arrival in 1,024 starts an attempt.
const SKIPS_LOG_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_come_soon_keep_it_hot_and_lone_arrivals_let_it_cool() {
        let mut now = tiebeam_world::clock();
        let mut heat = Heat::default();
        assert!(!heat.is_hot(now), "nothing has arrived");
        heat.woken(now);
        for _ in 0..100 {
            now += ATTEMPT / 2;
            assert!(heat.is_hot(now));
            heat.hit(now);
        }
        // Now and then something that nothing follows.
        let attempts = (0..10_000).filter(|_| {
            now += ATTEMPT * 10;
            heat.woken(now);
            let began = heat.is_hot(now);
            assert!(!heat.is_hot(now + ATTEMPT), "an attempt ends");
            began
        });
        assert!(attempts.count() < 30);
        // One that is worth it wakes the old habit.
        while !heat.is_hot(now) {
            heat.woken(now);
        }
        heat.hit(now);
        assert!(!heat.is_hot(now + ATTEMPT));
        heat.woken(now + ATTEMPT);
        assert!(heat.is_hot(now + ATTEMPT));
    }
}
