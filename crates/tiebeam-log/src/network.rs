//! Raft's own requests between the replicas of a group.
//!
//! A request is `[group: u64 le][kind: u8][body]`, an answer the encoded `Result` of openraft's handler or nothing
//! but an error text from the transport. A snapshot travels in chunks, since a frame has a limit and a state has not.

use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tiebeam_wire::{GroupId, NodeId, codec};

use crate::machine::Meta;
use crate::transport::{Channel, Transport, TransportError};
use crate::type_config::{Member, RaftTypes, Snapshot, Vote};

pub(crate) const WIRE_VERSION: u8 = 1;
const SNAPSHOT_CHUNK_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Append = 1,
    Vote = 2,
    PreVote = 3,
    SnapshotChunk = 4,
    TransferLeader = 5,
    Propose = 6,
    Query = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Append,
            Self::Vote,
            Self::PreVote,
            Self::SnapshotChunk,
            Self::TransferLeader,
            Self::Propose,
            Self::Query,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Puts the group and the kind before `body`.
pub(crate) fn envelope(group: GroupId, kind: Kind, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + body.len());
    bytes.put_u64_le(group.0);
    bytes.put_u8(kind as u8);
    bytes.put_slice(body);
    bytes.freeze()
}

/// Takes apart what [`envelope`] made; `None` if it is too short or of no known kind.
pub(crate) fn open_envelope(mut bytes: Bytes) -> Option<(GroupId, Kind, Bytes)> {
    if bytes.len() < 9 {
        return None;
    }
    let body = bytes.split_off(9);
    let group = u64::from_le_bytes(bytes[..8].try_into().ok()?);
    Some((GroupId(group), Kind::from_byte(bytes[8])?, body))
}

/// One piece of a snapshot, sent in order; the last one makes the receiver install it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotChunk {
    pub(crate) vote: Vote,
    pub(crate) meta: Meta,
    pub(crate) bytes_total: u64,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

/// Makes clients for the replicas of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) group: GroupId,
    pub(crate) transport: Arc<dyn Transport>,
}

impl RaftNetworkFactory<RaftTypes> for Network {
    type Network = Replica;

    async fn new_client(&mut self, target: u64, _: &Member) -> Replica {
        Replica { group: self.group, target: NodeId(target), transport: Arc::clone(&self.transport) }
    }
}

/// Talks to one replica of one group.
pub(crate) struct Replica {
    group: GroupId,
    target: NodeId,
    transport: Arc<dyn Transport>,
}

type Refused = RaftError<RaftTypes>;

impl Replica {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        request: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<RaftTypes>> {
        let body = envelope(self.group, kind, &codec::encode(WIRE_VERSION, request));
        let answer = self.transport.request(self.target, Channel::Raft, body, option.hard_ttl());
        let bytes = answer.await.map_err(rpc_error)?;
        // The peer's core is stopped or busy restarting: to the caller no better than a peer that is away.
        let answer: Result<A, Refused> =
            codec::decode(WIRE_VERSION, &bytes).map_err(|e| RPCError::Network(NetworkError::new(&e)))?;
        answer.map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }
}

fn rpc_error(error: TransportError) -> RPCError<RaftTypes> {
    match error {
        TransportError::Timeout(_) => RPCError::Network(NetworkError::new(&error)),
        TransportError::Unreachable(_) | TransportError::Refused { .. } => {
            RPCError::Unreachable(Unreachable::new(&error))
        }
    }
}

impl RaftNetworkV2<RaftTypes> for Replica {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<RaftTypes>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftTypes>, RPCError<RaftTypes>> {
        self.ask(Kind::Append, &rpc, &option).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<RaftTypes>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftTypes>, RPCError<RaftTypes>> {
        self.ask(Kind::Vote, &rpc, &option).await
    }

    // The default grants without asking, which would make pre-vote a formality.
    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<RaftTypes>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftTypes>, RPCError<RaftTypes>> {
        self.ask(Kind::PreVote, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<RaftTypes>, StreamingError<RaftTypes>> {
        let send = async {
            let meta =
                Meta { last_log_id: snapshot.meta.last_log_id, membership: snapshot.meta.last_membership.clone() };
            let data = snapshot.snapshot;
            let mut offset = 0;
            loop {
                let end = data.len().min(offset + SNAPSHOT_CHUNK_BYTES);
                let chunk = SnapshotChunk {
                    vote,
                    meta: meta.clone(),
                    bytes_total: data.len() as u64,
                    offset: offset as u64,
                    data: data.slice(offset..end),
                };
                let response: SnapshotResponse<RaftTypes> = self.ask(Kind::SnapshotChunk, &chunk, &option).await?;
                // A greater vote means that this leader is deposed: no use in sending the rest.
                if end == data.len() || response.vote > vote {
                    return Ok(response);
                }
                offset = end;
            }
        };
        futures::pin_mut!(send, cancel);
        match futures::future::select(send, cancel).await {
            futures::future::Either::Left((result, _)) => result,
            futures::future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<RaftTypes>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<RaftTypes>, RPCError<RaftTypes>> {
        self.ask(Kind::TransferLeader, &req, &option).await
    }
}
