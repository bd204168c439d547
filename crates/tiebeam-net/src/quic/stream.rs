//! Streams with two ends that wait: requests and the handshake. The names and rules are quinn's.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn_proto::{ConnectionError, FinishError, ReadableError, StreamId, VarInt};

use super::Connection;

/// Why nothing more can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteError {
    Stopped(VarInt),
    ConnectionLost(ConnectionError),
    ClosedStream,
}

/// Why nothing more can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadError {
    Reset(VarInt),
    ConnectionLost(ConnectionError),
    ClosedStream,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadExactError {
    /// The stream ended after this many bytes.
    FinishedEarly(usize),
    ReadError(ReadError),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped(code) => write!(f, "peer wants no more, code {code}"),
            Self::ConnectionLost(error) => error.fmt(f),
            Self::ClosedStream => f.write_str("stream is closed"),
        }
    }
}

impl std::fmt::Display for ReadExactError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FinishedEarly(bytes) => write!(f, "stream ended after {bytes} bytes"),
            Self::ReadError(ReadError::Reset(code)) => write!(f, "peer gave the stream up, code {code}"),
            Self::ReadError(ReadError::ConnectionLost(error)) => error.fmt(f),
            Self::ReadError(ReadError::ClosedStream) => f.write_str("stream is closed"),
        }
    }
}

/// The sending end. Dropping it finishes the stream.
#[derive(Debug)]
pub(crate) struct SendStream {
    connection: Connection,
    id: StreamId,
}

impl SendStream {
    pub(super) const fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write_all_chunks(&mut [Bytes::copy_from_slice(bytes)]).await
    }

    /// Writes all of `chunks`, which are empty afterwards.
    pub(crate) async fn write_all_chunks(&mut self, mut chunks: &mut [Bytes]) -> Result<(), WriteError> {
        while !chunks.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, chunks)).await?;
            chunks = &mut chunks[written..];
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<usize, WriteError>> {
        use quinn_proto::WriteError as Proto;
        let mut turn = self.connection.turn();
        if let Some(error) = turn.error() {
            return Poll::Ready(Err(WriteError::ConnectionLost(error)));
        }
        Poll::Ready(match turn.proto().send_stream(self.id).write_chunks(chunks) {
            Ok(written) => Ok(written.chunks),
            Err(Proto::Blocked) => {
                turn.writers().insert(self.id, cx.waker().clone());
                return Poll::Pending;
            }
            Err(Proto::Stopped(code)) => Err(WriteError::Stopped(code)),
            Err(Proto::ClosedStream) => Err(WriteError::ClosedStream),
        })
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&mut self) {
        // Whom it reaches no more has said so.
        let _ = self.connection.turn().proto().send_stream(self.id).finish();
    }

    /// Waits until the peer wants no more, or has confirmed all of a finished stream.
    pub(crate) async fn stopped(&self) {
        loop {
            let notify = {
                let mut turn = self.connection.turn();
                if turn.error().is_some() {
                    return;
                }
                match turn.proto().send_stream(self.id).stopped() {
                    Ok(None) => Arc::clone(turn.stopped().entry(self.id).or_default()),
                    Ok(Some(_)) | Err(_) => return,
                }
            };
            // The entry was made under the connection's lock and is told with a permit that stays.
            notify.notified().await;
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.connection.inner().part(|state, _| {
            state.stopped.remove(&self.id);
            state.writers.remove(&self.id);
            if state.error.is_none()
                && let Err(FinishError::Stopped(code)) = state.proto.send_stream(self.id).finish()
            {
                // Already closed is well, too.
                let _ = state.proto.send_stream(self.id).reset(code);
            }
        });
    }
}

/// The receiving end. Dropping it stops the stream unless it was read to its end.
#[derive(Debug)]
pub(crate) struct RecvStream {
    connection: Connection,
    id: StreamId,
    is_over: bool,
}

impl RecvStream {
    pub(super) const fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id, is_over: false }
    }

    /// Returns the next bytes, at most `max`; none at the end of the stream. Cancel safe.
    pub(crate) async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_chunk(cx, max)).await
    }

    /// Fills `buffer`.
    pub(crate) async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ReadExactError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_chunk(buffer.len() - filled).await.map_err(ReadExactError::ReadError)? {
                Some(chunk) => {
                    buffer[filled..filled + chunk.len()].copy_from_slice(&chunk);
                    filled += chunk.len();
                }
                None => return Err(ReadExactError::FinishedEarly(filled)),
            }
        }
        Ok(())
    }

    /// Wants no more.
    pub(crate) fn stop(&mut self, code: VarInt) {
        self.is_over = true;
        // Closed already is well, too.
        let _ = self.connection.turn().proto().recv_stream(self.id).stop(code);
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, ReadError>> {
        use quinn_proto::ReadError as Proto;
        if self.is_over {
            return Poll::Ready(Ok(None));
        }
        let mut turn = self.connection.turn();
        let error = turn.error();
        let mut stream = turn.proto().recv_stream(self.id);
        let mut chunks = match stream.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => {
                return Poll::Ready(Err(ReadError::ClosedStream));
            }
        };
        let next = chunks.next(max);
        let _ = chunks.finalize();
        Poll::Ready(match next {
            Ok(Some(chunk)) => Ok(Some(chunk.bytes)),
            Ok(None) => {
                self.is_over = true;
                Ok(None)
            }
            Err(Proto::Reset(code)) => {
                self.is_over = true;
                Err(ReadError::Reset(code))
            }
            Err(Proto::Blocked) => match error {
                Some(error) => Err(ReadError::ConnectionLost(error)),
                None => {
                    turn.readers().insert(self.id, cx.waker().clone());
                    return Poll::Pending;
                }
            },
        })
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.connection.inner().part(|state, _| {
            state.readers.remove(&self.id);
            if state.error.is_none() {
                let _ = state.proto.recv_stream(self.id).stop(VarInt::from_u32(0));
            }
        });
    }
}
