//! Functions that nodes offer each other by name, as OTP's `erpc`; but only what was offered can be called.
//!
//! ```
//! # use std::time::Duration;
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::rpc::{Function, RpcError};
//! # use tiebeam_wire::NodeId;
//! const ADD: Function<(u32, u32), u32> = Function::new("math.add");
//!
//! # async fn example(cluster: &Cluster) -> Result<(), RpcError> {
//! cluster.rpc().offer(&ADD, |_caller, (a, b)| async move { a + b });
//! let sum = cluster.rpc().call(NodeId(2), &ADD, &(3, 4), Duration::from_secs(1)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Delivery.** A function runs at most once for each call. [`RpcError::may_have_run`] says whether it may have. Calls may
//! overtake each other. When the time is up, or the caller drops its future, the function is dropped where it waits.
//!
//! **Safety.** Nothing can be called but what [`Rpc::offer`] named; only core and edge nodes may call; a function is told
//! who calls, and may refuse by its answer.
//!
//! **Limits.** 1,024 calls and casts run on a node at once, beyond which they are refused; arguments and answers have at
//! most what a frame may have.
//!
//! Further reading: `erpc` of OTP.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tiebeam_net::Service;
use tiebeam_wire::{NodeId, codec};
use tokio::sync::Semaphore;

use crate::node::Node;
use crate::{Cluster, PeerIdentity, RequestError};

/// How many calls and casts run on a node at once.
pub const RUNNING_MAX: usize = 1024;
/// The version byte of all that travels.
pub(crate) const VERSION: u8 = 1;

/// Names a function that takes a `Q` and answers an `R`. Usually a constant that caller and callee share.
///
/// The name is what travels, and arguments carry no types: a function whose types change gets another name, or what was
/// written as one type may be read as another.
pub struct Function<Q, R> {
    name: &'static str,
    types: PhantomData<fn(Q) -> R>,
}

/// Calls functions of other nodes, and offers this node's.
#[derive(Clone, Debug)]
pub struct Rpc {
    cluster: Cluster,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// There is no connection to the node, or it was lost. `erpc`'s `noconnection`.
    #[error("no connection to node {0}")]
    NoConnection(NodeId),
    /// The time was up. `erpc`'s `timeout`.
    #[error("node {0} didn't answer in time")]
    Timeout(NodeId),
    /// The node offers no such function. `erpc`'s `undef`.
    #[error("node {node} offers no function {function:?}")]
    NoFunction {
        /// The node.
        node: NodeId,
        /// The function.
        function: String,
    },
    /// The function panicked. `erpc`'s `exception`.
    #[error("function panicked: {0}")]
    Panicked(String),
    /// One side can't decode what the other wrote; they mean other types by the name.
    #[error("argument or answer of function {0:?} can't be decoded")]
    Incompatible(String),
    /// As many calls run there, or wait here, as may.
    #[error("calls to node {0} are at their limit")]
    Overloaded(NodeId),
    /// The role of this node doesn't admit it to calls.
    #[error("node {0} takes no calls of a node of this role")]
    Forbidden(NodeId),
    /// The argument or the answer is larger than a frame may be.
    #[error("body has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl RpcError {
    /// Says whether the function may have run, in part or whole, so that trying again could do its work twice.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::NoFunction { .. } | Self::Overloaded(_) | Self::Forbidden(_) => false,
            Self::NoConnection(_) | Self::Timeout(_) | Self::Panicked(_) => true,
            // Its answer may be what can't be decoded or sent.
            Self::Incompatible(_) | Self::TooLarge { .. } => true,
        }
    }

    fn from_request(error: RequestError, node: NodeId, function: &str) -> Self {
        match error {
            RequestError::Timeout(node) => Self::Timeout(node),
            RequestError::NoService { .. } => Self::NoFunction { node, function: function.to_owned() },
            RequestError::Forbidden { .. } => Self::Forbidden(node),
            RequestError::Failed(text) => Self::Panicked(text),
            RequestError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            RequestError::Overloaded(node) => Self::Overloaded(node),
            RequestError::Unreachable(node) => Self::NoConnection(node),
        }
    }

    fn from_refusal(refusal: Refusal, node: NodeId, function: &str) -> Self {
        match refusal {
            Refusal::NoFunction => Self::NoFunction { node, function: function.to_owned() },
            Refusal::Incompatible => Self::Incompatible(function.to_owned()),
            Refusal::Overloaded => Self::Overloaded(node),
            Refusal::Panicked(text) => Self::Panicked(text),
        }
    }
}

impl<Q, R> Function<Q, R> {
    /// Names a function.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl Rpc {
    pub(crate) const fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// Offers a function to all connected nodes, in place of an earlier one of its name. It is told who calls.
    pub fn offer<Q, R, F>(&self, function: &Function<Q, R>, run: impl Fn(PeerIdentity, Q) -> F + Send + Sync + 'static)
    where
        Q: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let run = Arc::new(run);
        let entry: Entry = Arc::new(move |caller, body| {
            let run = Arc::clone(&run);
            async move {
                let argument = codec::decode::<Q>(VERSION, &body).map_err(|_| Refusal::Incompatible)?;
                let answer = run(caller, argument).await;
                Ok(Bytes::from(codec::encode(VERSION, &answer)))
            }
            .boxed()
        });
        self.functions().by_name.write().unwrap_or_else(PoisonError::into_inner).insert(function.name, entry);
    }

    /// Offers a function no longer; calls that run go on. Says whether it was offered.
    pub fn withdraw<Q, R>(&self, function: &Function<Q, R>) -> bool {
        let by_name = &self.functions().by_name;
        by_name.write().unwrap_or_else(PoisonError::into_inner).remove(function.name).is_some()
    }

    /// Calls a function of a node, maybe this one, and waits for its answer, at most for `timeout`. Dropping the future
    /// gives the call up.
    ///
    /// # Errors
    /// Each [`RpcError`] says why; see [`RpcError::may_have_run`].
    pub async fn call<Q, R>(
        &self,
        node: NodeId,
        function: &Function<Q, R>,
        argument: &Q,
        timeout: Duration,
    ) -> Result<R, RpcError>
    where
        Q: Serialize,
        R: DeserializeOwned,
    {
        let request = self.request(function, argument, Mode::Call);
        self.ask(node, function, request, timeout).await
    }

    /// Calls a function of several nodes at the same time, with one deadline for all, and returns what each answered, in
    /// the order of `nodes`. One that fails changes nothing for the others.
    pub async fn multicall<Q, R>(
        &self,
        nodes: impl IntoIterator<Item = NodeId>,
        function: &Function<Q, R>,
        argument: &Q,
        timeout: Duration,
    ) -> Vec<(NodeId, Result<R, RpcError>)>
    where
        Q: Serialize,
        R: DeserializeOwned,
    {
        let request = self.request(function, argument, Mode::Call);
        let asked = nodes.into_iter().map(|node| {
            let request = request.clone();
            async move { (node, self.ask(node, function, request, timeout).await) }
        });
        join_all(asked).await
    }

    /// Has a function of a node run, and waits only until it has begun, at most for `timeout`; its answer goes nowhere, and
    /// a panic only into the log there.
    ///
    /// # Errors
    /// As [`Rpc::call`], but for what happens once it runs.
    pub async fn cast<Q, R>(
        &self,
        node: NodeId,
        function: &Function<Q, R>,
        argument: &Q,
        timeout: Duration,
    ) -> Result<(), RpcError>
    where
        Q: Serialize,
    {
        let request = self.request(function, argument, Mode::Cast);
        self.answer(node, function, request, timeout).await.map(drop)
    }

    fn request<Q: Serialize, R>(&self, function: &Function<Q, R>, argument: &Q, mode: Mode) -> Bytes {
        let body = codec::encode(VERSION, argument).into();
        codec::encode(VERSION, &Request { function: function.name.to_owned(), mode, body }).into()
    }

    async fn ask<Q, R: DeserializeOwned>(
        &self,
        node: NodeId,
        function: &Function<Q, R>,
        request: Bytes,
        timeout: Duration,
    ) -> Result<R, RpcError> {
        let answer = self.answer(node, function, request, timeout).await?;
        codec::decode(VERSION, &answer).map_err(|_| RpcError::Incompatible(function.name.to_owned()))
    }

    async fn answer<Q, R>(
        &self,
        node: NodeId,
        function: &Function<Q, R>,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RpcError> {
        let answer = self.cluster.request(node, Service::RPC, request, timeout).await;
        let answer = answer.map_err(|error| RpcError::from_request(error, node, function.name))?;
        let answer = codec::decode::<Result<Bytes, Refusal>>(VERSION, &answer);
        let answer = answer.map_err(|_| RpcError::Incompatible(function.name.to_owned()))?;
        answer.map_err(|refusal| RpcError::from_refusal(refusal, node, function.name))
    }

    fn functions(&self) -> &Functions {
        &self.cluster.inner().sharing.functions
    }
}

impl<Q, R> Clone for Function<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Function<Q, R> {}

impl<Q, R> fmt::Debug for Function<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({:?})", self.name)
    }
}

/// Runs a function on bytes.
type Entry = Arc<dyn Fn(PeerIdentity, Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> + Send + Sync>;

/// What this node offers. Names are the program's own constants, so their number is bounded by its text.
pub(crate) struct Functions {
    by_name: RwLock<BTreeMap<&'static str, Entry>>,
    running: Arc<Semaphore>,
}

impl Default for Functions {
    fn default() -> Self {
        Self { by_name: RwLock::default(), running: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }
}

/// Asks for a function to run; the order of fields is the format.
#[derive(Serialize, Deserialize)]
struct Request {
    function: String,
    mode: Mode,
    body: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Call,
    Cast,
}

/// Why a function gave no answer; the order of variants is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NoFunction,
    Incompatible,
    Overloaded,
    Panicked(String),
}

/// Serves calls from now on.
pub(crate) fn start(cluster: &Cluster) {
    let node = Arc::downgrade(cluster.inner());
    let serve = move |caller: PeerIdentity, body: Bytes| {
        let node = Weak::clone(&node);
        async move {
            let node = node.upgrade().ok_or_else(|| "node is gone".to_owned())?;
            let request = codec::decode::<Request>(VERSION, &body).map_err(|error| error.to_string())?;
            let answer = run(&node, caller, request).await;
            Ok(Bytes::from(codec::encode(VERSION, &answer)))
        }
        .boxed()
    };
    cluster.serve(Service::RPC, Arc::new(serve));
}

async fn run(node: &Arc<Node>, caller: PeerIdentity, request: Request) -> Result<Bytes, Refusal> {
    let functions = &node.sharing.functions;
    let entry = functions.by_name.read().unwrap_or_else(PoisonError::into_inner).get(&*request.function).cloned();
    let entry = entry.ok_or(Refusal::NoFunction)?;
    let permit = Arc::clone(&functions.running).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
    let name = request.function;
    let work = async move {
        // `entry` itself is the user's code as well, down to the first await.
        let result = AssertUnwindSafe(async { entry(caller, request.body).await }).catch_unwind().await;
        drop(permit);
        result.unwrap_or_else(|panic| {
            let panic = tiebeam_world::panic_message(&*panic);
            tracing::error!(function = name, panic, "function called by another node panicked");
            Err(Refusal::Panicked(panic))
        })
    };
    match request.mode {
        Mode::Call => work.await,
        Mode::Cast => {
            drop(node.sharing.spawn("cluster.cast", work));
            Ok(Bytes::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who changes these bytes changes what nodes of two versions say to each other.
    #[test]
    fn requests_and_answers_are_golden() {
        let request = |mode| Request { function: "f".into(), mode, body: Bytes::from_static(b"x") };
        assert_eq!(codec::encode(VERSION, &request(Mode::Call)), [1, 1, b'f', 0, 1, b'x']);
        assert_eq!(codec::encode(VERSION, &request(Mode::Cast)), [1, 1, b'f', 1, 1, b'x']);
        let answer = |answer: Result<Bytes, Refusal>| codec::encode(VERSION, &answer);
        assert_eq!(answer(Ok(Bytes::from_static(b"x"))), [1, 0, 1, b'x']);
        assert_eq!(answer(Err(Refusal::NoFunction)), [1, 1, 0]);
        assert_eq!(answer(Err(Refusal::Incompatible)), [1, 1, 1]);
        assert_eq!(answer(Err(Refusal::Overloaded)), [1, 1, 2]);
        assert_eq!(answer(Err(Refusal::Panicked("p".into()))), [1, 1, 3, 1, b'p']);
    }
}
