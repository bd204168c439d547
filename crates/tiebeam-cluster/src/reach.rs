//! Who is reached by which core: how edges know of each other without being connected.
//!
//! Each core says which nodes it is connected to, as a kind of shared things of its own. What a core says is seen while that
//! core is, so an edge counts as there while any core that is there says so. The rest is told as membership.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tiebeam_net::Reason;
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::mesh::needed;
use crate::node::Node;
use crate::sharing::plane::{Kind, Plane, ShareError};
use crate::sharing::watch::{ToldOf, Watch};
use crate::{Member, Reach, Said};

/// That a core is connected to a start of a node; the order of fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Contact {
    pub(crate) member: ReplicaId,
    pub(crate) core: ReplicaId,
}

/// What a core knows of a node that it is connected to; the order of fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) address: SocketAddr,
}

/// Who is reached, and by whom.
pub(crate) struct ReachKind;

impl Kind for ReachKind {
    type Key = Contact;
    type Value = Profile;
    type Topic = ReplicaId;
    type Entry = ReplicaId;

    const LANE: u8 = 8;
    const NAME: &'static str = "reach";

    fn place(key: &Contact) -> (ReplicaId, ReplicaId) {
        (key.member, key.core)
    }

    fn holder(key: &Contact, _: &Profile) -> Pid {
        Pid { node: key.core.node, incarnation: key.core.incarnation, serial: 0 }
    }

    fn plane(node: &Node) -> &Plane<Self> {
        &node.sharing.reach
    }
}

/// Which starts are reached by how many cores. Pure.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    by_start: BTreeMap<ReplicaId, (usize, Profile)>,
}

impl Contacts {
    /// Takes in a change of what one core says of a start.
    pub(crate) fn note(&mut self, member: ReplicaId, before: bool, after: Option<Profile>) {
        let (former, known) = self.by_start.remove(&member).map_or((0, None), |(count, known)| (count, Some(known)));
        let count = (former + usize::from(after.is_some())).saturating_sub(usize::from(before));
        if let Some(profile) = after.or(known).filter(|_| count > 0) {
            self.by_start.insert(member, (count, profile));
        }
    }

    /// The latest start of a node that any core reaches.
    pub(crate) fn latest(&self, node: NodeId) -> Option<(Incarnation, &Profile)> {
        let (first, last) = (ReplicaId::new(node, Incarnation(0)), ReplicaId::new(node, Incarnation(u64::MAX)));
        let (start, (_, profile)) = self.by_start.range(first..=last).next_back()?;
        Some((start.incarnation, profile))
    }
}

/// Says that this node is connected to a member, if that is for it to say.
pub(crate) fn connected(node: &Arc<Node>, member: &Member) {
    let Some(key) = contact(node, ReplicaId::new(member.node, member.incarnation)) else { return };
    let profile = Profile { name: member.name.clone(), role: member.role, address: member.address };
    let holder = ReachKind::holder(&key, &profile);
    let said = node.sharing.reach.change(node, holder, &key, |_| Ok::<_, ShareError>(Some(profile)));
    if let Err(error) = said {
        tracing::warn!(peer = %member.node, %error, "others can't be told that a node is reached");
    }
}

/// Takes that back.
pub(crate) fn disconnected(node: &Node, member: ReplicaId) {
    if let Some(key) = contact(node, member) {
        node.sharing.reach.withdraw(node, &key);
    }
}

fn contact(node: &Node, member: ReplicaId) -> Option<Contact> {
    let core = ReplicaId::new(node.me.node, node.me.incarnation);
    (node.me.role == Role::Core).then_some(Contact { member, core })
}

/// Takes in what cores say, for ever.
pub(crate) async fn watch(node: Arc<Node>) {
    let mut watch = Watch::<ReachKind>::new(&node, Box::new(|_| true)).expect("nobody else watches this");
    let mut contacts = Contacts::default();
    while let Some(ToldOf::<ReachKind> { topic: start, before, after, .. }) = watch.next().await {
        contacts.note(start, before.is_some(), after);
        if start.node != node.me.node {
            take_in(&node, start.node, contacts.latest(start.node));
        }
    }
}

/// Takes in which start of a node is reached by cores, if any is.
fn take_in(node: &Arc<Node>, of: NodeId, latest: Option<(Incarnation, &Profile)>) {
    let member = latest.map(|(incarnation, profile)| Member {
        node: of,
        name: profile.name.clone(),
        role: profile.role,
        address: profile.address,
        incarnation,
        live: false,
        reach: Reach::Known,
        said: Said::default(),
    });
    let connected = node.sessions().get(&of).map(|session| session.peer.clone());
    if let Some(member) = &member
        && connected.as_ref().is_none_or(|peer| peer.incarnation() < member.incarnation)
    {
        node.learn(member.clone());
    }
    // Not a start that is over in the eyes of this node, nor one for which there was no room.
    let known = node.incarnation_of(of);
    let member = member.filter(|member| node.is_apart(member.role) && known == Some(member.incarnation));
    if let (Some(member), Some(peer)) = (&member, connected)
        && peer.incarnation() < member.incarnation
    {
        peer.close(Reason::Replaced, "a later start of the node is there");
    }
    let is_gone = member.is_none();
    let before = {
        let mut view = node.view();
        match member {
            Some(member) => view.present.insert(of, member),
            None => view.present.remove(&of),
        }
    };
    if is_gone && before.is_none() {
        return;
    }
    node.settle(of);
    if is_gone {
        needed::give_up(node, of);
    }
}

/// This node leaves: nobody is there any more for it.
pub(crate) fn end(node: &Node) {
    let present = std::mem::take(&mut node.view().present);
    present.into_keys().for_each(|of| node.settle(of));
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::codec;

    use super::*;

    fn start(node: u64, incarnation: u64) -> ReplicaId {
        ReplicaId::new(NodeId(node), Incarnation(incarnation))
    }

    fn profile(name: &str) -> Profile {
        Profile { name: name.to_owned(), role: Role::Edge, address: SocketAddr::from(([127, 0, 0, 1], 4400)) }
    }

    /// Who changes these bytes changes what nodes of two versions say to each other.
    #[test]
    fn contacts_are_golden() {
        assert_eq!(codec::encode(1, &Contact { member: start(7, 2), core: start(1, 3) }), [1, 7, 2, 1, 3]);
        assert_eq!(codec::encode(1, &profile("e")), [1, 1, b'e', 1, 0, 127, 0, 0, 1, 251, 48, 17]);
    }

    /// Two cores lose a node one after the other; by the first loss alone nobody is lost.
    #[test]
    fn start_is_reached_while_any_core_says_so() {
        let mut contacts = Contacts::default();
        let latest = |contacts: &Contacts| contacts.latest(NodeId(7)).map(|(start, of)| (start.0, of.name.clone()));
        contacts.note(start(7, 2), false, Some(profile("a")));
        contacts.note(start(7, 2), false, Some(profile("b")));
        contacts.note(start(7, 2), true, Some(profile("c")));
        contacts.note(start(7, 2), true, None);
        assert_eq!(latest(&contacts), Some((2, "c".to_owned())));
        contacts.note(start(7, 3), false, Some(profile("later")));
        assert_eq!(latest(&contacts), Some((3, "later".to_owned())));
        contacts.note(start(7, 2), true, None);
        contacts.note(start(7, 3), true, None);
        assert_eq!((latest(&contacts), contacts.by_start.len()), (None, 0));
    }
}
