//! The memory of one run of an instance: what its journal says, what its code asked for, and what is yet to be written.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::event::{Event, StepId};
use crate::limits::{NAME_BYTES_MAX, RESULT_BYTES_MAX, STEP_BYTES_MAX, cut};
use crate::retry::{Retry, StepError, WorkflowError};

type Undo = Pin<Box<dyn Future<Output = Result<(), StepError>> + Send>>;
pub(super) type Compensate = Arc<dyn Fn(String) -> Undo + Send + Sync>;

/// How compensations pause between attempts: a step's default, without its limit.
const COMPENSATION_RETRY: fn() -> Retry = || Retry::attempts(u32::MAX);

/// One run of one instance, shared between its code and its driver.
pub(crate) struct Run {
    id: String,
    term: u64,
    state: Mutex<State>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).field("term", &self.term).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    steps: BTreeMap<StepId, Known>,
    occurrences: BTreeMap<String, u32>,
    /// Steps of the journal that the code has not asked for in this run.
    unclaimed: usize,
    /// The first step in this run that the journal doesn't know.
    novelty: Option<StepId>,
    /// Events that are not yet in the journal.
    buffer: Vec<Event>,
    /// Events that are in the journal, and in the journal or the buffer.
    durable: u32,
    pushed: u32,
    waiting: Vec<Waker>,
    /// Whether the journal says that the instance failed.
    compensating: bool,
    halted: Option<String>,
}

/// A step that was started, in this run or before.
struct Known {
    /// Rank among the steps of the instance, by start.
    rank: usize,
    compensable: bool,
    args: Bytes,
    /// Whether the journal had it when this run began.
    recorded: bool,
    failed: u32,
    /// Whether an attempt ended with an unknown outcome.
    doubtful: bool,
    outcome: Option<Outcome>,
    claimed: bool,
    compensation: Option<Compensate>,
    compensated: bool,
}

enum Outcome {
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

impl Run {
    pub(crate) fn new(id: String, term: u64, journal: &[Event]) -> Self {
        let mut state = State::default();
        for event in journal {
            state.replay(event);
        }
        state.unclaimed = state.steps.len();
        state.durable = u32::try_from(journal.len()).expect("a journal has far fewer than four billion events");
        state.pushed = state.durable;
        Self { id, term, state: Mutex::new(state) }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn key(&self, step: &StepId) -> String {
        format!("{}/{}/{}", self.id, step.name, step.occurrence)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of user code can't happen under this lock: nothing of the user's is called while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The code asks for a step.
    pub(super) fn claim(&self, name: String, declared: Declared) -> (StepId, Claim) {
        let mut state = self.state();
        let occurrence = state.occurrences.entry(name.clone()).or_insert(0);
        *occurrence += 1;
        let step = StepId { name, occurrence: *occurrence };
        let claim = match state.mismatch(&step, &declared) {
            Some(reason) => {
                state.halted.get_or_insert(reason);
                Claim::Halted
            }
            None => state.claim(&step, declared, self.term),
        };
        (step, claim)
    }

    pub(super) fn failed(&self, step: &StepId, attempt: u32, error: &StepError, last: bool) -> u32 {
        let (text, transient) = match error {
            StepError::Transient(text) => (text, true),
            StepError::Permanent(text) => (text, false),
        };
        let mut state = self.state();
        if let Some(known) = state.steps.get_mut(step) {
            known.failed = attempt;
            known.doubtful |= transient;
            if last {
                known.outcome = Some(Outcome::Failed { attempts: attempt, error: error.clone() });
            }
        }
        state.push(Event::StepFailed { step: step.clone(), attempt, error: cut(text.clone()), transient, last })
    }

    pub(super) fn completed(&self, step: StepId, attempt: u32, result: Bytes) {
        let mut state = self.state();
        if let Some(known) = state.steps.get_mut(&step) {
            known.outcome = Some(Outcome::Completed(Bytes::new()));
        }
        state.push(Event::StepCompleted { step, attempt, result });
    }

    /// Waits until the first `ticket` events are in the journal.
    pub(super) async fn durable(&self, ticket: u32) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.durable >= ticket {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Parks the instance; the caller never goes on.
    pub(crate) async fn halt<T>(&self, reason: String) -> T {
        self.state().halted.get_or_insert(reason);
        std::future::pending().await
    }

    /// Ends the instance as the code's outcome says, running compensations if it failed.
    pub(super) async fn finish(&self, outcome: Result<Bytes, WorkflowError>) {
        let end = match outcome {
            Ok(result) if result.len() > RESULT_BYTES_MAX => {
                let size = result.len();
                self.halt(format!("result has {size} bytes, more than the limit of {RESULT_BYTES_MAX}")).await
            }
            Ok(result) => {
                self.state().leave(false);
                Event::Completed { result }
            }
            Err(error) => {
                tracing::debug!(instance = self.id, %error, "workflow failed");
                let error = cut(error.to_string());
                if self.compensate().await { Event::Compensated { error } } else { Event::Failed { error } }
            }
        };
        if self.state().halted.is_none() {
            self.state().push(end);
        }
    }

    /// Runs what is left of the compensations; says whether there were any, now or before.
    async fn compensate(&self) -> bool {
        let due = {
            let mut state = self.state();
            state.leave(true);
            state.to_compensate()
        };
        for (step, undo) in &due {
            let Some(undo) = undo else { continue };
            let ticket = self.state().push(Event::CompensationStarted { step: step.clone(), term: self.term });
            self.durable(ticket).await;
            self.undo(step, undo).await;
            self.state().push(Event::CompensationCompleted { step: step.clone() });
        }
        !due.is_empty()
    }

    async fn undo(&self, step: &StepId, undo: &Compensate) {
        let retry = COMPENSATION_RETRY();
        let mut failed = 0_u32;
        loop {
            match tiebeam_world::timeout(retry.attempt_timeout, undo(self.key(step))).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::warn!(instance = self.id, %step, failed, %error, "compensation failed, trying again");
                }
                Err(error) => {
                    tracing::warn!(instance = self.id, %step, failed, %error, "compensation hangs, trying again");
                }
            }
            failed = failed.saturating_add(1);
            retry.pause(failed).await;
        }
    }

    // What the driver asks.

    /// Takes events to write, in order: at least one if there are any, about `bytes_max` bytes. Says at which position.
    pub(super) fn take(&self, bytes_max: usize) -> Option<(u32, Vec<Event>)> {
        let mut state = self.state();
        let mut bytes = 0;
        let fits = |event: &&Event| {
            let first = bytes == 0;
            bytes += event.cost();
            first || bytes <= bytes_max
        };
        let count = state.buffer.iter().take_while(fits).count();
        let position = state.durable;
        (count > 0).then(|| (position, state.buffer.drain(..count).collect()))
    }

    /// Everything before `position` is in the journal now.
    pub(super) fn written(&self, position: u32) {
        let mut state = self.state();
        state.durable = position;
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// The code can't go on by itself at the moment. Had it followed its journal, it would have asked for every step in
    /// it before a new one.
    pub(super) fn check_quiescent(&self) {
        let mut state = self.state();
        if let (Some(new), true) = (state.novelty.clone(), state.unclaimed > 0) {
            let recorded = state.first_unclaimed();
            state.halted.get_or_insert(format!("code changed: recorded {recorded}, code asks {new}"));
        }
    }

    pub(super) fn halted(&self) -> Option<String> {
        self.state().halted.clone()
    }

    /// Records that the instance is stuck, after what certainly happened.
    pub(super) fn park(&self, reason: String) {
        let mut state = self.state();
        state.drop_unstarted();
        state.push(Event::Stuck { reason: cut(reason) });
    }

    /// As [`Run::park`], but without what could not be written.
    pub(super) fn park_at(&self, position: u32, reason: String) {
        let mut state = self.state();
        state.buffer.clear();
        state.pushed = position;
        state.push(Event::Stuck { reason: cut(reason) });
    }
}

impl State {
    fn push(&mut self, event: Event) -> u32 {
        self.buffer.push(event);
        self.pushed += 1;
        self.pushed
    }

    fn replay(&mut self, event: &Event) {
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
    fn mismatch(&self, step: &StepId, declared: &Declared) -> Option<String> {
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

    fn claim(&mut self, step: &StepId, declared: Declared, term: u64) -> Claim {
        let compensable = declared.compensation.is_some();
        let rank = self.steps.len();
        if !self.steps.contains_key(step) {
            self.novelty.get_or_insert(step.clone());
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
    fn leave(&mut self, failing: bool) {
        self.drop_unstarted();
        if self.unclaimed > 0 {
            let recorded = self.first_unclaimed();
            let did = if failing { "fails" } else { "returns" };
            self.halted.get_or_insert(format!("code changed: recorded {recorded}, code {did} without asking for it"));
        }
        if self.compensating && !failing {
            self.halted.get_or_insert("code changed: recorded a failure, code returns".to_owned());
        }
    }

    fn drop_unstarted(&mut self) {
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

    fn first_unclaimed(&self) -> String {
        let unclaimed = self.steps.iter().filter(|(_, known)| !known.claimed);
        unclaimed.min_by_key(|(_, known)| known.rank).map_or_else(String::new, |(step, _)| step.to_string())
    }

    /// Steps with a compensation that had or may have had an effect, the last one first; without their compensation if it
    /// has run. None if the instance is stuck.
    fn to_compensate(&self) -> Vec<(StepId, Option<Compensate>)> {
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
    const fn new(rank: usize, compensable: bool, args: Bytes) -> Self {
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
