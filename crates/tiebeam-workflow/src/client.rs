//! Starts instances and asks after them, from any node.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use tiebeam_log::{Client, ClientError, Route};
use tiebeam_wire::checksum::crc32c;
use tiebeam_wire::codec::DecodeError;

use crate::command::{Command, Refusal, Reply};
use crate::event::Event;
use crate::limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, PARTITIONS};
use crate::query::{Answer, Counts, InstanceView, Query, Status};

/// The partition of an instance: CRC-32C of its id, modulo [`PARTITIONS`]. Fixed for ever.
#[must_use]
pub fn partition_of(id: &str) -> u32 {
    crc32c(id.as_bytes()) % PARTITIONS
}

/// An instance to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInstance {
    /// Names the instance in the whole cluster; a start with an id that exists changes nothing.
    pub id: String,
    /// Names the code.
    pub definition: String,
    /// What the code is given.
    pub input: Bytes,
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The instance was begun.
    Now,
    /// It was begun before, by somebody else or by an earlier attempt of this very call.
    Before(Status),
}

/// Why an instance was not, or not knowingly, started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The partition refused; it will again.
    #[error("start of instance {id} was refused")]
    Refused {
        /// Which instance.
        id: String,
        /// Which rule it breaks.
        #[source]
        refusal: Refusal,
    },
    /// No outcome in time: it may have been started or not. Starting it again is safe.
    #[error("start of instance {id} has no outcome: {reason}")]
    Unknown {
        /// Which instance.
        id: String,
        /// What the partition's client said.
        reason: String,
    },
}

/// Why a question or a resumption has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkflowsError {
    /// The partition gave no answer in time.
    #[error("workflow partition {partition} gave no answer")]
    Client {
        /// The partition.
        partition: u32,
        /// What its client said.
        #[source]
        source: ClientError,
    },
    /// The partition's answer can't be read.
    #[error("answer of workflow partition {partition} can't be decoded")]
    Decode {
        /// The partition.
        partition: u32,
        /// What was wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The partition's answer is none to this question.
    #[error("workflow partition {partition} gave an unexpected answer: {answer}")]
    Unexpected {
        /// The partition.
        partition: u32,
        /// The answer, for people.
        answer: String,
    },
}

/// A client of all workflow partitions. Cheap to clone; works on every member of the cluster.
#[derive(Clone, Debug)]
pub struct Workflows {
    client: Client,
    routes: Vec<Route>,
    timeout: Duration,
}

impl Workflows {
    /// Makes a client. `routes` holds one route per partition, in order; an operation on one partition takes at most
    /// `timeout`.
    ///
    /// # Panics
    /// If there are not [`PARTITIONS`] routes.
    #[must_use]
    pub fn new(client: Client, routes: Vec<Route>, timeout: Duration) -> Self {
        assert_eq!(routes.len(), PARTITIONS as usize, "one route per workflow partition");
        Self { client, routes, timeout }
    }

    /// Starts an instance and waits until that is durable.
    ///
    /// Idempotent: an instance of that id is begun at most once, however often this is called.
    ///
    /// # Errors
    /// [`StartError`]; only [`StartError::Unknown`] is worth another try.
    pub async fn start(&self, id: &str, definition: &str, input: impl Into<Bytes>) -> Result<Started, StartError> {
        let new = NewInstance { id: id.to_owned(), definition: definition.to_owned(), input: input.into() };
        self.start_many(vec![new]).await.pop().expect("one result for each")
    }

    /// Starts many instances, those of one partition together in few log entries. The results are in the order of
    /// `instances`.
    pub async fn start_many(&self, instances: Vec<NewInstance>) -> Vec<Result<Started, StartError>> {
        let count = instances.len();
        let mut by_partition: BTreeMap<u32, Vec<(usize, NewInstance)>> = BTreeMap::new();
        for (at, new) in instances.into_iter().enumerate() {
            by_partition.entry(partition_of(&new.id)).or_default().push((at, new));
        }
        let all = by_partition.into_iter().map(|(partition, items)| self.start_in(partition, items));
        let mut results: Vec<(usize, Result<Started, StartError>)> =
            join_all(all).await.into_iter().flatten().collect();
        results.sort_by_key(|(at, _)| *at);
        assert_eq!(results.len(), count, "one result for each instance");
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Lets a stuck instance go on; says what the partition answered.
    ///
    /// # Errors
    /// [`WorkflowsError`]; trying again is safe.
    pub async fn resume(&self, id: &str) -> Result<Reply, WorkflowsError> {
        let partition = partition_of(id);
        let command = Command::Resume { id: id.to_owned() };
        self.propose(partition, &command).await
    }

    /// Looks an instance up; none if there is no such instance or it was forgotten.
    ///
    /// # Errors
    /// [`WorkflowsError`]
    pub async fn status(&self, id: &str) -> Result<Option<InstanceView>, WorkflowsError> {
        match self.ask(partition_of(id), &Query::Instance { id: id.to_owned() }).await? {
            Answer::Instance(view) => Ok(view),
            other => Err(unexpected(partition_of(id), &other)),
        }
    }

    /// Adds up what all partitions counted. Each count is exact, but they are not read at one moment.
    ///
    /// # Errors
    /// [`WorkflowsError`] of the first partition that failed.
    pub async fn counts(&self) -> Result<Counts, WorkflowsError> {
        let each = (0..PARTITIONS).map(|partition| self.counts_of(partition));
        Ok(try_join_all(each).await?.into_iter().fold(Counts::default(), Counts::plus))
    }

    /// Asks what one partition counted.
    ///
    /// # Errors
    /// [`WorkflowsError`]
    pub async fn counts_of(&self, partition: u32) -> Result<Counts, WorkflowsError> {
        match self.ask(partition, &Query::Counts).await? {
            Answer::Counts(counts) => Ok(counts),
            other => Err(unexpected(partition, &other)),
        }
    }

    /// Lists unfinished instances of a partition in order of id, those after `after`, at most `limit` (capped at
    /// [`crate::limits::PAGE_MAX`]). Empty after the last.
    ///
    /// # Errors
    /// [`WorkflowsError`]
    pub async fn unfinished(
        &self,
        partition: u32,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<InstanceView>, WorkflowsError> {
        match self.ask(partition, &Query::Unfinished { after, limit }).await? {
            Answer::Unfinished(page) => Ok(page),
            other => Err(unexpected(partition, &other)),
        }
    }

    /// Reads events of an unfinished instance's journal from position `from` on, at most `limit`. Empty after the last.
    ///
    /// # Errors
    /// [`WorkflowsError`]
    pub async fn journal(&self, id: &str, from: u32, limit: u32) -> Result<Vec<Event>, WorkflowsError> {
        match self.ask(partition_of(id), &Query::Journal { id: id.to_owned(), from, limit }).await? {
            Answer::Journal(events) => Ok(events),
            other => Err(unexpected(partition_of(id), &other)),
        }
    }

    async fn start_in(
        &self,
        partition: u32,
        items: Vec<(usize, NewInstance)>,
    ) -> Vec<(usize, Result<Started, StartError>)> {
        let mut results = Vec::with_capacity(items.len());
        for chunk in chunks(items) {
            let ids: Vec<(usize, String)> = chunk.iter().map(|(at, new)| (*at, new.id.clone())).collect();
            let commands = chunk.into_iter().map(|(_, NewInstance { id, definition, input })| Command::Start {
                id,
                definition,
                input,
            });
            let reply = self.propose(partition, &Command::Batch(commands.collect())).await;
            match reply {
                Ok(Reply::Batch(replies)) if replies.len() == ids.len() => {
                    let each = ids.into_iter().zip(replies);
                    results.extend(each.map(|((at, id), reply)| (at, started(id, reply))));
                }
                other => {
                    let reason = match other {
                        Ok(reply) => format!("unexpected reply {reply:?}"),
                        Err(error) => chain(&error),
                    };
                    let each = ids.into_iter();
                    results.extend(each.map(|(at, id)| (at, Err(StartError::Unknown { id, reason: reason.clone() }))));
                }
            }
        }
        results
    }

    async fn propose(&self, partition: u32, command: &Command) -> Result<Reply, WorkflowsError> {
        let route = &self.routes[partition as usize];
        let reply = self.client.propose(route, command.encode(), self.timeout).await;
        let reply = reply.map_err(|source| WorkflowsError::Client { partition, source })?;
        Reply::decode(&reply).map_err(|source| WorkflowsError::Decode { partition, source })
    }

    async fn ask(&self, partition: u32, query: &Query) -> Result<Answer, WorkflowsError> {
        let Some(route) = self.routes.get(partition as usize) else {
            let answer = format!("there are {PARTITIONS} partitions, from 0");
            return Err(WorkflowsError::Unexpected { partition, answer });
        };
        let answer = self.client.query(route, &query.encode(), self.timeout).await;
        let answer = answer.map_err(|source| WorkflowsError::Client { partition, source })?;
        Answer::decode(&answer).map_err(|source| WorkflowsError::Decode { partition, source })
    }
}

fn started(id: String, reply: Reply) -> Result<Started, StartError> {
    match reply {
        Reply::Started => Ok(Started::Now),
        Reply::AlreadyStarted { status } => Ok(Started::Before(status)),
        Reply::Refused(refusal) => Err(StartError::Refused { id, refusal }),
        other => Err(StartError::Unknown { id, reason: format!("unexpected reply {other:?}") }),
    }
}

fn unexpected(partition: u32, answer: &Answer) -> WorkflowsError {
    WorkflowsError::Unexpected { partition, answer: format!("{answer:?}") }
}

fn chain(error: &dyn std::error::Error) -> String {
    let first = error.to_string();
    std::iter::successors(error.source(), |e| e.source()).fold(first, |text, cause| format!("{text}: {cause}"))
}

/// Cuts `items` into runs that each fit into one log entry.
fn chunks(items: Vec<(usize, NewInstance)>) -> Vec<Vec<(usize, NewInstance)>> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (at, new) in items {
        let size = new.id.len() + new.definition.len() + new.input.len();
        if !chunk.is_empty() && (bytes + size > BATCH_BYTES_MAX || chunk.len() == BATCH_COMMANDS_MAX) {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push((at, new));
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: with another hash, a cluster would look for its instances in the wrong place.
    #[test]
    fn partition_of_an_id_never_changes() {
        let ids = ["", "a", "flight-1", "2013-01-01/UA/1545/EWR"];
        assert_eq!(ids.map(partition_of), [0, 0, 14, 15]);
    }

    #[test]
    fn ids_spread_over_all_partitions() {
        let mut counts = [0_u32; PARTITIONS as usize];
        (0..16_000).for_each(|n| counts[partition_of(&format!("order-{n}")) as usize] += 1);
        assert!(counts.iter().all(|n| (800..1_200).contains(n)), "{counts:?}");
    }

    #[test]
    fn chunks_respect_both_limits_and_lose_nothing() {
        let new = |n: usize, bytes: usize| {
            (n, NewInstance { id: n.to_string(), definition: "d".to_owned(), input: vec![0; bytes].into() })
        };
        let many = chunks((0..2_500).map(|n| new(n, 0)).collect());
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [1_024, 1_024, 452]);
        let large = chunks((0..10).map(|n| new(n, 300_000)).collect());
        assert_eq!(large.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        let flat: Vec<usize> = large.into_iter().flatten().map(|(at, _)| at).collect();
        assert_eq!(flat, (0..10).collect::<Vec<_>>());
    }
}
