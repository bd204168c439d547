//! A node's clocks: functions of the simulation's time that may run fast or slow and jump.

/// When the simulation begins, on every node's monotonic clock, in nanoseconds: an hour, so that a slow clock is never
/// before the moment from which the process counts.
const START_NANOS: u64 = 3_600_000_000_000;
/// When it begins, on the wall: 2026-01-01, in nanoseconds since 1970.
const START_WALL_NANOS: u64 = 1_767_225_600_000_000_000;
const MILLION: i128 = 1_000_000;

/// The clocks of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// A moment of the simulation, and what the clock showed then.
    anchor: (u64, u64),
    /// How much it is fast, in millionths; slow if below zero.
    fast_ppm: i32,
    /// How far the wall clock is ahead of what it should be.
    wall_ahead_nanos: i64,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self { anchor: (0, START_NANOS), fast_ppm: 0, wall_ahead_nanos: 0 }
    }

    /// From `now` on it runs at another rate.
    pub(crate) fn set_rate(&mut self, now: u64, fast_ppm: i32) {
        self.anchor = (now, self.monotonic(now));
        self.fast_ppm = fast_ppm;
    }

    /// The monotonic clock jumps, as after the sleep of the machine; it never jumps back.
    pub(crate) fn jump(&mut self, now: u64, ahead_nanos: u64) {
        self.anchor = (now, self.monotonic(now) + ahead_nanos);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall(&mut self, ahead_nanos: i64) {
        self.wall_ahead_nanos = ahead_nanos;
    }

    pub(crate) fn monotonic(&self, now: u64) -> u64 {
        let since = i128::from(now.saturating_sub(self.anchor.0));
        let shown = since + since * i128::from(self.fast_ppm) / MILLION;
        self.anchor.1 + u64::try_from(shown).unwrap_or(0)
    }

    pub(crate) fn wall(&self, now: u64) -> u64 {
        (START_WALL_NANOS + self.monotonic(now) - START_NANOS).saturating_add_signed(self.wall_ahead_nanos)
    }

    /// The first moment of the simulation at which the monotonic clock shows at least `shown`.
    pub(crate) fn when(&self, shown: u64) -> u64 {
        let ahead = i128::from(shown.saturating_sub(self.anchor.1));
        let rate = MILLION + i128::from(self.fast_ppm);
        let since = u64::try_from(ahead * MILLION / rate).unwrap_or(u64::MAX);
        // Rounding is one off at most, in either direction.
        let mut at = self.anchor.0.saturating_add(since.saturating_sub(1));
        while at < u64::MAX && self.monotonic(at) < shown {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_is_found_at_any_rate() {
        for fast_ppm in [-20_000, -7, 0, 3, 20_000] {
            let mut clock = Clock::new();
            clock.set_rate(1_234_567, fast_ppm);
            for ahead in [0, 1, 999, 1_000_000, 86_400_000_000_000] {
                let shown = clock.monotonic(1_234_567) + ahead;
                let at = clock.when(shown);
                assert!(clock.monotonic(at) >= shown, "{fast_ppm} {ahead}");
                assert!(at == 1_234_567 || clock.monotonic(at - 1) < shown, "{fast_ppm} {ahead}");
            }
        }
    }

    #[test]
    fn jump_is_seen_by_both_clocks_and_setting_the_wall_by_one() {
        let mut clock = Clock::new();
        let (monotonic, wall) = (clock.monotonic(5), clock.wall(5));
        clock.jump(5, 1000);
        assert_eq!((clock.monotonic(5), clock.wall(5)), (monotonic + 1000, wall + 1000));
        clock.set_wall(-50);
        assert_eq!((clock.monotonic(5), clock.wall(5)), (monotonic + 1000, wall + 950));
    }
}
