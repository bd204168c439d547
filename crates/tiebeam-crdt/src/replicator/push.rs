//! Own changes: gathered for a moment, sent once to everybody, and not remembered.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_wire::Instant;
use tiebeam_wire::codec;

use super::message::{MESSAGE_VERSION, Message, ShardId};
use super::{Expulsion, Replicator};
use crate::{DotStore, ReplicaId, Value};

impl<K, V> Replicator<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Value + Serialize + DeserializeOwned,
{
    /// Lets a delta of `bytes` bytes wait for others, unless nobody is there to get it.
    pub(super) fn push(&mut self, now: Instant, shard: ShardId, delta: &DotStore<K, V>, bytes: usize) {
        if self.peers.is_empty() {
            return;
        }
        // Joined deltas are no longer than the deltas, so the sum bounds the message.
        if self.pending_bytes + bytes > self.config.message_bytes_max {
            self.flush();
        }
        self.pending.entry(shard).or_default().merge(delta);
        self.pending_bytes += bytes;
        self.pending_deltas += 1;
        self.flush_due = self.flush_due.or(Some(now + self.config.batch_interval));
        if self.pending_deltas >= self.config.batch_deltas_max {
            self.flush();
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        self.flush_due = None;
        self.pending_bytes = 0;
        self.pending_deltas = 0;
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() || self.peers.is_empty() {
            return;
        }
        let deltas: Vec<_> = pending.into_iter().collect();
        let (passes, hears): (Vec<ReplicaId>, Vec<ReplicaId>) =
            self.peers.keys().copied().partition(|peer| self.passed_on_by == Some(*peer));
        if !passes.is_empty() {
            let bytes = codec::encode(MESSAGE_VERSION, &Message::Pass(deltas.clone()));
            self.send(&passes, &Bytes::from(bytes));
        }
        let bytes = codec::encode(MESSAGE_VERSION, &Message::Deltas(deltas));
        self.send(&hears, &Bytes::from(bytes));
    }

    /// A peer changed shards, and others are to hear of it from here. Passed on once: whoever gets this passes nothing on,
    /// and whoever misses it finds out by a digest.
    pub(super) fn on_pass(&mut self, now: Instant, from: ReplicaId, deltas: Vec<(ShardId, DotStore<K, V>)>) {
        self.on_deltas(now, from, &deltas);
        if self.expelled {
            return;
        }
        let others: Vec<ReplicaId> = self.peers.keys().copied().filter(|peer| *peer != from).collect();
        let bytes = codec::encode(MESSAGE_VERSION, &Message::Deltas(deltas));
        self.send(&others, &Bytes::from(bytes));
    }

    /// A peer changed shards.
    pub(super) fn on_deltas(&mut self, now: Instant, from: ReplicaId, deltas: &[(ShardId, DotStore<K, V>)]) {
        for (shard, delta) in deltas {
            self.merge_remote(*shard, delta, |store, live| store.merge_seen(delta, live));
            // A hole in the writes of whoever made it: a message was lost, and waiting for a digest helps nobody.
            let context = self.shards[usize::from(shard.0)].context();
            let mut writers = delta.context().dots().ranges().map(|(replica, ..)| replica);
            let has_hole = |replica: ReplicaId| context.contiguous(replica) < context.last(replica);
            if has_hole(from) || writers.any(has_hole) {
                self.want(*shard, from);
            }
        }
        self.ask(now);
    }

    /// Applies what came from a peer, with who was forgotten there. Only this replica makes dots of its name, so none of these may be news.
    pub(super) fn merge_remote(
        &mut self,
        shard: ShardId,
        delta: &DotStore<K, V>,
        merge: impl FnOnce(&mut DotStore<K, V>, &crate::Live) -> Vec<crate::Change<K, V>>,
    ) {
        let context = self.shards[usize::from(shard.0)].context();
        let refused = delta.entries().filter(|(dot, _, _)| context.is_forgotten(dot.replica)).count();
        self.stats.forgotten_refused += refused as u64;
        let doubled = delta.context().last(self.me) > context.last(self.me);
        let known = |replica: &ReplicaId| context.is_forgotten(*replica);
        let told = delta.context().forgotten().map(|(node, incarnation)| ReplicaId::new(node, incarnation));
        let forgotten: Vec<ReplicaId> = told.filter(|replica| !known(replica)).collect();
        self.apply(shard, merge);
        // What one shard learns holds for all, and for the peer, should it be there still.
        forgotten.into_iter().for_each(|replica| self.forget(replica));
        if doubled {
            self.expel(Expulsion::Doubled);
        }
    }
}
