//! The memory of one run of an instance: what its journal says, what its code asked for, and what is yet to be written.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;

use super::state::{Claim, Declared, Outcome, State};
use crate::event::{Event, StepId};
use crate::limits::{RESULT_BYTES_MAX, cut};
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
                state.halt(reason);
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
        self.state().halt(reason);
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
            state.halt(format!("code changed: recorded {recorded}, code asks {new}"));
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
