use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use tiebeam_storage::fault::MemDisk;
use tiebeam_storage::{Config, Entry, GroupLog, OpenError, Recovered, StateSlot, Wal, WriteError};
use tiebeam_wire::GroupId;

pub(crate) const GROUP: GroupId = GroupId(7);
pub(crate) const FIRST_SEGMENT: &str = "/node/wal/00000000000000000001.wal";

/// Small limits, so that short workloads roll segments and read from disk.
pub(crate) fn config() -> Config {
    Config {
        segment_bytes_max: 700,
        batch_bytes_max: 400,
        queue_writes_max: 64,
        cache_bytes_max: 0,
        ..Config::new("/node")
    }
}

/// Limits that a test never reaches: one segment.
pub(crate) fn roomy() -> Config {
    Config::new("/node")
}

pub(crate) fn open(disk: &MemDisk) -> Wal {
    try_open(disk).expect("the disk is sound").0
}

pub(crate) fn try_open(disk: &MemDisk) -> Result<(Wal, Recovered), OpenError> {
    Wal::open(config(), Arc::new(disk.clone()))
}

pub(crate) fn open_roomy(disk: &MemDisk) -> Result<(Wal, Recovered), OpenError> {
    Wal::open(roomy(), Arc::new(disk.clone()))
}

type Answer = Result<(), WriteError>;

/// Makes a write and waits for its answer.
pub(crate) fn wait(write: impl FnOnce(Box<dyn FnOnce(Answer) + Send>) -> Answer) -> Answer {
    let (sender, receiver) = mpsc::channel();
    write(Box::new(move |answer| sender.send(answer).expect("the test waits")))?;
    receiver.recv().expect("every accepted write is answered")
}

pub(crate) fn entry(index: u64, payload: impl Into<Bytes>) -> Entry {
    Entry { index, payload: payload.into() }
}

pub(crate) fn append(log: &GroupLog, payloads: &[&'static str]) -> Answer {
    let entries = (log.last_index() + 1..).zip(payloads).map(|(index, payload)| entry(index, *payload)).collect();
    wait(|done| log.append(entries, done))
}

/// Returns the payloads of all entries.
pub(crate) fn payloads(log: &GroupLog) -> Vec<String> {
    let entries = log.read(log.first_index()..u64::MAX, usize::MAX).expect("all entries can be read");
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.payload).into_owned()).collect()
}

/// The naive log: what a group should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupModel {
    pub(crate) purged: u64,
    pub(crate) entries: Vec<Bytes>,
    pub(crate) slots: BTreeMap<StateSlot, Bytes>,
}

pub(crate) type Model = BTreeMap<GroupId, GroupModel>;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append { group: u64, count: u64, bytes: usize },
    Truncate { group: u64, back: u64 },
    Purge { group: u64, ahead: u64 },
    Put { group: u64, slot: StateSlot },
    Remove { group: u64 },
}

impl Op {
    /// Draws an operation; `random` are 64 random bits.
    pub(crate) fn draw(random: u64) -> Self {
        let group = 1 + (random >> 8) % 3;
        let small = (random >> 16) % 8;
        let bytes = usize::try_from((random >> 24) % 150).expect("small");
        match random % 16 {
            0..=6 => Self::Append { group, count: 1 + small % 4, bytes },
            7..=8 => Self::Truncate { group, back: small % 5 },
            9..=11 => Self::Purge { group, ahead: small },
            12..=13 => Self::Put { group, slot: StateSlot::Vote },
            14 => Self::Put { group, slot: StateSlot::Committed },
            _ => Self::Remove { group },
        }
    }

    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self, Self::Put { slot, .. } if slot.is_lazy())
    }

    fn group(&self) -> GroupId {
        let (Self::Append { group, .. }
        | Self::Truncate { group, .. }
        | Self::Purge { group, .. }
        | Self::Put { group, .. }
        | Self::Remove { group }) = self;
        GroupId(*group)
    }

    /// Does it to the model and to the log. `version` tells this operation's payloads from all others.
    pub(crate) fn apply(
        &self,
        version: u64,
        model: &mut Model,
        wal: &Wal,
        done: impl FnOnce(Answer) + Send + 'static,
    ) -> Answer {
        let (id, log) = (self.group(), wal.group(self.group()));
        let value = Bytes::from(format!("v{version}"));
        let last = |group: &GroupModel| group.purged + group.entries.len() as u64;
        let known = model.get(&id).cloned().unwrap_or_default();
        match self {
            Self::Append { count, bytes, .. } => {
                let group = model.entry(id).or_default();
                let first = last(group) + 1;
                let text = |index| Bytes::from(format!("{id}/{index}/v{version}{}", ".".repeat(*bytes)));
                group.entries.extend((first..first + count).map(text));
                log.append((first..first + count).map(|index| entry(index, text(index))).collect(), done)
            }
            Self::Truncate { back, .. } => {
                let after = last(&known).saturating_sub(*back);
                if let Some(group) = model.get_mut(&id) {
                    group.entries.truncate(usize::try_from(after.saturating_sub(group.purged)).expect("small"));
                }
                log.truncate_after(after, done)
            }
            Self::Purge { ahead, .. } => {
                let upto = known.purged + ahead;
                if *ahead > 0 {
                    let group = model.entry(id).or_default();
                    group.entries.drain(..group.entries.len().min(usize::try_from(*ahead).expect("small")));
                    group.purged = upto;
                    group.slots.insert(StateSlot::Purged, value.clone());
                }
                log.purge(upto, value, done)
            }
            Self::Put { slot, .. } => {
                model.entry(id).or_default().slots.insert(*slot, value.clone());
                log.put_state(*slot, value, done)
            }
            Self::Remove { .. } => {
                model.remove(&id);
                log.remove(done)
            }
        }
    }
}

/// Reads everything that the log holds.
pub(crate) fn observe(wal: &Wal) -> Model {
    wal.groups().into_iter().map(|id| (id, observe_group(&wal.group(id)))).collect()
}

fn observe_group(log: &GroupLog) -> GroupModel {
    let first = log.first_index();
    let entries = log.read(first..u64::MAX, usize::MAX).expect("all entries can be read");
    assert_eq!(log.last_index(), first - 1 + entries.len() as u64);
    assert!((first..).zip(&entries).all(|(index, entry)| entry.index == index), "indexes are consecutive");
    let slots = [StateSlot::Vote, StateSlot::Committed, StateSlot::Purged];
    GroupModel {
        purged: first - 1,
        entries: entries.into_iter().map(|entry| entry.payload).collect(),
        slots: slots.into_iter().filter_map(|slot| Some((slot, log.state(slot)?))).collect(),
    }
}
