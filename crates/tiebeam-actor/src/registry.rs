//! Processes under keys of any type, with a value each: for names that are made at run time, and for groups.
//!
//! - A [`Registry`] is a handle that every reader shares; its process, the [`Registrar`], is the one writer. Reading is
//!   looking into a table and waits for nobody.
//! - **Registered means found.** When [`register`](Registry::register) returns, every reader sees the entry.
//! - **Dead means not found.** No reader is given a process that has ended, from the moment on in which it ends: before
//!   anybody hears of its death. Its keys are free at that moment too.
//! - The registry ends with its process, and begins empty when that is restarted: whoever was registered is alive and not
//!   found. Elixir's ends its processes in that case; link to the [`Registrar`] for that.
//!
//! ```
//! # use tiebeam_actor::registry::{Keys, RegistryConfig, RegistryError};
//! # use tiebeam_actor::{Actor, Addr, Agent, Ctx, Registry, System};
//! # async fn example<A: Actor>(ctx: &Ctx<A>, system: &System) -> Result<(), RegistryError> {
//! let rooms = Registry::<(u32, String), u8>::new(system, RegistryConfig::default());
//! // Once `rooms.child_spec("rooms")` runs under a supervisor:
//! rooms.register(ctx.pid(), (7, "lobby".to_owned()), 1).await?;
//! let lobby = rooms.via::<Agent<u64>>((7, "lobby".to_owned()));
//! let visitors = lobby.addr().get(|visitors| *visitors).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It knows the processes of its own node only. Entries of one key are in the order of their registration.
//!
//! Further reading: `Registry` of Elixir.

mod registrar;
mod table;
mod via;

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use registrar::Registrar;
pub use via::Via;

use crate::{Actor, Addr, CallError, ChildSpec, ExitReason, Pid, Starter, System};
use registrar::{Register, Unregister, UpdateValue};
use table::Table;

/// How many processes may be under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keys {
    /// One: a key is a name.
    Unique,
    /// Many, also the same one several times: a key is a topic that processes follow.
    Duplicate,
}

/// The rules of a [`Registry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Default [`Keys::Unique`].
    pub keys: Keys,
    /// How many entries there may be; more are refused. Default 1,048,576.
    pub entries_max: u64,
}

/// Finds processes by keys. Clones are the same registry.
pub struct Registry<K: Key, V: Value = ()> {
    shared: Arc<Shared<K, V>>,
}

/// What can be a key: any type with an order.
pub trait Key: Ord + Clone + Send + Sync + 'static {}

impl<K: Ord + Clone + Send + Sync + 'static> Key for K {}

/// What can be beside a process: any type that readers can take a copy of.
pub trait Value: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> Value for V {}

struct Shared<K: Key, V: Value> {
    system: System,
    config: RegistryConfig,
    table: RwLock<Table<K, V>>,
    registrar: Mutex<Option<Pid>>,
}

/// Why a registry did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The key is unique, and a process that is alive has it; maybe the very one that was to be registered.
    #[error("key is taken by {holder}")]
    Taken {
        /// Who has it.
        holder: Pid,
    },
    /// There is no such process on this node.
    #[error("{pid} is no process of this node")]
    NoProc {
        /// The pid that was to be registered.
        pid: Pid,
    },
    /// The process is not registered under this key.
    #[error("{pid} is not registered under this key")]
    Missing {
        /// The process.
        pid: Pid,
    },
    /// The registry has as many entries as it may.
    #[error("registry has {limit} entries already, which is the limit")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The registry does not run, or did not answer.
    #[error("registry did not answer")]
    Call(#[from] CallError),
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { keys: Keys::Unique, entries_max: 1 << 20 }
    }
}

impl<K: Key, V: Value> Registry<K, V> {
    /// Makes the handle; nothing can be registered before its process runs, by [`start`](Self::start) or
    /// [`child_spec`](Self::child_spec).
    #[must_use]
    pub fn new(system: &System, config: RegistryConfig) -> Self {
        let (table, registrar) = (RwLock::default(), Mutex::default());
        Self { shared: Arc::new(Shared { system: system.clone(), config, table, registrar }) }
    }

    /// Starts the registry's process.
    ///
    /// # Errors
    /// The reason why it did not start: mostly that it runs already.
    pub async fn start(&self, starter: Starter) -> Result<Addr<Registrar<K, V>>, ExitReason> {
        starter.spawn(self.clone()).await
    }

    /// Describes the registry's process to a supervisor.
    pub fn child_spec(&self, id: impl Into<String>) -> ChildSpec {
        ChildSpec::actor::<Registrar<K, V>>(id, self.clone())
    }

    /// Registers a process under a key, with a value; the entry goes when the process ends.
    ///
    /// # Errors
    /// [`RegistryError::Taken`], [`RegistryError::NoProc`], [`RegistryError::TooMany`] or [`RegistryError::Call`].
    pub async fn register(&self, pid: Pid, key: K, value: V) -> Result<(), RegistryError> {
        self.registrar()?.call(Register { pid, key, value }).await?
    }

    /// Takes a process from under a key, with all its entries there.
    ///
    /// # Errors
    /// [`RegistryError::Missing`] or [`RegistryError::Call`].
    pub async fn unregister(&self, pid: Pid, key: K) -> Result<(), RegistryError> {
        self.registrar()?.call(Unregister { pid, key }).await?
    }

    /// Replaces the value of a process under a key, in all its entries there.
    ///
    /// # Errors
    /// [`RegistryError::Missing`] or [`RegistryError::Call`].
    pub async fn update_value(&self, pid: Pid, key: K, value: V) -> Result<(), RegistryError> {
        self.registrar()?.call(UpdateValue { pid, key, value }).await?
    }

    /// Lists the processes under a key with their values.
    #[must_use]
    pub fn lookup<Q: Ord + ?Sized>(&self, key: &Q) -> Vec<(Pid, V)>
    where
        K: Borrow<Q>,
    {
        let entries: Vec<_> = self.table().under(key).cloned().collect();
        entries.into_iter().filter(|(pid, _)| self.is_alive(*pid)).collect()
    }

    /// Returns the process under a key; of several the one that was registered first.
    #[must_use]
    pub fn whereis<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Pid>
    where
        K: Borrow<Q>,
    {
        self.table().under(key).map(|(pid, _)| *pid).find(|pid| self.is_alive(*pid))
    }

    /// Does `act` to each process under a key: mostly a cast to all that follow a topic. Runs in the caller; who registers
    /// meanwhile may be left out.
    pub fn dispatch<Q: Ord + ?Sized>(&self, key: &Q, mut act: impl FnMut(Pid, V))
    where
        K: Borrow<Q>,
    {
        self.lookup(key).into_iter().for_each(|(pid, value)| act(pid, value));
    }

    /// Lists the keys of a process, each once, in order.
    #[must_use]
    pub fn keys(&self, pid: Pid) -> Vec<K> {
        if self.is_alive(pid) { self.table().keys(pid) } else { Vec::new() }
    }

    /// Counts the entries. Those of processes that have just ended may be among them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.table().len()
    }

    /// Returns the address of whoever has the key at the time of each message.
    #[must_use]
    pub fn via<A: Actor>(&self, key: K) -> Via<A, K, V> {
        Via::new(self.clone(), key)
    }

    fn registrar(&self) -> Result<Addr<Registrar<K, V>>, CallError> {
        let registrar = *self.slot();
        registrar.map(|pid| self.shared.system.addr(pid)).ok_or(CallError::NoProc)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Pid>> {
        self.shared.registrar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_alive(&self, pid: Pid) -> bool {
        self.shared.system.is_alive(pid)
    }

    fn table(&self) -> RwLockReadGuard<'_, Table<K, V>> {
        self.shared.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table<K, V>> {
        self.shared.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key, V: Value> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Key, V: Value> fmt::Debug for Registry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("config", &self.shared.config).field("count", &self.count()).finish()
    }
}
