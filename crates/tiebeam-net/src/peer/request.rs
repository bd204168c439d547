//! One question and one answer on a stream of their own.
//!
//! The opener writes `[service u16][length u32][body]`, the other answers `[status u8][length u32][body]`; big-endian.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, Inner};
use crate::Service;
use crate::quic::{ReadError, ReadExactError, RecvStream, WriteError};

/// Why a peer gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection was lost; whether the peer acted on the request is unknown.
    #[error("connection was lost")]
    Lost,
    /// The peer doesn't admit this node's role to the service. Nothing was done.
    #[error("peer forbids the service to this node's role")]
    Forbidden,
    /// The peer doesn't serve it. Nothing was done.
    #[error("peer doesn't serve this")]
    NoService,
    /// The peer's handler failed, in its own words.
    #[error("{0}")]
    Failed(String),
    /// The request (then it was not sent) or its answer is larger than [`FRAME_BYTES_MAX`].
    #[error("body has {size} bytes, more than the limit of {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// As many requests as are allowed are under way or wait. Nothing was sent.
    #[error("{limit} requests wait already")]
    Overloaded {
        /// The limit.
        limit: usize,
    },
}

/// How an answer begins. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    Failed = 1,
    Forbidden = 2,
    NoService = 3,
    TooLarge = 4,
}

impl Status {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Ok,
            1 => Self::Failed,
            2 => Self::Forbidden,
            3 => Self::NoService,
            4 => Self::TooLarge,
            _ => return None,
        })
    }
}

pub(super) async fn request(peer: &Inner, service: Service, body: Bytes) -> Result<Bytes, RequestError> {
    if body.len() > FRAME_BYTES_MAX {
        return Err(RequestError::TooLarge { size: body.len() });
    }
    let _place = Place::take(&peer.requests, peer.requests_max)?;
    let streams = if service == Service::RAFT { &peer.raft_streams } else { &peer.request_streams };
    let _stream = streams.acquire().await.map_err(|_| RequestError::Lost)?;
    let (mut send, mut recv) = peer.connection.open_bi().await.map_err(|_| RequestError::Lost)?;
    let size = u32::try_from(body.len()).expect("checked against the limit");
    let [s0, s1] = service.0.to_be_bytes();
    let [l0, l1, l2, l3] = size.to_be_bytes();
    let header = Bytes::copy_from_slice(&[s0, s1, l0, l1, l2, l3]);
    // A peer that refuses stops the stream while it is written; its answer says why.
    match send.write_all_chunks(&mut [header, body]).await {
        Ok(()) | Err(WriteError::Stopped(_)) => {}
        Err(_) => return Err(RequestError::Lost),
    }
    send.finish();
    let answer = answer(&mut recv).await;
    if answer == Err(RequestError::Forbidden) {
        tracing::warn!(peer = %peer.identity, %service, "refused by a peer: role forbids the service");
    }
    answer
}

async fn answer(recv: &mut RecvStream) -> Result<Bytes, RequestError> {
    let mut header = [0; 5];
    recv.read_exact(&mut header).await.map_err(|_| RequestError::Lost)?;
    let [status, length @ ..] = header;
    let status = Status::from_byte(status).ok_or(RequestError::Lost)?;
    let size = u32::from_be_bytes(length) as usize;
    if status == Status::TooLarge {
        return Err(RequestError::TooLarge { size });
    }
    if size > FRAME_BYTES_MAX {
        return Err(RequestError::TooLarge { size });
    }
    let body = read_body(recv, size).await.map_err(|_| RequestError::Lost)?;
    match status {
        Status::Ok => Ok(body),
        Status::Forbidden => Err(RequestError::Forbidden),
        Status::NoService => Err(RequestError::NoService),
        Status::Failed | Status::TooLarge => Err(RequestError::Failed(String::from_utf8_lossy(&body).into_owned())),
    }
}

/// Reads `size` bytes. Memory grows with what arrives, not with what was announced.
pub(super) async fn read_body(recv: &mut RecvStream, size: usize) -> Result<Bytes, ReadExactError> {
    let mut body = BytesMut::new();
    while body.len() < size {
        match recv.read_chunk(size - body.len()).await.map_err(ReadExactError::ReadError)? {
            // The usual small body is one chunk and needs no copy.
            Some(chunk) if body.is_empty() && chunk.len() == size => return Ok(chunk),
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Err(ReadExactError::FinishedEarly(body.len())),
        }
    }
    Ok(body.freeze())
}

/// Says whether the stream ended because its opener gave up, which is nobody's fault.
pub(super) const fn is_given_up(error: &ReadExactError) -> bool {
    matches!(
        error,
        ReadExactError::FinishedEarly(_)
            | ReadExactError::ReadError(ReadError::Reset(_) | ReadError::ConnectionLost(_))
    )
}

/// A place among the requests to one peer; given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(requests: &'a AtomicUsize, limit: usize) -> Result<Self, RequestError> {
        let place = Self(requests);
        if requests.fetch_add(1, Ordering::Relaxed) < limit {
            Ok(place)
        } else {
            Err(RequestError::Overloaded { limit })
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
