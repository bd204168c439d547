//! Looks into a gossip message before chitchat does.
//!
//! Members are trusted to speak of others, since gossip is hearsay; but nobody may speak falsely of itself or of the
//! node that listens, and no digest may be so long that chitchat's arithmetic overflows.

use std::net::SocketAddr;

use chitchat::{ChitchatId, Deserializable};
use tiebeam_wire::{Incarnation, NodeId};

/// One start of a node and where it listens.
pub(super) type Start = (NodeId, Incarnation, SocketAddr);

/// Why a message was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reject {
    #[error("message is cut short or malformed")]
    Malformed,
    #[error("digest has {size} entries, more than the limit of {limit}")]
    TooLong { size: usize, limit: usize },
    #[error("entry names {id}, which is no node id")]
    Nameless { id: String },
    #[error("entry of {node} says {incarnation} at {address}, which isn't so")]
    False { node: NodeId, incarnation: u64, address: SocketAddr },
}

/// Checks the digest of a message: `[magic u16][version u8][type u8][count u16]` and `count` entries, little-endian.
pub(super) fn check(frame: &[u8], sender: Start, me: Start, members_max: usize) -> Result<(), Reject> {
    let (_, rest) = frame.split_at_checked(3).ok_or(Reject::Malformed)?;
    let (&kind, mut rest) = rest.split_first().ok_or(Reject::Malformed)?;
    if !matches!(kind, SYN | SYN_ACK) {
        return Ok(());
    }
    let count = usize::from(u16::deserialize(&mut rest).map_err(|_| Reject::Malformed)?);
    // Twice the members: starts that ended lately are listed beside those that run.
    let limit = (2 * members_max).min(ENTRIES_MAX);
    if count > limit {
        return Err(Reject::TooLong { size: count, limit });
    }
    for _ in 0..count {
        let id = ChitchatId::deserialize(&mut rest).map_err(|_| Reject::Malformed)?;
        rest = rest.split_at_checked(ENTRY_BYTES).ok_or(Reject::Malformed)?.1;
        check_entry(&id, sender, me)?;
    }
    Ok(())
}

fn check_entry(id: &ChitchatId, sender: Start, me: Start) -> Result<(), Reject> {
    let node = super::node_of(id).ok_or_else(|| Reject::Nameless { id: id.node_id.to_string() })?;
    // Only the canonical spelling: "7" and "07" would be one node to us and two to chitchat.
    if id.node_id.as_ref() != node.0.to_string() {
        return Err(Reject::Nameless { id: id.node_id.to_string() });
    }
    let (incarnation, address) = (id.generation_id, id.gossip_advertise_addr);
    for (known, latest, at) in [sender, me] {
        let of_the_future = incarnation > latest.0;
        let elsewhere = incarnation == latest.0 && address != at;
        if known == node && (of_the_future || elsewhere) {
            return Err(Reject::False { node, incarnation, address });
        }
    }
    Ok(())
}

const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
/// Heartbeat, last version collected, highest version: 8 bytes each.
const ENTRY_BYTES: usize = 24;
/// At 20-byte ids and IPv6 addresses an entry has 75 bytes; chitchat's digest must stay below 65,506.
const ENTRIES_MAX: usize = 850;

#[cfg(test)]
mod tests {
    use chitchat::Serializable;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// A SYN as chitchat writes it.
    fn syn(entries: &[(&str, u64, u16)]) -> Vec<u8> {
        let mut frame = vec![0x53, 0xb0, 0, SYN];
        u16::try_from(entries.len()).unwrap().serialize(&mut frame);
        for (id, generation, port) in entries {
            ChitchatId::new(*id, *generation, address(*port)).serialize(&mut frame);
            frame.extend([0; ENTRY_BYTES]);
        }
        "skies".to_owned().serialize(&mut frame);
        frame
    }

    fn checked(entries: &[(&str, u64, u16)]) -> Result<(), Reject> {
        let sender = (NodeId(2), Incarnation(5), address(2));
        let me = (NodeId(1), Incarnation(3), address(1));
        check(&syn(entries), sender, me, 10)
    }

    /// The layout is chitchat's: if it changed, this would fail before a check passed over it.
    #[test]
    fn layout_is_chitchats() {
        let frame = syn(&[("2", 5, 2), ("1", 3, 1)]);
        assert!(matches!(
            chitchat::ChitchatMessage::deserialize(&mut &frame[..]),
            Ok(chitchat::ChitchatMessage::Syn { cluster_id, .. }) if cluster_id == "skies"
        ));
    }

    #[test]
    fn truth_about_both_and_hearsay_about_others_pass() {
        assert_eq!(checked(&[("2", 5, 2), ("2", 4, 9), ("1", 3, 1), ("1", 2, 9), ("7", 99, 7)]), Ok(()));
    }

    #[test]
    fn falsehood_about_the_sender_or_the_listener_is_refused() {
        for entry in [("2", 6, 2), ("2", 5, 9), ("1", 4, 1), ("1", 3, 9)] {
            assert!(matches!(checked(&[entry]), Err(Reject::False { .. })), "{entry:?}");
        }
        for id in ["", "x", "07", "+7", "-1"] {
            assert!(matches!(checked(&[(id, 1, 1)]), Err(Reject::Nameless { .. })), "{id}");
        }
    }

    #[test]
    fn long_and_broken_digests_are_refused() {
        assert_eq!(checked(&[("7", 1, 7); 21]), Err(Reject::TooLong { size: 21, limit: 20 }));
        let whole = syn(&[("2", 5, 2)]);
        for cut in 0..whole.len() - 7 {
            assert_eq!(
                check(
                    &whole[..cut],
                    (NodeId(2), Incarnation(5), address(2)),
                    (NodeId(1), Incarnation(3), address(1)),
                    9
                ),
                Err(Reject::Malformed),
                "{cut}"
            );
        }
    }
}
