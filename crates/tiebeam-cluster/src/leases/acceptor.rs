//! The voter's half: grants each resource to one holder at a time, by a clock that it has seen pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tiebeam_wire::{Incarnation, Instant, NodeId};

use super::Fence;
use super::message::{Answer, Ask, Refusal, Tenure, Verdict};
use crate::Voters;
use crate::sharing::plane::NAME_BYTES_MAX;

/// How often a voter must look at its clock while it waits for anything.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// A longer time between two looks counts as one tick: the node was paused, or its clock has jumped.
const GAP_MAX: Duration = Duration::from_millis(100);
/// How many resources a voter remembers. At the limit those that nobody holds are forgotten but for the highest of their
/// fences; if all are held, more are refused.
const RESOURCES_MAX: usize = 65_536;
/// How many are told when a resource is free; others find out by asking again.
const WAITING_MAX: usize = 16;
/// After this a voter without a majority that remembers goes on without; see [`Memory`].
const RECALL_MAX: Duration = Duration::from_secs(10);

/// Who holds: one start of a node.
pub(crate) type HolderId = (NodeId, Incarnation);

/// Grants leases as one of the voters. Deterministic; it must be handed a `now` at least every [`TICK`] while
/// [`Acceptor::deadline`] says so.
#[derive(Debug)]
pub(crate) struct Acceptor {
    me: NodeId,
    lease: Duration,
    clock: Counted,
    voters: Voters,
    /// The latest version that anybody named; nothing is granted under an earlier one.
    newest: u64,
    /// Until when nothing new is granted: somebody may hold what this voter doesn't know of.
    quiet_until: Duration,
    memory: Memory,
    grants: BTreeMap<String, Grant>,
    /// No tenure of a resource that isn't in `grants` had a higher fence, as far as this voter remembers.
    floor: Fence,
    /// When the last of all grants ends.
    live_until: Duration,
}

/// Whether this voter's word on fences can be trusted by itself.
#[derive(Debug)]
enum Memory {
    /// It has just begun to vote and asks the others.
    Recalling { since: Duration, heard: BTreeMap<NodeId, bool> },
    /// Of each former tenure that a majority granted, some of any majority of voters that remember know the fence.
    Whole,
}

#[derive(Debug)]
struct Grant {
    holder: HolderId,
    fence: Fence,
    until: Duration,
    /// The holder has given it back: a late repetition of its request changes nothing.
    is_freed: bool,
    waiting: BTreeSet<NodeId>,
}

/// Time that the voter has seen pass. It runs slow when the node is paused, which is safe: a grant only lasts longer.
#[derive(Debug)]
struct Counted {
    seen: Instant,
    now: Duration,
}

impl Counted {
    fn look(&mut self, now: Instant) {
        let gap = now.since(self.seen);
        self.now += if gap <= GAP_MAX { gap } else { TICK };
        self.seen = self.seen.max(now);
    }
}

impl Acceptor {
    /// Makes a voter that has just started and remembers nothing.
    pub(crate) fn new(now: Instant, me: NodeId, lease: Duration, voters: Voters) -> Self {
        Self {
            me,
            lease,
            clock: Counted { seen: now, now: Duration::ZERO },
            newest: voters.version,
            voters,
            quiet_until: lease,
            memory: Memory::Recalling { since: Duration::ZERO, heard: BTreeMap::new() },
            grants: BTreeMap::new(),
            floor: Fence(0),
            live_until: Duration::ZERO,
        }
    }

    /// Takes in a later change of the voters. What was granted can be kept; nothing new is granted for a while.
    pub(crate) fn set_voters(&mut self, now: Instant, voters: &Voters) {
        self.clock.look(now);
        if voters.version <= self.voters.version {
            return;
        }
        let has_voted = self.votes();
        self.voters = voters.clone();
        self.newest = self.newest.max(voters.version);
        self.quiet_until = self.clock.now + self.lease;
        if !has_voted {
            self.memory = Memory::Recalling { since: self.clock.now, heard: BTreeMap::new() };
        }
        self.complete();
    }

    /// Judges what a holder asks for.
    pub(crate) fn ask(&mut self, now: Instant, holder: HolderId, ask: &Ask) -> Answer {
        self.clock.look(now);
        // Whoever counts by later voters was told of a decision that this voter has yet to hear of.
        self.newest = self.newest.max(ask.voters);
        if !self.votes() || ask.voters != self.voters.version || self.newest != self.voters.version {
            return Answer::Refused(Refusal::Voters { version: self.newest });
        }
        if u128::from(ask.lease_ms) != self.lease.as_millis() {
            return Answer::Refused(Refusal::LeaseTime { lease_ms: millis(self.lease) });
        }
        Answer::Judged(ask.tenures.iter().map(|tenure| self.judge(holder, tenure)).collect())
    }

    fn judge(&mut self, holder: HolderId, tenure: &Tenure) -> Verdict {
        let (now, until) = (self.clock.now, self.clock.now + self.lease);
        let mut low = self.floor;
        if let Some(grant) = self.grants.get_mut(&tenure.resource) {
            if (grant.holder, grant.fence) == (holder, tenure.fence) && !grant.is_freed {
                grant.until = until;
                self.live_until = until;
                return Verdict::Granted;
            }
            if grant.until > now {
                if grant.waiting.len() < WAITING_MAX {
                    grant.waiting.insert(holder.0);
                }
                return Verdict::Held { by: grant.holder.0, left_ms: millis(grant.until - now) };
            }
            low = low.max(grant.fence);
        }
        if let Some(left) = self.quiet_left() {
            return Verdict::Quiet { left_ms: millis(left) };
        }
        if tenure.fence <= low {
            return Verdict::Low { fence: low };
        }
        if tenure.resource.len() > NAME_BYTES_MAX || !self.has_room(&tenure.resource) {
            return Verdict::Full;
        }
        self.put(holder, tenure, until);
        Verdict::Granted
    }

    /// Takes tenures back; says whom to tell that which resource can be had.
    pub(crate) fn free(
        &mut self,
        now: Instant,
        holder: HolderId,
        were_held: bool,
        tenures: &[Tenure],
    ) -> Vec<(NodeId, String)> {
        self.clock.look(now);
        let mut told = Vec::new();
        for tenure in tenures {
            let now = self.clock.now;
            let known = self.grants.get_mut(&tenure.resource);
            if let Some(grant) = known {
                if (grant.holder, grant.fence) == (holder, tenure.fence) {
                    grant.is_freed = true;
                    grant.until = grant.until.min(now);
                    let waiting = if were_held { std::mem::take(&mut grant.waiting) } else { BTreeSet::new() };
                    told.extend(waiting.into_iter().map(|node| (node, tenure.resource.clone())));
                    continue;
                }
                if grant.until > now || grant.fence >= tenure.fence {
                    continue;
                }
            }
            // Given up before it was heard of: it must not be granted when it comes late.
            let can_be_named = tenure.resource.len() <= NAME_BYTES_MAX;
            if can_be_named && tenure.fence > self.floor && self.has_room(&tenure.resource) {
                self.put(holder, tenure, now);
                if let Some(grant) = self.grants.get_mut(&tenure.resource) {
                    grant.is_freed = true;
                }
            }
        }
        told
    }

    /// Answers another voter that has lost its memory.
    pub(crate) fn recall(&self) -> Answer {
        let highest = self.grants.values().map(|grant| grant.fence).max().unwrap_or_default();
        let remembers = self.votes() && matches!(self.memory, Memory::Whole);
        Answer::Recalled { voters: self.newest, remembers, fence: highest.max(self.floor) }
    }

    /// Takes in what another voter remembers.
    pub(crate) fn recalled(&mut self, now: Instant, from: NodeId, voters: u64, remembers: bool, fence: Fence) {
        self.clock.look(now);
        self.newest = self.newest.max(voters);
        self.raise(fence);
        if let Memory::Recalling { heard, .. } = &mut self.memory
            && from != self.me
            && self.voters.nodes.contains(&from)
        {
            heard.insert(from, remembers);
        }
        self.complete();
    }

    /// Looks at the clock.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.clock.look(now);
        self.complete();
    }

    /// When [`Acceptor::expire`] must next be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let waits = self.votes() && (self.clock.now < self.live_until || self.quiet_left().is_some());
        waits.then(|| self.clock.seen + TICK)
    }

    /// Whom to ask for what they remember.
    pub(crate) fn to_recall(&self) -> Vec<NodeId> {
        match self.memory {
            Memory::Recalling { .. } if self.votes() => self.others().collect(),
            _ => Vec::new(),
        }
    }

    fn votes(&self) -> bool {
        self.voters.nodes.contains(&self.me)
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.voters.nodes.iter().copied().filter(|node| *node != self.me)
    }

    /// How long nothing new is granted; a tick if that isn't known.
    fn quiet_left(&self) -> Option<Duration> {
        let left = self.quiet_until.saturating_sub(self.clock.now);
        match self.memory {
            Memory::Recalling { .. } => Some(left.max(TICK)),
            Memory::Whole => Some(left).filter(|left| !left.is_zero()),
        }
    }

    fn raise(&mut self, fence: Fence) {
        self.floor = self.floor.max(fence);
    }

    /// Ends the recalling once enough was heard.
    ///
    /// A majority that remembers and this voter is not part of has a node in common with the majority that granted
    /// whatever was granted last. If there can't be one, since too many have started anew, what all that can be asked
    /// remember is as much as there is.
    fn complete(&mut self) {
        let Memory::Recalling { since, heard } = &self.memory else { return };
        let (count, majority) = (self.voters.nodes.len(), self.voters.majority());
        let heard_from = |remembers: bool| heard.iter().filter(|(_, said)| **said == remembers).count();
        let (remembering, forgetful) = (heard_from(true), heard_from(false) + 1);
        let is_quiet = self.clock.now < self.quiet_until;
        let none_can = count.saturating_sub(forgetful) < majority && heard.len() + 1 >= majority && !is_quiet;
        let is_late = self.clock.now.saturating_sub(*since) >= RECALL_MAX && heard.len() + 1 >= majority;
        if remembering >= majority || none_can || is_late {
            if remembering < majority && count > 1 {
                tracing::info!(remembering, majority, "voter goes on without a majority that remembers fences");
            }
            self.memory = Memory::Whole;
        }
    }

    /// Says whether a resource can be remembered; forgets those that are over for it.
    fn has_room(&mut self, resource: &str) -> bool {
        if self.grants.len() < RESOURCES_MAX || self.grants.contains_key(resource) {
            return true;
        }
        let now = self.clock.now;
        let over = self.grants.extract_if(.., |_, grant| grant.until <= now).map(|(_, grant)| grant.fence).max();
        self.raise(over.unwrap_or_default());
        self.grants.len() < RESOURCES_MAX
    }

    fn put(&mut self, holder: HolderId, tenure: &Tenure, until: Duration) {
        let grant = Grant { holder, fence: tenure.fence, until, is_freed: false, waiting: BTreeSet::new() };
        self.grants.insert(tenure.resource.clone(), grant);
        self.live_until = self.live_until.max(until);
    }

    /// Checks the whole invariant.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        for (resource, grant) in &self.grants {
            assert!(grant.until <= self.live_until, "{resource} outlives {:?}", self.live_until);
            assert!(!grant.is_freed || grant.until <= self.clock.now, "{resource} is free and granted");
            assert!(grant.waiting.len() <= WAITING_MAX, "too many wait for {resource}");
        }
        assert!(self.grants.len() <= RESOURCES_MAX, "too many resources");
    }
}

/// Whole milliseconds, rounded up: whoever waits that long has waited long enough.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}
