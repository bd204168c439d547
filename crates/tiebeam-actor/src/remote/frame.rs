//! A signal as the body of a frame.
//!
//! Every signal has the bytes that `tiebeam_wire::codec` gives it. Casts and calls, of which there are millions a second,
//! are written and read by hand in the same bytes, their bodies without a copy; what isn't read by hand, the codec reads or
//! refuses.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tiebeam_wire::codec::{self, DecodeError, VALUE_BYTES_MAX};
use tiebeam_wire::varint::{Head, Reader};
use tiebeam_wire::{Incarnation, NodeId};

use super::{CODEC_VERSION, Dest, RemoteSignal};
use crate::{Pid, Ref};

impl RemoteSignal {
    /// Writes the signal behind what `buffer` holds. It takes at most 127 bytes beside [`RemoteSignal::body_bytes`] and a name
    /// or a reason to end.
    pub fn write(&self, buffer: &mut BytesMut) {
        match self {
            Self::Message { from, to: Dest::Pid(to), tag, body, reply, deadline_ms } => {
                let mut head = Head::new();
                head.byte(CODEC_VERSION);
                head.number(MESSAGE);
                put(&mut head, *from);
                head.number(TO_PID);
                put(&mut head, *to);
                head.number(u64::from(*tag));
                head.number(body.len() as u64);
                buffer.put_slice(head.as_bytes());
                buffer.put_slice(body);
                write_end(*reply, *deadline_ms, buffer);
            }
            _ => codec::encode_into(CODEC_VERSION, self, &mut buffer.writer()),
        }
    }

    /// Reads what [`RemoteSignal::write`] wrote. The body may be a part of `frame`'s memory.
    ///
    /// # Errors
    /// [`DecodeError`]: no signal has these bytes.
    pub fn read(frame: Bytes) -> Result<Self, DecodeError> {
        let Some(message) = Message::read(&frame) else { return codec::decode(CODEC_VERSION, &frame) };
        let Message { from, to, tag, body_at, body_bytes, reply, deadline_ms } = message;
        let mut body = frame;
        body.advance(body_at);
        body.truncate(body_bytes);
        Ok(Self::Message { from, to: Dest::Pid(to), tag, body, reply, deadline_ms })
    }
}

/// [`RemoteSignal::Message`] to a pid, and where in its frame the body lies.
struct Message {
    from: Pid,
    to: Pid,
    tag: u32,
    body_at: usize,
    body_bytes: usize,
    reply: Option<Ref>,
    deadline_ms: u32,
}

impl Message {
    fn read(frame: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(frame);
        if frame.len() > VALUE_BYTES_MAX || reader.byte()? != CODEC_VERSION || reader.number()? != MESSAGE {
            return None;
        }
        let from = pid(&mut reader)?;
        if reader.number()? != TO_PID {
            return None;
        }
        let to = pid(&mut reader)?;
        let tag = u32::try_from(reader.number()?).ok()?;
        let body_bytes = usize::try_from(reader.number()?).ok()?;
        let body_at = frame.len() - reader.left();
        reader.bytes(body_bytes)?;
        let reply = match reader.byte()? {
            0 => None,
            1 => Some(reference(&mut reader)?),
            _ => return None,
        };
        let deadline_ms = u32::try_from(reader.number()?).ok()?;
        (reader.left() == 0).then_some(Self { from, to, tag, body_at, body_bytes, reply, deadline_ms })
    }
}

fn write_end(reply: Option<Ref>, deadline_ms: u32, buffer: &mut BytesMut) {
    let mut end = Head::new();
    end.byte(u8::from(reply.is_some()));
    if let Some(Ref { node, incarnation, serial }) = reply {
        put(&mut end, Pid { node, incarnation, serial });
    }
    end.number(u64::from(deadline_ms));
    buffer.put_slice(end.as_bytes());
}

fn put(head: &mut Head, pid: Pid) {
    head.number(pid.node.0);
    head.number(pid.incarnation.0);
    head.number(pid.serial);
}

fn pid(reader: &mut Reader<'_>) -> Option<Pid> {
    let (node, incarnation) = (NodeId(reader.number()?), Incarnation(reader.number()?));
    Some(Pid { node, incarnation, serial: reader.number()? })
}

fn reference(reader: &mut Reader<'_>) -> Option<Ref> {
    let Pid { node, incarnation, serial } = pid(reader)?;
    Some(Ref { node, incarnation, serial })
}

/// Place of [`RemoteSignal::Message`] among its enum's variants.
const MESSAGE: u64 = 0;
/// Place of [`Dest::Pid`].
const TO_PID: u64 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{CallError, ExitKind, ExitReason};

    fn pids() -> impl Strategy<Value = Pid> {
        let number = || prop_oneof![0..300_u64, 0..100_000_u64, any::<u64>()];
        (number(), number(), number()).prop_map(|(node, incarnation, serial)| Pid {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            serial,
        })
    }

    fn refs() -> impl Strategy<Value = Ref> {
        pids().prop_map(|Pid { node, incarnation, serial }| Ref { node, incarnation, serial })
    }

    fn bodies() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..700).prop_map(Bytes::from)
    }

    fn signals() -> impl Strategy<Value = RemoteSignal> {
        let dest = prop_oneof![8 => pids().prop_map(Dest::Pid), 1 => ".*".prop_map(Dest::Name)];
        let message = (pids(), dest, any::<u32>(), bodies(), prop::option::of(refs()), any::<u32>()).prop_map(
            |(from, to, tag, body, reply, deadline_ms)| RemoteSignal::Message {
                from,
                to,
                tag,
                body,
                reply,
                deadline_ms,
            },
        );
        let result = prop_oneof![bodies().prop_map(Ok), Just(Err(CallError::NoProc))];
        let reply = (pids(), pids(), refs(), result).prop_map(|(from, to, call, result)| RemoteSignal::Reply {
            from,
            to,
            call,
            result,
        });
        let exit = (pids(), pids()).prop_map(|(from, to)| RemoteSignal::Exit {
            from,
            to,
            reason: ExitReason::Shutdown,
            kind: ExitKind::Link,
        });
        prop_oneof![6 => message, 1 => reply, 1 => exit]
    }

    proptest! {
        /// Fails if a signal written by hand has other bytes than those that every node reads.
        #[test]
        fn signals_are_written_and_read_as_the_codec_does(signal in signals()) {
            let mut buffer = BytesMut::new();
            signal.write(&mut buffer);
            prop_assert_eq!(&buffer[..], codec::encode(CODEC_VERSION, &signal));
            prop_assert_eq!(RemoteSignal::read(buffer.freeze()).unwrap(), signal);
        }

        /// Fails if reading by hand takes what the codec refuses or takes in another way, after any byte is changed, added or
        /// lost.
        #[test]
        fn bytes_are_read_as_the_codec_reads_them(
            signal in signals(), at: prop::sample::Index, byte in prop_oneof![any::<u8>(), 250..=255_u8], change in 0..3,
        ) {
            let mut bytes = codec::encode(CODEC_VERSION, &signal);
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
            let by_codec = codec::decode::<RemoteSignal>(CODEC_VERSION, &bytes);
            prop_assert_eq!(RemoteSignal::read(bytes.into()).ok(), by_codec.ok());
        }
    }
}
