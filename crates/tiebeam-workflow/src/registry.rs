use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::retry::WorkflowError;
use crate::wf::Wf;

pub(crate) type RunFuture = Pin<Box<dyn Future<Output = Result<Bytes, WorkflowError>> + Send>>;
type Definition = Arc<dyn Fn(Wf, Bytes) -> RunFuture + Send + Sync>;

/// The workflows that this node can run, by name. Every node of a cluster registers the same ones.
#[derive(Clone, Default)]
pub struct Registry {
    definitions: BTreeMap<String, Definition>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.definitions.keys()).finish()
    }
}

impl Registry {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers `code` as `name`, in place of an earlier one.
    ///
    /// The code must be a function of its input and of what its steps returned: it runs again from its beginning
    /// whenever another node takes over, and then has to ask for the same steps. Clocks, randomness and every effect
    /// belong in steps. It may run steps side by side with `futures::join!`.
    pub fn register<C, F>(&mut self, name: impl Into<String>, code: C)
    where
        C: Fn(Wf, Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Bytes, WorkflowError>> + Send + 'static,
    {
        self.definitions.insert(name.into(), Arc::new(move |wf, input| Box::pin(code(wf, input))));
    }

    /// The registered names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.keys().map(String::as_str)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Definition> {
        self.definitions.get(name)
    }
}
