//! What a run knows of its instance: steps, recorded and asked for, and events that are yet to be written.

use std::collections::BTreeMap;
use std::task::Waker;

use bytes::Bytes;

use super::run::Compensate;
use crate::event::{Event, StepId};
use crate::limits::{NAME_BYTES_MAX, STEP_BYTES_MAX};
use crate::retry::StepError;

#[derive(Default)]
pub(super) struct State {
    pub(super) steps: BTreeMap<StepId, Known>,
    pub(super) occurrences: BTreeMap<String, u32>,
    /// Steps of the journal that the code has not asked for in this run.
    pub(super) unclaimed: usize,
    /// The first step in this run that the journal doesn't know.
    pub(super) novelty: Option<StepId>,
    /// Events that are not yet in the journal.
    pub(super) buffer: Vec<Event>,
    /// Events that are in the journal, and in the journal or the buffer.
    pub(super) durable: u32,
    pub(super) pushed: u32,
    pub(super) waiting: Vec<Waker>,
    /// Whether the journal says that the instance failed.
    pub(super) compensating: bool,
    pub(super) halted: Option<String>,
}

/// A step that was started, in this run or before.
pub(super) struct Known {
    /// Rank among the steps of the instance, by start.
    pub(super) rank: usize,
    pub(super) compensable: bool,
    pub(super) args: Bytes,
    /// Whether the journal had it when this run began.
    pub(super) recorded: bool,
    pub(super) failed: u32,
    /// Whether an attempt ended with an unknown outcome.
    pub(super) doubtful: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) claimed: bool,
    pub(super) compensation: Option<Compensate>,
    pub(super) compensated: bool,
}

pub(super) enum Outcome {
    Completed(Bytes),
    Failed { attempts: u32, error: StepError },
}

/// What the code declares along with a step.
pub(super) struct Declared {
    pub(super) compensation: Option<Compensate>,
    pub(super) args: Bytes,
}

/// What the journal says to a step that the code asks for.
pub(super) enum Claim {
    Completed(Bytes),
    Failed {
        attempts: u32,
        error: StepError,
    },
    /// Run it, after `failed` failed attempts, once the event behind `ticket` is durable.
    Started {
        failed: u32,
        ticket: u32,
    },
    /// The instance is stuck; never go on.
    Halted,
}

impl State {
    /// Notes why the instance is stuck; the first reason counts.
    pub(super) fn halt(&mut self, reason: String) {
        self.halted.get_or_insert(reason);
    }

    pub(super) fn push(&mut self, event: Event) -> u32 {
        self.buffer.push(event);
        self.pushed += 1;
        self.pushed
    }

    pub(super) fn replay(&mut self, event: &Event) {
        let rank = self.steps.len();
        match event {
            Event::StepStarted { step, compensable, args, .. } => {
                let known = || Known { recorded: true, ..Known::new(rank, *compensable, args.clone()) };
                self.steps.entry(step.clone()).or_insert_with(known);
            }
            Event::StepFailed { step, attempt, error, transient, last } => {
                let Some(known) = self.steps.get_mut(step) else { return };
                known.failed = *attempt;
                known.doubtful |= transient;
                if *last {
                    let error = error.clone();
                    let error = if *transient { StepError::Transient(error) } else { StepError::Permanent(error) };
                    known.outcome = Some(Outcome::Failed { attempts: *attempt, error });
                }
            }
            Event::StepCompleted { step, result, .. } => {
                let Some(known) = self.steps.get_mut(step) else { return };
                known.outcome = Some(Outcome::Completed(result.clone()));
            }
            Event::CompensationCompleted { step } => {
                let Some(known) = self.steps.get_mut(step) else { return };
                known.compensated = true;
            }
            Event::CompensationStarted { .. } => self.compensating = true,
            Event::Completed { .. }
            | Event::Compensated { .. }
            | Event::Failed { .. }
            | Event::Stuck { .. }
            | Event::Resumed => {}
        }
    }

    /// What is wrong with a step that the code asks for, if anything.
    pub(super) fn mismatch(&self, step: &StepId, declared: &Declared) -> Option<String> {
        let (name, args) = (step.name.len(), declared.args.len());
        if name == 0 || name > NAME_BYTES_MAX {
            return Some(format!("name of step {step} has {name} bytes; between 1 and {NAME_BYTES_MAX} are allowed"));
        }
        if args > STEP_BYTES_MAX {
            return Some(format!("arguments of {step} have {args} bytes, more than the limit of {STEP_BYTES_MAX}"));
        }
        let Some(known) = self.steps.get(step) else {
            return self.compensating.then(|| format!("code changed: recorded a failure, code asks {step}"));
        };
        if known.args != declared.args {
            return Some(format!("code changed: {step} was recorded with other arguments than the code binds"));
        }
        if known.compensable && declared.compensation.is_none() {
            return Some(format!("code changed: {step} was recorded with a compensation, code has none"));
        }
        None
    }

    pub(super) fn claim(&mut self, step: &StepId, declared: Declared, term: u64) -> Claim {
        let compensable = declared.compensation.is_some();
        let rank = self.steps.len();
        if !self.steps.contains_key(step) {
            self.novelty.get_or_insert_with(|| step.clone());
            self.steps.insert(step.clone(), Known::new(rank, compensable, declared.args.clone()));
        } else {
            self.unclaimed -= 1;
        }
        let known = self.steps.get_mut(step).expect("it was put there if it was not");
        known.claimed = true;
        known.compensation = declared.compensation;
        match &mut known.outcome {
            // The result is taken, not copied: a step is claimed once in a run.
            Some(Outcome::Completed(result)) => Claim::Completed(std::mem::take(result)),
            Some(Outcome::Failed { attempts, error }) => Claim::Failed { attempts: *attempts, error: error.clone() },
            None => {
                let failed = known.failed;
                // Started again if the journal has it: the event counts the possible re-execution, and whatever the
                // leader before may still propose for this instance no longer fits the journal.
                let event = Event::StepStarted { step: step.clone(), term, compensable, args: declared.args };
                Claim::Started { failed, ticket: self.push(event) }
            }
        }
    }

    /// The code is done. Steps that it asked for and that no one began, since their start is not durable, are forgotten.
    pub(super) fn leave(&mut self, failing: bool) {
        self.drop_unstarted();
        if self.unclaimed > 0 {
            let recorded = self.first_unclaimed();
            let did = if failing { "fails" } else { "returns" };
            self.halt(format!("code changed: recorded {recorded}, code {did} without asking for it"));
        }
        if self.compensating && !failing {
            self.halt("code changed: recorded a failure, code returns".to_owned());
        }
    }

    pub(super) fn drop_unstarted(&mut self) {
        let before = self.buffer.len();
        let steps = &mut self.steps;
        self.buffer.retain(|event| match event {
            Event::StepStarted { step, .. } => {
                // One that the journal knows from an earlier run stays in doubt; only its new start is dropped.
                if steps.get(step).is_some_and(|known| !known.recorded) {
                    steps.remove(step);
                }
                false
            }
            _ => true,
        });
        self.pushed -=
            u32::try_from(before - self.buffer.len()).expect("a buffer is no larger than the count of pushes");
    }

    pub(super) fn first_unclaimed(&self) -> String {
        let unclaimed = self.steps.iter().filter(|(_, known)| !known.claimed);
        unclaimed.min_by_key(|(_, known)| known.rank).map_or_else(String::new, |(step, _)| step.to_string())
    }

    /// Steps with a compensation that had or may have had an effect, the last one first; without their compensation if it
    /// has run. None if the instance is stuck.
    pub(super) fn to_compensate(&self) -> Vec<(StepId, Option<Compensate>)> {
        if self.halted.is_some() {
            return Vec::new();
        }
        let had_effect = |known: &&(&StepId, &Known)| match known.1.outcome {
            Some(Outcome::Failed { .. }) => known.1.doubtful,
            Some(Outcome::Completed(_)) | None => true,
        };
        let all: Vec<(&StepId, &Known)> = self.steps.iter().collect();
        let mut due: Vec<_> = all.iter().filter(had_effect).filter(|(_, k)| k.compensation.is_some()).collect();
        due.sort_by_key(|(_, known)| std::cmp::Reverse(known.rank));
        let undo = |known: &Known| known.compensation.clone().filter(|_| !known.compensated);
        due.into_iter().map(|(step, known)| ((*step).clone(), undo(known))).collect()
    }
}

impl Known {
    pub(super) const fn new(rank: usize, compensable: bool, args: Bytes) -> Self {
        Self {
            rank,
            compensable,
            args,
            recorded: false,
            failed: 0,
            doubtful: false,
            outcome: None,
            claimed: false,
            compensation: None,
            compensated: false,
        }
    }
}
