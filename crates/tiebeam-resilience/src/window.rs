use std::time::Duration;

use tiebeam_wire::Instant;

use crate::nanos;

/// Counts of two kinds within the last while, in slots of time: what is older than the window falls out by the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    slot_nanos: u64,
    /// A ring: the slot of number `n` is at `n % slots`.
    slots: Vec<[u64; 2]>,
    newest: u64,
    totals: [u64; 2],
}

impl Window {
    /// Makes one that reaches `length` back in `slots` parts.
    ///
    /// # Panics
    /// If `slots` is 0 or a slot has no length.
    pub(crate) fn new(length: Duration, slots: u32) -> Self {
        assert!(slots >= 1, "a window has slots");
        let slot_nanos = nanos(length) / u64::from(slots);
        assert!(slot_nanos >= 1, "a slot of {length:?} / {slots} has a length");
        Self { slot_nanos, slots: vec![[0; 2]; slots as usize], newest: 0, totals: [0; 2] }
    }

    /// Counts `counts` more at `now`.
    pub(crate) fn add(&mut self, now: Instant, counts: [u64; 2]) {
        self.advance(now);
        let at = self.at(self.newest);
        for (kind, count) in counts.into_iter().enumerate() {
            self.slots[at][kind] += count;
            self.totals[kind] += count;
        }
    }

    /// Returns what is counted within the window that ends at `now`.
    pub(crate) fn totals(&mut self, now: Instant) -> [u64; 2] {
        self.advance(now);
        self.totals
    }

    pub(crate) fn clear(&mut self) {
        self.slots.fill([0; 2]);
        self.totals = [0; 2];
    }

    fn advance(&mut self, now: Instant) {
        let number = now.nanos / self.slot_nanos;
        if number.saturating_sub(self.newest) >= self.slots.len() as u64 {
            self.clear();
            self.newest = number;
        }
        while self.newest < number {
            self.newest += 1;
            let at = self.at(self.newest);
            let old = std::mem::take(&mut self.slots[at]);
            self.totals[0] -= old[0];
            self.totals[1] -= old[1];
        }
    }

    fn at(&self, number: u64) -> usize {
        // The remainder is below a length, so it fits.
        usize::try_from(number % self.slots.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Would break: counts that stay for ever, or fall out early; beside a list of all events.
        #[test]
        fn window_counts_what_its_slots_hold(steps in prop::collection::vec((0..90_u64, 0..2_usize), 0..80)) {
            let mut window = Window::new(Duration::from_nanos(100), 5);
            let (mut now, mut events) = (0, Vec::new());
            for (pause, kind) in steps {
                now += pause;
                let mut counts = [0; 2];
                counts[kind] = 1;
                window.add(Instant { nanos: now }, counts);
                events.push((now / 20, kind));
                let expected = [0, 1].map(|kind| {
                    let within = |(slot, of): &&(u64, usize)| *of == kind && now / 20 - slot < 5;
                    events.iter().filter(within).count() as u64
                });
                prop_assert_eq!(window.totals(Instant { nanos: now }), expected);
            }
        }
    }
}
