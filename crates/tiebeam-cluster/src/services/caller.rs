//! Calls to whichever instance of a service is well.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::{Actor, CallError, Dispatch};
use tiebeam_resilience::{BreakerSnapshot, BreakerState, Outcome, Permit, RetryBudget, RetryBudgetSnapshot};
use tiebeam_wire::NodeId;

use super::pick::{Again, Candidate, Name, Nobody, Picker, Policy, Ring, Wish};
use super::{Condition, Instance, Shared, instance};
use crate::node::{Node, lock};

/// Calls a service whose instances are actors of type `A`. Clones share what they know: calls under way, breakers, the budget
/// of retries.
///
/// The type is the caller's word, as with any address: to an instance of another type calls end with
/// [`CallError::Incompatible`].
pub struct Caller<A: Actor> {
    inner: Arc<Inner>,
    actor: PhantomData<fn() -> A>,
}

struct Inner {
    node: Arc<Node>,
    service: Arc<str>,
    policy: Policy,
    state: Mutex<State>,
}

struct State {
    picker: Picker,
    budget: RetryBudget,
    seen: Seen,
}

/// The instances as they were when the board had this serial.
#[derive(Default)]
struct Seen {
    serial: Option<u64>,
    candidates: Arc<[Candidate]>,
    details: Arc<[Shared]>,
}

/// An instance that was chosen. Say by [`Chosen::ended`] how it went; dropped without a word it counts as neither.
#[must_use = "how it went is what the next choice depends on"]
pub struct Chosen {
    inner: Arc<Inner>,
    name: Name,
    details: Shared,
    permit: Option<Permit>,
}

/// What a caller has counted since it was made. Of instances that are gone the figures go by and by, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerSnapshot {
    /// First attempts, second ones, and those for which there was no budget.
    pub budget: RetryBudgetSnapshot,
    /// By the id of the instance and its node, in order.
    pub instances: Vec<InstanceSnapshot>,
}

/// What a caller has counted of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSnapshot {
    /// Its id.
    pub id: String,
    /// Its node.
    pub node: NodeId,
    /// How many calls from here are under way.
    pub in_flight: u32,
    /// What its breaker does at present.
    pub breaker: BreakerState,
    /// What that has counted.
    pub calls: BreakerSnapshot,
}

/// Why a call to a service has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Nobody can be called: no instance is there, or none passes and has a weight. Nothing was done.
    #[error("service {service:?} has no instance that can be called, of {known} that are known")]
    NoInstance {
        /// The service.
        service: String,
        /// How many instances are known, well or not.
        known: usize,
    },
    /// All instances that pass failed lately, and are left alone for now. Nothing was done.
    #[error("all instances of service {service:?} failed lately")]
    Broken {
        /// The service.
        service: String,
        /// After which time it is worth asking again.
        retry_in: Duration,
    },
    /// The last instance that was called gave no answer.
    #[error("instance {id:?} of service {service:?} on node {node}: {error}")]
    Call {
        /// The service.
        service: String,
        /// The instance.
        id: String,
        /// Its node.
        node: NodeId,
        /// Why.
        error: CallError,
        /// Whether any of the instances that were called may have handled it, in part or whole. Then trying again could do
        /// its work twice.
        may_have_run: bool,
    },
}

impl ServiceError {
    /// Says whether the work may have been done, in part or whole.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::NoInstance { .. } | Self::Broken { .. } => false,
            Self::Call { may_have_run, .. } => *may_have_run,
        }
    }
}

impl<A: Actor> Caller<A> {
    pub(super) fn new(node: Arc<Node>, service: String, policy: Policy) -> Self {
        let (picker, budget) = (Picker::new(policy), RetryBudget::new(policy.budget));
        let state = Mutex::new(State { picker, budget, seen: Seen::default() });
        Self { inner: Arc::new(Inner { node, service: service.into(), policy, state }), actor: PhantomData }
    }

    /// Calls an instance and waits for its answer, at most for `timeout` in all.
    ///
    /// Goes to another instance as [`Policy::again`] says. Dropping the future gives the call up: it may have been handled.
    ///
    /// # Errors
    /// Each [`ServiceError`] says whether the call may have been handled.
    pub async fn call<M, Mode>(&self, message: M, timeout: Duration) -> Result<A::Answer, ServiceError>
    where
        A: Dispatch<M, Mode>,
        M: Clone + Send + 'static,
        Mode: 'static,
    {
        self.call_for(b"", message, timeout).await
    }

    /// As [`Caller::call`], for a key: with [`Balance::ByKey`](super::Balance::ByKey) all calls for it go to the same instance
    /// as long as that can be called.
    ///
    /// # Errors
    /// Each [`ServiceError`] says whether the call may have been handled.
    pub async fn call_for<M, Mode>(&self, key: &[u8], message: M, timeout: Duration) -> Result<A::Answer, ServiceError>
    where
        A: Dispatch<M, Mode>,
        M: Clone + Send + 'static,
        Mode: 'static,
    {
        let Inner { node, policy, .. } = &*self.inner;
        let deadline = tiebeam_world::now() + timeout;
        lock(&self.inner.state).budget.request(tiebeam_world::now());
        let (mut tried, mut failed, mut may_have_run) = (BTreeSet::new(), None, false);
        loop {
            let chosen = match Inner::choose(&self.inner, key, &tried, Only::Actors) {
                Ok(chosen) => chosen,
                // What the last one said tells more than that nobody is left.
                Err(nobody) => return Err(failed.unwrap_or(nobody)),
            };
            let (name, actor) = (chosen.name.clone(), node.system.addr::<A>(chosen.name.1));
            let left = deadline.since(tiebeam_world::now());
            let is_last = tried.len() + 1 >= policy.attempts_max.max(1) as usize;
            let error = match actor.call(message.clone()).timeout(policy.patience(left, is_last)).await {
                Ok(answer) => {
                    chosen.ended(Outcome::Success);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            chosen.ended(outcome_of(&error));
            let is_over = is_last || deadline <= tiebeam_world::now() || !policy.goes_on(&error);
            may_have_run |= !surely_not_done(&error);
            let (service, (id, pid)) = (self.inner.service.to_string(), name.clone());
            failed = Some(ServiceError::Call { service, id, node: pid.node, error, may_have_run });
            tried.insert(name);
            if is_over || !lock(&self.inner.state).budget.try_retry(tiebeam_world::now()) {
                return Err(failed.expect("it was just put there"));
            }
        }
    }

    /// Chooses an instance for something else than a call to an actor: a request to its address, or a stream. `key` matters
    /// with [`Balance::ByKey`](super::Balance::ByKey) alone. Instances that are no actors are among those who can be chosen.
    ///
    /// # Errors
    /// [`ServiceError::NoInstance`] or [`ServiceError::Broken`].
    pub fn choose(&self, key: &[u8]) -> Result<Chosen, ServiceError> {
        Inner::choose(&self.inner, key, &BTreeSet::new(), Only::All)
    }

    /// Returns what was counted.
    #[must_use]
    pub fn snapshot(&self) -> CallerSnapshot {
        let mut state = lock(&self.inner.state);
        CallerSnapshot { budget: state.budget.snapshot(), instances: state.picker.snapshot(tiebeam_world::now()) }
    }
}

/// Among whom is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Actors,
    All,
}

impl Inner {
    fn choose(inner: &Arc<Self>, key: &[u8], tried: &BTreeSet<Name>, only: Only) -> Result<Chosen, ServiceError> {
        let load = |node| inner.node.load_of(node);
        let wish = Wish { now: tiebeam_world::now(), key, tried, load: &load, random: tiebeam_world::random() };
        let mut state = lock(&inner.state);
        inner.look(&mut state.seen);
        let State { picker, seen, .. } = &mut *state;
        let actors: Option<Vec<Candidate>> = (only == Only::Actors && seen.has_others())
            .then(|| seen.candidates.iter().filter(|candidate| is_actor(candidate)).cloned().collect());
        let candidates = actors.as_deref().unwrap_or(&seen.candidates);
        match picker.pick(candidates, &wish) {
            Ok((index, permit)) => {
                let name = candidates[index].name.clone();
                let at = match actors {
                    None => index,
                    Some(_) => {
                        let among_all = seen.candidates.iter().position(|candidate| candidate.name == name);
                        among_all.expect("it was chosen among these")
                    }
                };
                let details = seen.details[at].clone();
                Ok(Chosen { inner: Arc::clone(inner), name, details, permit: Some(permit) })
            }
            Err(Nobody { retry_in: Some(retry_in) }) => {
                Err(ServiceError::Broken { service: inner.service.to_string(), retry_in })
            }
            Err(Nobody { retry_in: None }) => {
                Err(ServiceError::NoInstance { service: inner.service.to_string(), known: candidates.len() })
            }
        }
    }

    /// Reads the instances again if anything has changed since.
    fn look(&self, seen: &mut Seen) {
        let (me, zone) = (self.node.me.node, &self.node.config.zone);
        let service = self.service.to_string();
        let news = self.node.sharing.services.read(|core| {
            let serial = core.board.serial();
            (seen.serial != Some(serial)).then(|| {
                let entries = core.board.entries(&service).map(|(name, details)| (name.clone(), details.clone()));
                (serial, entries.collect::<Vec<_>>())
            })
        });
        let Some((serial, entries)) = news else { return };
        let candidate = |(name, details): &(Name, Shared)| Candidate {
            name: name.clone(),
            ring: match &details.0.zone {
                _ if name.1.node == me => Ring::Node,
                of if !of.is_empty() && of == zone => Ring::Zone,
                _ => Ring::Cluster,
            },
            weight: details.0.weight,
            is_well: details.0.health.condition == Condition::Passing,
        };
        let candidates = entries.iter().map(candidate).collect();
        let details = entries.into_iter().map(|(_, details)| details).collect();
        *seen = Seen { serial: Some(serial), candidates, details };
    }
}

impl Seen {
    fn has_others(&self) -> bool {
        self.candidates.iter().any(|candidate| !is_actor(candidate))
    }
}

const fn is_actor(candidate: &Candidate) -> bool {
    candidate.name.1.serial != 0
}

impl Chosen {
    /// The instance, as it was when it was chosen.
    #[must_use]
    pub fn instance(&self) -> Instance {
        instance(&self.inner.service, &self.name, &self.details)
    }

    /// Says how it went.
    pub fn ended(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            lock(&self.inner.state).picker.ended(tiebeam_world::now(), &self.name, permit, outcome);
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.end(Outcome::Ignored);
    }
}

impl Policy {
    /// Whether another instance is tried after this.
    fn goes_on(&self, error: &CallError) -> bool {
        match self.again {
            Again::IfSurelyNotDone => surely_not_done(error),
            // One that doesn't know the message is not alone: the others are of its type.
            Again::Idempotent => *error != CallError::Incompatible,
        }
    }

    /// How long one instance may take of the time that is left.
    fn patience(&self, left: Duration, is_last: bool) -> Duration {
        match self.attempt_timeout {
            Some(timeout) if !is_last && self.again == Again::Idempotent => timeout.min(left),
            _ => left,
        }
    }
}

/// Whether the call was certainly not handled: the error says so itself.
const fn surely_not_done(error: &CallError) -> bool {
    matches!(error, CallError::NoProc | CallError::Overloaded)
}

/// What a failed call says of the instance. A message that it doesn't know says nothing of how it is.
const fn outcome_of(error: &CallError) -> Outcome {
    if matches!(error, CallError::Incompatible) { Outcome::Ignored } else { Outcome::Failure }
}

impl<A: Actor> Clone for Caller<A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), actor: PhantomData }
    }
}

impl<A: Actor> fmt::Debug for Caller<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({:?})", self.inner.service)
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chosen({:?} of {:?} on {})", self.name.0, self.inner.service, self.name.1.node)
    }
}
