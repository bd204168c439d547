//! Why a connection was refused or ended, as both sides get to know it.

use std::fmt;
use std::net::SocketAddr;

use quinn_proto::{ConnectionError, VarInt};
use tiebeam_wire::NodeId;

use crate::Identity;
use crate::refusal_log::Line;

/// Why a connection was refused or ended. The number travels as QUIC's application error code and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The node shuts down. Code 0.
    Shutdown,
    /// The certificate isn't signed by the authority that the other side trusts. No code: TLS says it with an alert.
    WrongAuthority,
    /// Neither the current nor the previous cookie of the one matches one of the other. Code 2.
    WrongCookie,
    /// The certificate names another node than the peer claims to be, or than was dialled. Code 3.
    NodeIdMismatch,
    /// The peer's role doesn't allow this connection. Code 4.
    RoleForbids,
    /// The two nodes have no version of the protocol in common. Code 5, or TLS's alert on the application protocol.
    VersionMismatch,
    /// The peer belongs to another cluster. Code 6.
    WrongCluster,
    /// The certificate is trusted, but names no node. Code 7.
    NamelessCertificate,
    /// The peer sent what the protocol doesn't allow. Code 8.
    Protocol,
    /// There is a connection between the two nodes already. Code 9; not a fault.
    Duplicate,
    /// A later start of the same node was seen. Code 10.
    StaleIncarnation,
    /// The cluster has as many members as it may have. Code 11.
    Full,
    /// The handshake took too long. Code 12.
    TooSlow,
    /// The node dialled itself. Code 13; not a fault.
    Oneself,
    /// A lane's queue was full. Code 14.
    Overflow,
    /// A newer connection of the same peer took the place of this one. Code 15; not a fault.
    Replaced,
    /// The node, or its certificate, is on the other side's deny list. Code 16.
    Revoked,
    /// The certificate is past its end, or not good yet. Code 17, or TLS's alert.
    Expired,
    /// The token that a newcomer showed is unknown, used, expired or wrong. Code 18.
    BadToken,
    /// The peer fell silent, or restarted and knows nothing of the connection.
    Lost,
    /// The peer gave a code that this version doesn't know.
    Unknown,
}

impl Reason {
    const CODES: [(Self, u32); 18] = [
        (Self::Shutdown, 0),
        (Self::WrongCookie, 2),
        (Self::NodeIdMismatch, 3),
        (Self::RoleForbids, 4),
        (Self::VersionMismatch, 5),
        (Self::WrongCluster, 6),
        (Self::NamelessCertificate, 7),
        (Self::Protocol, 8),
        (Self::Duplicate, 9),
        (Self::StaleIncarnation, 10),
        (Self::Full, 11),
        (Self::TooSlow, 12),
        (Self::Oneself, 13),
        (Self::Overflow, 14),
        (Self::Replaced, 15),
        (Self::Revoked, 16),
        (Self::Expired, 17),
        (Self::BadToken, 18),
    ];

    /// The code that says it to the peer; that of [`Reason::Protocol`] for what is never said with a code.
    pub(crate) fn code(self) -> VarInt {
        let known = Self::CODES.iter().find(|(reason, _)| *reason == self);
        VarInt::from_u32(known.map_or(8, |(_, code)| *code))
    }

    fn from_code(code: VarInt) -> Self {
        let known = Self::CODES.iter().find(|(_, known)| u64::from(*known) == code.into_inner());
        known.map_or(Self::Unknown, |(reason, _)| *reason)
    }

    /// Says whether this is the ordinary end of a connection that nobody needs to look into.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::Shutdown | Self::Duplicate | Self::Oneself | Self::Replaced)
    }

    /// Says whether only people can mend it: dialling again soon is of no use.
    #[must_use]
    pub const fn needs_people(self) -> bool {
        matches!(
            self,
            Self::WrongAuthority
                | Self::WrongCookie
                | Self::NodeIdMismatch
                | Self::RoleForbids
                | Self::VersionMismatch
                | Self::WrongCluster
                | Self::NamelessCertificate
                | Self::Revoked
                | Self::Expired
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "node shuts down",
            Self::WrongAuthority => "wrong authority",
            Self::WrongCookie => "wrong cookie",
            Self::NodeIdMismatch => "node id mismatch",
            Self::RoleForbids => "role forbids",
            Self::VersionMismatch => "version mismatch",
            Self::WrongCluster => "wrong cluster",
            Self::NamelessCertificate => "certificate names no node",
            Self::Protocol => "protocol violated",
            Self::Duplicate => "duplicate connection",
            Self::StaleIncarnation => "stale incarnation",
            Self::Full => "cluster is full",
            Self::TooSlow => "handshake too slow",
            Self::Oneself => "node dialled itself",
            Self::Overflow => "lane overflowed",
            Self::Replaced => "replaced by a newer connection",
            Self::Revoked => "revoked",
            Self::Expired => "certificate expired",
            Self::BadToken => "token refused",
            Self::Lost => "connection lost",
            Self::Unknown => "unknown reason",
        })
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// This node.
    Local,
    /// The other node, or nobody in particular if the connection was lost.
    Peer,
}

/// The end of a connection, or of the attempt to make one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Who ended it.
    pub by: Side,
    /// The particulars, for people.
    pub detail: String,
    /// Who the other side is, if its certificate was seen and is trusted.
    pub peer: Option<Box<Identity>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            Side::Local => "refused the peer",
            Side::Peer => "refused by the peer",
        };
        match self.reason {
            Reason::Lost => write!(f, "{}: {}", self.reason, self.detail),
            _ => write!(f, "{by}: {}: {}", self.reason, self.detail),
        }
    }
}

impl Refusal {
    pub(crate) fn local(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, by: Side::Local, detail: detail.into(), peer: None }
    }

    /// Says who the other side is.
    pub(crate) fn with_peer(self, peer: Option<&Identity>) -> Self {
        Self { peer: peer.cloned().map(Box::new), ..self }
    }

    /// Says whether it is of no interest to people.
    pub(crate) fn is_quiet(&self) -> bool {
        self.reason == Reason::Lost || self.reason.is_ordinary()
    }

    /// Writes down, on this side, that a connection with `address` didn't come about.
    pub(crate) fn log(&self, node: NodeId, address: SocketAddr, line: Line) {
        let Self { reason, by, detail, peer } = self;
        let peer = peer.as_ref().map(tracing::field::display);
        // Counts are there only if there is something to count.
        let repeated = (line.repeated > 0).then_some(line.repeated);
        let others = (line.others > 0).then_some(line.others);
        match (reason, by) {
            (Reason::Lost, _) => tracing::debug!(%node, %address, peer, %detail, "peer not reached"),
            (reason, _) if reason.is_ordinary() => {
                tracing::debug!(%node, %address, peer, %reason, %detail, "not connected");
            }
            (_, Side::Local) => {
                tracing::warn!(%node, %address, peer, %reason, %detail, repeated, others, "refused a peer");
            }
            (_, Side::Peer) => {
                tracing::warn!(%node, %address, peer, %reason, %detail, repeated, others, "refused by a peer");
            }
        }
    }

    /// Reads the reason out of QUIC's.
    pub(crate) fn from_quic(error: &ConnectionError) -> Self {
        let (reason, by, detail) = match error {
            ConnectionError::ApplicationClosed(close) => (
                Reason::from_code(close.error_code),
                Side::Peer,
                String::from_utf8_lossy(&close.reason).chars().take(DETAIL_CHARS_MAX).collect(),
            ),
            ConnectionError::ConnectionClosed(close) => {
                (from_transport(close.error_code), Side::Peer, format!("{close}"))
            }
            ConnectionError::TransportError(error) => (from_transport(error.code), Side::Local, format!("{error}")),
            ConnectionError::VersionMismatch => (Reason::VersionMismatch, Side::Peer, "no common QUIC version".into()),
            ConnectionError::LocallyClosed => (Reason::Shutdown, Side::Local, "closed here".into()),
            ConnectionError::TimedOut => (Reason::Lost, Side::Peer, "peer fell silent".into()),
            ConnectionError::Reset => (Reason::Lost, Side::Peer, "peer restarted".into()),
            ConnectionError::CidsExhausted => (Reason::Lost, Side::Local, "no connection ids left".into()),
        };
        Self { reason, by, detail, peer: None }
    }
}

/// TLS alerts travel as QUIC transport errors 0x100 plus the alert (RFC 9001, section 4.8).
fn from_transport(code: quinn_proto::TransportErrorCode) -> Reason {
    let Some(alert) = u64::from(code).checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok()) else {
        return Reason::Protocol;
    };
    match alert {
        // certificate expired, or not good yet
        45 => Reason::Expired,
        // bad, unsupported, revoked, unknown certificate; unknown ca; access denied; a signature that doesn't
        // match, which is what another authority of the same name leads to; no certificate at all.
        42..=44 | 46 | 48 | 49 | 51 | 116 => Reason::WrongAuthority,
        // protocol version; no application protocol
        70 | 120 => Reason::VersionMismatch,
        _ => Reason::Protocol,
    }
}

/// Longest detail that is taken from a peer, in characters; the rest is cut off.
const DETAIL_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes are on the wire: a changed number would name another reason to an older node.
    #[test]
    fn codes_come_back_as_their_reasons() {
        for (reason, code) in Reason::CODES {
            assert_eq!(Reason::from_code(VarInt::from_u32(code)), reason);
            assert_eq!(reason.code(), VarInt::from_u32(code));
        }
        assert_eq!(Reason::from_code(VarInt::from_u32(999)), Reason::Unknown);
        assert_eq!(Reason::WrongCookie.code(), VarInt::from_u32(2));
    }
}
