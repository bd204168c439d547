//! The table of a node's processes, in parts that are locked apart: actors start and end on all cores at once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::cell::Process;

/// How many parts there are. Those that start one after the other lie in different ones.
const PARTS: usize = 64;

type Part = HashMap<u64, Arc<dyn Process>, BuildHasherDefault<OfSerial>>;

pub(super) struct Processes {
    parts: Box<[RwLock<Part>]>,
    count: AtomicU32,
}

/// Spreads serials, which nobody chooses: they count up.
#[derive(Default)]
struct OfSerial(u64);

impl Hasher for OfSerial {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("serials are hashed as a whole");
    }

    fn write_u64(&mut self, serial: u64) {
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4). The lowest bits are those of the part, equal for all of it, so the
        // best ones, which are the highest, take their place.
        self.0 = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| RwLock::default()).collect(), count: AtomicU32::new(0) }
    }
}

impl Processes {
    /// Adds a process unless there are `limit` already.
    pub(super) fn add(&self, serial: u64, process: Arc<dyn Process>, limit: u32) -> bool {
        if self.count.fetch_add(1, Ordering::Relaxed) >= limit {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.part(serial).write().unwrap_or_else(PoisonError::into_inner).insert(serial, process);
        true
    }

    pub(super) fn remove(&self, serial: u64) {
        let mut part = self.part(serial).write().unwrap_or_else(PoisonError::into_inner);
        let removed = part.remove(&serial);
        if removed.is_some() {
            // Under the lock: whoever finds the process gone finds it counted off.
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        drop(part);
        // Without the lock: it may be the last owner.
        drop(removed);
    }

    pub(super) fn get(&self, serial: u64) -> Option<Arc<dyn Process>> {
        self.part(serial).read().unwrap_or_else(PoisonError::into_inner).get(&serial).cloned()
    }

    /// Lists all in the order of their start. Those that start or end meanwhile may be missing.
    pub(super) fn all(&self) -> Vec<Arc<dyn Process>> {
        let mut all: Vec<(u64, Arc<dyn Process>)> = Vec::new();
        for part in &self.parts {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(part.iter().map(|(serial, process)| (*serial, Arc::clone(process))));
        }
        all.sort_unstable_by_key(|(serial, _)| *serial);
        all.into_iter().map(|(_, process)| process).collect()
    }

    /// Empties the table, and returns what was in it.
    pub(super) fn take_all(&self) -> Vec<Arc<dyn Process>> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.write().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, process)| process));
        }
        self.count.fetch_sub(all.len() as u32, Ordering::Relaxed);
        all
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    const fn part(&self, serial: u64) -> &RwLock<Part> {
        &self.parts[serial as usize % PARTS]
    }
}
