//! Names of actors on all connected nodes, which converge: a hint where somebody is, never a lock.
//!
//! **Consistency.** A name is found here as soon as [`Names::register`] returns, and on connected nodes within about 50 ms.
//! Meanwhile, and during a split, several nodes may give one name to several actors, and each of these is told that it has
//! it. When the nodes hear of each other, the later registration wins, everywhere alike: by the stamps of hybrid clocks, of
//! equal ones by the higher node. So the clock decides such a meeting and nothing else. The loser is told as its
//! registrar chose by [`OnConflict`], and loses the name for good, also if the winner ends later.
//!
//! A name goes with its actor, and is unseen while the node of its actor is lost. It is back with that node, unless it was
//! given to somebody else meanwhile.
//!
//! **For what must be unique, use a [singleton](crate::singletons) or a [lease](crate::leases)**, or what survives all nodes:
//! keys, with a lease and its revision as a fence.
//!
//! **Limits.** Names have up to 255 bytes; there are up to 10,000 in each of 64 shards, beyond which registering is refused.
//!
//! Further reading: `global` of OTP and its resolve functions; `Horde.Registry`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tiebeam_actor::{Actor, Addr, ExitReason, Handler, Pid};

use crate::node::{Node, lock};
use crate::sharing::plane::{Kind, Lost, Plane, ShareError, checked};
use crate::sharing::watch::{ToldOf, Watch, WatchError};

/// The text of the exit reason by which a loser ends.
pub const NAME_CONFLICT: &str = "name_conflict";

/// All names that this node sees.
#[derive(Clone)]
pub struct Names {
    node: Arc<Node>,
}

/// What becomes of an actor that loses its name to another one.
#[derive(Clone)]
pub enum OnConflict {
    /// It gets an exit signal with [`ExitReason::Other`] of [`NAME_CONFLICT`], which ends it unless it traps exits.
    Exit,
    /// It lives on, and whoever [`OnConflict::tell`] named hears of it.
    Tell(Teller),
}

/// Tells somebody of a lost name. Made by [`OnConflict::tell`].
#[derive(Clone)]
pub struct Teller(Arc<Tell>);

type Tell = dyn Fn(&Node, NameConflict) + Send + Sync;

/// An actor lost its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameConflict {
    /// The name.
    pub name: String,
    /// Who lost it.
    pub loser: Pid,
    /// Who has it.
    pub winner: Pid,
}

/// Why an actor did not get a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterNameError {
    /// Another one has it, as far as this node sees.
    #[error("name {name:?} is taken by {holder}")]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        holder: Pid,
    },
    /// As with any change.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// A change of who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEvent {
    /// The name.
    pub name: String,
    /// Who had it.
    pub before: Option<Pid>,
    /// Who has it now.
    pub after: Option<Pid>,
}

/// Hands out the changes of names: first all that are given, then each change once, as with groups.
pub struct NameEvents {
    watch: Watch<NamesKind>,
}

impl OnConflict {
    /// Has an actor of this node told of the loss, by a message that waits while its mailbox is full.
    #[must_use]
    pub fn tell<A: Handler<NameConflict, Reply = ()>>(addr: &Addr<A>) -> Self {
        let addr = addr.clone();
        Self::Tell(Teller(Arc::new(move |node, conflict| {
            let addr = addr.clone();
            drop(node.sharing.spawn("cluster.conflict", async move { addr.cast(conflict).await }));
        })))
    }
}

impl Names {
    pub(crate) const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Gives an actor of this node a name, which it has until it ends, it is taken back, or a conflict is lost. An actor may
    /// have several. Registering it again under the same name only changes what becomes of it in a conflict.
    ///
    /// # Errors
    /// [`RegisterNameError::Taken`] if this node sees another holder; none of it says that the name is free elsewhere.
    pub fn register<A: Actor>(
        &self,
        name: &str,
        actor: &Addr<A>,
        on_conflict: OnConflict,
    ) -> Result<(), RegisterNameError> {
        let (pid, key) = (actor.pid(), name.to_owned());
        checked("name", name)?;
        if !self.node.system.is_alive(pid) {
            return Err(ShareError::NoProc { pid }.into());
        }
        // Before it is given: a conflict may come at the same moment.
        let former = lock(&self.node.sharing.on_conflict).insert((pid, key.clone()), on_conflict);
        let system = &self.node.system;
        let given = self.node.sharing.names.change(&self.node, pid, &key, |core| {
            let holder = core.board.seen(&key, &()).copied();
            // One that ended and whose end was not taken in yet holds nothing.
            let holder = holder.filter(|holder| holder.node != pid.node || system.is_alive(*holder));
            match holder.filter(|holder| *holder != pid) {
                Some(holder) => Err(RegisterNameError::Taken { name: key.clone(), holder }),
                None => Ok(Some(pid)),
            }
        });
        if given.is_err() {
            let mut on_conflict = lock(&self.node.sharing.on_conflict);
            match former {
                Some(former) => on_conflict.insert((pid, key), former),
                None => on_conflict.remove(&(pid, key)),
            };
        }
        given
    }

    /// Takes back a name that an actor of this node has; says whether there was one. Names of other nodes' actors are for
    /// these nodes to take back.
    pub fn unregister(&self, name: &str) -> bool {
        let key = name.to_owned();
        let holder = self.node.sharing.names.read(|core| core.owner(&key));
        if let Some(holder) = holder {
            lock(&self.node.sharing.on_conflict).remove(&(holder, key.clone()));
        }
        self.node.sharing.names.withdraw(&self.node, &key)
    }

    /// Finds who has a name, on any connected node, as far as this node sees.
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        let holder = self.node.sharing.names.read(|core| core.board.seen(&name.to_owned(), &()).copied());
        holder.filter(|holder| holder.node != self.node.me.node || self.node.system.is_alive(*holder))
    }

    /// As [`Names::whereis`], as the address of an actor of type `A`, which is the caller's word.
    #[must_use]
    pub fn find<A: Actor>(&self, name: &str) -> Option<Addr<A>> {
        self.whereis(name).map(|pid| self.node.system.addr(pid))
    }

    /// Lists all names that are given, in order.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Pid)> {
        self.node.sharing.names.read(|core| {
            let holders = core.board.topics().filter_map(|name| Some((name.clone(), *core.board.seen(name, &())?)));
            holders.collect()
        })
    }

    /// Hands out who has a name, and each change.
    ///
    /// # Errors
    /// [`WatchError::TooMany`] beyond 4,096 watchers of names on this node.
    pub fn events(&self, name: &str) -> Result<NameEvents, WatchError> {
        let name = name.to_owned();
        Ok(NameEvents { watch: Watch::new(&self.node, Box::new(move |other: &String| *other == name))? })
    }
}

impl NameEvents {
    /// Waits for the next change; none after the cluster was shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<NameEvent> {
        let ToldOf::<NamesKind> { topic, before, after, .. } = self.watch.next().await?;
        Some(NameEvent { name: topic, before, after })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("node", &self.node.me.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for NameEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameEvents").finish_non_exhaustive()
    }
}

impl fmt::Debug for OnConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Exit) { "Exit" } else { "Tell" })
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

/// What is to be done for those of this node who lose a name.
pub(crate) type Conflicts = Mutex<BTreeMap<(Pid, String), OnConflict>>;

/// Names, and who has them.
pub(crate) struct NamesKind;

impl Kind for NamesKind {
    type Key = String;
    type Value = Pid;
    type Topic = String;
    type Entry = ();

    const LANE: u8 = 1;
    const NAME: &'static str = "names";

    fn place(key: &String) -> (String, ()) {
        (key.clone(), ())
    }

    fn holder(_: &String, value: &Pid) -> Pid {
        *value
    }

    fn plane(node: &Node) -> &Plane<Self> {
        &node.sharing.names
    }

    fn lost(node: &Node, lost: &Lost<String>) {
        let on_conflict = lock(&node.sharing.on_conflict).remove(&(lost.pid, lost.key.clone()));
        tracing::warn!(name = lost.key, loser = %lost.pid, winner = %lost.winner, "name given twice, the later one stays");
        match on_conflict {
            Some(OnConflict::Exit) => node.system.exit(lost.pid, ExitReason::Other(NAME_CONFLICT.to_owned())),
            Some(OnConflict::Tell(Teller(tell))) => {
                tell(node, NameConflict { name: lost.key.clone(), loser: lost.pid, winner: lost.winner });
            }
            None => {}
        }
    }

    fn ended(node: &Node, pid: Pid) {
        let mut on_conflict = lock(&node.sharing.on_conflict);
        // Also those of names that another one took over between its end and this.
        let of_pid = on_conflict.range((pid, String::new())..).take_while(|((holder, _), _)| *holder == pid);
        let over: Vec<(Pid, String)> = of_pid.map(|(key, _)| key.clone()).collect();
        for key in over {
            on_conflict.remove(&key);
        }
    }
}
