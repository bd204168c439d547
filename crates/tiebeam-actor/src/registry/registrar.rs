use std::collections::BTreeMap;
use std::fmt;

use super::table::Table;
use super::{Key, Keys, Registry, RegistryError, Value};
use crate::{Actor, Ctx, ExitReason, Handler, Info, Pid, Ref};

/// The process of a [`Registry`]: the one that writes, and that watches whoever is registered.
pub struct Registrar<K: Key, V: Value> {
    registry: Registry<K, V>,
    pid: Pid,
    monitors: BTreeMap<Pid, Ref>,
}

pub(super) struct Register<K, V> {
    pub(super) pid: Pid,
    pub(super) key: K,
    pub(super) value: V,
}

pub(super) struct Unregister<K> {
    pub(super) pid: Pid,
    pub(super) key: K,
}

pub(super) struct UpdateValue<K, V> {
    pub(super) pid: Pid,
    pub(super) key: K,
    pub(super) value: V,
}

impl<K: Key, V: Value> Registrar<K, V> {
    /// Drops what a process held, or holds no longer.
    fn ended(&mut self, pid: Pid) {
        self.registry.table_mut().forget(pid);
        self.monitors.remove(&pid);
    }

    /// Returns who has a unique key and is alive. What the dead hold under it is dropped: their ends are still to be
    /// heard, and a key is free when its holder ends.
    fn holder(&mut self, key: &K) -> Option<Pid> {
        let holders: Vec<_> = self.registry.table().under(key).map(|(pid, _)| *pid).collect();
        let (alive, dead): (Vec<_>, Vec<_>) = holders.into_iter().partition(|pid| self.registry.is_alive(*pid));
        for pid in dead {
            self.registry.table_mut().forget(pid);
        }
        alive.first().copied()
    }
}

impl<K: Key, V: Value> Actor for Registrar<K, V> {
    type Args = Registry<K, V>;

    async fn init(registry: Registry<K, V>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        {
            let mut slot = registry.slot();
            if let Some(other) = slot.filter(|other| registry.is_alive(*other)) {
                return Err(ExitReason::Other(format!("registry runs already, as {other}")));
            }
            *slot = Some(ctx.pid());
            // Its predecessor has ended and maybe was not dropped yet; nobody watches its entries any more.
            *registry.table_mut() = Table::default();
        }
        Ok(Self { registry, pid: ctx.pid(), monitors: BTreeMap::new() })
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        if let Info::Down { pid, .. } = info {
            self.ended(pid);
        }
    }
}

impl<K: Key, V: Value> Drop for Registrar<K, V> {
    fn drop(&mut self) {
        let mut slot = self.registry.slot();
        if *slot == Some(self.pid) {
            *slot = None;
            *self.registry.table_mut() = Table::default();
        }
    }
}

impl<K: Key, V: Value> Handler<Register<K, V>> for Registrar<K, V> {
    type Reply = Result<(), RegistryError>;

    async fn handle(&mut self, message: Register<K, V>, ctx: &mut Ctx<Self>) -> Self::Reply {
        let Register { pid, key, value } = message;
        if !self.registry.is_alive(pid) {
            return Err(RegistryError::NoProc { pid });
        }
        let config = self.registry.shared.config;
        if config.keys == Keys::Unique
            && let Some(holder) = self.holder(&key)
        {
            return Err(RegistryError::Taken { holder });
        }
        if self.registry.count() >= config.entries_max {
            return Err(RegistryError::TooMany { limit: config.entries_max });
        }
        self.monitors.entry(pid).or_insert_with(|| ctx.monitor(pid));
        self.registry.table_mut().insert(pid, key, value);
        Ok(())
    }
}

impl<K: Key, V: Value> Handler<Unregister<K>> for Registrar<K, V> {
    type Reply = Result<(), RegistryError>;

    async fn handle(&mut self, Unregister { pid, key }: Unregister<K>, ctx: &mut Ctx<Self>) -> Self::Reply {
        let (was_there, is_there) = {
            let mut table = self.registry.table_mut();
            (table.remove(pid, &key), table.holds(pid))
        };
        if !is_there && let Some(monitor) = self.monitors.remove(&pid) {
            ctx.demonitor(monitor);
        }
        if was_there { Ok(()) } else { Err(RegistryError::Missing { pid }) }
    }
}

impl<K: Key, V: Value> Handler<UpdateValue<K, V>> for Registrar<K, V> {
    type Reply = Result<(), RegistryError>;

    async fn handle(&mut self, message: UpdateValue<K, V>, _: &mut Ctx<Self>) -> Self::Reply {
        let UpdateValue { pid, key, value } = message;
        let was_there = self.registry.table_mut().update(pid, &key, &value);
        if was_there { Ok(()) } else { Err(RegistryError::Missing { pid }) }
    }
}

impl<K: Key, V: Value> fmt::Debug for Registrar<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("registry", &self.registry).finish_non_exhaustive()
    }
}
