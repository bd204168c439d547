//! Names of services, and where each of them runs now: keys under `services/`, linearizable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tiebeam_kv::{Kv, KvError};
use tiebeam_wire::{Incarnation, NodeId, codec};

/// Version of registry entries.
const VERSION: u8 = 1;

/// Where a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHost {
    /// The node that hosts it.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: Incarnation,
}

/// The cluster's services. Cheap to clone; clones share what they looked up.
#[derive(Clone, Debug)]
pub struct Services {
    kv: Kv,
    known: Arc<Mutex<HashMap<String, ServiceHost>>>,
}

impl Services {
    pub(crate) fn new(kv: Kv) -> Self {
        Self { kv, known: Arc::default() }
    }

    /// Says that the service `name` runs at `host` from now on; the actor behind it is registered under the same name
    /// on that node. Replaces an earlier host: whoever registers last is it.
    ///
    /// # Errors
    /// [`KvError`] if the registry can't be reached.
    pub async fn register(&self, name: &str, host: ServiceHost) -> Result<(), KvError> {
        self.kv.put(&key(name), codec::encode(VERSION, &host)).await?;
        tracing::info!(service = name, node = %host.node, "service registered");
        Ok(())
    }

    /// Finds the host of `name`: the last one that was looked up, else by a linearizable read. [`None`] if no such
    /// service was ever registered.
    ///
    /// # Errors
    /// [`KvError`] if the registry can't be reached.
    pub async fn find(&self, name: &str) -> Result<Option<ServiceHost>, KvError> {
        if let Some(host) = self.lock().get(name) {
            return Ok(Some(*host));
        }
        let Some(pair) = self.kv.get(&key(name)).await? else { return Ok(None) };
        let host = codec::decode(VERSION, &pair.value)?;
        self.lock().insert(name.to_owned(), host);
        Ok(Some(host))
    }

    /// Forgets where `name` was, so that it is looked up again: for whoever called it there in vain.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, ServiceHost>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(name: &str) -> String {
    format!("services/{name}")
}
