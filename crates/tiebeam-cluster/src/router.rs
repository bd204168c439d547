//! Carries signals between actors of two nodes. Each pair of actors keeps to one lane, so its signals keep their order.

use std::sync::Weak;

use tiebeam_actor::{NoConnection, Pid, Polled, RemoteSignal, Room, Router};
use tiebeam_net::{Features, LANES};
use tiebeam_wire::NodeId;

use crate::mesh::needed;
use crate::node::Node;

/// Weak, since the system that holds the router is held by the node.
pub(crate) struct LaneRouter {
    pub(crate) node: Weak<Node>,
}

impl Router for LaneRouter {
    fn route(&self, to: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        let node = self.node.upgrade().ok_or(NoConnection)?;
        let (sender, receiver) = signal.pair();
        let lane = lane_of(sender, receiver);
        // Held while the frame is queued: see `Node::sessions`.
        let sessions = node.sessions();
        let Some(session) = sessions.get(&to) else {
            return needed::queue(&node, to, lane, &signal).map(|()| None);
        };
        let is_pressure = matches!(signal, RemoteSignal::Full { .. } | RemoteSignal::Room { .. });
        if is_pressure && !session.peer.agreed().features.contains(Features::PRESSURE) {
            return Ok(None);
        }
        let lane = &session.lanes[lane];
        match lane.queue(HEAD_BYTES + signal.body_bytes(), |buffer| signal.write(buffer)) {
            Ok(waiting) if waiting > BUSY_BYTES => {
                let lane = lane.clone();
                Ok(Some(Box::pin(async move { lane.until_waiting(BUSY_BYTES / 2).await })))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::debug!(%to, %error, "signal not sent");
                Err(NoConnection)
            }
        }
    }

    fn flush(&self) {
        if let Some(node) = self.node.upgrade() {
            node.endpoint.flush();
        }
    }

    fn look(&self) {
        if let Some(node) = self.node.upgrade() {
            node.endpoint.look();
        }
    }

    fn poll(&self) -> Polled {
        let polled = self.node.upgrade().map(|node| node.endpoint.poll());
        match polled {
            Some(tiebeam_net::Polled::Arrived) => Polled::Arrived,
            Some(tiebeam_net::Polled::Hot) => Polled::Hot,
            Some(tiebeam_net::Polled::Quiet) | None => Polled::Quiet,
        }
    }
}

/// What may wait in a lane before senders wait. Distributed Erlang suspends them from 1 MiB on (`+zdbbl`), for all lanes.
const BUSY_BYTES: usize = 256 * 1024;

/// What a signal takes besides its body, at most: two pids, a ref and some small numbers.
const HEAD_BYTES: usize = 127;

/// Which lane a pair of actors takes; the same on every machine and for every version.
fn lane_of(sender: Pid, receiver: Option<Pid>) -> usize {
    let receiver = receiver.map_or(0, |pid| pid.serial);
    // Fibonacci hashing: the upper bits of a product with the golden ratio are spread evenly over consecutive serials.
    let mixed = (sender.serial.rotate_left(32) ^ receiver).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(mixed >> 32).unwrap_or(0) % usize::from(LANES)
}

#[cfg(test)]
mod tests {
    use tiebeam_wire::Incarnation;

    use super::*;

    /// A thousand workers of one caller; a bad mix would leave lanes idle and stall pairs behind each other.
    #[test]
    fn pairs_spread_over_all_lanes() {
        let pid = |serial| Pid { node: NodeId(1), incarnation: Incarnation(1), serial };
        let mut counts = [0; LANES as usize];
        for serial in 0..1600 {
            counts[lane_of(pid(5), Some(pid(serial)))] += 1;
            assert_eq!(lane_of(pid(5), Some(pid(serial))), lane_of(pid(5), Some(pid(serial))));
        }
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
    }
}
