//! What a program adds to a node: workflows, consumers, services.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_topics::batch::Record;
use tiebeam_topics::consumer::{ProcessError, Processor, TopicPartition};
use tiebeam_workflow::Registry;

use crate::handle::Handle;

/// Why an application can't start; the node tries again, with growing pauses.
pub type AppError = Box<dyn Error + Send + Sync>;

/// Code that runs on nodes, as OTP's applications do. The same ones are compiled into every node of a cluster; a node
/// runs those that its configuration has a section for.
pub trait Application: Send + Sync + 'static {
    /// Names it: `[apps.NAME]` configures it, `/api/apps/NAME` shows its report.
    fn name(&self) -> &'static str;

    /// Registers its workflows, before any instance runs here.
    fn workflows(&self, handle: &Handle, registry: &mut Registry);

    /// Its consumers; each runs beside the leader of every partition of its topic.
    fn consumers(&self, handle: &Handle) -> Vec<ConsumerSpec>;

    /// Starts what else it runs on this node, under [`Handle::supervise`], and returns once that serves. `settings` is its
    /// section of the configuration. Called again after an error, so what was started before must do no harm.
    fn start(&self, handle: Handle, settings: toml::Table) -> BoxFuture<'static, Result<(), AppError>>;

    /// What it reports as JSON, if it reports on this node.
    fn report(&self, handle: &Handle) -> Option<String>;
}

/// A consumer of a topic.
#[derive(Clone)]
pub struct ConsumerSpec {
    /// Its name: offsets and states are kept under it.
    pub name: String,
    /// The topic that it reads.
    pub topic: String,
    /// Makes the processor of a partition.
    pub processor: Arc<dyn Fn(&TopicPartition) -> BoxProcessor + Send + Sync>,
}

impl fmt::Debug for ConsumerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerSpec").field("name", &self.name).field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// A processor of any type: a node hosts those of all its applications alike.
pub struct BoxProcessor(Box<dyn AnyProcessor>);

impl BoxProcessor {
    /// Forgets the type of `processor`.
    pub fn new(processor: impl Processor) -> Self {
        Self(Box::new(processor))
    }
}

impl fmt::Debug for BoxProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxProcessor").finish_non_exhaustive()
    }
}

trait AnyProcessor: Send {
    fn process<'a>(
        &'a mut self,
        partition: &'a TopicPartition,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<(), ProcessError>>;
    fn state(&self) -> Bytes;
    fn restore(&mut self, state: &Bytes) -> Result<(), ProcessError>;
}

impl<P: Processor> AnyProcessor for P {
    fn process<'a>(
        &'a mut self,
        partition: &'a TopicPartition,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<(), ProcessError>> {
        Processor::process(self, partition, records).boxed()
    }

    fn state(&self) -> Bytes {
        Processor::state(self)
    }

    fn restore(&mut self, state: &Bytes) -> Result<(), ProcessError> {
        Processor::restore(self, state)
    }
}

impl Processor for BoxProcessor {
    async fn process(&mut self, partition: &TopicPartition, records: &[Record]) -> Result<(), ProcessError> {
        self.0.process(partition, records).await
    }

    fn state(&self) -> Bytes {
        self.0.state()
    }

    fn restore(&mut self, state: &Bytes) -> Result<(), ProcessError> {
        self.0.restore(state)
    }
}
