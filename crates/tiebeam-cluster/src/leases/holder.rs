//! The half of whoever wants leases: asks the voters, counts grants from before it asked, and asks again in time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tiebeam_wire::{Instant, NodeId};

use super::Fence;
use super::message::{Answer, Ask, Refusal, Request, Tenure, Verdict};
use crate::Voters;

/// How many tenures one request carries; more go in several.
const TENURES_MAX: usize = 1024;
/// How many leases a node wants at once.
pub(crate) const WANTS_MAX: usize = 16_384;

/// The parts of a lease's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// How long a voter grants.
    pub(crate) lease: Duration,
}

impl Times {
    /// How long a grant counts, from before it was asked for. A sixteenth is for clocks that differ, an eighth for what the
    /// holder has in hand when the lease ends.
    pub(crate) fn counted(self) -> Duration {
        self.lease - self.lease * 3 / 16
    }

    /// How often what is held is asked for again.
    fn renewal(self) -> Duration {
        self.lease / 4
    }

    /// How long an answer is waited for.
    pub(crate) fn patience(self) -> Duration {
        self.lease / 4
    }

    /// How long a refusal holds at most.
    fn retry_max(self) -> Duration {
        self.lease / 8
    }

    fn retry_min(self) -> Duration {
        self.lease / 256
    }
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send this; the answer goes to [`Holder::answered`] if it belongs to a round.
    Send { to: NodeId, round: Option<u64>, request: Request },
    /// The lease is this node's until that moment; said again whenever it is later.
    Held { resource: String, fence: Fence, until: Instant },
    /// It was this node's and is over; it is wanted no longer.
    Lost { resource: String, fence: Fence },
    /// It can't be had now; who has it, if a voter said so.
    Denied { resource: String, by: Option<NodeId> },
}

/// Holds leases in the name of one start of a node. Deterministic.
#[derive(Debug)]
pub(crate) struct Holder {
    times: Times,
    voters: Arc<Voters>,
    wants: BTreeMap<String, Want>,
    rounds: BTreeMap<u64, Round>,
    round: u64,
    /// The highest fence that was made or heard of.
    fence: Fence,
    /// To be given back, all in one request to each voter: what was held, and attempts that failed.
    freed: Vec<Tenure>,
    failed: Vec<Tenure>,
    outputs: VecDeque<Output>,
    chance: u64,
}

#[derive(Debug)]
struct Want {
    state: State,
    ask_at: Instant,
    /// How many attempts failed one after the other.
    failures: u32,
}

#[derive(Debug)]
enum State {
    Waiting,
    Asking(Attempt),
    /// `until` counts what a majority granted; by whom changes with each renewal.
    Held {
        fence: Fence,
        granted: BTreeMap<NodeId, Instant>,
        until: Instant,
    },
}

/// Tries to begin a tenure.
#[derive(Debug)]
struct Attempt {
    fence: Fence,
    granted: BTreeMap<NodeId, Instant>,
    refused: BTreeSet<NodeId>,
    /// Who has the resource, as a voter said.
    holder: Option<NodeId>,
    /// For how long refusals hold.
    wait: Duration,
    give_up_at: Instant,
}

/// What was asked of all voters at one moment.
#[derive(Debug)]
struct Round {
    began: Instant,
    voters: Arc<Voters>,
    tenures: Arc<[Tenure]>,
}

impl Holder {
    pub(crate) fn new(lease: Duration, voters: Arc<Voters>, seed: u64) -> Self {
        Self {
            times: Times { lease },
            voters,
            wants: BTreeMap::new(),
            rounds: BTreeMap::new(),
            round: 0,
            fence: Fence(0),
            freed: Vec::new(),
            failed: Vec::new(),
            outputs: VecDeque::new(),
            chance: seed,
        }
    }

    /// Begins to want a resource; says whether there is room for one more.
    pub(crate) fn want(&mut self, now: Instant, resource: &str) -> bool {
        if self.wants.len() >= WANTS_MAX && !self.wants.contains_key(resource) {
            return false;
        }
        let want = Want { state: State::Waiting, ask_at: now, failures: 0 };
        self.wants.entry(resource.to_owned()).or_insert(want);
        true
    }

    /// Wants a resource no longer, and gives it back.
    pub(crate) fn leave(&mut self, resource: &str) {
        let resource = resource.to_owned();
        match self.wants.remove(&resource).map(|want| want.state) {
            Some(State::Asking(Attempt { fence, .. })) => self.failed.push(Tenure { resource, fence }),
            Some(State::Held { fence, .. }) => self.freed.push(Tenure { resource, fence }),
            Some(State::Waiting) | None => {}
        }
    }

    /// Hears that a resource may be free.
    pub(crate) fn freed(&mut self, now: Instant, resource: &str) {
        let jitter = self.draw(self.times.retry_min());
        if let Some(want) = self.wants.get_mut(resource).filter(|want| matches!(want.state, State::Waiting)) {
            want.ask_at = want.ask_at.min(now + jitter);
        }
    }

    /// Counts by later voters from now on. What is held is held until its end; only theirs can make it longer.
    pub(crate) fn set_voters(&mut self, now: Instant, voters: &Arc<Voters>) {
        if voters.version <= self.voters.version {
            return;
        }
        self.voters = Arc::clone(voters);
        let asking = |want: &Want| matches!(want.state, State::Asking(_));
        let asked: Vec<String> =
            self.wants.iter().filter(|(_, want)| asking(want)).map(|(resource, _)| resource.clone()).collect();
        for resource in asked {
            self.fail(now, &resource);
        }
        for want in self.wants.values_mut() {
            want.ask_at = now;
            if let State::Held { granted, .. } = &mut want.state {
                granted.clear();
            }
        }
    }

    /// Takes in a voter's answer to a round; none if it gave none.
    pub(crate) fn answered(&mut self, now: Instant, round: u64, from: NodeId, answer: Option<&Answer>) {
        let Some(asked) = self.rounds.get(&round) else { return };
        if asked.voters.version != self.voters.version {
            return;
        }
        let (until, tenures) = (asked.began + self.times.counted(), Arc::clone(&asked.tenures));
        for (index, tenure) in tenures.iter().enumerate() {
            let verdict = match answer {
                Some(Answer::Judged(verdicts)) => verdicts.get(index).copied(),
                Some(Answer::Refused(Refusal::LeaseTime { lease_ms })) if index == 0 => {
                    tracing::warn!(%from, lease_ms, "voter grants leases for another time than this node counts");
                    None
                }
                _ => None,
            };
            self.judged(now, tenure, from, until, verdict);
        }
    }

    fn judged(&mut self, now: Instant, tenure: &Tenure, from: NodeId, until: Instant, verdict: Option<Verdict>) {
        if let Some(Verdict::Low { fence }) = verdict {
            self.fence = self.fence.max(fence);
        }
        let (soon, voters) = (now + self.times.retry_min() * 16, Arc::clone(&self.voters));
        let want = self.wants.get_mut(&tenure.resource).filter(|want| want.is_for(tenure.fence));
        let Some(want) = want else {
            // It was given up meanwhile, and that may have overtaken the request.
            if verdict == Some(Verdict::Granted) {
                self.failed.push(tenure.clone());
            }
            return;
        };
        match &mut want.state {
            State::Held { granted, until: held, .. } if *held > now => match verdict {
                Some(Verdict::Granted) => {
                    grant(granted, from, until);
                    if let Some(later) = by_majority(granted, &voters).filter(|later| *later > *held) {
                        *held = later;
                        want.ask_at = later - self.times.counted() + self.times.renewal();
                        self.hold(tenure, later);
                    }
                }
                // No answer, and the others don't suffice yet: there is time to ask again.
                None if *held < until => want.ask_at = want.ask_at.min(soon),
                None | Some(_) => {}
            },
            State::Asking(attempt) => {
                attempt.judged(from, until, verdict, self.times);
                let held = by_majority(&attempt.granted, &voters).filter(|until| *until > now);
                if let Some(until) = held {
                    let granted = std::mem::take(&mut attempt.granted);
                    want.state = State::Held { fence: tenure.fence, granted, until };
                    want.failures = 0;
                    want.ask_at = (until - self.times.counted() + self.times.renewal()).max(now);
                    self.hold(tenure, until);
                } else if attempt.refused.len() + voters.majority() > voters.nodes.len() {
                    self.fail(now, &tenure.resource);
                }
            }
            State::Held { .. } | State::Waiting => {}
        }
    }

    /// Ends what is over, and asks for what is due. `wall_ms` only makes fences.
    pub(crate) fn expire(&mut self, now: Instant, wall_ms: u64) {
        let is_over = |want: &Want| match &want.state {
            State::Waiting => false,
            State::Asking(attempt) => attempt.give_up_at <= now,
            State::Held { until, .. } => *until <= now,
        };
        let over: Vec<String> =
            self.wants.iter().filter(|(_, want)| is_over(want)).map(|(resource, _)| resource.clone()).collect();
        for resource in over {
            self.end(now, &resource);
        }
        let forgotten = now - self.times.lease;
        self.rounds.retain(|_, round| round.began >= forgotten);
        self.ask(now, wall_ms);
    }

    fn end(&mut self, now: Instant, resource: &str) {
        match self.wants.get(resource).map(|want| &want.state) {
            Some(State::Held { fence, .. }) => {
                let fence = *fence;
                self.wants.remove(resource);
                self.outputs.push_back(Output::Lost { resource: resource.to_owned(), fence });
                self.freed.push(Tenure { resource: resource.to_owned(), fence });
            }
            _ => self.fail(now, resource),
        }
    }

    /// Gives an attempt up, and what was granted of it back, so that somebody else may have it.
    fn fail(&mut self, now: Instant, resource: &str) {
        let times = self.times;
        let Some(want) = self.wants.get_mut(resource) else { return };
        let State::Asking(attempt) = std::mem::replace(&mut want.state, State::Waiting) else { return };
        want.failures = want.failures.saturating_add(1);
        // Those who stand in each other's way draw from ever longer times.
        let spread = (times.retry_min() * (1 << want.failures.min(5))).min(times.retry_max());
        let jitter = self.draw(spread);
        if let Some(want) = self.wants.get_mut(resource) {
            want.ask_at = now + attempt.wait.min(times.retry_max()) + jitter;
        }
        let by = attempt.holder;
        self.failed.push(Tenure { resource: resource.to_owned(), fence: attempt.fence });
        self.outputs.push_back(Output::Denied { resource: resource.to_owned(), by });
    }

    /// Asks all voters for all that is due, and for what is due soon, so that much travels together.
    fn ask(&mut self, now: Instant, wall_ms: u64) {
        let (soon, sooner) = (now + self.times.lease / 16, now + self.times.retry_min());
        let due = |want: &Want| match want.state {
            State::Waiting => want.ask_at <= sooner,
            State::Held { .. } => want.ask_at <= soon,
            State::Asking(_) => false,
        };
        if self.voters.nodes.is_empty() || !self.wants.values().any(|want| want.ask_at <= now && due(want)) {
            return;
        }
        let resources: Vec<String> =
            self.wants.iter().filter(|(_, want)| due(want)).map(|(resource, _)| resource.clone()).collect();
        for resources in resources.chunks(TENURES_MAX) {
            let tenures: Vec<Tenure> =
                resources.iter().filter_map(|resource| self.asked(now, wall_ms, resource)).collect();
            self.send_round(now, tenures);
        }
    }

    /// Notes that a resource is being asked for.
    fn asked(&mut self, now: Instant, wall_ms: u64, resource: &str) -> Option<Tenure> {
        let (times, next) = (self.times, self.fence.next(wall_ms));
        let want = self.wants.get_mut(resource)?;
        let fence = match &want.state {
            State::Held { fence, .. } => *fence,
            State::Waiting | State::Asking(_) => {
                self.fence = next;
                want.state = State::Asking(Attempt {
                    fence: next,
                    granted: BTreeMap::new(),
                    refused: BTreeSet::new(),
                    holder: None,
                    wait: Duration::ZERO,
                    give_up_at: now + times.patience(),
                });
                next
            }
        };
        want.ask_at = now + times.renewal();
        Some(Tenure { resource: resource.to_owned(), fence })
    }

    fn send_round(&mut self, now: Instant, tenures: Vec<Tenure>) {
        self.round += 1;
        let lease_ms = u32::try_from(self.times.lease.as_millis()).unwrap_or(u32::MAX);
        let ask = Ask { voters: self.voters.version, lease_ms, tenures: tenures.clone() };
        for to in &self.voters.nodes {
            let send = Output::Send { to: *to, round: Some(self.round), request: Request::Ask(ask.clone()) };
            self.outputs.push_back(send);
        }
        let round = Round { began: now, voters: Arc::clone(&self.voters), tenures: tenures.into() };
        self.rounds.insert(self.round, round);
    }

    fn send_freed(&mut self) {
        for (were_held, freed) in [(true, std::mem::take(&mut self.freed)), (false, std::mem::take(&mut self.failed))] {
            for tenures in freed.chunks(TENURES_MAX) {
                for to in &self.voters.nodes {
                    let request = Request::Free { were_held, tenures: tenures.to_vec() };
                    self.outputs.push_back(Output::Send { to: *to, round: None, request });
                }
            }
        }
    }

    fn hold(&mut self, tenure: &Tenure, until: Instant) {
        let Tenure { resource, fence } = tenure.clone();
        self.outputs.push_back(Output::Held { resource, fence, until });
    }

    /// When [`Holder::expire`] must next be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let can_ask = !self.voters.nodes.is_empty();
        let due = self.wants.values().filter_map(|want| match &want.state {
            State::Waiting => can_ask.then_some(want.ask_at),
            State::Asking(attempt) => Some(attempt.give_up_at),
            State::Held { until, .. } => Some(if can_ask { want.ask_at.min(*until) } else { *until }),
        });
        due.min()
    }

    /// What to do next, in order.
    pub(crate) fn take(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.send_freed();
        }
        self.outputs.pop_front()
    }

    /// Draws a time below `limit`, by the seed (SplitMix64).
    fn draw(&mut self, limit: Duration) -> Duration {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos((mixed ^ (mixed >> 31)) % limit)
    }

    /// Which leases are held at `now`.
    #[cfg(test)]
    pub(crate) fn held(&self, now: Instant) -> Vec<(String, Fence)> {
        let held = self.wants.iter().filter_map(|(resource, want)| match &want.state {
            State::Held { fence, until, .. } if *until > now => Some((resource.clone(), *fence)),
            _ => None,
        });
        held.collect()
    }
}

impl Want {
    /// Says whether a tenure is the one that is being begun, or held.
    fn is_for(&self, fence: Fence) -> bool {
        match &self.state {
            State::Waiting => false,
            State::Asking(attempt) => attempt.fence == fence,
            State::Held { fence: held, .. } => *held == fence,
        }
    }
}

impl Attempt {
    fn judged(&mut self, from: NodeId, until: Instant, verdict: Option<Verdict>, times: Times) {
        match verdict {
            Some(Verdict::Granted) => {
                grant(&mut self.granted, from, until);
                return;
            }
            Some(Verdict::Held { by, left_ms }) => {
                self.holder = Some(by);
                self.wait = self.wait.max(Duration::from_millis(u64::from(left_ms)));
            }
            Some(Verdict::Quiet { left_ms }) => {
                self.wait = self.wait.max(Duration::from_millis(u64::from(left_ms)));
            }
            // It can be had with a higher fence, which is known now.
            Some(Verdict::Low { .. }) => {}
            Some(Verdict::Full) | None => self.wait = self.wait.max(times.retry_max() / 2),
        }
        self.refused.insert(from);
    }
}

fn grant(granted: &mut BTreeMap<NodeId, Instant>, from: NodeId, until: Instant) {
    let known = granted.entry(from).or_insert(until);
    *known = until.max(*known);
}

/// Until when a majority of the voters has granted; none if it hasn't.
fn by_majority(granted: &BTreeMap<NodeId, Instant>, voters: &Voters) -> Option<Instant> {
    let of_voters = granted.iter().filter(|(node, _)| voters.nodes.contains(node));
    let mut untils: Vec<Instant> = of_voters.map(|(_, until)| *until).collect();
    untils.sort_unstable_by(|a, b| b.cmp(a));
    untils.get(voters.majority() - 1).copied()
}
