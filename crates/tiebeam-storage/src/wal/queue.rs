use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;

use bytes::Bytes;

use super::group::Group;
use super::{Config, Entry, QUEUE_BATCHES_MAX, StateSlot, WriteError};

/// Told once whether a write is on the disk.
pub(crate) type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// What a write changes.
#[derive(Debug)]
pub(crate) enum Change {
    Append(Vec<Entry>),
    State(StateSlot, Bytes),
    Truncate {
        after: u64,
    },
    Purge {
        upto: u64,
        value: Bytes,
    },
    Remove,
    /// Changes nothing, is done when all writes before it are.
    Barrier,
}

/// A change of one group that waits for the writer.
pub(crate) struct Write {
    pub(crate) group: Arc<Group>,
    pub(crate) change: Change,
    /// What it takes in a segment.
    pub(crate) bytes: u64,
    pub(crate) done: Done,
}

impl Write {
    fn is_lazy(&self) -> bool {
        matches!(self.change, Change::State(slot, _) if slot.is_lazy())
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("group", &self.group.id).field("change", &self.change).finish_non_exhaustive()
    }
}

/// The bounded queue between all groups and the one writer.
///
/// A caller reserves room before it locks its group and pushes while it holds that lock: the order in the queue is then
/// the order in memory, and nobody waits for the writer while holding what the writer needs.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
    writes_max: usize,
    bytes_max: u64,
    batch_bytes_max: u64,
    writer: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct State {
    writes: VecDeque<Write>,
    /// Writes that wait or have room reserved, and their bytes.
    reserved: usize,
    reserved_bytes: u64,
    /// Writes that wait and are not lazy.
    urgent: usize,
    closed: bool,
    failure: Option<WriteError>,
}

impl State {
    fn refusal(&self) -> Option<WriteError> {
        self.failure.clone().or_else(|| self.closed.then_some(WriteError::Closed))
    }
}

impl Queue {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            drained: Condvar::new(),
            writes_max: config.queue_writes_max,
            bytes_max: (config.batch_bytes_max as u64).saturating_mul(QUEUE_BATCHES_MAX as u64),
            batch_bytes_max: config.batch_bytes_max as u64,
            writer: OnceLock::new(),
        }
    }

    /// Waits until there is room for a write of `bytes` and takes it.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), WriteError> {
        // The writer makes room only after its callbacks: one that writes would wait for itself, so it goes beyond the
        // limit instead, by one write per callback.
        let waits = self.writer.get() != Some(&std::thread::current().id());
        let mut state = self.lock();
        loop {
            if let Some(error) = state.refusal() {
                return Err(error);
            }
            let room = state.reserved < self.writes_max && state.reserved_bytes.saturating_add(bytes) <= self.bytes_max;
            if room || state.reserved == 0 || !waits {
                break;
            }
            state = self.drained.wait(state).expect(LOCK_HOLDS);
        }
        state.reserved += 1;
        state.reserved_bytes += bytes;
        Ok(())
    }

    /// Gives back room that was reserved but not used.
    pub(crate) fn release(&self, bytes: u64) {
        let mut state = self.lock();
        state.reserved -= 1;
        state.reserved_bytes -= bytes;
        drop(state);
        self.drained.notify_all();
    }

    /// Queues `write`, for which room was reserved.
    pub(crate) fn push(&self, write: Write) -> Result<(), WriteError> {
        let mut state = self.lock();
        if let Some(error) = state.refusal() {
            return Err(error);
        }
        state.urgent += usize::from(!write.is_lazy());
        state.writes.push_back(write);
        let wake = self.is_due(&state);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits until something is to be written and takes one batch; `None` when the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Write>> {
        let mut state = self.lock();
        while !self.is_due(&state) && !state.closed {
            state = self.filled.wait(state).expect(LOCK_HOLDS);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(write) = state.writes.front() {
            if !batch.is_empty() && bytes + write.bytes > self.batch_bytes_max {
                break;
            }
            bytes += write.bytes;
            state.urgent -= usize::from(!write.is_lazy());
            batch.extend(state.writes.pop_front());
        }
        state.reserved -= batch.len();
        state.reserved_bytes -= bytes;
        drop(state);
        self.drained.notify_all();
        (!batch.is_empty()).then_some(batch)
    }

    /// Refuses further writes; those that wait are still taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Stops for good and returns what waited. The first error is kept.
    pub(crate) fn fail(&self, error: WriteError) -> Vec<Write> {
        let mut state = self.lock();
        state.failure.get_or_insert(error);
        state.urgent = 0;
        let writes = state.writes.drain(..).collect();
        drop(state);
        self.drained.notify_all();
        writes
    }

    pub(crate) fn failure(&self) -> Option<WriteError> {
        self.lock().failure.clone()
    }

    /// Says that this thread is the writer.
    pub(crate) fn writer_is_here(&self) {
        // Set once, by the only writer there ever is.
        let _ = self.writer.set(std::thread::current().id());
    }

    /// Lazy writes alone are not worth a sync, until they take half of the room.
    fn is_due(&self, state: &State) -> bool {
        state.urgent > 0 || state.writes.len() >= self.writes_max.div_ceil(2)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(LOCK_HOLDS)
    }
}

const LOCK_HOLDS: &str = "no code panics while it holds the queue";
