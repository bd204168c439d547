use std::fmt;

use tiebeam_wire::Role;

/// Names what a stream is for. The number is the first two bytes of every stream and is never given a second meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(pub u16);

impl Service {
    /// Membership: one lane of gossip messages.
    pub const GOSSIP: Self = Self(1);
    /// Raft's own requests: append entries, votes, snapshots. Core nodes only.
    pub const RAFT: Self = Self(2);
    /// Proposals and queries for the leader of a group.
    pub const GROUP: Self = Self(3);
    /// Topics: produce, fetch, consumer groups.
    pub const TOPICS: Self = Self(4);
    /// Workflows: start, signal, query.
    pub const WORKFLOW: Self = Self(5);
    /// Questions and commands about the cluster and its nodes.
    pub const ADMIN: Self = Self(6);
    /// Signals between actors: sixteen ordered lanes.
    pub const ACTOR: Self = Self(7);
    /// What nodes share without agreeing: groups, names, presence, and what is told to many at once. Ordered lanes.
    pub const SHARE: Self = Self(8);
    /// Calls of functions that a node offers by name.
    pub const RPC: Self = Self(9);
    /// A node's own certificate, issued again before it ends.
    pub const CERTIFICATE: Self = Self(10);
    /// Leases that a majority of the voters grants, and what voters tell each other about them.
    pub const LEASE: Self = Self(11);
    /// Datagrams that a core carries between two edges: one lane.
    pub const RELAY: Self = Self(13);
    /// The first number that applications may use for services of their own.
    pub const APPLICATION: Self = Self(1024);

    /// Says whether a peer with `role` may open streams of this service; the receiver asks it for every stream.
    ///
    /// | Service | core | edge | admin |
    /// |---|---|---|---|
    /// | gossip, actor, share, rpc, certificate, lease, relay | yes | yes | no |
    /// | raft | yes | no | no |
    /// | group, topics, workflow, admin, an application's | yes | yes | yes |
    /// | any other number below 1024 | no | no | no |
    #[must_use]
    pub const fn admits(self, role: Role) -> bool {
        match self {
            Self::RAFT => matches!(role, Role::Core),
            Self::GOSSIP | Self::ACTOR | Self::SHARE | Self::RPC | Self::CERTIFICATE | Self::LEASE | Self::RELAY => {
                matches!(role, Role::Core | Role::Edge)
            }
            Self::GROUP | Self::TOPICS | Self::WORKFLOW | Self::ADMIN => true,
            Self(number) => number >= Self::APPLICATION.0,
        }
    }

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::GOSSIP => Some("gossip"),
            Self::RAFT => Some("raft"),
            Self::GROUP => Some("group"),
            Self::TOPICS => Some("topics"),
            Self::WORKFLOW => Some("workflow"),
            Self::ADMIN => Some("admin"),
            Self::ACTOR => Some("actor"),
            Self::CERTIFICATE => Some("certificate"),
            Self::SHARE => Some("share"),
            Self::RPC => Some("rpc"),
            Self::LEASE => Some("lease"),
            Self::RELAY => Some("relay"),
            _ => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "service-{}", self.0),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the documentation, row by row: an edge that could open Raft streams could vote.
    #[test]
    fn roles_open_what_the_table_says() {
        let row = |service: Service| [Role::Core, Role::Edge, Role::Admin].map(|role| service.admits(role));
        assert_eq!(row(Service::RAFT), [true, false, false]);
        assert_eq!(row(Service::GOSSIP), [true, true, false]);
        for service in
            [Service::ACTOR, Service::SHARE, Service::RPC, Service::CERTIFICATE, Service::LEASE, Service::RELAY]
        {
            assert_eq!(row(service), [true, true, false], "{service}");
        }
        for service in [Service::GROUP, Service::TOPICS, Service::WORKFLOW, Service::ADMIN, Service(1024)] {
            assert_eq!(row(service), [true, true, true], "{service}");
        }
        assert_eq!(row(Service(0)), [false; 3]);
        assert_eq!(row(Service(1023)), [false; 3]);
    }
}
