//! Decides which refusals are written down, so that nobody can fill the log by being refused. Pure: time is handed in.
//!
//! The first refusal of somebody for some reason is told at once. Its repetitions are counted and told together, at
//! most every ten minutes. Who that is, is the node that a trusted certificate names; certificates bound their number.
//! Strangers are told apart by their address, which costs them nothing: of them at most twenty lines a minute are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tiebeam_wire::{Instant, NodeId};

use crate::refusal::Reason;

/// How long repetitions are counted before they are told.
const REPEAT_AFTER: Duration = Duration::from_secs(600);
/// Lines about strangers within [`WINDOW`]; what goes beyond is counted and told with the next line.
const STRANGERS_TOLD_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Who is remembered at once; whoever was told of longest ago makes room.
const KNOWN_MAX: usize = 1024;

/// Who was refused, or who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// A node with a certificate of the authority.
    Node(NodeId),
    /// Somebody at this address, which this node dialled.
    Dialled(SocketAddr),
    /// Somebody who dialled from this address. The port is 0: it would tell one stranger apart from himself.
    Stranger(SocketAddr),
}

/// What a line about a refusal should say beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How often the same happened since it was last told.
    pub(crate) repeated: u64,
    /// How many refusals of other strangers were not told.
    pub(crate) others: u64,
}

#[derive(Debug)]
pub(crate) struct RefusalLog {
    known: BTreeMap<(Who, Reason), Told>,
    window_end: Instant,
    lines: u32,
    others: u64,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    since: u64,
}

impl RefusalLog {
    pub(crate) const fn new() -> Self {
        Self { known: BTreeMap::new(), window_end: Instant { nanos: 0 }, lines: 0, others: 0 }
    }

    /// Takes note of a refusal; returns what to write down, if anything.
    pub(crate) fn refused(&mut self, now: Instant, who: Who, reason: Reason) -> Option<Line> {
        let key = (who, reason);
        let due = self.known.get(&key).is_none_or(|told| now.since(told.at) >= REPEAT_AFTER);
        if !due {
            let told = self.known.get_mut(&key)?;
            told.since += 1;
            return None;
        }
        if matches!(who, Who::Stranger(_)) && !self.has_room(now) {
            self.others += 1;
            return None;
        }
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&key) {
            let oldest = self.known.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| *key);
            oldest.map(|key| self.known.remove(&key));
        }
        let repeated = self.known.insert(key, Told { at: now, since: 0 }).map_or(0, |told| told.since);
        Some(Line { repeated, others: std::mem::take(&mut self.others) })
    }

    /// Forgets what was told of `node`, which is let in: the next refusal is news.
    pub(crate) fn admitted(&mut self, node: NodeId) {
        self.known.retain(|(who, _), _| *who != Who::Node(node));
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if now >= self.window_end {
            self.window_end = now + WINDOW;
            self.lines = 0;
        }
        self.lines += 1;
        self.lines <= STRANGERS_TOLD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant { nanos: seconds * 1_000_000_000 }
    }

    fn stranger(n: u32) -> Who {
        Who::Stranger(SocketAddr::from((n.to_be_bytes(), 0)))
    }

    #[test]
    fn node_is_told_once_and_again_with_its_count() {
        let mut log = RefusalLog::new();
        let node = Who::Node(NodeId(7));
        assert_eq!(log.refused(at(0), node, Reason::Revoked), Some(Line { repeated: 0, others: 0 }));
        for second in 1..600 {
            assert_eq!(log.refused(at(second), node, Reason::Revoked), None);
        }
        assert!(log.refused(at(10), node, Reason::WrongCookie).is_some(), "another reason is news");
        assert_eq!(log.refused(at(600), node, Reason::Revoked), Some(Line { repeated: 599, others: 0 }));
        log.admitted(NodeId(7));
        assert_eq!(log.refused(at(601), node, Reason::Revoked), Some(Line { repeated: 0, others: 0 }));
    }

    /// An address costs a stranger nothing, so a line for each would let him write the log.
    #[test]
    fn strangers_share_a_few_lines_and_are_counted() {
        let mut log = RefusalLog::new();
        let told = (0..5000).filter(|n| log.refused(at(1), stranger(*n), Reason::TooSlow).is_some()).count();
        assert_eq!(told, 20);
        assert_eq!(log.refused(at(62), stranger(9999), Reason::TooSlow), Some(Line { repeated: 0, others: 4980 }));
        assert!(log.known.len() < 30);
    }

    #[test]
    fn memory_of_whom_was_told_is_bounded() {
        let mut log = RefusalLog::new();
        for node in 0..5000 {
            assert!(log.refused(at(node), Who::Node(NodeId(node)), Reason::Lost).is_some());
        }
        assert_eq!(log.known.len(), KNOWN_MAX);
    }
}
