//! Reaches whoever leads a group, from any node.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tiebeam_resilience::Backoff;
use tiebeam_wire::{GroupId, NodeId, codec};

use crate::group::GroupReply;
use crate::network::{Kind, WIRE_VERSION, envelope};
use crate::transport::{Channel, Transport};

/// Where a group lives, as far as a client must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The group.
    pub group: GroupId,
    /// The nodes that hold a replica.
    pub replicas: Vec<NodeId>,
}

/// A request to a group that had no outcome in time.
#[derive(Debug, thiserror::Error)]
#[error("group {group} gave no answer within {waited:?}; last: {last}")]
pub struct ClientError {
    /// The group.
    pub group: GroupId,
    /// How long the client tried.
    pub waited: Duration,
    /// What the last attempt ended with.
    pub last: String,
}

/// Proposes to and queries groups led by other nodes. Cheap to clone; clones share what they learn about leaders.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    leaders: Arc<Mutex<HashMap<GroupId, NodeId>>>,
    retries: Arc<AtomicU64>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// How long one attempt at one replica may take. A dead leader costs at most this before the next one is asked.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

const PAUSE: Backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_millis(250) };

/// What an attempt taught.
enum Attempt {
    Done(Bytes),
    Elsewhere(NodeId),
    Nowhere(String),
}

impl Client {
    /// Makes a client that asks through `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, leaders: Arc::default(), retries: Arc::default() }
    }

    /// Commits `command` in the group of `route` and returns the state machine's answer.
    ///
    /// Follows the group's leader and tries again until `timeout`. **An attempt without an answer may have committed**,
    /// so the command can be applied more than once: state machines recognise repetitions (see
    /// [`crate::StateMachine`]).
    ///
    /// # Errors
    /// [`ClientError`] when the time is up; the command may still commit.
    pub async fn propose(&self, route: &Route, command: Bytes, timeout: Duration) -> Result<Bytes, ClientError> {
        self.ask(route, Kind::Propose, &command, timeout).await
    }

    /// Asks the leader's state machine, linearizably: the answer reflects every command committed before the call.
    ///
    /// # Errors
    /// [`ClientError`] when the time is up.
    pub async fn query(&self, route: &Route, request: &[u8], timeout: Duration) -> Result<Bytes, ClientError> {
        self.ask(route, Kind::Query, request, timeout).await
    }

    /// How many attempts of this client and its clones had no outcome and were made again.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// The node that led `group` when it last answered.
    #[must_use]
    pub fn leader_hint(&self, group: GroupId) -> Option<NodeId> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner).get(&group).copied()
    }

    async fn ask(&self, route: &Route, kind: Kind, body: &[u8], timeout: Duration) -> Result<Bytes, ClientError> {
        let start = tiebeam_world::now();
        let request = envelope(route.group, kind, body);
        let mut to = self.leader_hint(route.group).or_else(|| route.replicas.first().copied());
        let mut round = 0_u32;
        loop {
            let left = timeout.saturating_sub(tiebeam_world::now().since(start));
            let attempt = match to {
                Some(node) if !left.is_zero() => self.attempt(node, &request, left.min(ATTEMPT_TIMEOUT)).await,
                Some(_) => Attempt::Nowhere("no time left".to_owned()),
                None => Attempt::Nowhere("group has no replicas".to_owned()),
            };
            match attempt {
                Attempt::Done(bytes) => {
                    self.learn(route.group, to);
                    return Ok(bytes);
                }
                Attempt::Elsewhere(leader) if Some(leader) != to => to = Some(leader),
                Attempt::Elsewhere(_) => to = self.next(route, to, &mut round).await,
                Attempt::Nowhere(last) => {
                    let waited = tiebeam_world::now().since(start);
                    if waited >= timeout {
                        return Err(ClientError { group: route.group, waited, last });
                    }
                    tracing::debug!(group = %route.group, node = ?to, last, "group gave no answer, trying on");
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    self.learn(route.group, None);
                    to = self.next(route, to, &mut round).await;
                }
            }
        }
    }

    async fn attempt(&self, node: NodeId, request: &Bytes, timeout: Duration) -> Attempt {
        match self.transport.request(node, Channel::Group, request.clone(), timeout).await {
            Err(error) => Attempt::Nowhere(error.to_string()),
            Ok(bytes) => match codec::decode(WIRE_VERSION, &bytes) {
                Ok(GroupReply::Done(bytes)) => Attempt::Done(bytes),
                Ok(GroupReply::NotLeader(Some(leader))) => Attempt::Elsewhere(leader),
                Ok(GroupReply::NotLeader(None)) => Attempt::Nowhere(format!("{node} knows no leader")),
                Ok(GroupReply::Unavailable(reason)) => Attempt::Nowhere(format!("{node}: {reason}")),
                Err(error) => Attempt::Nowhere(format!("{node} gave an unreadable answer: {error}")),
            },
        }
    }

    fn learn(&self, group: GroupId, leader: Option<NodeId>) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        match leader {
            Some(leader) => leaders.insert(group, leader),
            None => leaders.remove(&group),
        };
    }

    /// The replica after `last`, with a pause that grows with the number of rounds.
    async fn next(&self, route: &Route, last: Option<NodeId>, round: &mut u32) -> Option<NodeId> {
        tiebeam_world::sleep(PAUSE.delay(*round, tiebeam_world::random())).await;
        *round = round.saturating_add(1);
        let at = last.and_then(|last| route.replicas.iter().position(|r| *r == last)).map_or(0, |at| at + 1);
        route.replicas.get(at % route.replicas.len().max(1)).copied()
    }
}
