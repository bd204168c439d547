use std::collections::BTreeMap;
use std::time::Duration;

use tiebeam_node::wire::Instant;

use super::watch::Part;

/// What stood still after a kill, counted from the blow until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Who was killed.
    pub(crate) kill: String,
    /// The longest time in which nothing at all moved.
    pub(crate) whole: Duration,
    /// The longest time in which a part stood still that moved again after it. What is done for good is no gap.
    pub(crate) part: Duration,
}

/// Measures how long work stood still after each kill.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    gaps: Vec<Gap>,
    killed: Option<Instant>,
    /// When anything moved last.
    moved: Option<Instant>,
    parts: BTreeMap<Part, Instant>,
}

impl Gaps {
    /// Notes that `parts` moved by `now`.
    pub(crate) fn step(&mut self, parts: Vec<Part>, now: Instant) {
        let killed = self.killed;
        let since = |moved: Option<Instant>| {
            let (killed, moved) = (killed?, moved?);
            Some(now.since(killed.max(moved)))
        };
        let whole = since(self.moved.replace(now));
        let part = parts.into_iter().filter_map(|part| since(self.parts.insert(part, now))).max();
        if let Some(gap) = self.gaps.last_mut() {
            gap.whole = gap.whole.max(whole.unwrap_or_default());
            gap.part = gap.part.max(part.unwrap_or_default());
        }
    }

    /// Notes a kill: gaps from now on are put down to it.
    pub(crate) fn kill(&mut self, kill: String, now: Instant) {
        self.killed = Some(now);
        self.gaps.push(Gap { kill, whole: Duration::ZERO, part: Duration::ZERO });
    }

    /// The gaps, one for each kill.
    pub(crate) fn finish(self) -> Vec<Gap> {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_put_down_to_the_kill_before_it_and_ends_with_a_step() {
        let at = |ms: u64| Instant { nanos: ms * 1_000_000 };
        let (one, two) = (Part::Ended(1), Part::Ended(2));
        let mut gaps = Gaps::default();
        gaps.step(vec![one.clone(), two.clone()], at(100));
        gaps.step(vec![one.clone()], at(5_000));
        gaps.kill("core-1".to_owned(), at(5_100));
        gaps.step(vec![one.clone()], at(6_000));
        gaps.step(vec![two], at(6_200));
        gaps.kill("edge-2".to_owned(), at(7_000));
        gaps.step(vec![one], at(7_200));
        let found: Vec<_> = gaps.finish().into_iter().map(|g| (g.whole.as_millis(), g.part.as_millis())).collect();
        assert_eq!(found, [(900, 1_100), (200, 200)]);
    }
}
