//! The state of one partition: pure, a function of its log.
//!
//! In: [`Command`]s in log order. Out: [`Reply`]s, and what engines and [`Query`]s read. Invariants: a journal only
//! grows, and only at the position that its writer expected; a finished instance never changes; counts add up. Knows no
//! time, no randomness and no user code.

mod answer;
mod instance;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tiebeam_log::{RestoreError, StateMachine};

pub(crate) use self::instance::Load;
use self::instance::{Finished, Instance};
use crate::command::{Command, Refusal, Reply};
use crate::event::Event;
use crate::limits::{
    BATCH_COMMANDS_MAX, ERROR_BYTES_MAX, FINISHED_MAX, ID_BYTES_MAX, INPUT_BYTES_MAX, JOURNAL_BYTES_MAX,
    NAME_BYTES_MAX, RESULT_BYTES_MAX, STEP_BYTES_MAX, UNFINISHED_MAX,
};
use crate::query::{Answer, Counts, Query, Status};

/// One workflow partition: journals of unfinished instances, outcomes of finished ones, counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Number given to the next instance that starts or resumes; they run in this order.
    next_turn: u64,
    /// The highest term that any record carried.
    term: u64,
    unfinished: BTreeMap<String, Instance>,
    /// Instances to run, by turn. Not the stuck ones.
    turns: BTreeMap<u64, String>,
    finished: BTreeMap<String, Finished>,
    /// Finished ids, the one that finished first in front.
    finished_order: VecDeque<String>,
    counts: Counts,
}

impl StateMachine for Partition {
    fn apply(&mut self, _index: u64, command: &Bytes) -> Bytes {
        let reply = match Command::decode(command) {
            Ok(command) => self.execute(command),
            Err(error) => Reply::Refused(Refusal::Undecodable(error.to_string())),
        };
        reply.encode()
    }

    fn query(&self, request: &[u8]) -> Bytes {
        let answer = match Query::decode(request) {
            Ok(query) => self.answer(query),
            Err(error) => Answer::Refused(error.to_string()),
        };
        answer.encode()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::write(self)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        *self = snapshot::read(snapshot)?;
        Ok(())
    }
}

impl Partition {
    /// Makes a partition without instances.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one command.
    pub fn execute(&mut self, command: Command) -> Reply {
        match command {
            Command::Batch(commands) if commands.len() > BATCH_COMMANDS_MAX => Reply::Refused(Refusal::BatchTooLarge {
                count: commands.len() as u64,
                limit: BATCH_COMMANDS_MAX as u64,
            }),
            Command::Batch(commands) => Reply::Batch(commands.into_iter().map(|c| self.execute_one(c)).collect()),
            command => self.execute_one(command),
        }
    }

    fn execute_one(&mut self, command: Command) -> Reply {
        match command {
            Command::Start { id, definition, input } => self.start(id, definition, input),
            Command::Record { id, position, term, events } => self.record(&id, position, term, events),
            Command::Resume { id } => self.resume(&id),
            Command::Batch(_) => Reply::Refused(Refusal::Nested),
        }
    }

    fn start(&mut self, id: String, definition: String, input: Bytes) -> Reply {
        if let Some(status) = self.status(&id) {
            self.counts.duplicate_starts += 1;
            return Reply::AlreadyStarted { status };
        }
        let sizes = size("id", id.len(), 1, ID_BYTES_MAX)
            .and_then(|()| size("definition", definition.len(), 1, NAME_BYTES_MAX))
            .and_then(|()| size("input", input.len(), 0, INPUT_BYTES_MAX));
        if let Err(refusal) = sizes {
            return Reply::Refused(refusal);
        }
        if self.unfinished.len() >= UNFINISHED_MAX {
            return Reply::Refused(Refusal::Full { limit: UNFINISHED_MAX as u64 });
        }
        let turn = self.take_turn(&id);
        self.unfinished.insert(id, Instance::new(turn, definition, input));
        self.counts.started += 1;
        self.counts.running += 1;
        Reply::Started
    }

    fn record(&mut self, id: &str, position: u32, term: u64, events: Vec<Event>) -> Reply {
        if let Err(refusal) = check_events(&events) {
            return Reply::Refused(refusal);
        }
        if term < self.term {
            self.counts.conflicts += 1;
            return Reply::Fenced { term: self.term };
        }
        self.term = term;
        let Some(instance) = self.unfinished.get_mut(id) else {
            return self.finished.get(id).map_or(Reply::Unknown, |finished| {
                self.counts.duplicate_records += 1;
                Reply::Ended { status: finished.status }
            });
        };
        if instance.has(position, &events) {
            self.counts.duplicate_records += 1;
            return Reply::Recorded { position: position + events.len() as u32 };
        }
        if position != instance.position() {
            self.counts.conflicts += 1;
            return Reply::Conflict { position: instance.position() };
        }
        if instance.status == Status::Stuck {
            self.counts.duplicate_records += 1;
            return Reply::Ended { status: Status::Stuck };
        }
        let cost: usize = events.iter().map(Event::cost).sum();
        let ends = events.last().is_some_and(Event::is_end);
        // An end is let in whatever it costs: it is how an engine gets rid of a journal that is full.
        if !ends && instance.bytes + cost > JOURNAL_BYTES_MAX {
            return Reply::Refused(Refusal::JournalFull { limit: JOURNAL_BYTES_MAX as u64 });
        }
        for event in events {
            instance.push(event, &mut self.counts);
        }
        let position = instance.position();
        if ends {
            self.end(id);
        }
        Reply::Recorded { position }
    }

    fn resume(&mut self, id: &str) -> Reply {
        match self.status(id) {
            None => Reply::Unknown,
            Some(Status::Stuck) => {
                let turn = self.take_turn(id);
                let instance = self.unfinished.get_mut(id).expect("a stuck instance is unfinished");
                instance.turn = turn;
                instance.push(Event::Resumed, &mut self.counts);
                Reply::Resumed
            }
            Some(status) => Reply::NotStuck { status },
        }
    }

    fn take_turn(&mut self, id: &str) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, id.to_owned());
        turn
    }

    /// Takes an instance whose last event is an end out of the running ones.
    fn end(&mut self, id: &str) {
        let instance = self.unfinished.get(id).expect("the caller has just recorded its end");
        self.turns.remove(&instance.turn);
        if instance.status == Status::Stuck {
            return;
        }
        let instance = self.unfinished.remove(id).expect("it was there two lines ago");
        self.finished.insert(id.to_owned(), instance.finish());
        self.finished_order.push_back(id.to_owned());
        if self.finished_order.len() > FINISHED_MAX
            && let Some(first) = self.finished_order.pop_front()
        {
            self.finished.remove(&first);
        }
    }

    /// How an instance stands; none if there is no such instance or it was forgotten.
    #[must_use]
    pub fn status(&self, id: &str) -> Option<Status> {
        let unfinished = self.unfinished.get(id).map(|i| i.status);
        unfinished.or_else(|| self.finished.get(id).map(|f| f.status))
    }

    /// What the partition counted.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Instances to run whose turn is `from` or later, in order of turn, at most `limit`.
    pub(crate) fn due(&self, from: u64, limit: usize) -> Vec<(u64, String)> {
        self.turns.range(from..).take(limit).map(|(turn, id)| (*turn, id.clone())).collect()
    }

    /// What an engine needs to run an instance; none if it is finished or stuck.
    pub(crate) fn load(&self, id: &str) -> Option<Load> {
        self.unfinished.get(id).filter(|i| i.status != Status::Stuck).map(Instance::load)
    }

    /// Checks the whole invariant.
    ///
    /// # Panics
    /// If it is broken.
    pub fn check(&self) {
        let c = self.counts;
        assert_eq!(c.started, c.running + c.stuck + c.completed + c.compensated + c.failed, "counts add up: {c:?}");
        let stuck = self.unfinished.values().filter(|i| i.status == Status::Stuck).count();
        assert_eq!(c.stuck, stuck as u64);
        assert_eq!(c.running, self.turns.len() as u64);
        assert_eq!(self.unfinished.len(), self.turns.len() + stuck);
        assert_eq!(self.finished.len(), self.finished_order.len());
        for (turn, id) in &self.turns {
            let instance = self.unfinished.get(id).expect("whoever has a turn is unfinished");
            assert_eq!(instance.turn, *turn, "turn of {id}");
            assert!(*turn < self.next_turn, "turn {turn} of {id} was never given");
        }
        for (id, instance) in &self.unfinished {
            assert!(!instance.status.is_finished(), "{id} is finished, yet among the unfinished");
            assert!(!self.finished.contains_key(id), "{id} is finished and unfinished");
        }
    }
}

fn size(what: &str, size: usize, min: usize, max: usize) -> Result<(), Refusal> {
    if (min..=max).contains(&size) {
        return Ok(());
    }
    Err(Refusal::Size { what: what.to_owned(), size: size as u64, min: min as u64, max: max as u64 })
}

fn check_events(events: &[Event]) -> Result<(), Refusal> {
    let last_at = events.len().checked_sub(1).ok_or(Refusal::Shape)?;
    for (at, event) in events.iter().enumerate() {
        if (event.is_end() && at != last_at) || *event == Event::Resumed {
            return Err(Refusal::Shape);
        }
        match event {
            Event::StepStarted { step, args, .. } => size("step name", step.name.len(), 1, NAME_BYTES_MAX)
                .and_then(|()| size("step arguments", args.len(), 0, STEP_BYTES_MAX))?,
            Event::StepCompleted { result, .. } => size("step result", result.len(), 0, STEP_BYTES_MAX)?,
            Event::Completed { result } => size("result", result.len(), 0, RESULT_BYTES_MAX)?,
            Event::StepFailed { error, .. } | Event::Compensated { error } | Event::Failed { error } => {
                size("error", error.len(), 0, ERROR_BYTES_MAX)?;
            }
            Event::Stuck { reason } => size("reason", reason.len(), 0, ERROR_BYTES_MAX)?,
            Event::CompensationStarted { .. } | Event::CompensationCompleted { .. } | Event::Resumed => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
