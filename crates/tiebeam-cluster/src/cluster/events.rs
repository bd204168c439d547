//! Who is up, told to each subscriber as changes since what it was told before. Nothing queues: a slow subscriber gets
//! the difference, so what it remembers is bounded by the number of members.

use std::collections::BTreeMap;

use tiebeam_wire::{Incarnation, NodeId};

use crate::{Member, MemberEvent};

/// A member that is there. Two appearances never have the same serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) serial: u64,
    pub(crate) member: Member,
}

/// What one subscriber was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    up: BTreeMap<NodeId, (u64, Incarnation)>,
}

impl Told {
    /// Returns what to tell next: first all that went down, then all that came up, in the order of their numbers.
    pub(crate) fn next(&mut self, live: &BTreeMap<NodeId, Live>) -> Option<MemberEvent> {
        // Another serial is another appearance, also if the subscriber slept through the moment without one.
        let is_gone = |node: &NodeId, serial: u64| live.get(node).is_none_or(|live| live.serial != serial);
        let gone = self.up.iter().find(|(node, (serial, _))| is_gone(node, *serial));
        if let Some((&node, &(_, incarnation))) = gone {
            self.up.remove(&node);
            return Some(MemberEvent::Down(node, incarnation));
        }
        let (node, live) = live.iter().find(|(node, _)| !self.up.contains_key(node))?;
        self.up.insert(*node, (live.serial, live.member.incarnation));
        Some(MemberEvent::Up(live.member.clone()))
    }
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::Role;

    use super::*;
    use crate::Reach;
    use crate::Said;

    fn live(serial: u64, node: u64, incarnation: u64) -> (NodeId, Live) {
        let member = Member {
            node: NodeId(node),
            name: format!("node-{node}"),
            role: Role::Core,
            address: "127.0.0.1:4400".parse().unwrap(),
            incarnation: Incarnation(incarnation),
            live: true,
            said: Said::default(),
            reach: Reach::Connected,
        };
        (NodeId(node), Live { serial, member })
    }

    fn tell(told: &mut Told, now: &[(NodeId, Live)]) -> Vec<String> {
        let now = now.iter().cloned().collect();
        std::iter::from_fn(|| told.next(&now))
            .map(|event| match event {
                MemberEvent::Up(member) => format!("up {} {}", member.node, member.incarnation),
                MemberEvent::Down(node, incarnation) => format!("down {node} {incarnation}"),
            })
            .collect()
    }

    #[test]
    fn changes_are_told_once_downs_first() {
        let mut told = Told::default();
        assert_eq!(tell(&mut told, &[live(1, 1, 1), live(2, 2, 1)]), ["up n1 i1", "up n2 i1"]);
        assert_eq!(tell(&mut told, &[live(1, 1, 1), live(2, 2, 1)]), [""; 0]);
        assert_eq!(tell(&mut told, &[live(2, 2, 1), live(3, 3, 1)]), ["down n1 i1", "up n3 i1"]);
    }

    /// A subscriber that slept through a loss must still hear of it: what it knew across it is void.
    #[test]
    fn another_connection_is_down_and_up_also_if_nobody_looked_between() {
        let mut told = Told::default();
        tell(&mut told, &[live(1, 1, 1)]);
        assert_eq!(tell(&mut told, &[live(2, 1, 1)]), ["down n1 i1", "up n1 i1"]);
        assert_eq!(tell(&mut told, &[live(3, 1, 2)]), ["down n1 i1", "up n1 i2"]);
    }
}
