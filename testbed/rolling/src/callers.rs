//! Who calls, and what they notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tiebeam_node::actor::{Addr, CallError};
use tiebeam_node::cluster::Cluster;
use tiebeam_node::wire::NodeId;
use tokio::task::JoinHandle;

use crate::echo::{self, Echo, Say};

/// What callers noticed in a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noticed {
    pub(crate) calls: u64,
    /// Calls that were made a second time.
    pub(crate) again: u64,
    /// Calls that failed twice.
    pub(crate) lost: u64,
    /// The longest that a call took, both attempts included.
    pub(crate) longest: Duration,
    /// How the last call failed.
    pub(crate) error: Option<String>,
}

pub(crate) struct Callers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    cluster: Cluster,
    noticed: Mutex<Noticed>,
    numbers: AtomicU64,
    is_over: AtomicBool,
}

impl Callers {
    pub(crate) fn start(cluster: &Cluster, count: u32) -> Self {
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            noticed: Mutex::default(),
            numbers: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let tasks = (0..count).map(|_| tokio::spawn(Arc::clone(&shared).call_on())).collect();
        Self { shared, tasks }
    }

    /// Returns what was noticed since this was last asked.
    pub(crate) fn take(&self) -> Noticed {
        std::mem::take(&mut *self.shared.noticed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn stop(self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

impl Shared {
    async fn call_on(self: Arc<Self>) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let first = self.call(number, None).await;
            let again = match &first {
                Ok(()) => None,
                Err((node, _)) => Some(self.call(number, *node).await),
            };
            let took = began.elapsed();
            let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
            noticed.calls += 1;
            noticed.longest = noticed.longest.max(took);
            if let Err((_, error)) = first {
                noticed.error = Some(error);
            }
            if let Some(again) = again {
                noticed.again += 1;
                if let Err((_, error)) = again {
                    noticed.lost += 1;
                    noticed.error = Some(error);
                }
            }
        }
    }

    /// Calls a member, none of those on `but`; an error names the node and says what went wrong.
    async fn call(&self, number: u64, but: Option<NodeId>) -> Result<(), (Option<NodeId>, String)> {
        let members: Vec<Addr<Echo>> = echo::group(&self.cluster).members();
        let members: Vec<_> = members.into_iter().filter(|member| Some(member.pid().node) != but).collect();
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let Some(member) = members.get(spread as usize % members.len().max(1)) else {
            return Err((None, "the group has no members".to_owned()));
        };
        let node = member.pid().node;
        let failed = |error: CallError| (Some(node), format!("{error} ({node})"));
        match member.call(Say(number)).timeout(CALL_TIMEOUT).await {
            Ok(answer) if answer == number => Ok(()),
            Ok(answer) => Err((Some(node), format!("{number} was answered by {answer}"))),
            Err(error) => Err(failed(error)),
        }
    }
}

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
