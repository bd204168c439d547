//! Who is there: actors under topic and key, with metadata, on all connected nodes.
//!
//! A topic is what is watched as a whole (a room), a key is whom it is about (a user), and each actor under a key is one
//! way in which that one is there (a connection), with metadata of its own.
//!
//! ```
//! # use tiebeam_actor::{Actor, Addr};
//! # use tiebeam_cluster::Cluster;
//! # use tiebeam_cluster::presence::TrackError;
//! # fn example<A: Actor>(cluster: &Cluster, connection: &Addr<A>) -> Result<(), TrackError> {
//! let room = cluster.presence().topic("room:1");
//! room.track("ann", connection, &("typing", 17_u32))?;
//! for present in room.list() {
//!     let meta: Result<(String, u32), _> = present.meta();
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Consistency.** As with [groups](crate::groups): here at once, on connected nodes within about 50 ms; who is lost is
//! unseen at once, who ends goes by itself, and a later start of a node begins with nobody. Metadata of one actor under one
//! key is replaced as a whole, by its own node alone, so there is nothing to merge.
//!
//! **Limits.** Topics and keys have up to 255 bytes, metadata up to 4,096; there are up to 10,000 entries in each of 64
//! shards, beyond which [`Topic::track`] is refused.
//!
//! Further reading: `Phoenix.Presence`, `Phoenix.Tracker`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, Handler, Pid};
use tiebeam_wire::codec::{self, DecodeError};

use crate::node::Node;
use crate::sharing::plane::{Kind, Plane, ShareError, checked};
use crate::sharing::watch::{Monitoring, ToldOf, Watch, WatchError};

/// The most metadata of one entry, in bytes as it is encoded.
pub const METADATA_BYTES_MAX: usize = 4096;
/// The version byte of metadata.
const METADATA_VERSION: u8 = 1;

/// All that are present, as far as this node sees.
#[derive(Clone)]
pub struct Presence {
    node: Arc<Node>,
}

/// Who is present under one topic. A value: dropping it changes nothing.
#[derive(Clone)]
pub struct Topic {
    node: Arc<Node>,
    name: String,
}

/// One who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Whom it is about.
    pub key: String,
    /// By way of which actor.
    pub pid: Pid,
    meta: Bytes,
}

/// A change under a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceEvent {
    /// Somebody came, or is there again since a node is.
    Joined(Present),
    /// Somebody's metadata is another.
    Updated {
        /// As it was told last.
        before: Present,
        /// As it is.
        after: Present,
    },
    /// Somebody went, or its node was lost; with the last metadata that was told.
    Left(Present),
}

/// Hands out the changes under a topic: first all who are present, then each change once. A reader that is slow gets
/// changes of one entry as one, as with groups.
pub struct PresenceEvents {
    watch: Watch<PresenceKind>,
}

/// Why somebody is not tracked, or tracked as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The actor is tracked under this key already.
    #[error("{pid} is tracked under key {key:?} already")]
    AlreadyTracked {
        /// The actor.
        pid: Pid,
        /// The key.
        key: String,
    },
    /// The actor isn't tracked under this key by this node.
    #[error("{pid} is not tracked under key {key:?}")]
    NotTracked {
        /// The actor.
        pid: Pid,
        /// The key.
        key: String,
    },
    /// As with any change.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl Presence {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Names a topic; there is nothing to start.
    #[must_use]
    pub fn topic(&self, name: impl Into<String>) -> Topic {
        Topic { node: Arc::clone(&self.node), name: name.into() }
    }

    /// Lists the topics under which somebody is present, in order.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.node.sharing.presence.read(|core| core.board.topics().cloned().collect())
    }
}

impl Topic {
    /// Tracks an actor of this node under a key until it ends or is untracked.
    ///
    /// # Errors
    /// [`TrackError::AlreadyTracked`], or a [`ShareError`]: too large, too many, or no such actor. Nothing was changed.
    pub fn track<A: Actor, M: Serialize>(&self, key: &str, actor: &Addr<A>, meta: &M) -> Result<(), TrackError> {
        self.put(key, actor.pid(), meta, |is_tracked| match is_tracked {
            true => Err(TrackError::AlreadyTracked { pid: actor.pid(), key: key.to_owned() }),
            false => Ok(()),
        })
    }

    /// Replaces the metadata of an actor of this node under a key.
    ///
    /// # Errors
    /// [`TrackError::NotTracked`], or a [`ShareError`]. Nothing was changed.
    pub fn update<A: Actor, M: Serialize>(&self, key: &str, actor: &Addr<A>, meta: &M) -> Result<(), TrackError> {
        self.put(key, actor.pid(), meta, |is_tracked| match is_tracked {
            true => Ok(()),
            false => Err(TrackError::NotTracked { pid: actor.pid(), key: key.to_owned() }),
        })
    }

    /// Stops tracking an actor of this node under a key.
    ///
    /// # Errors
    /// [`TrackError::NotTracked`].
    pub fn untrack<A: Actor>(&self, key: &str, actor: &Addr<A>) -> Result<(), TrackError> {
        match self.node.sharing.presence.withdraw(&self.node, &self.at(key, actor.pid())) {
            true => Ok(()),
            false => Err(TrackError::NotTracked { pid: actor.pid(), key: key.to_owned() }),
        }
    }

    /// Lists all who are present, in order of keys and pids.
    #[must_use]
    pub fn list(&self) -> Vec<Present> {
        self.node.sharing.presence.read(|core| core.board.entries(&self.name).map(present).collect())
    }

    /// As [`Topic::list`], by key: how each is there.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<String, Vec<Present>> {
        let mut by_key = BTreeMap::<String, Vec<Present>>::new();
        for present in self.list() {
            by_key.entry(present.key.clone()).or_default().push(present);
        }
        by_key
    }

    /// Hands out the changes under this topic.
    ///
    /// # Errors
    /// [`WatchError::TooMany`] beyond 4,096 monitors and streams of presence on this node.
    pub fn events(&self) -> Result<PresenceEvents, WatchError> {
        let name = self.name.clone();
        Ok(PresenceEvents { watch: Watch::new(&self.node, Box::new(move |other: &String| *other == name))? })
    }

    /// Tells an actor of this node the changes under this topic, as messages, until it ends.
    ///
    /// # Errors
    /// As [`Topic::events`].
    pub fn monitor<B: Handler<PresenceEvent, Reply = ()>>(&self, watcher: &Addr<B>) -> Result<Monitoring, WatchError> {
        Ok(self.events()?.watch.tell(watcher, event))
    }

    fn put<M: Serialize>(
        &self,
        key: &str,
        pid: Pid,
        meta: &M,
        check: impl FnOnce(bool) -> Result<(), TrackError>,
    ) -> Result<(), TrackError> {
        checked("topic", &self.name)?;
        checked("key", key)?;
        let meta = codec::encode(METADATA_VERSION, meta);
        if meta.len() > METADATA_BYTES_MAX {
            let (size, limit) = (meta.len(), METADATA_BYTES_MAX);
            return Err(ShareError::TooLarge { what: "metadata", size, limit }.into());
        }
        if !self.node.system.is_alive(pid) {
            return Err(ShareError::NoProc { pid }.into());
        }
        let at = self.at(key, pid);
        self.node.sharing.presence.change(&self.node, pid, &at, |core| {
            check(core.owner(&at).is_some())?;
            Ok(Some(meta.into()))
        })
    }

    fn at(&self, key: &str, pid: Pid) -> Place {
        Place { topic: self.name.clone(), key: key.to_owned(), pid }
    }
}

impl Present {
    /// Reads the metadata as a value of type `M`.
    ///
    /// # Errors
    /// [`DecodeError`] if it can't be read as such a value. Metadata carries no type: whoever tracks and whoever reads must
    /// mean the same.
    pub fn meta<M: DeserializeOwned>(&self) -> Result<M, DecodeError> {
        codec::decode(METADATA_VERSION, &self.meta)
    }
}

impl PresenceEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<PresenceEvent> {
        self.watch.next().await.map(event)
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({:?})", self.name)
    }
}

impl fmt::Debug for PresenceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceEvents").finish_non_exhaustive()
    }
}

/// One actor under one key; the order of fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) pid: Pid,
}

/// Who is present, and their metadata.
pub(crate) struct PresenceKind;

impl Kind for PresenceKind {
    type Key = Place;
    type Value = Bytes;
    type Topic = String;
    type Entry = (String, Pid);

    const LANE: u8 = 2;
    const NAME: &'static str = "presence";

    fn place(key: &Place) -> (String, (String, Pid)) {
        (key.topic.clone(), (key.key.clone(), key.pid))
    }

    fn holder(key: &Place, _: &Bytes) -> Pid {
        key.pid
    }

    fn plane(node: &Node) -> &Plane<Self> {
        &node.sharing.presence
    }
}

fn present(((key, pid), meta): (&(String, Pid), &Bytes)) -> Present {
    Present { key: key.clone(), pid: *pid, meta: meta.clone() }
}

fn event(told: ToldOf<PresenceKind>) -> PresenceEvent {
    let at = told.key;
    let of = |meta: &Bytes| present((&at, meta));
    match (&told.before, &told.after) {
        (Some(before), Some(after)) => PresenceEvent::Updated { before: of(before), after: of(after) },
        (Some(before), None) => PresenceEvent::Left(of(before)),
        (None, after) => PresenceEvent::Joined(of(after.as_ref().unwrap_or(&Bytes::new()))),
    }
}
