//! What holders and voters say to each other; the order of variants and fields is the format.

use serde::{Deserialize, Serialize};
use tiebeam_wire::NodeId;

use super::Fence;

/// The version byte of all that travels.
pub(crate) const VERSION: u8 = 1;

/// One holding of one resource, from its first grant on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Tenure {
    pub(crate) resource: String,
    pub(crate) fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Grant me these, or grant them for longer.
    Ask(Ask),
    /// These are over, whether they were granted or not. Who waits is told of those that were held: to tell of attempts
    /// that failed would send all into the next one together.
    Free { were_held: bool, tenures: Vec<Tenure> },
    /// To whoever was refused: it can be had now.
    Freed { resource: String },
    /// What is the highest fence that you remember?
    Recall,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The version of the voters that the asker counts by.
    pub(crate) voters: u64,
    pub(crate) lease_ms: u32,
    pub(crate) tenures: Vec<Tenure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// One for each tenure, in their order.
    Judged(Vec<Verdict>),
    Refused(Refusal),
    Recalled {
        /// The latest version of the voters that the voter has heard of.
        voters: u64,
        /// Whether the voter knows all that it ever granted, or all that a majority did.
        remembers: bool,
        fence: Fence,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    Granted,
    /// Somebody has it, for at most so long unless it asks again.
    Held {
        by: NodeId,
        left_ms: u32,
    },
    /// There was a tenure of this or a higher fence, or this one is over.
    Low {
        fence: Fence,
    },
    /// The voter has just begun to vote and grants nothing new for so long.
    Quiet {
        left_ms: u32,
    },
    /// As many are granted as may be.
    Full,
}

/// Why nothing of a request was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The voter knows of these, or doesn't vote.
    Voters { version: u64 },
    /// It grants for another time.
    LeaseTime { lease_ms: u32 },
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::codec;

    use super::*;

    /// Who changes these bytes changes what nodes of two versions say to each other.
    #[test]
    fn requests_and_answers_are_golden() {
        let tenures = vec![Tenure { resource: "r".into(), fence: Fence(5) }];
        let ask = Request::Ask(Ask { voters: 2, lease_ms: 200, tenures: tenures.clone() });
        assert_eq!(codec::encode(VERSION, &ask), [1, 0, 2, 200, 1, 1, b'r', 5]);
        assert_eq!(codec::encode(VERSION, &Request::Free { were_held: true, tenures }), [1, 1, 1, 1, 1, b'r', 5]);
        assert_eq!(codec::encode(VERSION, &Request::Freed { resource: "r".into() }), [1, 2, 1, b'r']);
        assert_eq!(codec::encode(VERSION, &Request::Recall), [1, 3]);
        let verdicts = vec![
            Verdict::Granted,
            Verdict::Held { by: NodeId(3), left_ms: 7 },
            Verdict::Low { fence: Fence(9) },
            Verdict::Quiet { left_ms: 8 },
            Verdict::Full,
        ];
        assert_eq!(codec::encode(VERSION, &Answer::Judged(verdicts)), [1, 0, 5, 0, 1, 3, 7, 2, 9, 3, 8, 4]);
        let refused = |refusal| codec::encode(VERSION, &Answer::Refused(refusal));
        assert_eq!(refused(Refusal::Voters { version: 4 }), [1, 1, 0, 4]);
        assert_eq!(refused(Refusal::LeaseTime { lease_ms: 6 }), [1, 1, 1, 6]);
        let recalled = Answer::Recalled { voters: 4, remembers: true, fence: Fence(9) };
        assert_eq!(codec::encode(VERSION, &recalled), [1, 2, 4, 1, 9]);
        assert_eq!(codec::encode(VERSION, &Answer::Done), [1, 3]);
    }
}
