use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_wire::codec;

use super::run::{Compensate, Run};
use super::state::{Claim, Declared};
use crate::event::StepId;
use crate::limits::STEP_BYTES_MAX;
use crate::retry::{Retry, StepError, WorkflowError};

/// Version of encoded step results.
const RESULT_VERSION: u8 = 1;

/// One attempt of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCall {
    /// The idempotency key, `<instance>/<step>/<occurrence>`: the same for every attempt on every node.
    pub key: String,
    /// Which attempt this is, from 1. Survives a takeover; the attempt that was under way is made again with its number.
    pub attempt: u32,
}

/// A step being described. Run it with [`Step::run`].
#[must_use = "a step does nothing until it is run"]
pub struct Step {
    run: Arc<Run>,
    name: String,
    retry: Retry,
    args: Bytes,
    compensation: Option<Compensate>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).field("retry", &self.retry).finish_non_exhaustive()
    }
}

impl Step {
    pub(super) fn new(run: Arc<Run>, name: String) -> Self {
        Self { run, name, retry: Retry::default(), args: Bytes::new(), compensation: None }
    }

    /// Tries again as `retry` says.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Binds `args` to the step's record: shown in the journal, and compared on replay.
    pub fn args(mut self, args: impl Into<Bytes>) -> Self {
        self.args = args.into();
        self
    }

    /// Declares how to undo the step; `undo` is given the step's idempotency key.
    ///
    /// It runs if the workflow fails after the step completed **or may have had an effect** (an attempt was transient, or
    /// under way when a node died), so undoing what never happened must do no harm. Compensations run one after the
    /// other, in reverse order of their steps, each tried again without limit whatever its error is; their effects too
    /// happen at least once.
    pub fn compensate<C, F>(mut self, undo: C) -> Self
    where
        C: Fn(String) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        self.compensation = Some(Arc::new(move |key| Box::pin(undo(key))));
        self
    }

    /// Runs the step and returns its result; on replay, returns the recorded result without running anything.
    ///
    /// The result is at most [`STEP_BYTES_MAX`] bytes encoded; a larger one parks the instance as stuck. So does a
    /// panic.
    ///
    /// Dropping the future stops the attempt under way; the step then counts as one whose outcome is unknown.
    ///
    /// # Errors
    /// [`WorkflowError::Step`] if it failed permanently or its attempts are exhausted; the same on every replay.
    pub async fn run<T, W, F>(self, work: W) -> Result<T, WorkflowError>
    where
        T: Serialize + DeserializeOwned,
        W: FnMut(StepCall) -> F,
        F: Future<Output = Result<T, StepError>>,
    {
        let declared = Declared { compensation: self.compensation, args: self.args };
        let (step, claim) = self.run.claim(self.name, declared);
        match claim {
            Claim::Completed(result) => match codec::decode(RESULT_VERSION, &result) {
                Ok(value) => Ok(value),
                Err(error) => {
                    let reason = format!("recorded result of {step} doesn't fit the code: {error}");
                    self.run.halt(reason).await
                }
            },
            Claim::Failed { attempts, error } => Err(WorkflowError::Step { step: step.to_string(), attempts, error }),
            Claim::Halted => std::future::pending().await,
            Claim::Started { failed, ticket } => {
                self.run.durable(ticket).await;
                if failed > 0 {
                    self.retry.pause(failed).await;
                }
                attempts(&self.run, step, self.retry, failed, work).await
            }
        }
    }
}

/// Makes attempts until one ends the step.
async fn attempts<T, W, F>(
    run: &Run,
    step: StepId,
    retry: Retry,
    mut failed: u32,
    mut work: W,
) -> Result<T, WorkflowError>
where
    T: Serialize,
    W: FnMut(StepCall) -> F,
    F: Future<Output = Result<T, StepError>>,
{
    loop {
        let attempt = failed.saturating_add(1);
        let call = StepCall { key: run.key(&step), attempt };
        let error = match tiebeam_world::timeout(retry.attempt_timeout, work(call)).await {
            Ok(Ok(value)) => return complete(run, step, attempt, value).await,
            Ok(Err(error)) => error,
            Err(_) => StepError::Transient(format!("no outcome within {:?}", retry.attempt_timeout)),
        };
        let last = matches!(error, StepError::Permanent(_)) || attempt >= retry.attempts;
        let ticket = run.failed(&step, attempt, &error, last);
        if last {
            return Err(WorkflowError::Step { step: step.to_string(), attempts: attempt, error });
        }
        failed = attempt;
        retry.pause(failed).await;
        // The number of an attempt is only worth something if the failure before it can't be forgotten any more.
        run.durable(ticket).await;
    }
}

async fn complete<T: Serialize>(run: &Run, step: StepId, attempt: u32, value: T) -> Result<T, WorkflowError> {
    let result = codec::encode(RESULT_VERSION, &value);
    if result.len() > STEP_BYTES_MAX {
        let size = result.len();
        return run.halt(format!("result of {step} has {size} bytes, more than the limit of {STEP_BYTES_MAX}")).await;
    }
    run.completed(step, attempt, result.into());
    Ok(value)
}
