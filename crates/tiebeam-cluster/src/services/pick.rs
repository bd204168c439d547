//! Chooses whom to call. Pure: time, chance and the load of nodes are handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tiebeam_actor::Pid;
use tiebeam_resilience::{Breaker, BreakerConfig, BreakerState, Outcome, Permit, RetryBudgetConfig};
use tiebeam_wire::{Instant, NodeId};

use super::InstanceSnapshot;

/// How instances of a service are chosen, and what follows when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which of several instances is chosen. Default [`Balance::TwoByLoad`].
    pub balance: Balance,
    /// Whether near instances are preferred: those of this node, then those of its zone, then all. The nearer ones are used
    /// alone as long as at least so many percent of them can be called; below that the next ones join in. Default 50; none
    /// makes all equally near.
    pub near_percent_min: Option<u32>,
    /// Which failures lead to another instance. Default [`Again::IfSurelyNotDone`].
    pub again: Again,
    /// To how many instances one call may go. At least 1; default 3.
    pub attempts_max: u32,
    /// How long one instance may take, if another one may be tried after it: with [`Again::Idempotent`] alone. Default none:
    /// all the time that is left.
    pub attempt_timeout: Option<Duration>,
    /// When an instance that fails is left alone for a while.
    pub breaker: BreakerConfig,
    /// How many second attempts there may be for how many calls.
    pub budget: RetryBudgetConfig,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            balance: Balance::TwoByLoad,
            near_percent_min: Some(50),
            again: Again::IfSurelyNotDone,
            attempts_max: 3,
            attempt_timeout: None,
            breaker: BreakerConfig::default(),
            budget: RetryBudgetConfig::default(),
        }
    }
}

/// Which of several instances is chosen. All heed weights: with turns and keys an instance of weight 2 gets twice as much as one
/// of weight 1; where load decides, it counts as half as loaded, and so may get all while there is next to no load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// Of two drawn by chance the one with less load: calls under way from here, and what its node says of its load. Many
    /// callers that see the same don't all rush to the same instance.
    TwoByLoad,
    /// The one with the fewest calls under way from here.
    LeastInFlight,
    /// The same for the same key, whoever calls, as long as it can be called; when instances come and go few keys move. A
    /// call without a key counts as one with an empty key.
    ByKey,
}

/// Which failures lead to another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Those after which the call was surely not handled.
    IfSurelyNotDone,
    /// All: the service recognises repetitions, or they do no harm.
    Idempotent,
}

/// How near an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ring {
    Node,
    Zone,
    Cluster,
}

/// Names an instance: its id, and the actor or the node that it is registered by.
pub(crate) type Name = (String, Pid);

/// Somebody who may be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) name: Name,
    pub(crate) ring: Ring,
    pub(crate) weight: u32,
    /// Whether it passes its checks.
    pub(crate) is_well: bool,
}

/// Why nobody was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nobody {
    /// When it is worth asking again, if breakers are what keeps all from being called.
    pub(crate) retry_in: Option<Duration>,
}

/// What one caller knows of the instances of one service.
#[derive(Debug)]
pub(crate) struct Picker {
    policy: Policy,
    /// Of those who were called; pruned to twice as many as there are, see [`Picker::prune`].
    known: BTreeMap<Name, Known>,
}

#[derive(Debug)]
struct Known {
    breaker: Breaker,
    in_flight: u32,
    /// How much its turn has come, as smooth weighted round robin counts.
    turn: i64,
}

/// By what one call is chosen for.
pub(crate) struct Wish<'a> {
    pub(crate) now: Instant,
    pub(crate) key: &'a [u8],
    /// Whom to leave out.
    pub(crate) tried: &'a BTreeSet<Name>,
    pub(crate) load: &'a dyn Fn(NodeId) -> u32,
    pub(crate) random: u64,
}

impl Picker {
    /// Panics at once, and not with the first call, if the breaker can't be.
    pub(crate) fn new(policy: Policy) -> Self {
        drop(Breaker::new(policy.breaker));
        Self { policy, known: BTreeMap::new() }
    }

    /// Chooses one of `candidates`, and counts a call to it until [`Picker::ended`].
    pub(crate) fn pick(&mut self, candidates: &[Candidate], wish: &Wish<'_>) -> Result<(usize, Permit), Nobody> {
        self.prune(candidates);
        let mut refused = BTreeSet::new();
        let mut retry_in: Option<Duration> = None;
        loop {
            let usable = self.usable(candidates, wish, &refused);
            if usable.is_empty() {
                return Err(Nobody { retry_in: retry_in.or_else(|| self.retry_in(candidates, wish)) });
            }
            let chosen = self.choose(candidates, &usable, wish);
            let known = self.known_mut(&candidates[chosen].name);
            match known.breaker.try_call(wish.now) {
                Ok(permit) => {
                    known.in_flight += 1;
                    return Ok((chosen, permit));
                }
                // Half open, with as many probes under way as may be.
                Err(again) => {
                    retry_in = Some(retry_in.map_or(again.retry_in, |earlier| earlier.min(again.retry_in)));
                    refused.insert(chosen);
                }
            }
        }
    }

    /// Takes in how a call ended.
    pub(crate) fn ended(&mut self, now: Instant, name: &Name, permit: Permit, outcome: Outcome) {
        if let Some(known) = self.known.get_mut(name) {
            known.in_flight = known.in_flight.saturating_sub(1);
            known.breaker.ended(now, permit, outcome);
        }
    }

    /// What was counted of each instance.
    pub(crate) fn snapshot(&mut self, now: Instant) -> Vec<InstanceSnapshot> {
        let of = |(name, known): (&Name, &mut Known)| InstanceSnapshot {
            id: name.0.clone(),
            node: name.1.node,
            in_flight: known.in_flight,
            breaker: known.breaker.state(now),
            calls: known.breaker.snapshot(),
        };
        self.known.iter_mut().map(of).collect()
    }

    /// How many calls to an instance are under way.
    #[cfg(test)]
    fn in_flight(&self, name: &Name) -> u32 {
        self.known.get(name).map_or(0, |known| known.in_flight)
    }

    /// Those who can be called, from near to far as the policy says.
    fn usable(&mut self, candidates: &[Candidate], wish: &Wish<'_>, refused: &BTreeSet<usize>) -> Vec<usize> {
        let can_be_called: Vec<bool> = candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| {
                candidate.is_well
                    && candidate.weight > 0
                    && !refused.contains(&index)
                    && !wish.tried.contains(&candidate.name)
                    && !self.is_open(wish.now, &candidate.name)
            })
            .collect();
        let of_ring = |ring| candidates.iter().enumerate().filter(move |(_, candidate)| candidate.ring == ring);
        let mut usable = Vec::new();
        for ring in [Ring::Node, Ring::Zone, Ring::Cluster] {
            let (all, before) = (of_ring(ring).count(), usable.len());
            usable.extend(of_ring(ring).map(|(index, _)| index).filter(|index| can_be_called[*index]));
            let callable = (usable.len() - before) as u64;
            let Some(percent) = self.policy.near_percent_min else { continue };
            if callable > 0 && callable * 100 >= all as u64 * u64::from(percent) {
                break;
            }
        }
        usable
    }

    fn is_open(&mut self, now: Instant, name: &Name) -> bool {
        self.known.get_mut(name).is_some_and(|known| known.breaker.state(now) == BreakerState::Open)
    }

    /// When the first of the open breakers lets a probe go.
    fn retry_in(&mut self, candidates: &[Candidate], wish: &Wish<'_>) -> Option<Duration> {
        let well = candidates.iter().filter(|candidate| candidate.is_well && candidate.weight > 0);
        let names: Vec<&Name> =
            well.map(|candidate| &candidate.name).filter(|name| !wish.tried.contains(name)).collect();
        let open = names.into_iter().filter(|name| self.is_open(wish.now, name)).collect::<Vec<_>>();
        // An open breaker refuses, and says for how long.
        let waits = open.into_iter().filter_map(|name| self.known_mut(name).breaker.try_call(wish.now).err());
        waits.map(|refused| refused.retry_in).min()
    }

    fn choose(&mut self, candidates: &[Candidate], usable: &[usize], wish: &Wish<'_>) -> usize {
        let count = usable.len();
        // Beginning anywhere, so that not all choose the same of several that are alike.
        let start = usize::try_from(wish.random % count as u64).unwrap_or(0);
        let turned = usable.iter().copied().cycle().skip(start).take(count);
        let chosen = match self.policy.balance {
            Balance::RoundRobin => Some(self.next_turn(candidates, usable)),
            Balance::LeastInFlight => turned.min_by_key(|index| self.cost(&candidates[*index], 0)),
            Balance::TwoByLoad => {
                // The second is another one, equally likely each.
                let step = 1 + usize::try_from((wish.random >> 32) % (count as u64 - 1).max(1)).unwrap_or(0);
                let pair = [usable[start], usable[(start + step) % count]];
                let loaded = |index: &usize| {
                    let candidate = &candidates[*index];
                    self.cost(candidate, (wish.load)(candidate.name.1.node))
                };
                pair.into_iter().min_by_key(loaded)
            }
            Balance::ByKey => {
                let score = |index: &usize| score(wish.key, &candidates[*index]);
                usable.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)))
            }
        };
        chosen.unwrap_or(usable[start])
    }

    /// Smooth weighted round robin, as nginx does it: a heavy instance's turns are spread among those of others.
    fn next_turn(&mut self, candidates: &[Candidate], usable: &[usize]) -> usize {
        let (mut total, mut best) = (0, (usable[0], i64::MIN));
        for index in usable {
            let weight = i64::from(candidates[*index].weight);
            let known = self.known_mut(&candidates[*index].name);
            known.turn += weight;
            total += weight;
            if known.turn > best.1 {
                best = (*index, known.turn);
            }
        }
        self.known_mut(&candidates[best.0].name).turn -= total;
        best.0
    }

    /// What one more call would meet: those under way and itself, dearer on a node that says that it is loaded. A node at
    /// full load costs five times as much as an idle one.
    fn cost(&self, candidate: &Candidate, load_percent: u32) -> u64 {
        let in_flight = self.known.get(&candidate.name).map_or(0, |known| known.in_flight);
        let cost = (u64::from(in_flight) + 1).saturating_mul(u64::from(load_percent.min(1_000)) + 25);
        cost.saturating_mul(1_000_000) / u64::from(candidate.weight.max(1))
    }

    fn known_mut(&mut self, name: &Name) -> &mut Known {
        let breaker = self.policy.breaker;
        self.known.entry(name.clone()).or_insert_with(|| Known {
            breaker: Breaker::new(breaker),
            in_flight: 0,
            turn: 0,
        })
    }

    /// Forgets those who are gone, now and then: who restarts has ever new pids. What is still under way is kept.
    fn prune(&mut self, candidates: &[Candidate]) {
        if self.known.len() > 2 * candidates.len() + 16 {
            let names: BTreeSet<&Name> = candidates.iter().map(|candidate| &candidate.name).collect();
            self.known.retain(|name, known| known.in_flight > 0 || names.contains(name));
        }
    }
}

/// Rendezvous hashing with weights: each instance draws a number for each key, and the highest has it; so a key moves only
/// if its instance goes, or a new one draws higher. By id and node: an actor that is restarted keeps its keys.
fn score(key: &[u8], candidate: &Candidate) -> f64 {
    let (id, pid) = &candidate.name;
    let node = pid.node.0.to_be_bytes();
    let hash = finish(fnv(fnv(fnv(FNV_BASIS, key), &node), id.as_bytes()));
    // From above 0 to below 1.
    let drawn = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    f64::from(candidate.weight) / -drawn.ln()
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, the same on every machine and for every version; each part with its end.
fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ 0xff).wrapping_mul(0x0100_0000_01b3)
}

/// Spreads all bits over all others: the end of MurmurHash3.
const fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
