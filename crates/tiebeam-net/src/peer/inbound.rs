//! Serves what a peer opens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quinn_proto::VarInt;
use tokio::sync::Semaphore;

use super::lane::FORBIDDEN;
use super::request::{Status, is_given_up, read_body};
use super::{Declined, FRAME_BYTES_MAX, Handler, INBOUND_BYTES_MAX, Peer, close};
use crate::quic::{Connection, RecvStream, SendStream, Taker};
use crate::refusal::{Reason, Refusal};
use crate::{Identity, Service};

/// All that the tasks of one connection share.
struct Inbound {
    connection: Connection,
    identity: Identity,
    ended: Arc<OnceLock<Refusal>>,
    handler: Arc<dyn Handler>,
    /// In KiB.
    memory: Semaphore,
    /// Bytes of answers that the peer has not taken yet.
    answers: AtomicUsize,
    /// Whether it was said already that the peer asks for what its role forbids: once a connection is enough, or the
    /// peer could fill this node's log.
    forbidden_said: AtomicBool,
    /// The same of requests that are too large.
    too_large_said: AtomicBool,
    /// And of answers that it doesn't read.
    unread_said: AtomicBool,
}

pub(super) fn start(peer: &Peer, handler: Arc<dyn Handler>) {
    let inbound = Arc::new(Inbound {
        connection: peer.inner.connection.clone(),
        identity: peer.inner.identity.clone(),
        ended: Arc::clone(&peer.inner.ended),
        handler: Arc::clone(&handler),
        memory: Semaphore::new(INBOUND_BYTES_MAX / 1024),
        answers: AtomicUsize::new(0),
        forbidden_said: AtomicBool::new(false),
        too_large_said: AtomicBool::new(false),
        unread_said: AtomicBool::new(false),
    });
    let (connection, ended) = (peer.inner.connection.clone(), Arc::clone(&peer.inner.ended));
    let take = Box::new(move |lane, frame| {
        // Frames of all peers are handed over by the same few threads, which must not die of one of them; and without it the
        // order has a hole.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| handler.frame(lane, frame))) {
            tracing::error!(?lane, panic = tiebeam_world::panic_message(&*panic), "handler of a frame panicked");
            close(&connection, &ended, Reason::Protocol, "handler of a frame panicked");
        }
    });
    let taker = Arc::new(Taker { identity: peer.inner.identity.clone(), take });
    peer.inner.connection.serve(&taker);
    drop(tiebeam_world::spawn("net.requests", async move {
        inbound.accept_requests().await;
        drop(taker);
    }));
}

impl Inbound {
    /// Ends with the connection. The number of tasks is bounded by the streams that the peer may have open.
    async fn accept_requests(self: Arc<Self>) {
        while let Ok((send, recv)) = self.connection.accept_bi().await {
            drop(tiebeam_world::spawn("net.request", Arc::clone(&self).serve_request(send, recv)));
        }
    }

    async fn serve_request(self: Arc<Self>, mut send: SendStream, mut recv: RecvStream) {
        let mut header = [0; 6];
        if let Err(error) = recv.read_exact(&mut header).await {
            if !is_given_up(&error) {
                self.violated("request has no header");
            }
            return;
        }
        let [s0, s1, length @ ..] = header;
        let service = Service(u16::from_be_bytes([s0, s1]));
        let size = u32::from_be_bytes(length) as usize;
        if !service.admits(self.identity.role) {
            self.forbidden(service);
            recv.stop(FORBIDDEN);
            return answer(&mut send, Status::Forbidden, Bytes::new()).await;
        }
        if size > FRAME_BYTES_MAX {
            if !self.too_large_said.swap(true, Ordering::Relaxed) {
                tracing::warn!(peer = %self.identity, %service, size, limit = FRAME_BYTES_MAX, "request is too large");
            }
            recv.stop(TOO_LARGE);
            return answer_too_large(&mut send, size).await;
        }
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(memory) = self.memory.acquire_many(kib).await else { return };
        // Half a request is no request: the peer gave up or is gone.
        let Ok(body) = read_body(&mut recv, size).await else { return };
        drop(memory);
        let stopped = send.stopped();
        tokio::select! {
            result = self.handler.request(service, body) => self.respond(&mut send, result).await,
            // Nobody waits any more, so nobody needs the rest of the work.
            _ = stopped => {}
        }
    }

    async fn respond(&self, send: &mut SendStream, result: Result<Bytes, Declined>) {
        let size = result.as_ref().map_or(0, Bytes::len);
        let waiting = self.answers.fetch_add(size, Ordering::Relaxed) + size;
        let counted = Held { bytes: &self.answers, size };
        // A peer that asks and never reads would otherwise fill this node's memory with its answers.
        if waiting > ANSWER_BYTES_MAX {
            if !self.unread_said.swap(true, Ordering::Relaxed) {
                tracing::warn!(peer = %self.identity, waiting, limit = ANSWER_BYTES_MAX, "peer doesn't read its answers");
            }
            // Before anything is waited for: the word about it may find no reader, either.
            drop((result, counted));
            let text = format!("answers of {waiting} bytes wait to be read, the limit is {ANSWER_BYTES_MAX}");
            return respond(send, Err(Declined::Failed(text))).await;
        }
        respond(send, result).await;
    }

    fn forbidden(&self, service: Service) {
        if !self.forbidden_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(peer = %self.identity, %service, "refused a peer: role forbids the service");
        }
    }

    fn violated(&self, detail: &str) {
        tracing::warn!(peer = %self.identity, detail, "peer violated the protocol");
        close(&self.connection, &self.ended, Reason::Protocol, detail);
    }
}

/// Bytes that are counted until this is dropped, also with the future that holds it when the peer is gone.
struct Held<'a> {
    bytes: &'a AtomicUsize,
    size: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

async fn respond(send: &mut SendStream, result: Result<Bytes, Declined>) {
    match result {
        Ok(body) if body.len() > FRAME_BYTES_MAX => answer_too_large(send, body.len()).await,
        Ok(body) => answer(send, Status::Ok, body).await,
        Err(Declined::NoService) => answer(send, Status::NoService, Bytes::new()).await,
        Err(Declined::Failed(mut text)) => {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            answer(send, Status::Failed, text.into()).await;
        }
    }
}

async fn answer(send: &mut SendStream, status: Status, body: Bytes) {
    let size = u32::try_from(body.len()).expect("checked against the limit");
    write_answer(send, status, size, body).await;
}

/// The size alone tells the asker what happened; there is no body.
async fn answer_too_large(send: &mut SendStream, size: usize) {
    write_answer(send, Status::TooLarge, u32::try_from(size).unwrap_or(u32::MAX), Bytes::new()).await;
}

async fn write_answer(send: &mut SendStream, status: Status, size: u32, body: Bytes) {
    let [l0, l1, l2, l3] = size.to_be_bytes();
    let header = Bytes::copy_from_slice(&[status as u8, l0, l1, l2, l3]);
    // The asker may be gone; that is its own business.
    let _ = send.write_all_chunks(&mut [header, body]).await;
    send.finish();
}

/// Bytes of answers to one peer that may wait until it reads them; an answer beyond it is refused in place of sent.
/// Eight of the largest: whoever reads never sees it.
const ANSWER_BYTES_MAX: usize = 8 * FRAME_BYTES_MAX;
/// Longest text of a failure that is sent back, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 4096;
/// The stream code by which a receiver says that a request is larger than it reads.
const TOO_LARGE: VarInt = VarInt::from_u32(2);
