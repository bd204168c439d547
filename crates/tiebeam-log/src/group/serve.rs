//! What a replica answers to other nodes.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::SnapshotResponse;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tiebeam_wire::{NodeId, codec};

use crate::StateMachine;
use crate::group::{Core, LINEARIZE_TIMEOUT, ProposeError};
use crate::machine::openraft_snapshot;
use crate::network::{Kind, SnapshotChunk, WIRE_VERSION};
use crate::type_config::{RaftTypes, Vote};

/// The largest snapshot that a replica takes, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// How long a leader tries to commit somebody's proposal before it says that it can't. The proposal may still commit.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A snapshot of which some chunks have arrived.
#[derive(Debug)]
pub(crate) struct Incoming {
    vote: Vote,
    data: BytesMut,
}

/// A replica's answer to a proposal or a query.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum GroupReply {
    /// The state machine's answer.
    Done(Bytes),
    /// Not this replica's business; ask the named node, if any.
    NotLeader(Option<NodeId>),
    /// The replica can't say; the outcome of a proposal is unknown.
    Unavailable(String),
}

impl<S: StateMachine> Core<S> {
    pub(crate) async fn serve_raft(&self, kind: Kind, body: &[u8]) -> Result<Bytes, String> {
        let raft = self.raft();
        match kind {
            Kind::Append => answer(raft.append_entries(request(body)?).await),
            Kind::Vote => answer(raft.vote(request(body)?).await),
            Kind::PreVote => answer(raft.pre_vote(request(body)?).await),
            Kind::SnapshotChunk => answer(self.take_chunk(request(body)?).await?),
            Kind::TransferLeader => answer(raft.handle_transfer_leader(request(body)?).await.map_err(RaftError::Fatal)),
            Kind::Propose | Kind::Query => Err("not a request of Raft's".to_owned()),
        }
    }

    pub(crate) async fn serve_group(&self, kind: Kind, body: Bytes) -> Result<Bytes, String> {
        let reply = match kind {
            Kind::Propose => match tiebeam_world::timeout(PROPOSE_TIMEOUT, self.propose(body)).await {
                Ok(result) => reply_of(result),
                Err(_) => GroupReply::Unavailable("no quorum in time".to_owned()),
            },
            Kind::Query => {
                let linear = self.linearize(openraft::ReadPolicy::ReadIndex);
                match tiebeam_world::timeout(LINEARIZE_TIMEOUT, linear).await {
                    Ok(result) => reply_of(result.map(|()| self.shared.read().query(&body))),
                    Err(_) => GroupReply::Unavailable("no quorum in time".to_owned()),
                }
            }
            _ => return Err("not a proposal and not a query".to_owned()),
        };
        Ok(codec::encode(WIRE_VERSION, &reply).into())
    }

    async fn take_chunk(
        &self,
        chunk: SnapshotChunk,
    ) -> Result<Result<SnapshotResponse<RaftTypes>, RaftError<RaftTypes>>, String> {
        let complete = {
            let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
            if chunk.offset == 0 {
                if chunk.bytes_total > SNAPSHOT_BYTES_MAX {
                    let total = chunk.bytes_total;
                    return Err(format!("snapshot has {total} bytes, more than the limit of {SNAPSHOT_BYTES_MAX}"));
                }
                *incoming = Some(Incoming { vote: chunk.vote, data: BytesMut::new() });
            }
            let Some(so_far) = incoming.as_mut() else {
                return Err("snapshot chunk without a beginning".to_owned());
            };
            if so_far.vote != chunk.vote || so_far.data.len() as u64 != chunk.offset {
                return Err(format!("snapshot chunk at {}, expected {}", chunk.offset, so_far.data.len()));
            }
            so_far.data.extend_from_slice(&chunk.data);
            if (so_far.data.len() as u64) < chunk.bytes_total {
                return Ok(Ok(SnapshotResponse::new(chunk.vote)));
            }
            incoming.take().expect("it was there a line ago").data.freeze()
        };
        let snapshot = openraft_snapshot(&chunk.meta, complete);
        Ok(self.raft().install_full_snapshot(chunk.vote, snapshot).await.map_err(RaftError::Fatal))
    }
}

fn reply_of(result: Result<Bytes, ProposeError>) -> GroupReply {
    match result {
        Ok(bytes) => GroupReply::Done(bytes),
        Err(ProposeError::NotLeader { leader, .. }) => GroupReply::NotLeader(leader),
        Err(error @ ProposeError::Stopped { .. }) => GroupReply::Unavailable(error.to_string()),
    }
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    codec::decode(WIRE_VERSION, body).map_err(|e| format!("request can't be decoded: {e}"))
}

fn answer<T: Serialize>(result: Result<T, RaftError<RaftTypes>>) -> Result<Bytes, String> {
    // A core that was stopped sends no fatal error abroad: its cause is this node's, and the peer treats any text as
    // "away".
    if let Err(RaftError::Fatal(fatal @ (Fatal::Panicked | Fatal::Stopped))) = &result {
        return Err(fatal.to_string());
    }
    Ok(codec::encode(WIRE_VERSION, &result).into())
}
