//! A replicated log in memory: one list of commands, any number of replicas, faults at chosen proposals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tiebeam_log::StateMachine;
use tokio::sync::watch;

use crate::command::{Command, Reply};
use crate::event::Event;
use crate::partition::Partition;
use crate::proposer::Lost;
use crate::replica::Replica;

/// What happens to a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    /// The proposer hears of a failure, nothing was committed.
    FailedBefore,
    /// The proposer hears of a failure, but it was committed.
    FailedAfter,
}

type Fates = Box<dyn FnMut(u32) -> Fate + Send>;

struct Log {
    partition: Partition,
    /// Every journal, also of finished instances.
    journals: BTreeMap<String, Vec<Event>>,
    /// Events of each accepted record, in order of acceptance.
    records: Vec<Vec<Event>>,
    proposals: u32,
    fates: Fates,
}

/// One replica's view of the log.
#[derive(Clone)]
pub(super) struct Memory {
    log: Arc<Mutex<Log>>,
    applied: Arc<watch::Sender<u64>>,
    /// The term in which this replica believes that it leads. Writing is allowed to whoever believes so.
    leads: Arc<watch::Sender<Option<u64>>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let log = Log {
            partition: Partition::new(),
            journals: BTreeMap::new(),
            records: Vec::new(),
            proposals: 0,
            fates: Box::new(|_| Fate::Committed),
        };
        Self {
            log: Arc::new(Mutex::new(log)),
            applied: Arc::new(watch::channel(0).0),
            leads: Arc::new(watch::channel(None).0),
        }
    }

    /// Another replica of the same log.
    pub(super) fn replica(&self) -> Self {
        Self { leads: Arc::new(watch::channel(None).0), ..self.clone() }
    }

    pub(super) fn lead(&self, term: u64) {
        self.leads.send_replace(Some(term));
    }

    pub(super) fn depose(&self) {
        self.leads.send_replace(None);
    }

    pub(super) fn fates(&self, fates: impl FnMut(u32) -> Fate + Send + 'static) {
        self.log().fates = Box::new(fates);
    }

    pub(super) fn start(&self, id: &str, definition: &str, input: &[u8]) {
        let input = Bytes::copy_from_slice(input);
        let reply =
            self.apply(&Command::Start { id: id.to_owned(), definition: definition.to_owned(), input }.encode());
        assert_eq!(Reply::decode(&reply).unwrap(), Reply::Started);
    }

    pub(super) fn resume(&self, id: &str) {
        self.apply(&Command::Resume { id: id.to_owned() }.encode());
    }

    pub(super) fn journal(&self, id: &str) -> Vec<Event> {
        self.log().journals.get(id).cloned().unwrap_or_default()
    }

    pub(super) fn records(&self) -> Vec<Vec<Event>> {
        self.log().records.clone()
    }

    pub(super) fn proposals(&self) -> u32 {
        self.log().proposals
    }

    /// Waits until the partition is as `wanted`; fails after ten minutes of virtual time.
    pub(super) async fn until(&self, wanted: impl Fn(&Partition) -> bool) {
        let mut applied = self.applied.subscribe();
        let waited = tiebeam_world::timeout(Duration::from_secs(600), async {
            while !self.read(&wanted) {
                applied.changed().await.unwrap();
            }
        });
        if waited.await.is_err() {
            let log = self.log();
            panic!("never happened; counts {:?}, journals {:#?}", log.partition.counts(), log.journals);
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, command: &Bytes) -> Bytes {
        let mut log = self.log();
        let index = *self.applied.borrow();
        let reply = log.partition.apply(index, command);
        log.partition.check();
        log.note(Command::decode(command).unwrap(), Reply::decode(&reply).unwrap());
        drop(log);
        self.applied.send_replace(index + 1);
        reply
    }
}

impl Log {
    fn note(&mut self, command: Command, reply: Reply) {
        match (command, reply) {
            (Command::Batch(commands), Reply::Batch(replies)) => {
                commands.into_iter().zip(replies).for_each(|(command, reply)| self.note(command, reply));
            }
            (Command::Record { id, events, .. }, Reply::Recorded { position }) => {
                let journal = self.journals.entry(id).or_default();
                if position as usize > journal.len() {
                    journal.extend(events.iter().cloned());
                    self.records.push(events);
                }
            }
            (Command::Resume { id }, Reply::Resumed) => self.journals.entry(id).or_default().push(Event::Resumed),
            _ => {}
        }
    }
}

impl Replica for Memory {
    async fn propose(&self, command: Bytes) -> Result<Bytes, Lost> {
        tiebeam_world::sleep(Duration::from_millis(1)).await;
        if self.leads.borrow().is_none() {
            return Err(Lost("not the leader".to_owned()));
        }
        let fate = {
            let mut log = self.log();
            let number = log.proposals;
            log.proposals += 1;
            (log.fates)(number)
        };
        if fate == Fate::FailedBefore {
            return Err(Lost("failed before commit".to_owned()));
        }
        let reply = self.apply(&command);
        tiebeam_world::sleep(Duration::from_millis(1)).await;
        if fate == Fate::FailedAfter {
            return Err(Lost("failed after commit".to_owned()));
        }
        Ok(reply)
    }

    fn read<T>(&self, read: impl FnOnce(&Partition) -> T) -> T {
        read(&self.log().partition)
    }

    async fn led(&self) -> u64 {
        let mut leads = self.leads.subscribe();
        let term = leads.wait_for(Option::is_some).await.unwrap();
        term.expect("it was waited for")
    }

    async fn deposed(&self, term: u64) {
        let mut leads = self.leads.subscribe();
        leads.wait_for(|now| *now != Some(term)).await.unwrap();
    }

    async fn applied_past(&self, count: u64) -> u64 {
        let mut applied = self.applied.subscribe();
        *applied.wait_for(|now| *now > count).await.unwrap()
    }
}
