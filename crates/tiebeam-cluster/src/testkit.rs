//! Doors for fuzz targets: every decoder of what a member sends.

use tiebeam_actor::RemoteSignal;
use tiebeam_wire::codec;

use crate::{gossip, leases, router, virtual_actors};

/// Checks and decodes `bytes` as a message of gossip.
pub fn decode_gossip(bytes: &[u8]) {
    gossip::decode(bytes);
}

/// Decodes `bytes` as a signal between actors; what was decoded must be written as it was read.
///
/// # Panics
/// If it is written in another way.
pub fn decode_signal(bytes: &[u8]) {
    if let Ok(signal) = codec::decode::<RemoteSignal>(router::SIGNAL_VERSION, bytes) {
        let _ = signal.pair();
        let again = codec::encode(router::SIGNAL_VERSION, &signal);
        let read = codec::decode::<RemoteSignal>(router::SIGNAL_VERSION, &again);
        assert_eq!(read.ok(), Some(signal), "a signal changes on its way");
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
