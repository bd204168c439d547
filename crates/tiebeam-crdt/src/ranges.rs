//! Sets of counters as ranges: what was seen of one replica is nearly always one range that begins with 1.

/// A set of counters, as closed ranges that are sorted and neither overlap nor touch; so equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Makes a set of `ranges`, or nothing if they aren't in normal form or hold 0, which is no counter.
    pub(crate) fn from_sorted(ranges: Vec<(u64, u64)>) -> Option<Self> {
        let ordered = ranges.iter().all(|(first, last)| *first >= 1 && first <= last);
        let apart = ranges.windows(2).all(|pair| pair[0].1 < u64::MAX && pair[0].1 + 1 < pair[1].0);
        (ordered && apart).then_some(Self(ranges))
    }

    /// Adds all counters from `first` to `last`, and joins what they touch.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        debug_assert!(1 <= first && first <= last, "range {first}..={last}");
        let begin = self.0.partition_point(|range| range.1.saturating_add(1) < first);
        let end = self.0.partition_point(|range| range.0 <= last.saturating_add(1));
        if begin == end {
            return self.0.insert(begin, (first, last));
        }
        let joined = (first.min(self.0[begin].0), last.max(self.0[end - 1].1));
        self.0[begin] = joined;
        self.0.drain(begin + 1..end);
    }

    /// Adds all of `other`.
    pub(crate) fn union(&mut self, other: &Self) {
        for (first, last) in &other.0 {
            self.insert(*first, *last);
        }
    }

    /// Returns what lies between `first` and `last`, both included.
    pub(crate) fn cut(&self, first: u64, last: u64) -> Self {
        let within = self.0.iter().filter(|range| range.1 >= first && range.0 <= last);
        Self(within.map(|range| (range.0.max(first), range.1.min(last))).collect())
    }

    pub(crate) fn contains(&self, counter: u64) -> bool {
        self.contains_range(counter, counter)
    }

    /// Whether all of `other` is in it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(first, last)| self.contains_range(*first, *last))
    }

    /// The highest counter; 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.0.last().map_or(0, |range| range.1)
    }

    /// The highest counter up to which none is missing; 0 if the first is.
    pub(crate) fn contiguous(&self) -> u64 {
        self.0.first().filter(|range| range.0 == 1).map_or(0, |range| range.1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    fn contains_range(&self, first: u64, last: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 < first);
        self.0.get(at).is_some_and(|range| range.0 <= first && last <= range.1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(inserts: &[(u64, u64)]) -> (Ranges, BTreeSet<u64>) {
        let mut ranges = Ranges::default();
        let mut model = BTreeSet::new();
        for (first, length) in inserts {
            ranges.insert(*first, first + length);
            model.extend(*first..=first + length);
        }
        (ranges, model)
    }

    fn inserts() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((1..60_u64, 0..6_u64), 0..20)
    }

    #[test]
    fn gap_is_closed_by_what_fills_it() {
        let (mut ranges, _) = ranges(&[(1, 2), (5, 0)]);
        assert_eq!((ranges.as_slice(), ranges.contiguous(), ranges.last()), (&[(1, 3), (5, 5)][..], 3, 5));
        ranges.insert(4, 4);
        assert_eq!(ranges.as_slice(), [(1, 5)]);
    }

    #[test]
    fn the_last_number_is_a_counter_like_others() {
        let mut ranges = Ranges::default();
        ranges.insert(u64::MAX, u64::MAX);
        ranges.insert(u64::MAX - 1, u64::MAX - 1);
        assert_eq!(ranges.as_slice(), [(u64::MAX - 1, u64::MAX)]);
    }

    #[test]
    fn ranges_of_strangers_are_checked() {
        for wrong in
            [vec![(0, 1)], vec![(3, 2)], vec![(1, 2), (3, 4)], vec![(5, 6), (1, 2)], vec![(1, u64::MAX), (1, 1)]]
        {
            assert_eq!(Ranges::from_sorted(wrong), None);
        }
    }

    proptest! {
        /// Without a normal form equal contexts would have different digests, and replicas would ask for ever.
        #[test]
        fn ranges_are_a_set(a in inserts(), b in inserts(), cut in (1..70_u64, 0..70_u64)) {
            let ((mut one, mut model), (other, other_model)) = (ranges(&a), ranges(&b));
            prop_assert_eq!(one.covers(&other), model.is_superset(&other_model));
            one.union(&other);
            model.extend(other_model);
            prop_assert!((1..70).all(|n| one.contains(n) == model.contains(&n)));
            prop_assert!(Ranges::from_sorted(one.as_slice().to_vec()).is_some());
            let part = one.cut(cut.0, cut.0 + cut.1);
            prop_assert!((1..70).all(|n| part.contains(n) == (model.contains(&n) && cut.0 <= n && n <= cut.0 + cut.1)));
        }
    }
}
