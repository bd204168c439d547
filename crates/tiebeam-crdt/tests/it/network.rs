//! A network that loses, doubles, delays and splits, with nodes that crash and start again. A run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tiebeam_crdt::replicator::{Config, Event, Expulsion, Output, ShardId};
use tiebeam_crdt::{Live, ReplicaId, Replicator};
use tiebeam_wire::{Incarnation, Instant, NodeId};

pub(crate) const SHARDS: u16 = 3;

/// Small limits, so that a short run meets them.
pub(crate) fn config() -> Config {
    Config {
        shards: SHARDS,
        piece_dots_max: 3,
        asks_max: 2,
        digest_peers_max: 2,
        batch_deltas_max: 4,
        ..Config::default()
    }
}

pub(crate) fn at(ms: u64) -> Instant {
    Instant { nanos: ms * 1_000_000 }
}

/// How bad it is, in percent of messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) delay_ms_max: u64,
}

struct Letter {
    due: Instant,
    from: ReplicaId,
    to: ReplicaId,
    bytes: Bytes,
}

pub(crate) struct Node {
    pub(crate) replicator: Replicator<String, ()>,
    /// What a watcher pieced together from the changes it was told.
    pub(crate) watched: BTreeSet<(ShardId, String)>,
    /// Every change, in order: the key, and whether it came.
    pub(crate) told: Vec<(String, bool)>,
    pub(crate) synced: Vec<ReplicaId>,
    pub(crate) expelled: Option<Expulsion>,
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) weather: Weather,
    config: Config,
    running: BTreeMap<NodeId, Incarnation>,
    letters: Vec<Letter>,
    split: BTreeSet<NodeId>,
    /// No two of these are connected.
    leaves: BTreeSet<NodeId>,
    random: u64,
    pub(crate) sent: u64,
}

impl Network {
    pub(crate) fn new(nodes: u64, seed: u64, config: Config) -> Self {
        let mut network = Self {
            now: at(0),
            nodes: BTreeMap::new(),
            weather: Weather { lost: 0, doubled: 0, delay_ms_max: 1 },
            config,
            running: BTreeMap::new(),
            letters: Vec::new(),
            split: BTreeSet::new(),
            leaves: BTreeSet::new(),
            random: seed,
            sent: 0,
        };
        (0..nodes).for_each(|node| network.start(NodeId(node)));
        network
    }

    /// Makes hubs that are connected to all, and leaves that are connected to hubs alone; each has the first hub pass on
    /// what it changes. Leaves come after hubs.
    pub(crate) fn star(hubs: u64, leaves: u64, seed: u64, config: Config) -> Self {
        let mut network = Self::new(hubs, seed, config);
        for leaf in (hubs..hubs + leaves).map(NodeId) {
            network.leaves.insert(leaf);
            network.start(leaf);
            network.event(leaf, Event::PassedOnBy(Some(network.replica(NodeId(0)))));
        }
        network
    }

    /// Starts a node, under its next incarnation and with nothing.
    pub(crate) fn start(&mut self, node: NodeId) {
        let incarnation = Incarnation(self.running.get(&node).map_or(1, |last| last.0 + 1));
        self.start_as(ReplicaId::new(node, incarnation));
    }

    pub(crate) fn start_as(&mut self, replica: ReplicaId) {
        let seed = self.random();
        let replicator = Replicator::new(self.now, replica, self.config, seed);
        self.running.insert(replica.node, replica.incarnation);
        let (watched, told, synced) = (BTreeSet::new(), Vec::new(), Vec::new());
        self.nodes.insert(replica.node, Node { replicator, watched, told, synced, expelled: None });
        self.split.remove(&replica.node);
        self.connect(replica.node);
    }

    /// Ends a node without a word. Its peers notice.
    pub(crate) fn crash(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.disconnect(node);
    }

    /// Cuts a node off from all others. Both sides notice.
    pub(crate) fn cut(&mut self, node: NodeId) {
        self.split.insert(node);
        self.disconnect(node);
    }

    /// Ends all splits.
    pub(crate) fn heal(&mut self) {
        for node in std::mem::take(&mut self.split) {
            self.connect(node);
        }
    }

    pub(crate) fn replica(&self, node: NodeId) -> ReplicaId {
        ReplicaId::new(node, self.running[&node])
    }

    pub(crate) fn alive(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn event(&mut self, node: NodeId, event: Event) {
        let now = self.now;
        if let Some(running) = self.nodes.get_mut(&node) {
            let _ = running.replicator.handle(now, event);
            self.perform(node);
        }
    }

    pub(crate) fn add(&mut self, node: NodeId, key: &str) {
        let (now, shard) = (self.now, ShardId::of(key.as_bytes(), SHARDS));
        if let Some(running) = self.nodes.get_mut(&node) {
            let _ = running.replicator.update(now, shard, |set, me| set.add(me, key.to_owned()));
            self.perform(node);
        }
    }

    pub(crate) fn remove(&mut self, node: NodeId, key: &str) {
        let (now, shard) = (self.now, ShardId::of(key.as_bytes(), SHARDS));
        if let Some(running) = self.nodes.get_mut(&node) {
            let _ = running.replicator.update(now, shard, |set, _| Ok(set.remove(&key.to_owned())));
            self.perform(node);
        }
    }

    /// Lets time pass, step by step.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.nodes.values().filter_map(|node| node.replicator.deadline());
            let next = due.chain(self.letters.iter().map(|letter| letter.due)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            self.deliver();
            for node in self.alive() {
                let now = self.now;
                if let Some(running) = self.nodes.get_mut(&node) {
                    running.replicator.expire(now);
                }
                self.perform(node);
            }
        }
        self.now = end;
    }

    /// What a node sees, in order.
    pub(crate) fn seen(&self, node: NodeId) -> BTreeSet<(ShardId, String)> {
        let replicator = &self.nodes[&node].replicator;
        let shards = (0..SHARDS).map(ShardId);
        shards.flat_map(|shard| keys(replicator, shard, replicator.live())).collect()
    }

    pub(crate) fn random(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random() % 100 < percent
    }

    fn connect(&mut self, node: NodeId) {
        for other in self.alive().into_iter().filter(|other| *other != node) {
            if !self.split.contains(&other) {
                let apart = self.leaves.contains(&node) && self.leaves.contains(&other);
                let there = if apart { Event::Seen } else { Event::Up };
                self.event(other, there(self.replica(node)));
                self.event(node, there(self.replica(other)));
            }
        }
    }

    fn disconnect(&mut self, node: NodeId) {
        let replica = self.replica(node);
        for other in self.alive().into_iter().filter(|other| *other != node) {
            self.event(other, Event::Down(replica));
            self.event(node, Event::Down(self.replica(other)));
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, rest) = std::mem::take(&mut self.letters).into_iter().partition::<Vec<_>, _>(|l| l.due <= now);
        self.letters = rest;
        due.sort_by_key(|letter| letter.due);
        for Letter { from, to, bytes, .. } in due {
            // A letter to or from a past life, or across a split, gets nowhere, as on a closed connection.
            let reachable = |replica: ReplicaId| {
                self.running[&replica.node] == replica.incarnation && !self.split.contains(&replica.node)
            };
            let apart = self.leaves.contains(&from.node) && self.leaves.contains(&to.node);
            assert!(!apart, "{from} sends to {to}, which is no peer");
            if reachable(from) && reachable(to) {
                self.event(to.node, Event::Received { from, bytes });
            }
        }
    }

    fn perform(&mut self, node: NodeId) {
        let Some(running) = self.nodes.get_mut(&node) else { return };
        running.replicator.check();
        let from = ReplicaId::new(node, self.running[&node]);
        let mut sends = Vec::new();
        while let Some(output) = running.replicator.take() {
            match output {
                Output::Send { to, bytes } => sends.push((to, bytes)),
                Output::Changed { shard, change } => {
                    let entry = (shard, change.key.clone());
                    let came = change.after.is_some();
                    let news = if came { running.watched.insert(entry) } else { running.watched.remove(&entry) };
                    assert!(news, "{node} was told twice that {:?} came or went", change.key);
                    running.told.push((change.key, came));
                }
                Output::Synced(peer) => running.synced.push(peer),
                Output::Expelled(why) => running.expelled = Some(why),
            }
        }
        for (to, bytes) in sends {
            self.sent += 1;
            let Weather { lost, doubled, delay_ms_max } = self.weather;
            let copies = if self.chance(lost) { 0 } else { 1 + u64::from(self.chance(doubled)) };
            for _ in 0..copies {
                let delay = Duration::from_millis(1 + self.random() % delay_ms_max.max(1));
                self.letters.push(Letter { due: self.now + delay, from, to, bytes: bytes.clone() });
            }
        }
    }
}

pub(crate) fn keys(replicator: &Replicator<String, ()>, shard: ShardId, live: &Live) -> Vec<(ShardId, String)> {
    let store = replicator.shard(shard).expect("a shard of the configuration");
    store.iter_seen(live).map(|(key, ())| (shard, key.clone())).collect()
}
