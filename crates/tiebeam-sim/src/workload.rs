//! What runs on the nodes, and what must hold of it.
//!
//! A workload is one concern: actors, and a book outside of all nodes in which they write down what they did and what they
//! were told. What breaks at once is said at once ([`Outside::fail`]); what must hold in the end is checked after the network
//! was healed for a while. A new feature is a new workload: a file here, and a line in [`all`].

mod calls;
mod members;
mod services;
mod sharing;
mod standing;
mod streams;
mod ties;
mod virtual_actors;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tiebeam_wire::{Incarnation, NodeId};

use crate::outside::Outside;
use crate::site::Site;

pub use calls::Calls;
pub use members::Members;
pub use services::Services;
pub use sharing::Sharing;
pub use standing::Standings;
pub use streams::Streams;
pub use ties::Ties;
pub use virtual_actors::VirtualActors;

/// One concern of the nodes.
pub trait Workload: Send + Sync {
    /// Begins on a node that was just started, within its runtime.
    fn begin(&self, site: Site) -> BoxFuture<'static, ()>;

    /// Says what doesn't hold in the end: after all nodes were up and connected for a while.
    fn check(&self, end: &End);
}

/// The end of a run.
#[derive(Debug)]
pub struct End {
    /// The latest start of each node; all are up.
    pub latest: BTreeMap<NodeId, Incarnation>,
    /// Since when everybody must have been connected to everybody, in nanoseconds.
    pub quiet_from: u64,
    /// Where to say that something broke.
    pub outside: Arc<Outside>,
}

impl End {
    /// Says whether this start of the node lived until the end.
    #[must_use]
    pub fn lives(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.latest.get(&node) == Some(&incarnation)
    }
}

/// All workloads there are.
#[must_use]
pub fn all() -> Vec<Arc<dyn Workload>> {
    vec![
        Arc::new(Members::default()),
        Arc::new(Streams::default()),
        Arc::new(Ties::default()),
        Arc::new(Calls::default()),
        Arc::new(Sharing::default()),
        Arc::new(Standings::default()),
        Arc::new(Services::default()),
        Arc::new(VirtualActors::default()),
    ]
}

/// What actors say that panic on purpose.
pub const MEANT_PANIC: &str = "its life is over";

/// A book is one thread's: the lock is never waited for.
fn lock<T>(book: &Mutex<T>) -> MutexGuard<'_, T> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
