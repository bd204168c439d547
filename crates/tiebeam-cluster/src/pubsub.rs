//! Topics that reach whoever subscribes, on all connected nodes. Nothing of them is kept: for what must be there later,
//! there are topics of records.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::pubsub::SubscribeError;
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Price(u64);
//! # async fn example(cluster: &Cluster) -> Result<(), SubscribeError> {
//! let prices = cluster.pubsub().topic::<Price>("prices");
//! let mut reader = prices.stream(1024)?;
//! prices.publish(&Price(7));
//! let Some(Price(price)) = reader.next().await else { return Ok(()) };
//! assert_eq!((price, reader.dropped()), (7, 0));
//! # Ok(())
//! # }
//! ```
//!
//! **Delivery.** At most once to each subscription, and in the order in which one publisher published: an actor counts as
//! one publisher, and all code of a node that is no actor as another. A message goes once, in one frame, to each node that
//! has subscribers; subscribers of the publisher's own node get clones, without any encoding. Whoever subscribes hears
//! publishers of its own node from then on, and those of connected nodes within about 50 ms.
//!
//! What is dropped is counted: a stream drops its oldest messages when its buffer is full, an actor misses what finds no
//! room in its mailbox.
//!
//! **Limits.** Topic names have up to 255 bytes; a node has up to 65,536 subscriptions; a message has at most what a frame
//! may have, and a node that doesn't take its frames for long loses its connection.
//!
//! Which nodes have subscribers is a process group of scope [`SCOPE`], with all that this promises.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tiebeam_actor::{Addr, Handler, Pid};
use tiebeam_crdt::ReplicaId;
use tiebeam_wire::codec::{self, DecodeError};
use tiebeam_world::TaskGuard;
use tokio::sync::Notify;

use crate::groups::{self, Membership};
use crate::node::{Node, lock};
use crate::sharing::plane::{ShareError, checked};
use crate::sharing::{self, Frame};

/// The scope of the process groups that say which nodes have subscribers.
pub const SCOPE: &str = "tiebeam.pubsub";
/// How many subscriptions a node has at most.
pub const SUBSCRIPTIONS_MAX: usize = 65_536;
/// The version byte of a published message.
const MESSAGE_VERSION: u8 = 1;

/// What can be published.
pub trait Message: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<M: Clone + Send + Serialize + DeserializeOwned + 'static> Message for M {}

/// The topics of this node and of all that are connected to it.
#[derive(Clone)]
pub struct PubSub {
    node: Arc<Node>,
}

/// A topic of messages of one type. A value: dropping it changes nothing. That all nodes mean the same type by a name is
/// theirs to see to: messages carry none, so that of another type is dropped if it can't be decoded, and else misread.
pub struct Topic<M> {
    node: Arc<Node>,
    name: String,
    message: PhantomData<fn(M) -> M>,
}

/// Where a message went. That it went there doesn't say that it was handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// How many subscriptions of this node took it.
    pub here: usize,
    /// How many subscriptions of this node had no room for it, or were for another type.
    pub missed_here: usize,
    /// How many other nodes it was sent to, one frame each.
    pub nodes: usize,
    /// To how many other nodes it could not be sent: it is too large, or their connection was just lost.
    pub missed_nodes: usize,
}

/// Why there is no subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The node has as many as it may.
    #[error("node has {limit} subscriptions already, which is the limit")]
    TooMany {
        /// [`SUBSCRIPTIONS_MAX`].
        limit: usize,
    },
    /// The topic can't be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// A subscription of an actor, until that ends. Dropping this changes nothing.
#[must_use = "without it, only the actor's end ends the subscription"]
pub struct Subscription {
    node: Arc<Node>,
    topic: String,
    id: u64,
}

/// A subscription that is read as a stream, until it is dropped.
pub struct Subscriber<M> {
    subscription: Subscription,
    buffer: Arc<Buffer<M>>,
}

struct Buffer<M> {
    messages: Mutex<VecDeque<M>>,
    messages_max: usize,
    dropped: AtomicU64,
    wake: Notify,
}

impl PubSub {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Names a topic; there is nothing to create.
    #[must_use]
    pub fn topic<M: Message>(&self, name: impl Into<String>) -> Topic<M> {
        Topic { node: Arc::clone(&self.node), name: name.into(), message: PhantomData }
    }
}

impl<M: Message> Topic<M> {
    /// Sends a message to all who subscribe, on this node and on all connected ones; never waits.
    pub fn publish(&self, message: &M) -> Published {
        let (node, me) = (&self.node, self.node.me.node);
        let subscribed = groups::members(node, &(SCOPE.to_owned(), self.name.clone()));
        let others = subscribed.iter().filter(|(pid, _)| pid.node != me);
        let others: BTreeSet<ReplicaId> = others.map(|(pid, _)| ReplicaId::new(pid.node, pid.incarnation)).collect();
        let mut published = Published::default();
        if !others.is_empty() {
            let (from, topic) = (node.system.sender(), self.name.clone());
            let body = codec::encode(MESSAGE_VERSION, message).into();
            published.nodes = node.share_message(others.iter().copied(), from, &Frame::Publish { from, topic, body });
            published.missed_nodes = others.len() - published.nodes;
        }
        let (here, missed_here) = node.sharing.topics.publish_here(&self.name, message);
        Published { here, missed_here, ..published }
    }

    /// Sends an actor of this node all messages from now on, as casts, until it ends.
    ///
    /// # Errors
    /// Each [`SubscribeError`] says why; nothing is left behind.
    pub fn subscribe<A: Handler<M, Reply = ()>>(&self, actor: &Addr<A>) -> Result<Subscription, SubscribeError> {
        let pid = actor.pid();
        if !self.node.system.is_alive(pid) {
            return Err(ShareError::NoProc { pid }.into());
        }
        let actor = actor.clone();
        self.add(Some(pid), move |message: &M| actor.try_cast(message.clone()).is_ok())
    }

    /// Hands out all messages from now on. `buffer_max` of them, at least one, wait to be read; beyond that the oldest is
    /// dropped and counted.
    ///
    /// # Errors
    /// Each [`SubscribeError`] says why; nothing is left behind.
    pub fn stream(&self, buffer_max: usize) -> Result<Subscriber<M>, SubscribeError> {
        let messages_max = buffer_max.max(1);
        let buffer =
            Buffer { messages: Mutex::default(), messages_max, dropped: AtomicU64::new(0), wake: Notify::new() };
        let buffer = Arc::new(buffer);
        let filled = Arc::clone(&buffer);
        let subscription = self.add(None, move |message: &M| {
            filled.push(message.clone());
            true
        })?;
        Ok(Subscriber { subscription, buffer })
    }

    fn add(
        &self,
        actor: Option<Pid>,
        offer: impl Fn(&M) -> bool + Send + 'static,
    ) -> Result<Subscription, SubscribeError> {
        checked("topic", &self.name)?;
        let offer = move |message: &dyn Any| message.downcast_ref::<M>().is_some_and(&offer);
        let decode = |body: &[u8]| Ok(Box::new(codec::decode::<M>(MESSAGE_VERSION, body)?) as Box<dyn Any>);
        let sink = Sink { message: TypeId::of::<M>(), decode, offer: Box::new(offer), _end: None };
        let id = self.node.sharing.topics.subscribe(&self.node, &self.name, sink, actor)?;
        Ok(Subscription { node: Arc::clone(&self.node), topic: self.name.clone(), id })
    }
}

impl Subscription {
    /// Ends it. What waits in the actor's mailbox already stays.
    pub fn unsubscribe(self) {
        self.end();
    }

    fn end(&self) {
        self.node.sharing.topics.unsubscribe(&self.node, &self.topic, self.id);
    }
}

impl<M> Subscriber<M> {
    /// Waits for the next message; none after the cluster was shut down and all that waited was read. Cancel safe.
    pub async fn next(&mut self) -> Option<M> {
        let mut version = self.subscription.node.version.subscribe();
        loop {
            let stopped = version.borrow_and_update().stopped;
            let message = lock(&self.buffer.messages).pop_front();
            if message.is_some() || stopped {
                return message;
            }
            tokio::select! {
                () = self.buffer.wake.notified() => {}
                changed = version.changed() => changed.ok()?,
            }
        }
    }

    /// Returns how many messages were dropped so far because the buffer was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped.load(Ordering::Relaxed)
    }
}

impl<M> Drop for Subscriber<M> {
    fn drop(&mut self) {
        self.subscription.end();
    }
}

impl<M> Buffer<M> {
    fn push(&self, message: M) {
        let mut messages = lock(&self.messages);
        if messages.len() >= self.messages_max {
            messages.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        messages.push_back(message);
        drop(messages);
        self.wake.notify_one();
    }
}

impl<M> Clone for Topic<M> {
    fn clone(&self) -> Self {
        Self { node: Arc::clone(&self.node), name: self.name.clone(), message: PhantomData }
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Topic<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?})", self.name)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({} of {:?})", self.id, self.topic)
    }
}

impl<M> fmt::Debug for Subscriber<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = self.dropped();
        f.debug_struct("Subscriber").field("subscription", &self.subscription).field("dropped", &dropped).finish()
    }
}

/// The subscriptions of a node, by topic.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: RwLock<BTreeMap<String, Arc<Mutex<Sinks>>>>,
    ids: AtomicU64,
    count: AtomicU64,
}

type Sinks = BTreeMap<u64, Sink>;
/// A message whose type is forgotten.
type Decoded = Result<Box<dyn Any>, DecodeError>;
type Offer = dyn Fn(&dyn Any) -> bool + Send;

/// One subscription.
struct Sink {
    message: TypeId,
    decode: fn(&[u8]) -> Decoded,
    /// Says whether the message was taken.
    offer: Box<Offer>,
    /// Waits for the end of the actor.
    _end: Option<TaskGuard>,
}

impl Topics {
    fn subscribe(
        &self,
        node: &Arc<Node>,
        topic: &str,
        mut sink: Sink,
        actor: Option<Pid>,
    ) -> Result<u64, SubscribeError> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        // Held while others are told: whoever comes last and whoever goes first must not be told in the wrong order.
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if self.count.load(Ordering::Relaxed) >= SUBSCRIPTIONS_MAX as u64 {
            return Err(SubscribeError::TooMany { limit: SUBSCRIPTIONS_MAX });
        }
        if !by_name.contains_key(topic) {
            let (root, key) = membership(node, topic);
            node.sharing.groups.change(node, root, &key, |_| Ok::<_, ShareError>(Some(1)))?;
        }
        if let Some(pid) = actor {
            let name = topic.to_owned();
            let ended = sharing::when_ended(node, pid, move |node| node.sharing.topics.unsubscribe(node, &name, id));
            sink._end = Some(ended.into_guard());
        }
        lock(by_name.entry(topic.to_owned()).or_default()).insert(id, sink);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    fn unsubscribe(&self, node: &Node, topic: &str, id: u64) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let Some(sinks) = by_name.get(topic) else { return };
        let mut sinks = lock(sinks);
        let removed = sinks.remove(&id);
        let is_empty = sinks.is_empty();
        drop(sinks);
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        if is_empty {
            by_name.remove(topic);
            node.sharing.groups.withdraw(node, &membership(node, topic).1);
        }
    }

    /// Gives a message to the subscriptions of this node; returns how many took it and how many didn't.
    fn publish_here<M: 'static>(&self, topic: &str, message: &M) -> (usize, usize) {
        let Some(sinks) = self.sinks(topic) else { return (0, 0) };
        // Held over all offers, so that each subscription gets messages in the order in which they were published.
        let sinks = lock(&sinks);
        let taken = sinks.values().filter(|sink| (sink.offer)(message)).count();
        (taken, sinks.len() - taken)
    }

    /// Gives a message of another node to the subscriptions of this one.
    pub(crate) fn deliver(&self, topic: &str, body: &[u8]) {
        // Decoding and cloning are the user's code, and a panic would end whoever reads the lane.
        let delivered = panic::catch_unwind(AssertUnwindSafe(|| self.offer(topic, body)));
        if let Err(panic) = delivered {
            let panic = tiebeam_world::panic_message(&*panic);
            tracing::error!(topic, panic, "published message panicked where it was decoded, dropped");
        }
    }

    /// Offers a message to the subscriptions of this node, decoded once for all of one type.
    fn offer(&self, topic: &str, body: &[u8]) {
        let Some(sinks) = self.sinks(topic) else { return };
        let sinks = lock(&sinks);
        let mut decoded: Option<(TypeId, Decoded)> = None;
        for sink in sinks.values() {
            if decoded.as_ref().is_none_or(|(message, _)| *message != sink.message) {
                decoded = Some((sink.message, (sink.decode)(body)));
            }
            match &decoded {
                Some((_, Ok(message))) => drop((sink.offer)(&**message)),
                Some((_, Err(error))) => tracing::warn!(topic, %error, "published message is of another type, dropped"),
                None => {}
            }
        }
    }

    fn sinks(&self, topic: &str) -> Option<Arc<Mutex<Sinks>>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }
}

/// By what other nodes know that this one has subscribers.
fn membership(node: &Node, topic: &str) -> (Pid, Membership) {
    let member = Pid { node: node.me.node, incarnation: node.me.incarnation, serial: 0 };
    (member, Membership { scope: SCOPE.to_owned(), group: topic.to_owned(), member })
}
