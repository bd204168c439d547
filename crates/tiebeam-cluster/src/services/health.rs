//! How an instance is, by what its checks found. Pure.

use serde::{Deserialize, Serialize};

/// How an instance is. The order is from the best to the worst, and is the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// All checks find it well. Only such an instance is handed out.
    Passing,
    /// Some check finds it unwell, and none worse.
    Warning,
    /// Some check finds that it doesn't serve, or has found nothing yet.
    Critical,
}

/// How an instance is, why, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is.
    pub condition: Condition,
    /// What the worst check said when it came to be so; empty if it passes.
    pub reason: String,
    /// Since when, by the wall clock of its node, in milliseconds since 1970. For people.
    pub since_ms: i64,
}

/// What a check finds at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is well.
    Passing,
    /// It is unwell, as the text says.
    Warning(String),
    /// It doesn't serve, as the text says.
    Critical(String),
}

impl Finding {
    fn condition(&self) -> Condition {
        match self {
            Self::Passing => Condition::Passing,
            Self::Warning(_) => Condition::Warning,
            Self::Critical(_) => Condition::Critical,
        }
    }

    fn into_reason(self) -> String {
        let (Self::Warning(mut reason) | Self::Critical(mut reason)) = self else { return String::new() };
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        reason
    }
}

/// The longest reason, in bytes; longer ones are cut. Reasons travel to all nodes.
pub const REASON_BYTES_MAX: usize = 128;

/// What one check makes of its findings: so many in a row that differ change its mind.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    rise: u32,
    fall: u32,
    condition: Condition,
    reason: String,
    /// How many findings in a row spoke against `condition`.
    against: u32,
}

impl Judge {
    /// Begins critical: what was never looked at is not handed out.
    pub(crate) fn new(rise: u32, fall: u32) -> Self {
        let reason = "not checked yet".to_owned();
        Self { rise: rise.max(1), fall: fall.max(1), condition: Condition::Critical, reason, against: 0 }
    }

    /// Begins passing: the same instance passed until now, and is only described anew.
    pub(crate) fn trusting(rise: u32, fall: u32) -> Self {
        Self { condition: Condition::Passing, reason: String::new(), ..Self::new(rise, fall) }
    }

    /// Takes in a finding.
    pub(crate) fn hear(&mut self, finding: Finding) {
        let found = finding.condition();
        let (is_well, was_well) = (found == Condition::Passing, self.condition == Condition::Passing);
        if is_well == was_well {
            self.against = 0;
            // Between two ways of being unwell there is nothing to wait for.
            if !is_well {
                (self.condition, self.reason) = (found, finding.into_reason());
            }
            return;
        }
        self.against += 1;
        let needed = if is_well { self.rise } else { self.fall };
        if self.against >= needed {
            self.against = 0;
            (self.condition, self.reason) = (found, finding.into_reason());
        }
    }
}

/// The worst of all judges; of several the first. Passing, if there are none.
pub(crate) fn worst(judges: &[Judge]) -> (Condition, &str) {
    let worst = judges.iter().rev().max_by_key(|judge| judge.condition);
    worst.map_or((Condition::Passing, ""), |judge| (judge.condition, &judge.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hears letters, `p`, `w` or `c`, and says what the judge thinks after each.
    fn heard(rise: u32, fall: u32, letters: &str) -> String {
        let mut judge = Judge::new(rise, fall);
        let think = |letter| {
            judge.hear(match letter {
                'p' => Finding::Passing,
                'w' => Finding::Warning("slow".to_owned()),
                _ => Finding::Critical("gone".to_owned()),
            });
            match judge.condition {
                Condition::Passing => 'p',
                Condition::Warning => 'w',
                Condition::Critical => 'c',
            }
        };
        letters.chars().map(think).collect()
    }

    #[test]
    fn so_many_findings_in_a_row_change_its_mind() {
        assert_eq!(heard(1, 1, "pcpc"), "pcpc");
        // The good one in between counts from anew.
        assert_eq!(heard(2, 3, "ppccpcccp"), "cppppppcc");
        assert_eq!(heard(2, 3, "pcppccc"), "cccpppc");
    }

    #[test]
    fn who_is_described_anew_is_trusted_until_it_is_found_unwell() {
        let mut judge = Judge::trusting(1, 2);
        let mut after = || {
            judge.hear(Finding::Warning("slow".to_owned()));
            judge.condition
        };
        assert_eq!([after(), after()], [Condition::Passing, Condition::Warning]);
    }

    #[test]
    fn among_the_ways_of_being_unwell_the_last_counts_at_once() {
        assert_eq!(heard(1, 3, "wcwpwww"), "wcwpppw");
    }

    /// Without an end, a page of HTML would travel to all nodes as a reason.
    #[test]
    fn reason_is_cut_between_characters() {
        let mut judge = Judge::new(1, 1);
        judge.hear(Finding::Critical("ä".repeat(100)));
        assert_eq!(worst(&[judge]), (Condition::Critical, &*"ä".repeat(64)));
    }

    #[test]
    fn worst_check_speaks_and_of_equals_the_first() {
        assert_eq!(worst(&[]), (Condition::Passing, ""));
        let said = |finding| {
            let mut judge = Judge::new(1, 1);
            judge.hear(finding);
            judge
        };
        let of = |text: &str| text.to_owned();
        let (well, slow) = (said(Finding::Passing), said(Finding::Warning(of("slow"))));
        let (gone, lost) = (said(Finding::Critical(of("gone"))), said(Finding::Critical(of("lost"))));
        assert_eq!(worst(&[well.clone(), slow.clone()]), (Condition::Warning, "slow"));
        assert_eq!(worst(&[slow, gone, lost, well]), (Condition::Critical, "gone"));
    }
}
