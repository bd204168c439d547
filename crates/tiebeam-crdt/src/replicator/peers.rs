//! Who is up, who is there for others, who is down, and who is gone for good.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_wire::{NodeId, codec};

use super::message::{MESSAGE_VERSION, Message, ShardId};
use super::{Output, Peer, Reject, Replicator};
use crate::{Change, DotStore, Live, ReplicaId, Value};

impl<K, V> Replicator<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Value + Serialize + DeserializeOwned,
{
    pub(super) fn up(&mut self, replica: ReplicaId) -> Result<(), Reject> {
        if self.is_forgotten(replica) {
            self.tell_forgotten(replica);
            return Err(Reject::NoPeer { replica });
        }
        if replica.node == self.me.node {
            return Err(Reject::NoPeer { replica });
        }
        if self.peers.contains_key(&replica) {
            return Ok(());
        }
        self.succeed(replica)?;
        let peers_max = self.config.peers_max;
        if self.peers.len() >= peers_max {
            return Err(Reject::Peers { peer: replica, peers_max });
        }
        self.peers.insert(replica, Peer::default());
        if !self.live.contains(replica) {
            self.look_at(self.live.with(replica), |store, live| store.changes_when_up(replica, live));
        }
        // At once, not at the next round: until the two have compared, either may miss whatever the other has.
        self.tell_digest(&[replica]);
        Ok(())
    }

    /// The replica is there, and is no peer from now on if it was one.
    pub(super) fn seen(&mut self, replica: ReplicaId) -> Result<(), Reject> {
        if replica.node == self.me.node || self.is_forgotten(replica) {
            return Err(Reject::NoPeer { replica });
        }
        self.succeed(replica)?;
        self.part(replica);
        if !self.live.contains(replica) {
            self.look_at(self.live.with(replica), |store, live| store.changes_when_up(replica, live));
        }
        Ok(())
    }

    pub(super) fn down(&mut self, replica: ReplicaId) {
        self.part(replica);
        if replica != self.me && self.live.contains(replica) {
            self.look_at(self.live.without(replica), |store, live| store.changes_when_down(replica, live));
        }
    }

    /// Exchanges nothing more with a replica.
    fn part(&mut self, replica: ReplicaId) {
        if self.peers.remove(&replica).is_none() {
            return;
        }
        self.wanted.retain(|_, wanted| wanted.peer != replica);
        if self.peers.is_empty() {
            // Nobody is there to get it; whoever comes up compares first.
            self.flush();
        }
    }

    /// Takes an earlier incarnation's place: the node started again, so what ran there before doesn't run any more.
    fn succeed(&mut self, replica: ReplicaId) -> Result<(), Reject> {
        let other = self.incarnations(replica.node).next_back();
        match other {
            Some(latest) if latest > replica => return Err(Reject::Stale { replica, latest }),
            Some(earlier) if earlier < replica => self.down(earlier),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, replica: ReplicaId) {
        let over: BTreeSet<ReplicaId> =
            self.incarnations(replica.node).filter(|peer| peer.incarnation <= replica.incarnation).collect();
        for peer in over {
            if self.peers.contains_key(&peer) {
                self.tell_forgotten(peer);
            }
            self.down(peer);
        }
        for shard in (0..self.config.shards).map(ShardId) {
            self.apply(shard, |store, live| {
                let delta = store.forget(replica);
                store.merge_seen(&delta, live)
            });
        }
    }

    pub(super) fn is_forgotten(&self, replica: ReplicaId) -> bool {
        self.shards.iter().any(|shard| shard.context().is_forgotten(replica))
    }

    /// Says to a replica that runs on that it was forgotten: nobody hears it any more, and it alone doesn't know why.
    pub(super) fn tell_forgotten(&mut self, replica: ReplicaId) {
        let mut delta = DotStore::default();
        delta.merge(&delta.forget(replica));
        let message = Message::<K, V>::Deltas(vec![(ShardId(0), delta)]);
        self.send(&[replica], &Bytes::from(codec::encode(MESSAGE_VERSION, &message)));
    }

    /// Sees `after` from now on, and tells what that changes.
    fn look_at(&mut self, after: Live, changes: impl Fn(&DotStore<K, V>, &Live) -> Vec<Change<K, V>>) {
        for (shard, store) in (0..self.config.shards).map(ShardId).zip(&self.shards) {
            let changes = changes(store, &self.live);
            self.outputs.extend(changes.into_iter().map(|change| Output::Changed { shard, change }));
        }
        self.live = after;
    }

    /// The starts of a node that are seen.
    fn incarnations(&self, node: NodeId) -> impl DoubleEndedIterator<Item = ReplicaId> {
        self.live.of(node)
    }
}
