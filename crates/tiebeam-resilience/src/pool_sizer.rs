use std::time::Duration;

use tiebeam_wire::Instant;

/// Between which sizes a pool moves, and how willingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The smallest size.
    pub min: u32,
    /// The largest size.
    pub max: u32,
    /// The share of workers that should be busy, in percent: what a new size aims at.
    pub busy_percent_target: u32,
    /// Above this share the pool grows; above the target.
    pub busy_percent_max: u32,
    /// Below this share the pool shrinks, if it stays so; below the target.
    pub busy_percent_min: u32,
    /// How long it stays at a size before it grows again, so that new workers can show what they do.
    pub grow_pause: Duration,
    /// How long the load must stay low before it shrinks.
    pub shrink_after: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            min: 1,
            max: 64,
            busy_percent_target: 70,
            busy_percent_max: 90,
            busy_percent_min: 40,
            grow_pause: Duration::from_secs(1),
            shrink_after: Duration::from_secs(30),
        }
    }
}

/// What a pool has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many workers are busy.
    pub busy: u32,
    /// How many items wait for a worker.
    pub waiting: u32,
}

/// What to do with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Resize {
    /// Leave it as it is.
    Hold,
    /// Start so many workers.
    Grow(u32),
    /// Stop so many workers, idle ones first.
    Shrink(u32),
}

/// Decides how many workers there should be. It grows at once when work waits, to at most twice the size; it shrinks only
/// after the load has been low for long, and only to what the highest load of that time needs. Between the two lies a band
/// in which nothing happens, so that a steady load never makes it swing.
///
/// ```
/// use tiebeam_resilience::{Load, PoolConfig, PoolSizer, Resize};
/// use tiebeam_wire::Instant;
///
/// let at = |s: u64| Instant { nanos: s * 1_000_000_000 };
/// let mut pool = PoolSizer::new(PoolConfig::default(), 4);
/// assert_eq!(pool.observe(at(0), Load { busy: 4, waiting: 1 }), Resize::Grow(4));
/// assert_eq!(pool.observe(at(10), Load { busy: 2, waiting: 0 }), Resize::Hold);
/// assert_eq!(pool.observe(at(40), Load { busy: 1, waiting: 0 }), Resize::Shrink(5));
/// assert_eq!(pool.size(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct PoolSizer {
    config: PoolConfig,
    size: u32,
    grown: Option<Instant>,
    calm: Option<Calm>,
    counts: PoolSnapshot,
}

/// A time of low load.
#[derive(Clone, Copy, Debug)]
struct Calm {
    since: Instant,
    highest: u32,
}

/// What a [`PoolSizer`] counted, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// The size now.
    pub size: u32,
    /// Loads observed.
    pub observed: u64,
    /// Times it grew.
    pub grown: u64,
    /// Times it shrank.
    pub shrunk: u64,
    /// Loads that would have taken more than the largest size.
    pub saturated: u64,
}

impl PoolSizer {
    /// Makes one for a pool of `size` workers, which is taken as it is if that lies between the bounds.
    ///
    /// # Panics
    /// If not `1 <= min <= max`, or the shares are not in order.
    #[must_use]
    pub fn new(config: PoolConfig, size: u32) -> Self {
        let PoolConfig { min, max, busy_percent_min, busy_percent_target, busy_percent_max, .. } = config;
        assert!(1 <= min && min <= max, "sizes 1 <= {min} <= {max}");
        let shares = [busy_percent_min, busy_percent_target, busy_percent_max];
        assert!(shares.is_sorted_by(|a, b| a < b) && busy_percent_max <= 100, "shares {shares:?}");
        Self { config, size: size.clamp(min, max), grown: None, calm: None, counts: PoolSnapshot::default() }
    }

    /// Takes in the load at `now`, and says what to do; the size counts as changed from here on.
    pub fn observe(&mut self, now: Instant, load: Load) -> Resize {
        self.counts.observed += 1;
        let demand = load.busy.saturating_add(load.waiting);
        let above = |percent: u32| u64::from(demand) * 100 > u64::from(self.size) * u64::from(percent);
        let below = u64::from(demand) * 100 < u64::from(self.size) * u64::from(self.config.busy_percent_min);
        if load.waiting > 0 || above(self.config.busy_percent_max) {
            self.calm = None;
            return self.grow(now, demand);
        }
        if !below {
            self.calm = None;
            return Resize::Hold;
        }
        let calm = self.calm.get_or_insert(Calm { since: now, highest: 0 });
        calm.highest = calm.highest.max(demand);
        let Calm { since, highest } = *calm;
        if now.since(since) < self.config.shrink_after {
            return Resize::Hold;
        }
        self.calm = None;
        self.shrink(highest)
    }

    /// Returns how many workers there should be.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Returns what was counted, and where it stands.
    #[must_use]
    pub const fn snapshot(&self) -> PoolSnapshot {
        PoolSnapshot { size: self.size, ..self.counts }
    }

    fn grow(&mut self, now: Instant, demand: u32) -> Resize {
        let needed = self.needed(demand);
        self.counts.saturated += u64::from(needed > self.config.max);
        if self.grown.is_some_and(|grown| now.since(grown) < self.config.grow_pause) {
            return Resize::Hold;
        }
        let size = needed.min(self.size.saturating_mul(2)).min(self.config.max);
        if size <= self.size {
            return Resize::Hold;
        }
        let more = size - self.size;
        self.size = size;
        self.grown = Some(now);
        self.counts.grown += 1;
        Resize::Grow(more)
    }

    fn shrink(&mut self, highest: u32) -> Resize {
        let size = self.needed(highest).max(self.config.min);
        if size >= self.size {
            return Resize::Hold;
        }
        let fewer = self.size - size;
        self.size = size;
        self.counts.shrunk += 1;
        Resize::Shrink(fewer)
    }

    /// How many workers bring `demand` to the target share.
    fn needed(&self, demand: u32) -> u32 {
        let needed = (u64::from(demand) * 100).div_ceil(u64::from(self.config.busy_percent_target));
        u32::try_from(needed).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(s: u64) -> Instant {
        Instant { nanos: s * 1_000_000_000 }
    }

    const fn load(busy: u32, waiting: u32) -> Load {
        Load { busy, waiting }
    }

    #[test]
    fn growth_doubles_at_most_and_pauses_between() {
        let mut pool = PoolSizer::new(PoolConfig { grow_pause: Duration::from_secs(2), ..PoolConfig::default() }, 1);
        let steps: Vec<Resize> = (0..8).map(|s| pool.observe(at(s), load(pool.size(), 20))).collect();
        let (hold, grow) = (Resize::Hold, Resize::Grow);
        assert_eq!(steps, [grow(1), hold, grow(2), hold, grow(4), hold, grow(8), hold]);
        assert_eq!(pool.observe(at(8), load(16, 20)), Resize::Grow(16));
        assert_eq!(pool.observe(at(10), load(32, 500)), Resize::Grow(32));
        assert_eq!(pool.observe(at(12), load(64, 500)), Resize::Hold);
        let expected = PoolSnapshot { size: 64, observed: 11, grown: 6, shrunk: 0, saturated: 2 };
        assert_eq!(pool.snapshot(), expected);
    }

    #[test]
    fn one_busy_moment_begins_the_calm_again() {
        let mut pool = PoolSizer::new(PoolConfig::default(), 10);
        for (s, busy) in [(0, 1), (29, 1), (30, 5), (31, 1), (60, 2)] {
            assert_eq!(pool.observe(at(s), load(busy, 0)), Resize::Hold, "at {s} s");
        }
        assert_eq!(pool.observe(at(61), load(0, 0)), Resize::Shrink(7), "two were busy, so three are needed");
    }

    #[test]
    fn nothing_to_do_ends_at_the_smallest_size() {
        let mut pool = PoolSizer::new(PoolConfig { min: 2, ..PoolConfig::default() }, 64);
        assert_eq!(pool.observe(at(0), load(0, 0)), Resize::Hold);
        assert_eq!(pool.observe(at(30), load(0, 0)), Resize::Shrink(62));
        assert_eq!(pool.observe(at(100), load(0, 0)), Resize::Hold);
        assert_eq!(pool.observe(at(200), load(0, 0)), Resize::Hold);
    }

    proptest! {
        /// Would break: a size out of bounds, or books that differ from what the pool was told to do.
        #[test]
        fn size_is_what_the_steps_add_up_to(
            steps in prop::collection::vec((0..40_u64, 0..90_u32, 0..200_u32), 0..100),
        ) {
            let mut pool = PoolSizer::new(PoolConfig::default(), 8);
            let (mut now, mut size) = (0, 8);
            for (pause, busy, waiting) in steps {
                now += pause;
                match pool.observe(at(now), load(busy.min(size), waiting / 4)) {
                    Resize::Hold => {}
                    Resize::Grow(more) => {
                        prop_assert!(more >= 1 && more <= size, "it doubles at most");
                        size += more;
                    }
                    Resize::Shrink(fewer) => size -= fewer,
                }
                prop_assert!((1..=64).contains(&size));
                prop_assert_eq!(pool.size(), size);
            }
        }

        /// Would break: swinging. Under a steady load it finds a size, keeps it, and the load fits.
        #[test]
        fn steady_load_comes_to_rest(demand in 0..64_u32, begin in 1..64_u32) {
            let mut pool = PoolSizer::new(PoolConfig::default(), begin);
            let observe = |pool: &mut PoolSizer, s| {
                let busy = demand.min(pool.size());
                pool.observe(at(s), load(busy, demand - busy))
            };
            for s in 0..200 {
                let _ = observe(&mut pool, s);
            }
            let rest = pool.size();
            for s in 200..1_000 {
                prop_assert_eq!(observe(&mut pool, s), Resize::Hold);
            }
            prop_assert!(rest >= demand);
        }
    }
}
