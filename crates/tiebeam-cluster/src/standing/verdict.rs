//! Decides where a node stands, by whether a majority is reached at each moment. Pure.

use std::time::Duration;

use tiebeam_wire::Instant;

use super::{Standing, StandingConfig, Strategy};

/// Where a node stands, and what may change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    strategy: Strategy,
    cut_off_after: Duration,
    back_after: Duration,
    standing: Standing,
    /// Since when what is seen speaks against it.
    against: Option<Instant>,
}

impl Verdict {
    pub(super) const fn new(config: &StandingConfig) -> Self {
        let StandingConfig { strategy, cut_off_after, back_after } = *config;
        let standing = match strategy {
            Strategy::Majority => Standing::Unknown,
            Strategy::None => Standing::Majority,
        };
        Self { strategy, cut_off_after, back_after, standing, against: None }
    }

    /// Takes in whether a majority is reached now.
    pub(super) fn see(&mut self, now: Instant, is_majority: bool) {
        if self.strategy == Strategy::None {
            return;
        }
        match self.standing {
            Standing::Unknown if is_majority => self.standing = Standing::Majority,
            Standing::Majority if !is_majority => {
                let since = *self.against.get_or_insert(now);
                if since + self.cut_off_after <= now {
                    (self.standing, self.against) = (Standing::CutOff { since }, None);
                }
            }
            Standing::CutOff { .. } if is_majority => {
                let since = *self.against.get_or_insert(now);
                if since + self.back_after <= now {
                    (self.standing, self.against) = (Standing::Majority, None);
                }
            }
            Standing::Unknown | Standing::Majority | Standing::CutOff { .. } => self.against = None,
        }
    }

    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// When [`Verdict::see`] must next be called, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let after = if self.standing == Standing::Majority { self.cut_off_after } else { self.back_after };
        self.against.map(|since| since + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant { nanos: ms * 1_000_000 }
    }

    fn config() -> StandingConfig {
        let (cut_off_after, back_after) = (Duration::from_millis(1_000), Duration::from_millis(500));
        StandingConfig { strategy: Strategy::Majority, cut_off_after, back_after }
    }

    /// Sees a majority (`true`) or none at each moment, and writes what it then says.
    fn seen(config: StandingConfig, moments: &[(u64, bool)]) -> Vec<String> {
        let mut verdict = Verdict::new(&config);
        let mut said = vec![format!("{:?}", verdict.standing())];
        for (ms, is_majority) in moments {
            verdict.see(at(*ms), *is_majority);
            let line = match verdict.standing() {
                Standing::CutOff { since } => format!("{ms} cut off since {}", since.nanos / 1_000_000),
                other => format!("{ms} {other:?}"),
            };
            let due = verdict.deadline().map(|due| format!(", due {}", due.nanos / 1_000_000)).unwrap_or_default();
            said.push(line + &due);
        }
        said
    }

    #[test]
    fn fresh_node_is_unknown_until_it_reaches_a_majority_once() {
        let said = seen(config(), &[(0, false), (9_000, false), (9_001, true), (9_002, false)]);
        let expected = ["Unknown", "0 Unknown", "9000 Unknown", "9001 Majority", "9002 Majority, due 10002"];
        assert_eq!(said, expected);
    }

    #[test]
    fn loss_counts_from_its_beginning_when_it_has_lasted() {
        let said =
            seen(config(), &[(0, true), (100, false), (1_099, false), (1_100, false), (1_200, true), (1_700, true)]);
        let expected = [
            "Unknown",
            "0 Majority",
            "100 Majority, due 1100",
            "1099 Majority, due 1100",
            "1100 cut off since 100",
            "1200 cut off since 100, due 1700",
            "1700 Majority",
        ];
        assert_eq!(said, expected);
    }

    /// Without patience each lost packet too many would stop services, and each first packet start them.
    #[test]
    fn flapping_changes_nothing_either_way() {
        let flaps: Vec<(u64, bool)> = (0..20).map(|n| (n * 400, n % 2 == 0)).collect();
        assert!(seen(config(), &flaps)[1..].iter().all(|line| line.contains("Majority")));
        let mut cut_off = vec![(0, true), (10, false), (1_010, false)];
        cut_off.extend((0..20).map(|n| (2_000 + n * 400, n % 2 == 0)));
        assert!(seen(config(), &cut_off)[3..].iter().all(|line| line.contains("cut off since 10")));
    }

    #[test]
    fn whoever_does_not_care_is_never_cut_off() {
        let config = StandingConfig { strategy: Strategy::None, ..config() };
        assert_eq!(seen(config, &[(0, false), (90_000, false)]), ["Majority", "0 Majority", "90000 Majority"]);
    }
}
