//! Doors for fuzz targets: every decoder of what a member sends.

use bytes::{Bytes, BytesMut};
use tiebeam_actor::RemoteSignal;
use tiebeam_wire::codec;

use crate::services::{Details, InstanceKey};
use crate::sharing::{FRAME_VERSION, Frame};
use crate::{gossip, leases, virtual_actors};

/// The version byte of a signal on a lane.
const SIGNAL_VERSION: u8 = 1;

/// Checks and decodes `bytes` as a message of gossip.
pub fn decode_gossip(bytes: &[u8]) {
    gossip::decode(bytes);
}

/// Decodes `bytes` as a signal between actors; what was decoded must be what the codec reads, and be written as it was read.
///
/// # Panics
/// If it is read or written in another way.
pub fn decode_signal(bytes: &[u8]) {
    let read = RemoteSignal::read(Bytes::copy_from_slice(bytes)).ok();
    assert_eq!(read, codec::decode(SIGNAL_VERSION, bytes).ok(), "a signal is read in another way by hand");
    if let Some(signal) = read {
        let _ = signal.pair();
        let mut again = BytesMut::new();
        signal.write(&mut again);
        assert_eq!(RemoteSignal::read(again.freeze()).ok(), Some(signal), "a signal changes on its way");
    }
}

/// Decodes `bytes` as a message to many or a core's word; what was decoded must be written as it was read.
///
/// # Panics
/// If it is written in another way.
pub fn decode_share(bytes: &[u8]) {
    if let Ok(frame) = codec::decode::<Frame>(FRAME_VERSION, bytes) {
        let again = codec::encode(FRAME_VERSION, &frame);
        let read = codec::decode::<Frame>(FRAME_VERSION, &again).expect("what was written can be read");
        assert_eq!(codec::encode(FRAME_VERSION, &read), again, "a message changes on its way");
    }
    // What replicators carry of services, which `tiebeam-crdt` decodes within its own messages.
    if let Ok(entry) = codec::decode::<(InstanceKey, Details)>(FRAME_VERSION, bytes) {
        let again = codec::encode(FRAME_VERSION, &entry);
        let read = codec::decode::<(InstanceKey, Details)>(FRAME_VERSION, &again);
        assert_eq!(read.ok(), Some(entry), "an instance changes on its way");
    }
}

/// Decodes `bytes` as a request about leases and has a voter judge it.
pub fn decode_lease(bytes: &[u8]) {
    leases::decode(bytes);
}

/// Decodes `bytes` as a message for a virtual actor.
pub fn decode_virtual(bytes: &[u8]) {
    virtual_actors::decode(bytes);
}
