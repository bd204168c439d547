//! Brings replicas together: pushes what changes here, compares with peers, and asks for what is missing.
//!
//! Pure, as all that decides here: it is told the time and what happened ([`Event`]), and says what to send and what
//! watchers see ([`Output`]). It owns a fixed number of shards, each a [`DotStore`].
//!
//! **Contract.**
//! - [`Replicator::update`] changes a shard. Its delta goes to every peer within [`Config::batch_interval`], together with
//!   others of that time, and is sent once. Nobody remembers it: what is lost is found by comparing states.
//! - Every one to two seconds, and at once with a new peer, digests of all shards go to a few peers in turn. A peer that
//!   differs asks: it says what it has seen, and gets what it lacks, in pieces. So a lost, doubled or late message costs
//!   time and nothing else.
//! - A peer that is up is seen and exchanged with; one that is down is neither, and its entries wait hidden. A later
//!   incarnation of a node takes the place of the earlier.
//! - Not all have to be peers: whoever is seen and is no peer is heard of through others, since states are compared as a
//!   whole. What it changes would be found by digests alone, so it asks one peer to pass it on ([`Event::PassedOnBy`]).
//! - A forgotten replica's entries go, and are refused from whoever still brings them. That it was forgotten travels with
//!   the states, so a node that was away when consensus decided learns it as well.
//! - A forgotten replica that runs on is told so by whoever it talks to.
//! - A replica that learns that it was itself forgotten, or that its name wrote what it never did, stops for good
//!   ([`Output::Expelled`]): its node must start again, under the next incarnation.
//!
//! **Bounds.** [`Config`] names them, with what happens at the edge. Nothing is kept per peer but a few words per shard.
//! Only what watchers are told is never dropped: one event makes at most as many changes as values are held, and the next
//! event is refused until they are taken. Since every node refuses to add to a shard that is full in its eyes, a shard
//! exceeds its limit by what nodes add before they hear of each other, and no more.
//!
//! **Not here.** Order between keys, and any promise about when: two nodes that stay connected agree a few round trips
//! after they exchanged digests.

mod config;
mod errors;
mod message;
mod peers;
mod push;
mod repair;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_wire::Instant;
use tiebeam_wire::codec;

pub use config::{Config, Stats};
pub use errors::{Reject, UpdateError};
pub use message::{MESSAGE_VERSION, ShardId};

use crate::replica::mix;
use crate::{Change, DotStore, Live, MintError, ReplicaId, Value};
use message::Message;
use repair::Wanted;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The replica can be reached: its entries are seen, and it is exchanged with. What it wrote may have come before, by way
    /// of others; then it is seen at once.
    Up(ReplicaId),
    /// The replica can't be reached: its entries are hidden until it is up again.
    Down(ReplicaId),
    /// The replica is there, though it can't be reached from here: its entries are seen as others bring them, and it isn't
    /// exchanged with.
    Seen(ReplicaId),
    /// Own changes go to this peer with the wish that it pass them on to its own peers at once; none if all who are to
    /// see them are peers. It has an effect while the replica is up.
    PassedOnBy(Option<ReplicaId>),
    /// The replica is gone for good, and earlier incarnations of its node with it. Only consensus, or the start of a later
    /// incarnation, can say so.
    Forget(ReplicaId),
    /// A peer sent `bytes`.
    Received {
        /// Who sent them, as the connection knows it.
        from: ReplicaId,
        /// What some replicator's [`Output::Send`] held.
        bytes: Bytes,
    },
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<K, V> {
    /// Send `bytes` to a peer. It may be dropped instead, if its connection is full or gone.
    Send {
        /// The peer.
        to: ReplicaId,
        /// A message behind its version byte.
        bytes: Bytes,
    },
    /// Tell those who watch: what is seen under a key is another than before.
    Changed {
        /// Where the key is.
        shard: ShardId,
        /// What was seen and what is.
        change: Change<K, V>,
    },
    /// All that this peer held when it told its digests is held here too. Told once per time that it came up.
    Synced(ReplicaId),
    /// This replica must not write any more; nothing is sent or taken in from here on.
    Expelled(Expulsion),
}

/// Why a replica must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expulsion {
    /// It was forgotten.
    Forgotten,
    /// A peer has seen writes under its name that it never made: it lost its memory, or has a double.
    Doubled,
}

/// What is known of a peer that is up.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// The digests that differed when it last told them, unless what is held here came to equal them since; none before
    /// the first time.
    ahead: Option<BTreeMap<ShardId, u64>>,
    synced: bool,
}

/// Keeps the shards of this node and brings them together with those of its peers. Deterministic: equal inputs give equal
/// outputs.
#[derive(Debug)]
pub struct Replicator<K, V> {
    me: ReplicaId,
    config: Config,
    shards: Vec<DotStore<K, V>>,
    live: Live,
    peers: BTreeMap<ReplicaId, Peer>,
    passed_on_by: Option<ReplicaId>,
    /// Own changes that wait to be sent, joined per shard.
    pending: BTreeMap<ShardId, DotStore<K, V>>,
    pending_deltas: usize,
    pending_bytes: usize,
    flush_due: Option<Instant>,
    digest_due: Instant,
    /// Who got digests last.
    digest_turn: Option<ReplicaId>,
    wanted: BTreeMap<ShardId, Wanted>,
    expelled: bool,
    random: u64,
    outputs: VecDeque<Output<K, V>>,
    stats: Stats,
}

impl<K, V> Replicator<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Value + Serialize + DeserializeOwned,
{
    /// Makes the replicator of `me` with empty shards. `seed` spreads the times at which nodes compare.
    ///
    /// # Panics
    /// If `config` contradicts itself, see [`Config::check`].
    #[must_use]
    pub fn new(now: Instant, me: ReplicaId, config: Config, seed: u64) -> Self {
        config.check();
        let shards = std::iter::repeat_with(DotStore::default).take(usize::from(config.shards)).collect();
        Self {
            me,
            shards,
            live: Live::only([me]),
            peers: BTreeMap::new(),
            passed_on_by: None,
            pending: BTreeMap::new(),
            pending_deltas: 0,
            pending_bytes: 0,
            flush_due: None,
            digest_due: now + config.digest_interval_min,
            digest_turn: None,
            wanted: BTreeMap::new(),
            expelled: false,
            random: seed,
            outputs: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// Each [`Reject`] says why the event was refused. None is worth a retry but [`Reject::Undrained`]; refused messages
    /// are counted, and what they held comes again.
    pub fn handle(&mut self, now: Instant, event: Event) -> Result<(), Reject> {
        let (waiting, outputs_max) = (self.outputs.len(), self.config.outputs_max);
        if waiting >= outputs_max {
            return Err(Reject::Undrained { waiting, outputs_max });
        }
        if self.expelled {
            return Err(Reject::Expelled);
        }
        match event {
            Event::Up(replica) => self.up(replica),
            Event::Down(replica) => {
                self.down(replica);
                Ok(())
            }
            Event::Seen(replica) => self.seen(replica),
            Event::PassedOnBy(peer) => {
                self.passed_on_by = peer;
                Ok(())
            }
            Event::Forget(replica) => {
                self.forget(replica);
                Ok(())
            }
            Event::Received { from, bytes } => {
                let received = self.receive(now, from, &bytes);
                self.stats.refused += u64::from(received.is_err());
                received
            }
        }
    }

    /// Changes a shard by the delta that `change` makes of it and of this replica's name, and sends that to every peer.
    ///
    /// # Errors
    /// Each [`UpdateError`] says why; then nothing was changed.
    pub fn update(
        &mut self,
        now: Instant,
        shard: ShardId,
        change: impl FnOnce(&DotStore<K, V>, ReplicaId) -> Result<DotStore<K, V>, MintError>,
    ) -> Result<(), UpdateError> {
        let delta = self.checked_delta(shard, change)?;
        if delta.is_bottom() {
            return Ok(());
        }
        let bytes = codec::encode(MESSAGE_VERSION, &delta).len();
        let delta_bytes_max = self.config.delta_bytes_max;
        if bytes > delta_bytes_max {
            return Err(UpdateError::TooLarge { size: bytes, delta_bytes_max });
        }
        self.stats.updates += 1;
        self.apply(shard, |store, live| store.merge_seen(&delta, live));
        self.push(now, shard, &delta, bytes);
        Ok(())
    }

    /// Does what is due. To be called at [`Replicator::deadline`]; later is harmless, as is for nothing.
    pub fn expire(&mut self, now: Instant) {
        if self.expelled {
            return;
        }
        if self.flush_due.is_some_and(|due| due <= now) {
            self.flush();
        }
        if self.digest_due <= now {
            self.compare(now);
        }
    }

    /// Returns the next output; to be called until there is none, after each event.
    pub fn take(&mut self) -> Option<Output<K, V>> {
        self.outputs.pop_front()
    }

    /// When [`Replicator::expire`] must next be called; none if only an event can change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.expelled || self.peers.is_empty() {
            return None;
        }
        Some(self.flush_due.map_or(self.digest_due, |due| due.min(self.digest_due)))
    }

    /// Returns a shard, if there is one of this number. What is seen of it is for [`Replicator::live`] to say.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&DotStore<K, V>> {
        self.shards.get(usize::from(shard.0))
    }

    /// Returns whose entries are seen: this replica's, those of its peers, and of others who are there.
    #[must_use]
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// Whether `peer` is up and all that it held when it once told its digests is held here.
    #[must_use]
    pub fn is_synced(&self, peer: ReplicaId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.synced)
    }

    /// Returns what was counted so far, and what is held now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let held = self.shards.iter().map(DotStore::held_len).sum();
        let ranges = self.shards.iter().map(|shard| shard.context().dots().ranges().count()).sum();
        let forgotten = self.shards.iter().map(|shard| shard.context().forgotten().count()).max().unwrap_or(0);
        Stats { held, ranges, forgotten, peers: self.peers.len(), ..self.stats }
    }

    /// Checks the whole invariant.
    ///
    /// # Panics
    /// If it is broken.
    pub fn check(&self) {
        self.shards.iter().for_each(DotStore::check);
        assert!(self.live.contains(self.me), "this replica sees itself");
        assert!(self.peers.keys().all(|peer| self.live.contains(*peer)), "peers are seen");
        assert!(self.peers.len() <= self.config.peers_max, "{} peers", self.peers.len());
        assert!(self.asked() <= self.config.asks_max, "{} asks under way", self.asked());
        assert!(self.wanted.values().all(|wanted| self.peers.contains_key(&wanted.peer)), "peers are asked");
        assert!(self.pending_bytes <= self.config.message_bytes_max, "{} bytes pending", self.pending_bytes);
        assert_eq!(self.pending.is_empty(), self.flush_due.is_none(), "what is pending is due");
    }

    fn checked_delta(
        &self,
        shard: ShardId,
        change: impl FnOnce(&DotStore<K, V>, ReplicaId) -> Result<DotStore<K, V>, MintError>,
    ) -> Result<DotStore<K, V>, UpdateError> {
        let (waiting, outputs_max) = (self.outputs.len(), self.config.outputs_max);
        if self.expelled {
            return Err(UpdateError::Expelled);
        }
        if waiting >= outputs_max {
            return Err(UpdateError::Undrained { waiting, outputs_max });
        }
        let store = self.shard(shard).ok_or(UpdateError::Shard { shard, shards: self.shards.len() })?;
        let delta = change(store, self.me)?;
        let shard_entries_max = self.config.shard_entries_max;
        if !delta.is_empty() && store.held_len() >= shard_entries_max {
            return Err(UpdateError::Full { shard, shard_entries_max });
        }
        Ok(delta)
    }

    fn receive(&mut self, now: Instant, from: ReplicaId, bytes: &[u8]) -> Result<(), Reject> {
        if !self.peers.contains_key(&from) {
            if self.is_forgotten(from) {
                self.tell_forgotten(from);
            }
            return Err(Reject::Unknown { from });
        }
        let message = codec::decode::<Message<K, V>>(MESSAGE_VERSION, bytes);
        let message = message.map_err(|source| Reject::Decode { from, source })?;
        let shards = self.shards.len();
        let found = message.shards_named();
        if found > shards || matches!(message, Message::Digest(_)) && found != shards {
            return Err(Reject::Shards { from, found, shards });
        }
        match message {
            Message::Deltas(deltas) => self.on_deltas(now, from, &deltas),
            Message::Pass(deltas) => self.on_pass(now, from, deltas),
            Message::Digest(digests) => self.on_digest(now, from, &digests),
            Message::Ask { shard, seen, after } => self.on_ask(now, from, shard, &seen, after),
            Message::Fill { shard, after, piece } => return self.on_fill(now, from, shard, after, &piece),
        }
        Ok(())
    }

    /// Lets `merge` change a shard, tells what that changed, and stops if it brought what only this replica can write.
    fn apply(&mut self, shard: ShardId, merge: impl FnOnce(&mut DotStore<K, V>, &Live) -> Vec<Change<K, V>>) {
        let Some(store) = self.shards.get_mut(usize::from(shard.0)) else { return };
        let changes = merge(store, &self.live);
        let forgotten = store.context().is_forgotten(self.me);
        self.outputs.extend(changes.into_iter().map(|change| Output::Changed { shard, change }));
        if forgotten {
            self.expel(Expulsion::Forgotten);
        }
    }

    fn expel(&mut self, why: Expulsion) {
        if !self.expelled {
            self.expelled = true;
            self.outputs.push_back(Output::Expelled(why));
        }
    }

    /// Sends `message` to all of `to`, unless outputs aren't taken: then it is dropped, as the network may drop it.
    fn send(&mut self, to: &[ReplicaId], bytes: &Bytes) {
        for to in to {
            if self.outputs.len() < self.config.outputs_max {
                self.stats.sent += 1;
                self.stats.sent_bytes += bytes.len() as u64;
                self.outputs.push_back(Output::Send { to: *to, bytes: bytes.clone() });
            } else {
                self.stats.dropped += 1;
            }
        }
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(1);
        mix(self.random)
    }
}
