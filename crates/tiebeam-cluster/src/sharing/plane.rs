//! One kind of shared things: a replicator, what is seen of it, and who of this node contributed what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_actor::Pid;
use tiebeam_crdt::replicator::{Config, Event, Expulsion, Output, Reject, ShardId, UpdateError};
use tiebeam_crdt::{Change, Hlc, ReplicaId, Replicator, Stamped};
use tiebeam_wire::{Instant, codec};
use tokio::sync::Notify;

use super::board::{Board, Topic};
use crate::node::{Node, lock};

/// How far ahead of the wall clock stamps of others are followed.
const DRIFT_MAX: Duration = Duration::from_secs(1);
/// The longest name of anything shared, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// What is shared, and how it is laid out.
pub(crate) trait Kind: Send + Sync + 'static {
    /// Names an entry in the replicated state.
    type Key: Topic + fmt::Debug + Serialize + DeserializeOwned;
    type Value: Clone + PartialEq + fmt::Debug + Send + Serialize + DeserializeOwned + 'static;
    /// What can be watched as a whole.
    type Topic: Topic;
    /// Names an entry within its topic.
    type Entry: Topic;

    const LANE: u8;
    const NAME: &'static str;

    fn place(key: &Self::Key) -> (Self::Topic, Self::Entry);

    /// Whose an entry is. Where several nodes may write one key, whoever isn't read has lost.
    fn holder(key: &Self::Key, value: &Self::Value) -> Pid;

    /// Finds the plane of this kind.
    fn plane(node: &Node) -> &Plane<Self>
    where
        Self: Sized;

    /// Hears what an actor of this node lost to another one. Nothing unless written.
    fn lost(node: &Node, lost: &Lost<Self::Key>) {
        let _ = (node, lost);
    }

    /// Hears that an actor of this node ended and what it contributed was taken back. Nothing unless written.
    fn ended(node: &Node, pid: Pid) {
        let _ = (node, pid);
    }
}

/// Why something was not shared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The actor is gone, or belongs to another node: actors are shared by their own node.
    #[error("{pid} is no process of this node")]
    NoProc {
        /// The actor.
        pid: Pid,
    },
    /// A name or the metadata is too long.
    #[error("{what} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// There are too many entries already: 10,000 in each of 64 shards.
    #[error("shard is full, the limit is {limit} entries")]
    Full {
        /// How many entries a shard holds.
        limit: usize,
    },
    /// The node is about to leave, see [`Cluster::drain`](crate::Cluster::drain).
    #[error("node is about to leave")]
    Draining,
    /// This start of the node was forgotten by the others; it must start again.
    #[error("this start of the node was forgotten by the others")]
    Stopped,
}

/// Somebody of this node whose entry is not read any more, since another one's came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost<K> {
    pub(crate) key: K,
    pub(crate) pid: Pid,
    pub(crate) winner: Pid,
}

/// The pure half of a plane.
pub(crate) struct Core<Kd: Kind> {
    replicator: Replicator<Kd::Key, Stamped<Kd::Value>>,
    clock: Hlc,
    pub(crate) board: Board<Kd::Topic, Kd::Entry, Kd::Value>,
    /// What actors of this node contributed.
    own: BTreeMap<Kd::Key, Pid>,
    keys: BTreeMap<Pid, BTreeSet<Kd::Key>>,
    /// Whose end is waited for: once each, however often they come and go.
    awaited: BTreeSet<Pid>,
    outbox: VecDeque<(ReplicaId, Bytes)>,
    lost: VecDeque<Lost<Kd::Key>>,
    expelled: Option<Expulsion>,
    /// Whether this node contributes nothing any more.
    drains: bool,
    config: Config,
}

impl<Kd: Kind> Core<Kd> {
    pub(crate) fn new(now: Instant, me: ReplicaId, config: Config, seed: u64) -> Self {
        Self {
            replicator: Replicator::new(now, me, config, seed),
            clock: Hlc::new(DRIFT_MAX),
            board: Board::default(),
            own: BTreeMap::new(),
            keys: BTreeMap::new(),
            awaited: BTreeSet::new(),
            outbox: VecDeque::new(),
            lost: VecDeque::new(),
            expelled: None,
            drains: false,
            config,
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, wall_ms: u64, event: Event) -> Result<(), Reject> {
        let handled = self.replicator.handle(now, event);
        self.drain(wall_ms);
        self.give_way(now, wall_ms);
        handled
    }

    pub(crate) fn expire(&mut self, now: Instant, wall_ms: u64) {
        self.replicator.expire(now);
        self.drain(wall_ms);
    }

    /// Contributes an entry in the name of an actor of this node, in place of what this node had there. Says whether the
    /// end of that actor is to be waited for from now on.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        wall_ms: u64,
        pid: Pid,
        key: &Kd::Key,
        value: Kd::Value,
    ) -> Result<bool, ShareError> {
        if self.drains {
            return Err(ShareError::Draining);
        }
        let stamp = self.clock.stamp(wall_ms);
        let shard = self.shard_of(key);
        let put = self.replicator.update(now, shard, |map, me| map.put_beside(me, stamp, key.clone(), value));
        put.map_err(|error| self.refusal(&error))?;
        if let Some(former) = self.own.insert(key.clone(), pid)
            && former != pid
        {
            self.disown(former, key);
        }
        self.keys.entry(pid).or_default().insert(key.clone());
        self.drain(wall_ms);
        Ok(self.awaited.insert(pid))
    }

    /// Takes back what this node contributed under a key; says whether there was anything.
    pub(crate) fn withdraw(&mut self, now: Instant, wall_ms: u64, key: &Kd::Key) -> bool {
        let Some(pid) = self.own.remove(key) else { return false };
        self.disown(pid, key);
        let shard = self.shard_of(key);
        // Only an expelled replica refuses, and of that nobody hears any more.
        let _ = self.replicator.update(now, shard, |map, me| Ok(map.withdraw(me, key)));
        self.drain(wall_ms);
        true
    }

    /// Takes back all that this node contributed, and contributes nothing from now on.
    pub(crate) fn drain_out(&mut self, now: Instant, wall_ms: u64) {
        self.drains = true;
        let keys: Vec<_> = self.own.keys().cloned().collect();
        for key in keys {
            self.withdraw(now, wall_ms, &key);
        }
    }

    /// Takes back all that an actor contributed.
    pub(crate) fn ended(&mut self, now: Instant, wall_ms: u64, pid: Pid) {
        self.awaited.remove(&pid);
        for key in self.keys.get(&pid).cloned().unwrap_or_default() {
            self.withdraw(now, wall_ms, &key);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.replicator.deadline()
    }

    /// What this node contributed under a key, and in whose name.
    pub(crate) fn owner(&self, key: &Kd::Key) -> Option<Pid> {
        self.own.get(key).copied()
    }

    /// Checks the whole invariant.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.replicator.check();
        let of_pids = self.keys.iter().flat_map(|(pid, keys)| keys.iter().map(|key| (key.clone(), *pid)));
        assert_eq!(of_pids.collect::<BTreeMap<_, _>>(), self.own, "keys of actors and owners of keys");
    }

    fn disown(&mut self, pid: Pid, key: &Kd::Key) {
        if let Some(keys) = self.keys.get_mut(&pid) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys.remove(&pid);
            }
        }
    }

    /// Performs what the replicator says, as far as this half can.
    fn drain(&mut self, wall_ms: u64) {
        while let Some(output) = self.replicator.take() {
            match output {
                Output::Send { to, bytes } => self.outbox.push_back((to, bytes)),
                Output::Changed { change: Change { key, after, .. }, .. } => {
                    if let Some(after) = &after {
                        // Too far ahead is counted by the clock and not followed.
                        let _ = self.clock.observe(wall_ms, after.stamp);
                        self.note_loss(&key, &after.value);
                    }
                    let (topic, entry) = Kd::place(&key);
                    self.board.set(&topic, &entry, after.map(|after| after.value));
                }
                Output::Expelled(why) => self.expelled = Some(why),
                Output::Synced(_) => {}
            }
        }
    }

    fn note_loss(&mut self, key: &Kd::Key, after: &Kd::Value) {
        let winner = Kd::holder(key, after);
        if let Some(pid) = self.owner(key).filter(|pid| *pid != winner) {
            self.lost.push_back(Lost { key: key.clone(), pid, winner });
        }
    }

    /// Takes back what lost, so that it isn't read again when the winner goes: whoever lost was told.
    fn give_way(&mut self, now: Instant, wall_ms: u64) {
        let lost: Vec<Kd::Key> = self.lost.iter().map(|lost| lost.key.clone()).collect();
        for key in lost {
            self.withdraw(now, wall_ms, &key);
        }
    }

    fn shard_of(&self, key: &Kd::Key) -> ShardId {
        ShardId::of(&codec::encode(1, key), self.config.shards)
    }

    fn refusal(&self, error: &UpdateError) -> ShareError {
        match error {
            UpdateError::Full { shard_entries_max, .. } => ShareError::Full { limit: *shard_entries_max },
            UpdateError::TooLarge { size, delta_bytes_max } => {
                ShareError::TooLarge { what: "entry", size: *size, limit: *delta_bytes_max }
            }
            // Names of writes run out after 2^64, and outputs are drained after each event.
            _ => ShareError::Stopped,
        }
    }
}

/// The half that locks, sends and wakes.
pub(crate) struct Plane<Kd: Kind> {
    core: Mutex<Core<Kd>>,
    /// Tells the shell that there may be an earlier deadline.
    due: Notify,
}

impl<Kd: Kind> Plane<Kd> {
    pub(crate) fn new(me: ReplicaId, config: Config) -> Self {
        let core = Core::new(tiebeam_world::now(), me, config, tiebeam_world::random());
        Self { core: Mutex::new(core), due: Notify::new() }
    }

    /// As [`Plane::perform`], and has the shell look at its deadline.
    fn act<T>(&self, node: &Node, act: impl FnOnce(&mut Core<Kd>) -> T) -> (T, VecDeque<Lost<Kd::Key>>) {
        let performed = self.perform(node, act);
        self.due.notify_one();
        performed
    }

    /// Lets `act` change the core, and performs what that leads to, in order. Returns also who lost what.
    fn perform<T>(&self, node: &Node, act: impl FnOnce(&mut Core<Kd>) -> T) -> (T, VecDeque<Lost<Kd::Key>>) {
        let mut core = lock(&self.core);
        let result = act(&mut core);
        // Under the lock, or what was said first could be sent last.
        while let Some((to, bytes)) = core.outbox.pop_front() {
            // Whoever isn't connected compares when it is.
            node.share(to, Kd::LANE, bytes);
        }
        let lost = std::mem::take(&mut core.lost);
        if let Some(why) = core.expelled.take() {
            tracing::error!(
                kind = Kd::NAME,
                ?why,
                "other nodes have forgotten this start of the node: it must start again"
            );
        }
        (result, lost)
    }

    pub(crate) fn handle(&self, node: &Node, event: Event) {
        let (now, wall_ms) = clocks();
        let (handled, lost) = self.act(node, |core| core.handle(now, wall_ms, event));
        if let Err(error) = handled {
            tracing::debug!(kind = Kd::NAME, %error, "event of a replica refused");
        }
        for lost in lost {
            Kd::lost(node, &lost);
        }
    }

    /// Changes what this node contributed under a key, as `change` says when it has looked; nothing takes it back.
    pub(crate) fn change<E: From<ShareError>>(
        &self,
        node: &Arc<Node>,
        pid: Pid,
        key: &Kd::Key,
        change: impl FnOnce(&Core<Kd>) -> Result<Option<Kd::Value>, E>,
    ) -> Result<(), E> {
        let (now, wall_ms) = clocks();
        let (changed, _) = self.act(node, |core| match change(core)? {
            Some(value) => core.put(now, wall_ms, pid, key, value).map_err(E::from),
            None => {
                core.withdraw(now, wall_ms, key);
                Ok(false)
            }
        });
        if changed? && pid.serial != 0 {
            drop(super::when_ended(node, pid, move |node| Kd::plane(node).ended(node, pid)));
        }
        Ok(())
    }

    pub(crate) fn withdraw(&self, node: &Node, key: &Kd::Key) -> bool {
        let (now, wall_ms) = clocks();
        self.act(node, |core| core.withdraw(now, wall_ms, key)).0
    }

    pub(crate) fn drain_out(&self, node: &Node) {
        let (now, wall_ms) = clocks();
        self.act(node, |core| core.drain_out(now, wall_ms));
    }

    fn ended(&self, node: &Node, pid: Pid) {
        let (now, wall_ms) = clocks();
        self.act(node, |core| core.ended(now, wall_ms, pid));
        Kd::ended(node, pid);
    }

    /// Lets `read` look at what is seen.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Core<Kd>) -> T) -> T {
        read(&mut lock(&self.core))
    }
}

/// Does what is due on a plane, for ever.
pub(crate) async fn run<Kd: Kind>(node: Arc<Node>) {
    let plane = Kd::plane(&node);
    loop {
        let (now, wall_ms) = clocks();
        let expired = plane.perform(&node, |core| {
            core.expire(now, wall_ms);
            core.deadline()
        });
        let due = async {
            match expired.0 {
                Some(deadline) => tiebeam_world::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = plane.due.notified() => {}
        }
    }
}

fn clocks() -> (Instant, u64) {
    (tiebeam_world::now(), u64::try_from(tiebeam_world::wall_clock_ms()).unwrap_or(0))
}

/// Refuses a name that is too long.
pub(crate) fn checked(what: &'static str, name: &str) -> Result<(), ShareError> {
    match name.len() {
        size if size > NAME_BYTES_MAX => Err(ShareError::TooLarge { what, size, limit: NAME_BYTES_MAX }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
