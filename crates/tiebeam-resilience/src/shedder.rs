use std::time::Duration;

use tiebeam_wire::Instant;

use crate::nanos;

/// The request can't be done in time, as far as recent ones tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// How long it would take, waiting included.
    pub estimate: Duration,
}

/// Refuses what couldn't be done before its deadline, so that no time is spent on answers that nobody waits for any more.
///
/// The estimate is the wait for those before it, at the mean of recent service times, and a service time of its own at the
/// mean and a deviation more. Mean and deviation follow RFC 6298, as TCP's round trips do.
///
/// ```
/// use std::time::Duration;
/// use tiebeam_resilience::{Shed, Shedder};
/// use tiebeam_wire::Instant;
///
/// let at = |ms: u64| Instant { nanos: ms * 1_000_000 };
/// let mut shedder = Shedder::new(1);
/// shedder.admit(at(0), at(1_000)).unwrap();
/// shedder.ended(Some(Duration::from_millis(80)));
/// shedder.admit(at(100), at(1_000)).unwrap();
/// // One is before it: 80 ms to wait, and 80 and a deviation of 40 for itself.
/// assert_eq!(shedder.admit(at(100), at(250)), Err(Shed { estimate: Duration::from_millis(200) }));
/// assert_eq!(shedder.admit(at(100), at(300)), Ok(()));
/// ```
#[derive(Clone, Debug)]
pub struct Shedder {
    concurrency: u32,
    mean_nanos: u64,
    deviation_nanos: u64,
    samples: u64,
    /// Those admitted and not ended, whether they wait or run.
    inside: u64,
    counts: ShedderSnapshot,
}

/// What a [`Shedder`] counted, and what it expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShedderSnapshot {
    /// Requests admitted.
    pub admitted: u64,
    /// Requests refused since they would be late.
    pub shed: u64,
    /// Requests refused whose deadline had passed when they came.
    pub expired: u64,
    /// Requests that ended.
    pub ended: u64,
    /// Requests that wait or run now.
    pub inside: u64,
    /// The mean service time.
    pub mean: Duration,
    /// Its mean deviation.
    pub deviation: Duration,
}

impl Shedder {
    /// Makes one for work of which `concurrency` items run at once.
    ///
    /// # Panics
    /// If that is none.
    #[must_use]
    pub fn new(concurrency: u32) -> Self {
        assert!(concurrency >= 1, "something must run");
        let counts = ShedderSnapshot::default();
        Self { concurrency, mean_nanos: 0, deviation_nanos: 0, samples: 0, inside: 0, counts }
    }

    /// Asks whether a request that is due at `deadline` is worth beginning; if so, it counts until [`Shedder::ended`].
    ///
    /// # Errors
    /// [`Shed`] if it would be late.
    pub fn admit(&mut self, now: Instant, deadline: Instant) -> Result<(), Shed> {
        let estimate = self.estimate();
        if deadline <= now {
            self.counts.expired += 1;
            return Err(Shed { estimate });
        }
        // An idle server tries whatever still has time: if a few slow ones let everything seem late, nothing would ever run
        // that could tell otherwise.
        if self.inside > 0 && deadline < now + estimate {
            self.counts.shed += 1;
            return Err(Shed { estimate });
        }
        self.inside += 1;
        self.counts.admitted += 1;
        Ok(())
    }

    /// Takes in that an admitted request ended, and how long it ran, without its wait; none if it never ran.
    ///
    /// # Panics
    /// If none is inside.
    pub fn ended(&mut self, ran: Option<Duration>) {
        assert!(self.inside >= 1, "no request is inside that could end");
        self.inside -= 1;
        self.counts.ended += 1;
        if let Some(ran) = ran {
            self.learn(nanos(ran));
        }
    }

    /// Takes in that another number of items runs at once from now on; at least one.
    pub fn set_concurrency(&mut self, concurrency: u32) {
        self.concurrency = concurrency.max(1);
    }

    /// Returns how long a request would take that came now.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        // Those inside are done in rounds; the last round may leave room beside it.
        let rounds = self.inside / u64::from(self.concurrency);
        let wait = self.mean_nanos.saturating_mul(rounds);
        Duration::from_nanos(wait.saturating_add(self.mean_nanos).saturating_add(self.deviation_nanos))
    }

    /// Returns what was counted, and what it expects.
    #[must_use]
    pub const fn snapshot(&self) -> ShedderSnapshot {
        ShedderSnapshot {
            inside: self.inside,
            mean: Duration::from_nanos(self.mean_nanos),
            deviation: Duration::from_nanos(self.deviation_nanos),
            ..self.counts
        }
    }

    fn learn(&mut self, sample: u64) {
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            (self.mean_nanos, self.deviation_nanos) = (sample, sample / 2);
            return;
        }
        let off = sample.abs_diff(self.mean_nanos);
        self.deviation_nanos = self.deviation_nanos - self.deviation_nanos / 4 + off / 4;
        self.mean_nanos = self.mean_nanos - self.mean_nanos / 8 + sample / 8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant { nanos: ms * 1_000_000 }
    }

    const fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn without_experience_everything_in_time_is_admitted() {
        let mut shedder = Shedder::new(1);
        assert!((0..100).all(|_| shedder.admit(at(0), at(1)).is_ok()));
        assert_eq!(shedder.admit(at(5), at(5)), Err(Shed { estimate: Duration::ZERO }));
        assert_eq!((shedder.snapshot().admitted, shedder.snapshot().expired), (100, 1));
    }

    #[test]
    fn wait_is_counted_in_rounds_of_what_runs_at_once() {
        let mut shedder = Shedder::new(4);
        shedder.admit(at(0), at(100)).unwrap();
        shedder.ended(ms(8));
        let estimates: Vec<u128> = (0..9)
            .map(|_| {
                shedder.admit(at(0), at(100)).unwrap();
                shedder.estimate().as_millis()
            })
            .collect();
        assert_eq!(estimates, [12, 12, 12, 20, 20, 20, 20, 28, 28]);
    }

    /// A few slow requests must not let everything be refused for ever after.
    #[test]
    fn shedder_never_locks_itself_out() {
        let mut shedder = Shedder::new(1);
        shedder.admit(at(0), at(10)).unwrap();
        shedder.ended(ms(60_000));
        for second in 1..200 {
            shedder.admit(at(second * 1000), at(second * 1000 + 50)).expect("an idle server tries");
            shedder.ended(ms(10));
        }
        let snapshot = shedder.snapshot();
        assert_eq!(snapshot.mean.as_millis(), 10, "{snapshot:?}");
        assert!(shedder.estimate() < Duration::from_millis(20));
    }

    #[test]
    fn request_that_never_ran_teaches_nothing() {
        let mut shedder = Shedder::new(1);
        shedder.admit(at(0), at(10)).unwrap();
        shedder.ended(None);
        assert_eq!((shedder.estimate(), shedder.snapshot().ended), (Duration::ZERO, 1));
    }

    proptest! {
        /// Would break: admitting what recent ones show to be late, or refusing what is in time. The server is simulated:
        /// one item at a time, each of the same length, so that the estimate can be exact.
        #[test]
        fn admitted_requests_are_in_time_when_service_is_steady(
            requests in prop::collection::vec((0..30_u64, 1..200_u64), 1..100),
            service in 1..20_u64,
        ) {
            let mut shedder = Shedder::new(1);
            // Learned until the deviation has gone; in nanoseconds, so that halves matter little.
            for _ in 0..200 {
                shedder.admit(at(0), at(1_000_000)).unwrap();
                shedder.ended(ms(service));
            }
            let (mut now, mut ends) = (1_000, std::collections::VecDeque::<u64>::new());
            for (pause, time) in requests {
                now += pause;
                while ends.pop_front_if(|end| *end <= now).is_some() {
                    shedder.ended(ms(service));
                }
                let begin = ends.back().copied().unwrap_or(now);
                let end = begin + service;
                let admitted = shedder.admit(at(now), at(now + time)).is_ok();
                if admitted {
                    // Whoever is admitted to an idle server is a try, and may be late by what it takes itself.
                    let latest = if ends.is_empty() { now + service } else { now + time + service };
                    prop_assert!(end <= latest, "done at {end}, due at {}", now + time);
                    ends.push_back(end);
                } else {
                    prop_assert!(end + service + 1 >= now + time, "done at {end}, due at {}", now + time);
                }
            }
        }

        #[test]
        fn numbers_never_overflow(samples in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut shedder = Shedder::new(1);
            for nanos in samples {
                let _ = shedder.admit(Instant { nanos: u64::MAX - 1 }, Instant { nanos: u64::MAX });
                if shedder.inside > 2 {
                    shedder.ended(Some(Duration::from_nanos(nanos)));
                }
                let _ = shedder.estimate();
            }
        }
    }
}
