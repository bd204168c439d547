//! What digests are for: finding the shards in which two replicas differ, and filling what is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_wire::Instant;
use tiebeam_wire::codec;

use super::message::{MESSAGE_VERSION, Message, ShardId};
use super::{Output, Reject, Replicator};
use crate::{CausalContext, Dot, DotStore, Piece, ReplicaId, Value};

/// A shard in which a peer has something that is missing here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) peer: ReplicaId,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Others are asked for first.
    Queued,
    /// The piece after this dot was asked for.
    Asked { after: Option<Dot>, at: Instant },
}

impl<K, V> Replicator<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Value + Serialize + DeserializeOwned,
{
    /// Tells digests to the next few peers, and gives up on answers that didn't come.
    pub(super) fn compare(&mut self, now: Instant) {
        // First what waits, or every digest would differ by it.
        self.flush();
        let late = |wanted: &Wanted| matches!(wanted.state, State::Asked { at, .. } if now.since(at) >= self.config.answer_timeout);
        let before = self.wanted.len();
        self.wanted.retain(|_, wanted| !late(wanted));
        self.stats.asks_late += (before - self.wanted.len()) as u64;
        let all: Vec<ReplicaId> = self.peers.keys().copied().collect();
        let begin = all.partition_point(|peer| self.digest_turn.is_some_and(|turn| *peer <= turn));
        let peers: Vec<ReplicaId> =
            all[begin..].iter().chain(&all[..begin]).take(self.config.digest_peers_max).copied().collect();
        self.digest_turn = peers.last().copied().or(self.digest_turn);
        self.tell_digest(&peers);
        self.ask(now);
        let spread = self.config.digest_interval_max.saturating_sub(self.config.digest_interval_min);
        let nanos = (u128::from(self.next_random()) * spread.as_nanos()) >> 64;
        let extra = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        self.digest_due = now + self.config.digest_interval_min + extra;
    }

    pub(super) fn tell_digest(&mut self, peers: &[ReplicaId]) {
        if !peers.is_empty() {
            let digests = self.shards.iter().map(DotStore::digest).collect();
            let bytes = codec::encode(MESSAGE_VERSION, &Message::<K, V>::Digest(digests));
            self.send(peers, &Bytes::from(bytes));
        }
    }

    /// A peer told its digests.
    pub(super) fn on_digest(&mut self, now: Instant, from: ReplicaId, digests: &[u64]) {
        let told = (0..self.config.shards).map(ShardId).zip(digests.iter().copied());
        let differing = told.zip(&self.shards).filter(|((_, digest), store)| store.digest() != *digest);
        let ahead: BTreeMap<ShardId, u64> = differing.map(|(told, _)| told).collect();
        if ahead.is_empty() {
            self.stats.digests_equal += 1;
        } else {
            self.stats.digests_different += 1;
        }
        for shard in ahead.keys() {
            self.want(*shard, from);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.ahead = Some(ahead);
        }
        self.tell_if_synced(from);
        self.ask(now);
    }

    /// A peer says what it has seen of a shard and wants the rest.
    pub(super) fn on_ask(
        &mut self,
        now: Instant,
        from: ReplicaId,
        shard: ShardId,
        seen: &CausalContext,
        after: Option<Dot>,
    ) {
        let bytes = self.encode_piece(shard, seen, after);
        self.stats.fills += 1;
        self.send(&[from], &bytes);
        // It has seen what wasn't seen here. If it only removed something, its next digest will say so.
        if !self.shards[usize::from(shard.0)].context().covers(seen) {
            self.want(shard, from);
            self.ask(now);
        }
    }

    /// A peer answers.
    pub(super) fn on_fill(
        &mut self,
        now: Instant,
        from: ReplicaId,
        shard: ShardId,
        after: Option<Dot>,
        piece: &Piece<K, V>,
    ) -> Result<(), Reject> {
        // An answer that came twice is merged twice, but only the awaited one leads on.
        let awaited = self.wanted.get(&shard).is_some_and(|wanted| {
            wanted.peer == from && matches!(wanted.state, State::Asked { after: asked, .. } if asked == after)
        });
        let mut merged = Ok(());
        self.merge_remote(shard, &piece.delta, |store, live| {
            let changes = store.merge_piece(piece, live);
            changes.unwrap_or_else(|source| {
                merged = Err(Reject::Kept { from, source });
                Vec::new()
            })
        });
        if awaited {
            match piece.next.filter(|_| merged.is_ok()) {
                Some(next) => self.ask_for(now, shard, from, Some(next)),
                None => self.filled(shard, from, merged.is_ok()),
            }
        }
        self.ask(now);
        merged
    }

    /// Notes that `peer` has something of a shard that is missing here, unless somebody is asked for it already.
    pub(super) fn want(&mut self, shard: ShardId, peer: ReplicaId) {
        self.wanted.entry(shard).or_insert(Wanted { peer, state: State::Queued });
    }

    /// Asks for what is wanted, as far as the limit allows.
    pub(super) fn ask(&mut self, now: Instant) {
        let room = self.config.asks_max.saturating_sub(self.asked());
        let queued = self.wanted.iter().filter(|(_, wanted)| matches!(wanted.state, State::Queued));
        let next: Vec<(ShardId, ReplicaId)> = queued.map(|(shard, wanted)| (*shard, wanted.peer)).take(room).collect();
        for (shard, peer) in next {
            self.ask_for(now, shard, peer, None);
        }
    }

    /// How many asks wait for their answer.
    pub(super) fn asked(&self) -> usize {
        self.wanted.values().filter(|wanted| matches!(wanted.state, State::Asked { .. })).count()
    }

    fn ask_for(&mut self, now: Instant, shard: ShardId, peer: ReplicaId, after: Option<Dot>) {
        if self.expelled {
            return;
        }
        let seen = self.shards[usize::from(shard.0)].context().clone();
        let bytes = codec::encode(MESSAGE_VERSION, &Message::<K, V>::Ask { shard, seen, after });
        self.wanted.insert(shard, Wanted { peer, state: State::Asked { after, at: now } });
        self.stats.asks += 1;
        self.send(&[peer], &Bytes::from(bytes));
    }

    fn filled(&mut self, shard: ShardId, from: ReplicaId, merged: bool) {
        self.wanted.remove(&shard);
        let digest = self.shards[usize::from(shard.0)].digest();
        let peers: Vec<ReplicaId> = self.peers.keys().copied().collect();
        for id in peers {
            // Peers mostly hold the same, so what one gave is what others had: not each has to be asked to be called synced.
            let given = |ahead: &u64| id == from && merged || *ahead == digest;
            let Some(ahead) = self.peers.get_mut(&id).and_then(|peer| peer.ahead.as_mut()) else { continue };
            if ahead.get(&shard).is_some_and(given) {
                ahead.remove(&shard);
                self.tell_if_synced(id);
            }
        }
    }

    fn tell_if_synced(&mut self, from: ReplicaId) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.synced && peer.ahead.as_ref().is_some_and(BTreeMap::is_empty) {
            peer.synced = true;
            self.outputs.push_back(Output::Synced(from));
        }
    }

    /// Makes the largest piece that fits a message.
    fn encode_piece(&self, shard: ShardId, seen: &CausalContext, after: Option<Dot>) -> Bytes {
        let mut dots_max = self.config.piece_dots_max;
        loop {
            let piece = self.shards[usize::from(shard.0)].piece(seen, after, dots_max);
            let bytes = codec::encode(MESSAGE_VERSION, &Message::Fill { shard, after, piece });
            // A single value always goes: updates refuse what has no room, whoever makes them.
            if bytes.len() <= self.config.message_bytes_max || dots_max == 1 {
                return Bytes::from(bytes);
            }
            dots_max /= 2;
        }
    }
}
