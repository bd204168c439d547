//! Which version of the protocol two nodes speak with each other, and what both know beyond it. Pure.
//!
//! Two things are agreed, in this order. TLS agrees on the *layout* of the hello, by the name of the application
//! protocol; so no byte of a hello is looked at before it is known what it means. The hello then says the range of
//! *versions* and the *features*; both sides take the highest common version and the common features.
//! `docs/protocols/handshake.md` has the rules by which either is changed.

use std::fmt;

/// A range of versions, both ends included. What follows the hello is the business of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    min: u8,
    max: u8,
}

impl Versions {
    /// What this build speaks: this version and the one before.
    pub(crate) const OURS: Self = Self { min: 1, max: 2 };

    /// The only one that [`Layout::One`] can say.
    pub(crate) const FIRST: Self = Self { min: 1, max: 1 };

    /// Returns the range; none if it is empty or begins at 0.
    pub(crate) const fn new(min: u8, max: u8) -> Option<Self> {
        if min == 0 || min > max { None } else { Some(Self { min, max }) }
    }

    /// The highest version that both speak.
    pub(crate) fn common(self, other: Self) -> Option<u8> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }

    pub(crate) const fn to_bytes(self) -> [u8; 2] {
        [self.min, self.max]
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// What a node can do beyond its version: one bit each, never given a second meaning. Bits that a node doesn't know are
/// not common, and so are never used with it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// Nothing beyond the version.
    pub const NONE: Self = Self(0);
    /// The node takes a new certificate for a connection that is in use.
    pub const RENEWAL: Self = Self(1);
    /// The node knows that not all members are connected: it takes in who is reached by whom, and what is passed on, and
    /// carries datagrams between edges.
    pub const REACH: Self = Self(2);
    /// The node knows that mailboxes tell when they are full.
    pub const PRESSURE: Self = Self(4);
    /// All that this build knows.
    pub(crate) const OURS: Self = Self(Self::RENEWAL.0 | Self::REACH.0 | Self::PRESSURE.0);

    /// Says whether all of `wanted` are among these.
    #[must_use]
    pub const fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    pub(crate) const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({:#x})", self.0)
    }
}

/// What two nodes speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version, the highest that both know.
    pub version: u8,
    /// The features that both know.
    pub features: Features,
}

/// What a node can speak, as its hello says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speech {
    pub(crate) versions: Versions,
    pub(crate) features: Features,
}

impl Speech {
    pub(crate) const OURS: Self = Self { versions: Versions::OURS, features: Features::OURS };

    /// What two nodes that can speak so do speak; none if no version is common.
    pub(crate) fn agree(self, other: Self) -> Option<Agreed> {
        let version = self.versions.common(other.versions)?;
        Some(Agreed { version, features: self.features.common(other.features) })
    }
}

/// How a hello is laid out; named by the application protocol that TLS agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One version byte, which must be 1: nodes that speak version 1 and nothing else.
    One,
    /// A range of versions and the features.
    Range,
}

impl Layout {
    /// The layouts in which a node of these versions can speak, the best one first.
    pub(crate) fn of(versions: Versions) -> impl Iterator<Item = Self> {
        let range = (versions.max >= 2).then_some(Self::Range);
        range.into_iter().chain((versions.min <= 1).then_some(Self::One))
    }

    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::One => b"tiebeam/1",
            Self::Range => b"tiebeam/2",
        }
    }

    pub(crate) fn from_alpn(alpn: &[u8]) -> Option<Self> {
        [Self::One, Self::Range].into_iter().find(|layout| layout.alpn() == alpn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(min: u8, max: u8) -> Versions {
        Versions::new(min, max).unwrap()
    }

    #[test]
    fn highest_common_version_is_taken_whoever_asks() {
        let check = |a: (u8, u8), b: (u8, u8), common| {
            let (a, b) = (versions(a.0, a.1), versions(b.0, b.1));
            assert_eq!((a.common(b), b.common(a)), (common, common), "{a} and {b}");
        };
        check((1, 2), (1, 2), Some(2));
        check((1, 2), (1, 1), Some(1));
        check((1, 2), (2, 3), Some(2));
        check((1, 9), (3, 5), Some(5));
        check((1, 2), (3, 4), None);
        check((255, 255), (255, 255), Some(255));
        assert_eq!((Versions::new(0, 1), Versions::new(3, 2)), (None, None));
    }

    #[test]
    fn features_of_one_side_alone_are_not_used() {
        let speech = |features| Speech { versions: Versions::OURS, features: Features(features) };
        let agreed = speech(0b1011).agree(speech(0b0110)).unwrap();
        assert_eq!(agreed, Agreed { version: 2, features: Features(0b0010) });
        assert!(Features(0b11).contains(Features(0b10)) && !Features(0b01).contains(Features(0b11)));
    }

    #[test]
    fn layouts_are_those_of_the_versions() {
        let of = |min, max| Layout::of(versions(min, max)).collect::<Vec<_>>();
        assert_eq!(of(1, 2), [Layout::Range, Layout::One]);
        assert_eq!(of(1, 1), [Layout::One]);
        assert_eq!(of(2, 3), [Layout::Range]);
    }
}
