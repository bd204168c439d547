//! Who has been silent for too long, and what a monitor was told of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tiebeam_wire::{Incarnation, Instant, NodeId};

use super::NodeEvent;
use crate::cluster::events::Live;

/// When each connection was last heard. Two connections never have the same serial.
#[derive(Debug)]
pub(super) struct Suspicion {
    silence_max: Duration,
    period: Duration,
    looked: Option<Instant>,
    heard: BTreeMap<u64, (u64, Instant)>,
}

impl Suspicion {
    /// Suspects after `silence_max`; is to look every `period`.
    pub(super) const fn new(silence_max: Duration, period: Duration) -> Self {
        Self { silence_max, period, looked: None, heard: BTreeMap::new() }
    }

    /// Takes in how many datagrams came by each connection in all, and returns those that are suspect.
    pub(super) fn look(&mut self, now: Instant, received: &BTreeMap<u64, u64>) -> BTreeSet<u64> {
        // Whoever didn't look for long can't tell silence from having been asleep: datagrams may wait in the socket.
        let overslept = self.looked.is_some_and(|looked| now.since(looked) > self.period * 3);
        self.looked = Some(now);
        self.heard.retain(|serial, _| received.contains_key(serial));
        for (serial, count) in received {
            let heard = self.heard.entry(*serial).or_insert((*count, now));
            if overslept || heard.0 != *count {
                *heard = (*count, now);
            }
        }
        let silent = self.heard.iter().filter(|(_, (_, heard))| now.since(*heard) >= self.silence_max);
        silent.map(|(serial, _)| *serial).collect()
    }
}

/// What a monitor was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    up: BTreeMap<NodeId, (u64, Incarnation)>,
    /// Which of these it was told to suspect.
    suspect: BTreeSet<NodeId>,
}

impl Told {
    /// Returns what to tell next: first all that went down, then all that came up, then who is suspect or back, in the order of
    /// their numbers.
    pub(super) fn next(&mut self, live: &BTreeMap<NodeId, Live>, suspects: &BTreeSet<u64>) -> Option<NodeEvent> {
        // Another serial is another connection, also if nobody looked at the moment without one.
        let is_gone = |node: &NodeId, serial: u64| live.get(node).is_none_or(|live| live.serial != serial);
        let gone = self.up.iter().find(|(node, (serial, _))| is_gone(node, *serial));
        if let Some((&node, &(_, incarnation))) = gone {
            self.up.remove(&node);
            self.suspect.remove(&node);
            return Some(NodeEvent::Down(node, incarnation));
        }
        if let Some((node, live)) = live.iter().find(|(node, _)| !self.up.contains_key(node)) {
            self.up.insert(*node, (live.serial, live.member.incarnation));
            return Some(NodeEvent::Up(live.member.clone()));
        }
        let changed =
            self.up.iter().find(|(node, (serial, _))| suspects.contains(serial) != self.suspect.contains(node));
        let (&node, &(_, incarnation)) = changed?;
        if self.suspect.remove(&node) {
            return Some(NodeEvent::Back(node, incarnation));
        }
        self.suspect.insert(node);
        Some(NodeEvent::Suspect(node, incarnation))
    }
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::Role;

    use super::*;
    use crate::{Member, Reach, Said};

    fn live(serial: u64, node: u64) -> (NodeId, Live) {
        let member = Member {
            node: NodeId(node),
            name: format!("node-{node}"),
            role: Role::Core,
            address: "127.0.0.1:4400".parse().unwrap(),
            incarnation: Incarnation(1),
            live: true,
            reach: Reach::Connected,
            said: Said::default(),
        };
        (NodeId(node), Live { serial, member })
    }

    fn tell(told: &mut Told, now: &[(NodeId, Live)], suspects: &[u64]) -> Vec<String> {
        let (now, suspects) = (now.iter().cloned().collect(), suspects.iter().copied().collect());
        let events = std::iter::from_fn(|| told.next(&now, &suspects));
        let show = |event| match event {
            NodeEvent::Up(member) => format!("up {}", member.node),
            NodeEvent::Suspect(node, _) => format!("suspect {node}"),
            NodeEvent::Back(node, _) => format!("back {node}"),
            NodeEvent::Down(node, _) => format!("down {node}"),
        };
        events.map(show).collect()
    }

    #[test]
    fn each_change_is_told_once_and_suspicion_between_up_and_down() {
        let mut told = Told::default();
        let both = [live(1, 1), live(2, 2)];
        assert_eq!(tell(&mut told, &both, &[2]), ["up n1", "up n2", "suspect n2"]);
        assert_eq!(tell(&mut told, &both, &[2]), [""; 0]);
        assert_eq!(tell(&mut told, &both, &[1]), ["suspect n1", "back n2"]);
        assert_eq!(tell(&mut told, &both[1..], &[1]), ["down n1"]);
        // Another connection is not suspect because the one before was.
        assert_eq!(tell(&mut told, &[live(3, 1), live(2, 2)], &[1]), ["up n1"]);
        assert_eq!(tell(&mut told, &[live(4, 1), live(2, 2)], &[]), ["down n1", "up n1"]);
    }

    /// Looks at moments in milliseconds, each with what one connection has received in all.
    fn suspected(looks: &[(u64, u64)]) -> String {
        let mut suspicion = Suspicion::new(Duration::from_millis(1_000), Duration::from_millis(250));
        let look = |(ms, count): &(u64, u64)| {
            let suspects = suspicion.look(Instant { nanos: ms * 1_000_000 }, &BTreeMap::from([(7, *count)]));
            if suspects.is_empty() { '.' } else { '!' }
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn silence_for_too_long_is_suspect_until_something_is_heard() {
        let looks = [(0, 5), (250, 5), (500, 5), (750, 5), (1_000, 5), (1_250, 5), (1_500, 6), (1_750, 6), (2_500, 6)];
        assert_eq!(suspected(&looks), "....!!..!");
    }

    /// A node that was stopped would else suspect all others when it goes on.
    #[test]
    fn whoever_did_not_look_suspects_nobody() {
        assert_eq!(suspected(&[(0, 5), (250, 5), (9_000, 5), (9_250, 5), (9_900, 5), (10_000, 5)]), ".....!");
    }
}
