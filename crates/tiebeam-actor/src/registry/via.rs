use std::fmt;
use std::marker::PhantomData;

use super::{Key, Registry, Value};
use crate::actor::Dispatch;
use crate::{Actor, Addr, CallError};

/// The address of whoever has a key at the time of each message; of several, of the one that was registered first.
///
/// While nobody has it, calls fail with [`CallError::NoProc`] and casts are dropped. Messages to two holders, one after
/// the other, are not ordered among each other.
pub struct Via<A: Actor, K: Key, V: Value = ()> {
    registry: Registry<K, V>,
    key: K,
    actor: PhantomData<fn() -> A>,
}

impl<A: Actor, K: Key, V: Value> Via<A, K, V> {
    pub(super) const fn new(registry: Registry<K, V>, key: K) -> Self {
        Self { registry, key, actor: PhantomData }
    }

    /// Returns the address of who has the key now; that of nobody if nobody has.
    #[must_use]
    pub fn addr(&self) -> Addr<A> {
        let system = &self.registry.shared.system;
        system.addr(self.registry.whereis(&self.key).unwrap_or_else(|| system.root()))
    }

    /// Calls, as [`Addr::call`] does, and waits 5 s for the answer. For another time call [`addr`](Self::addr).
    ///
    /// # Errors
    /// Those of a call.
    pub async fn call<M, Mode>(&self, message: M) -> Result<A::Answer, CallError>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        self.addr().call(message).await
    }

    /// Sends, as [`Addr::cast`] does.
    pub async fn cast<M, Mode>(&self, message: M)
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        self.addr().cast(message).await;
    }

    /// Sends without waiting, as [`Addr::try_cast`] does.
    ///
    /// # Errors
    /// As [`Addr::try_cast`].
    pub fn try_cast<M, Mode>(&self, message: M) -> Result<(), CallError>
    where
        A: Dispatch<M, Mode>,
        M: Send + 'static,
        Mode: 'static,
    {
        self.addr().try_cast(message)
    }
}

impl<A: Actor, K: Key, V: Value> Clone for Via<A, K, V> {
    fn clone(&self) -> Self {
        Self { registry: self.registry.clone(), key: self.key.clone(), actor: PhantomData }
    }
}

impl<A: Actor, K: Key + fmt::Debug, V: Value> fmt::Debug for Via<A, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Via").field(&self.key).finish()
    }
}
