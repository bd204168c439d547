//! What workflow code sees, and how its steps become events.

mod drive;
mod run;
mod state;
mod step;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::drive::{Exit, drive};
pub(crate) use self::run::Run;
pub use self::step::{Step, StepCall};
use crate::retry::{Retry, StepError, WorkflowError};

/// The context of one running workflow: the only way to an effect that survives the node.
///
/// Effects happen **at least once**: an attempt whose outcome could not be recorded before its node died is made again
/// by the next one. Each attempt of a step carries the same idempotency key, `<instance>/<step>/<occurrence>`; hand it to
/// whatever has the effect. The record of the effect exists exactly once.
#[derive(Clone)]
pub struct Wf {
    run: Arc<Run>,
}

impl fmt::Debug for Wf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wf").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Wf {
    pub(crate) const fn new(run: Arc<Run>) -> Self {
        Self { run }
    }

    /// The id of the instance.
    #[must_use]
    pub fn id(&self) -> &str {
        self.run.id()
    }

    /// Runs a step that needs no compensation; `work` is given the number of the attempt, from 1.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub async fn run<T, W, F>(&self, name: &str, retry: Retry, mut work: W) -> Result<T, WorkflowError>
    where
        T: Serialize + DeserializeOwned,
        W: FnMut(u32) -> F,
        F: Future<Output = Result<T, StepError>>,
    {
        self.step(name).retry(retry).run(|call: StepCall| work(call.attempt)).await
    }

    /// Describes a step; nothing happens before [`Step::run`].
    pub fn step(&self, name: &str) -> Step {
        Step::new(Arc::clone(&self.run), name.to_owned())
    }
}
