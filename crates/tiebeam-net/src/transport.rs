//! QUIC's settings for nodes that sit close together, and the socket beneath.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, RandomConnectionIdGenerator, TransportConfig,
    VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::datagrams::Handed;
use crate::{Config, quic};

/// Requests of one peer for Raft that may be under way at once.
pub(crate) const RAFT_STREAMS_MAX: u32 = 64;
/// Requests of one peer for all other services that may be under way at once. Apart from Raft's, so that callers that
/// wait for a leader can't starve the election that would give them one.
pub(crate) const REQUEST_STREAMS_MAX: u32 = 192;
/// Two-way streams that a peer may have open: its requests and the handshake. quinn allocates about 1 kB for each
/// permitted stream of each connection (quinn 2600): 128 MiB with 500 peers, 1 MiB with 4.
const BIDI_STREAMS_MAX: u32 = RAFT_STREAMS_MAX + REQUEST_STREAMS_MAX + 2;
/// One-way streams that a peer may have open: sixteen lanes of actors, nine of what is shared, one of gossip, one of carried
/// datagrams, and some for later.
pub(crate) const UNI_STREAMS_MAX: u32 = 34;

/// Bytes of one stream that may be on their way. A 16 MiB body takes a few round trips.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of one connection that may be on their way or unread, each way.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// The longest datagram that is tried: what a jumbo frame of 9,000 bytes holds behind the headers of IPv6 and UDP. Most of
/// what a datagram costs it costs whatever its length: with 1,452 bytes, bodies went at two thirds of the rate.
const DATAGRAM_BYTES_MAX: u16 = 8952;

pub(crate) fn config(config: &Config) -> Arc<TransportConfig> {
    let idle = IdleTimeout::try_from(config.idle_timeout).unwrap_or_else(|_| VarInt::MAX.into());
    let mut ack = AckFrequencyConfig::default();
    // A lost tail is repaired after a few round trips plus this; the peer's own default is 25 ms.
    ack.max_ack_delay(Some(Duration::from_millis(4)));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_BYTES_MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(config.keep_alive_interval))
        .max_concurrent_bidi_streams(BIDI_STREAMS_MAX.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        // The first lost packet waits for three times this; 333 ms, the default, is meant for the open internet.
        .initial_rtt(Duration::from_millis(15))
        .mtu_discovery_config(Some(discovery))
        .ack_frequency_config(Some(ack))
        // A slice of each stream in turn: taken one after the other, a lane full of large bodies kept a ping on another lane
        // waiting for 200 ms, and by turns for 17 ms, at no loss of bandwidth (`make bench-net`, ping in flood).
        .send_fairness(true)
        .congestion_controller_factory(Arc::new(quic::Congestion::default()))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Returns what datagrams go through: a socket, unless something was handed in.
pub(crate) fn socket(config: &Config) -> io::Result<Arc<dyn quic::Socket>> {
    Ok(match &config.datagrams {
        Some(datagrams) => Arc::new(Handed::new(Arc::clone(datagrams))),
        None => Arc::new(quic::UdpSocket::new(bind(config.listen, config.socket_buffer_bytes)?)?),
    })
}

/// Binds the socket and asks for large buffers; a smaller grant costs packets under load and is warned about.
pub(crate) fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&address.into())?;
    // Refusing is the kernel's way of granting less; what counts is what is read back.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    let (receive, send) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    if receive.min(send) < buffer_bytes {
        tracing::warn!(
            asked = buffer_bytes,
            receive,
            send,
            "udp buffers are smaller than asked; raise net.core.rmem_max and net.core.wmem_max"
        );
    }
    Ok(socket.into())
}

/// Settings of the endpoint. The reset key is a function of the node's own key, so that a restarted node can tell
/// peers at once that it forgot them, instead of after their idle timeout.
pub(crate) fn endpoint(config: &Config) -> EndpointConfig {
    let node_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, config.credentials.key.secret_der());
    let seed = ring::hmac::sign(&node_key, b"tiebeam-stateless-reset-v1");
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, seed.as_ref());
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint.max_udp_payload_size(DATAGRAM_BYTES_MAX).expect("it is 1,200 at least");
    // quinn's default generator marks its ids with a key of this start, and would ignore those of the start before.
    endpoint.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(8)));
    endpoint
}
