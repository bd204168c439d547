//! One instance: its journal, and what follows from it.

use std::collections::BTreeSet;
use std::mem;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::{Event, StepId};
use crate::query::{Counts, Status};

/// An instance that has not finished. Everything but turn, definition, input and journal is a fold over the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) turn: u64,
    pub(super) definition: String,
    pub(super) input: Bytes,
    pub(super) journal: Vec<Event>,
    pub(super) status: Status,
    pub(super) bytes: usize,
    pub(super) attempts: u32,
    /// Steps without an outcome.
    open_steps: BTreeSet<StepId>,
    /// Compensations without an outcome.
    open_compensations: BTreeSet<StepId>,
}

/// What is left of a finished instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) status: Status,
    pub(super) position: u32,
    pub(super) attempts: u32,
    pub(super) result: Bytes,
    pub(super) error: String,
}

/// What an engine needs to run an instance.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) definition: String,
    pub(crate) input: Bytes,
    pub(crate) journal: Vec<Event>,
}

impl Instance {
    pub(super) const fn new(turn: u64, definition: String, input: Bytes) -> Self {
        Self {
            turn,
            definition,
            input,
            journal: Vec::new(),
            status: Status::Running,
            bytes: 0,
            attempts: 0,
            open_steps: BTreeSet::new(),
            open_compensations: BTreeSet::new(),
        }
    }

    /// Brings an instance back from what a snapshot holds of it.
    pub(super) fn replay(turn: u64, definition: String, input: Bytes, journal: Vec<Event>) -> Self {
        let mut instance = Self::new(turn, definition, input);
        let mut counted_before = Counts { running: 1, ..Counts::default() };
        for event in journal {
            instance.push(event, &mut counted_before);
        }
        instance
    }

    /// Adds an event to the journal and counts it.
    pub(super) fn push(&mut self, event: Event, counts: &mut Counts) {
        self.bytes += event.cost();
        match &event {
            Event::StepStarted { step, .. } => {
                counts.reexecutions += u64::from(!self.open_steps.insert(step.clone()));
            }
            Event::StepFailed { step, last, .. } => {
                self.attempts = self.attempts.saturating_add(1);
                counts.attempts += 1;
                counts.retries += u64::from(!last);
                if *last {
                    self.open_steps.remove(step);
                }
            }
            Event::StepCompleted { step, .. } => {
                self.attempts = self.attempts.saturating_add(1);
                counts.attempts += 1;
                self.open_steps.remove(step);
            }
            Event::CompensationStarted { step, .. } => {
                self.status = Status::Compensating;
                counts.reexecutions += u64::from(!self.open_compensations.insert(step.clone()));
            }
            Event::CompensationCompleted { step } => {
                counts.compensations += 1;
                self.open_compensations.remove(step);
            }
            Event::Completed { .. } => self.leave(Status::Completed, counts),
            Event::Compensated { .. } => self.leave(Status::Compensated, counts),
            Event::Failed { .. } => self.leave(Status::Failed, counts),
            Event::Stuck { .. } => self.leave(Status::Stuck, counts),
            Event::Resumed => self.resume(counts),
        }
        self.journal.push(event);
    }

    fn leave(&mut self, status: Status, counts: &mut Counts) {
        self.status = status;
        counts.running = counts.running.saturating_sub(1);
        match status {
            Status::Completed => counts.completed += 1,
            Status::Compensated => counts.compensated += 1,
            Status::Failed => counts.failed += 1,
            Status::Stuck => counts.stuck += 1,
            Status::Running | Status::Compensating => unreachable!("these are not ends"),
        }
    }

    fn resume(&mut self, counts: &mut Counts) {
        counts.stuck = counts.stuck.saturating_sub(1);
        counts.running += 1;
        let compensates = self.journal.iter().any(|e| matches!(e, Event::CompensationStarted { .. }));
        self.status = if compensates { Status::Compensating } else { Status::Running };
    }

    /// Turns an instance that has just ended into what is kept of it.
    pub(super) fn finish(mut self) -> Finished {
        let position = self.position();
        let (result, error) = match self.journal.last_mut() {
            Some(Event::Completed { result }) => (mem::take(result), String::new()),
            Some(Event::Compensated { error } | Event::Failed { error }) => (Bytes::new(), mem::take(error)),
            _ => (Bytes::new(), String::new()),
        };
        Finished { status: self.status, position, attempts: self.attempts, result, error }
    }

    /// Whether the journal holds exactly `events` at `position`.
    pub(super) fn has(&self, position: u32, events: &[Event]) -> bool {
        let from = position as usize;
        self.journal.get(from..from.saturating_add(events.len())).is_some_and(|there| there == events)
    }

    pub(super) fn position(&self) -> u32 {
        u32::try_from(self.journal.len()).expect("its limit in bytes keeps a journal far below four billion events")
    }

    pub(super) fn load(&self) -> Load {
        Load { definition: self.definition.clone(), input: self.input.clone(), journal: self.journal.clone() }
    }
}
