//! The hosting of one kind on one node, pure: which shards are held, who lives in them, and what waits for whom.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tiebeam_actor::{ExitReason, Pid};
use tiebeam_wire::{Instant, NodeId};

use crate::leases::Fence;

/// How long the ring must say that a shard is somebody else's before it is handed over: nodes come back.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the actors of a shard that is handed over have to end; then they are killed.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long messages wait for a shard that another host has, before they are sent there.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a shard without actors is held.
const EMPTY_MAX: Duration = Duration::from_secs(30);
/// How often is looked whether anybody still waits for a shard that can't be had.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// When an actor that always runs is started again after its end.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How often is looked for actors that are idle, as a share of the time that they may be.
const SWEEPS: u32 = 4;

/// What is decided once for a kind on a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// After how long without a message an actor is asked to end; never if it always runs.
    pub(crate) idle: Duration,
    pub(crate) activations_max: usize,
    /// How many messages wait in a shard for its lease, and for each actor to start.
    pub(crate) waiting_max: usize,
    /// There is one actor, and it always runs; it stays where it is as long as its node does.
    pub(crate) is_singleton: bool,
}

/// The key of an actor that always runs.
pub(crate) const SINGLETON_KEY: &str = "";

/// Why a message was not taken; nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another host has the shard, or should have it.
    Moved(Option<NodeId>),
    Overloaded,
    Start(ExitReason),
}

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output<P> {
    Claim(u16),
    /// Give the claim, or the lease, back.
    Release(u16),
    Start {
        life: Life,
    },
    /// Put the message into the mailbox.
    Hand {
        life: Life,
        pid: Pid,
        parcel: P,
    },
    Refuse {
        parcel: P,
        why: Refused,
    },
    Stop(Pid),
    Kill(Pid),
}

/// One life of an actor: its place, and under which tenure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) shard: u16,
    pub(crate) fence: Fence,
    pub(crate) key: String,
}

/// A message.
pub(crate) trait Parcel {
    /// Says whether somebody still waits for its answer.
    fn is_awaited(&self, now: Instant) -> bool;
}

/// Deterministic; `P` is a message, which this only moves.
#[derive(Debug)]
pub(crate) struct House<P> {
    me: NodeId,
    rules: Rules,
    shards: BTreeMap<u16, Shard<P>>,
    activations: usize,
    outputs: VecDeque<Output<P>>,
    sweep_at: Instant,
    /// All that is held is being given up.
    is_closing: bool,
}

#[derive(Debug)]
enum Shard<P> {
    /// The lease is being asked for.
    Wanted {
        since: Instant,
        look_at: Instant,
        waiting: VecDeque<(String, P)>,
    },
    Held(Held<P>),
}

#[derive(Debug)]
struct Held<P> {
    fence: Fence,
    cells: BTreeMap<String, Cell<P>>,
    handover: Handover,
    /// Since when nobody lives there.
    empty_since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    No,
    /// The ring says so; at that moment it begins.
    At(Instant),
    /// Nothing is taken any more; at that moment who still lives is killed.
    Until(Instant),
}

#[derive(Debug)]
enum Cell<P> {
    Starting {
        waiting: VecDeque<P>,
    },
    Running {
        pid: Pid,
        used: Instant,
    },
    /// Asked to end; what comes meanwhile is for the next life.
    Stopping {
        pid: Pid,
        waiting: VecDeque<P>,
    },
}

impl<P: Parcel> House<P> {
    pub(crate) fn new(now: Instant, me: NodeId, rules: Rules) -> Self {
        Self {
            me,
            rules,
            shards: BTreeMap::new(),
            activations: 0,
            outputs: VecDeque::new(),
            sweep_at: now + rules.idle / SWEEPS,
            is_closing: false,
        }
    }

    /// Takes in a message; `owner` is who should have its shard.
    pub(crate) fn deliver(&mut self, now: Instant, shard: u16, key: &str, parcel: P, owner: Option<NodeId>) {
        let limit = self.rules.waiting_max;
        match self.shards.get_mut(&shard) {
            Some(Shard::Held(held)) if !matches!(held.handover, Handover::Until(_)) => {
                self.deliver_held(now, shard, key, parcel);
            }
            Some(Shard::Held(_)) => self.refuse(parcel, Refused::Moved(owner)),
            Some(Shard::Wanted { waiting, .. }) => {
                if waiting.len() >= limit {
                    waiting.retain(|(_, parcel)| parcel.is_awaited(now));
                }
                match waiting.len() < limit {
                    true => waiting.push_back((key.to_owned(), parcel)),
                    false => self.refuse(parcel, Refused::Overloaded),
                }
            }
            None if owner == Some(self.me) && !self.is_closing => {
                self.want(now, shard, VecDeque::from([(key.to_owned(), parcel)]));
            }
            None => self.refuse(parcel, Refused::Moved(owner)),
        }
    }

    fn want(&mut self, now: Instant, shard: u16, waiting: VecDeque<(String, P)>) {
        self.shards.insert(shard, Shard::Wanted { since: now, look_at: now + LOOK_AFTER, waiting });
        self.outputs.push_back(Output::Claim(shard));
    }

    fn deliver_held(&mut self, now: Instant, shard: u16, key: &str, parcel: P) {
        let (limit, count) = (self.rules.waiting_max, self.activations);
        let Some(Shard::Held(held)) = self.shards.get_mut(&shard) else { return };
        let life = Life { shard, fence: held.fence, key: key.to_owned() };
        match held.cells.get_mut(key) {
            Some(Cell::Running { pid, used }) => {
                *used = now;
                let pid = *pid;
                self.outputs.push_back(Output::Hand { life, pid, parcel });
            }
            Some(Cell::Starting { waiting } | Cell::Stopping { waiting, .. }) if waiting.len() < limit => {
                waiting.push_back(parcel);
            }
            None if count < self.rules.activations_max && !self.rules.is_singleton => {
                self.activations += 1;
                held.cells.insert(key.to_owned(), Cell::Starting { waiting: VecDeque::from([parcel]) });
                self.outputs.push_back(Output::Start { life });
            }
            // Between two lives.
            None if self.rules.is_singleton => self.refuse(parcel, Refused::Moved(None)),
            Some(_) | None => self.refuse(parcel, Refused::Overloaded),
        }
    }

    /// The lease of a shard is this node's.
    pub(crate) fn held(&mut self, now: Instant, shard: u16, fence: Fence) {
        let Some(Shard::Wanted { .. }) = self.shards.get(&shard) else { return };
        let held = Held { fence, cells: BTreeMap::new(), handover: Handover::No, empty_since: now };
        let Some(Shard::Wanted { waiting, .. }) = self.shards.insert(shard, Shard::Held(held)) else { return };
        if self.rules.is_singleton {
            self.start_singleton(shard);
        }
        for (key, parcel) in waiting {
            self.deliver_held(now, shard, &key, parcel);
        }
    }

    /// The lease of a shard can't be had now; `by` is a host that has it and that this node can name to others.
    pub(crate) fn denied(&mut self, now: Instant, shard: u16, by: Option<NodeId>) {
        let Some(Shard::Wanted { since, waiting, .. }) = self.shards.get_mut(&shard) else { return };
        if by.is_none() || now.since(*since) < PATIENCE {
            return;
        }
        for (_, parcel) in std::mem::take(waiting) {
            self.outputs.push_back(Output::Refuse { parcel, why: Refused::Moved(by) });
        }
        // Whoever asks again shall wait as long again.
        *since = now;
        if !self.rules.is_singleton {
            self.release(shard);
        }
    }

    /// The lease of a shard is over; who lives there can't run any more.
    pub(crate) fn lost(&mut self, shard: u16) {
        match self.shards.remove(&shard) {
            Some(Shard::Held(held)) => self.evict(held),
            Some(Shard::Wanted { waiting, .. }) => self.send_back(waiting.into_iter().map(|(_, parcel)| parcel)),
            None => {}
        }
    }

    fn evict(&mut self, held: Held<P>) {
        self.activations -= held.cells.len();
        for cell in held.cells.into_values() {
            match cell {
                Cell::Starting { waiting } => self.send_back(waiting),
                Cell::Running { pid, .. } => self.outputs.push_back(Output::Kill(pid)),
                Cell::Stopping { pid, waiting } => {
                    self.outputs.push_back(Output::Kill(pid));
                    self.send_back(waiting);
                }
            }
        }
    }

    fn send_back(&mut self, waiting: impl IntoIterator<Item = P>) {
        for parcel in waiting {
            self.refuse(parcel, Refused::Moved(None));
        }
    }

    /// An actor runs, or doesn't.
    pub(crate) fn started(&mut self, now: Instant, life: &Life, started: Result<Pid, ExitReason>) {
        let is_leaving = self.is_leaving(life);
        let Some(cell) = self.cell(life) else {
            // The lease was lost meanwhile.
            self.outputs.extend(started.ok().map(Output::Kill));
            return;
        };
        let Cell::Starting { waiting } = cell else { return };
        let waiting = std::mem::take(waiting);
        match started {
            Ok(pid) => {
                *cell = Cell::Running { pid, used: now };
                for parcel in waiting {
                    self.outputs.push_back(Output::Hand { life: life.clone(), pid, parcel });
                }
                if is_leaving {
                    self.stop(life);
                }
            }
            Err(reason) => {
                for parcel in waiting {
                    self.refuse(parcel, Refused::Start(reason.clone()));
                }
                self.vacate(now, life);
            }
        }
    }

    /// An actor has ended; what waits for its next life gets one.
    pub(crate) fn ended(&mut self, now: Instant, life: &Life, pid: Pid) {
        match self.cell(life) {
            Some(Cell::Running { pid: known, .. }) if *known == pid => self.vacate(now, life),
            Some(cell @ Cell::Stopping { .. }) => {
                let Cell::Stopping { pid: known, waiting } = cell else { return };
                if *known != pid {
                    return;
                }
                let waiting = std::mem::take(waiting);
                if waiting.is_empty() || self.is_leaving(life) {
                    self.vacate(now, life);
                    self.send_back(waiting);
                    return;
                }
                if let Some(cell) = self.cell(life) {
                    *cell = Cell::Starting { waiting };
                }
                self.outputs.push_back(Output::Start { life: life.clone() });
            }
            _ => {}
        }
    }

    /// A message found its actor gone: it waits for the next life.
    pub(crate) fn returned(&mut self, life: &Life, gone: Pid, parcel: P) {
        let is_leaving = self.is_leaving(life);
        match self.cell(life) {
            Some(cell) if cell.is_running(gone) => {
                *cell = Cell::Stopping { pid: gone, waiting: VecDeque::from([parcel]) };
            }
            Some(Cell::Stopping { waiting, .. } | Cell::Starting { waiting }) if !is_leaving => {
                waiting.push_back(parcel);
            }
            _ => self.refuse(parcel, Refused::Moved(None)),
        }
    }

    /// Hears whose the shards should be.
    pub(crate) fn placed(&mut self, now: Instant, owner_of: impl Fn(u16) -> Option<NodeId>) {
        let mut moved = Vec::new();
        for (shard, state) in &mut self.shards {
            let elsewhere = owner_of(*shard).filter(|owner| *owner != self.me);
            match state {
                Shard::Held(held) if !self.rules.is_singleton => match (held.handover, elsewhere) {
                    (Handover::No, Some(_)) => held.handover = Handover::At(now + SETTLE),
                    (Handover::At(_), None) => held.handover = Handover::No,
                    _ => {}
                },
                Shard::Wanted { .. } if elsewhere.is_some() => moved.push((*shard, elsewhere)),
                _ => {}
            }
        }
        for (shard, owner) in moved {
            if let Some(Shard::Wanted { waiting, .. }) = self.shards.get_mut(&shard) {
                for (_, parcel) in std::mem::take(waiting) {
                    self.outputs.push_back(Output::Refuse { parcel, why: Refused::Moved(owner) });
                }
            }
            self.release(shard);
        }
        if self.rules.is_singleton && !self.is_closing && self.shards.is_empty() && owner_of(0) == Some(self.me) {
            self.want(now, 0, VecDeque::new());
        }
    }

    /// Gives up all that is held, and takes nothing more.
    pub(crate) fn close(&mut self, now: Instant) {
        self.is_closing = true;
        let shards: Vec<u16> = self.shards.keys().copied().collect();
        for shard in shards {
            match self.shards.get(&shard) {
                Some(Shard::Wanted { .. }) => {
                    self.lost(shard);
                    self.outputs.push_back(Output::Release(shard));
                }
                _ => self.hand_over(now, shard),
            }
        }
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (shard, state) in &mut self.shards {
            let held = match state {
                Shard::Held(held) => held,
                Shard::Wanted { look_at, waiting, .. } => {
                    if *look_at <= now {
                        *look_at = now + LOOK_AFTER;
                        waiting.retain(|(_, parcel)| parcel.is_awaited(now));
                        due.extend((waiting.is_empty() && !self.rules.is_singleton).then_some((*shard, Due::Release)));
                    }
                    continue;
                }
            };
            match held.handover {
                Handover::At(at) if at <= now => due.push((*shard, Due::HandOver)),
                Handover::Until(until) if until <= now => due.push((*shard, Due::Kill)),
                Handover::No | Handover::At(_) if held.cells.is_empty() && held.empty_at(self.rules) <= now => {
                    due.push((*shard, if self.rules.is_singleton { Due::Start } else { Due::Release }));
                }
                _ => {}
            }
        }
        for (shard, due) in due {
            match due {
                Due::HandOver => self.hand_over(now, shard),
                Due::Start => self.start_singleton(shard),
                Due::Release => self.release(shard),
                Due::Kill => self.kill(now, shard),
            }
        }
        if self.sweep_at <= now {
            self.sweep_at = now + self.rules.idle / SWEEPS;
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.rules.is_singleton {
            return;
        }
        let idle = self.rules.idle;
        let mut tired = Vec::new();
        for (shard, state) in &self.shards {
            let Shard::Held(held) = state else { continue };
            for (key, cell) in &held.cells {
                if matches!(cell, Cell::Running { used, .. } if now.since(*used) >= idle) {
                    tired.push(Life { shard: *shard, fence: held.fence, key: key.clone() });
                }
            }
        }
        for life in tired {
            self.stop(&life);
        }
    }

    fn hand_over(&mut self, now: Instant, shard: u16) {
        let Some(Shard::Held(held)) = self.shards.get_mut(&shard) else { return };
        if matches!(held.handover, Handover::Until(_)) {
            return;
        }
        held.handover = Handover::Until(now + DRAIN_MAX);
        let lives: Vec<Life> =
            held.cells.keys().map(|key| Life { shard, fence: held.fence, key: key.clone() }).collect();
        if lives.is_empty() {
            return self.release(shard);
        }
        for life in lives {
            self.stop(&life);
        }
    }

    /// Kills who had long enough to end. The shard is held until they have: one that computes can't be killed.
    fn kill(&mut self, now: Instant, shard: u16) {
        let Some(Shard::Held(held)) = self.shards.get_mut(&shard) else { return };
        held.handover = Handover::Until(now + SETTLE);
        for cell in held.cells.values() {
            if let Cell::Running { pid, .. } | Cell::Stopping { pid, .. } = cell {
                self.outputs.push_back(Output::Kill(*pid));
            }
        }
    }

    /// Asks a running actor to end.
    fn stop(&mut self, life: &Life) {
        let Some(cell) = self.cell(life) else { return };
        if let Cell::Running { pid, .. } = *cell {
            *cell = Cell::Stopping { pid, waiting: VecDeque::new() };
            self.outputs.push_back(Output::Stop(pid));
        }
    }

    fn start_singleton(&mut self, shard: u16) {
        let Some(Shard::Held(held)) = self.shards.get_mut(&shard) else { return };
        let life = Life { shard, fence: held.fence, key: SINGLETON_KEY.to_owned() };
        held.cells.insert(life.key.clone(), Cell::Starting { waiting: VecDeque::new() });
        self.activations += 1;
        self.outputs.push_back(Output::Start { life });
    }

    /// Takes an actor that is gone out of its shard, and gives the shard up if that was waited for.
    fn vacate(&mut self, now: Instant, life: &Life) {
        let Some(Shard::Held(held)) = self.shards.get_mut(&life.shard) else { return };
        if held.cells.remove(&life.key).is_some() {
            self.activations -= 1;
        }
        held.empty_since = now;
        if held.cells.is_empty() && matches!(held.handover, Handover::Until(_)) {
            self.release(life.shard);
        }
    }

    fn release(&mut self, shard: u16) {
        self.shards.remove(&shard);
        self.outputs.push_back(Output::Release(shard));
    }

    fn refuse(&mut self, parcel: P, why: Refused) {
        self.outputs.push_back(Output::Refuse { parcel, why });
    }

    fn cell(&mut self, life: &Life) -> Option<&mut Cell<P>> {
        match self.shards.get_mut(&life.shard) {
            Some(Shard::Held(held)) if held.fence == life.fence => held.cells.get_mut(&life.key),
            _ => None,
        }
    }

    fn is_leaving(&self, life: &Life) -> bool {
        matches!(self.shards.get(&life.shard), Some(Shard::Held(Held { handover: Handover::Until(_), .. })))
    }

    /// When [`House::expire`] must next be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let of_shards = self.shards.values().filter_map(|shard| match shard {
            Shard::Wanted { look_at, .. } => Some(*look_at),
            Shard::Held(held) => match held.handover {
                Handover::At(moment) | Handover::Until(moment) => Some(moment),
                Handover::No => held.cells.is_empty().then(|| held.empty_at(self.rules)),
            },
        });
        let sweep = (self.activations > 0 && !self.rules.is_singleton).then_some(self.sweep_at);
        of_shards.chain(sweep).min()
    }

    /// What to do next.
    pub(crate) fn take(&mut self) -> Option<Output<P>> {
        self.outputs.pop_front()
    }

    /// Says whether nothing is held or wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// How many actors live here, those that start or end included.
    pub(crate) const fn activations(&self) -> usize {
        self.activations
    }

    /// Checks the whole invariant.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let lives = self.shards.values().map(|shard| match shard {
            Shard::Wanted { .. } => 0,
            Shard::Held(held) => held.cells.len(),
        });
        assert_eq!(lives.sum::<usize>(), self.activations, "actors in shards, and as counted");
        for (shard, state) in &self.shards {
            if let Shard::Held(Held { cells, handover: Handover::Until(_), .. }) = state {
                assert!(!cells.is_empty(), "shard {shard} is handed over and holds nobody");
            }
        }
    }
}

impl<P> Cell<P> {
    fn is_running(&self, process: Pid) -> bool {
        matches!(self, Self::Running { pid, .. } if *pid == process)
    }
}

#[derive(Clone, Copy)]
enum Due {
    HandOver,
    Kill,
    Release,
    Start,
}

impl<P> Held<P> {
    /// When something is to be done because nobody lives here.
    fn empty_at(&self, rules: Rules) -> Instant {
        self.empty_since + if rules.is_singleton { RESTART_AFTER } else { EMPTY_MAX }
    }
}
