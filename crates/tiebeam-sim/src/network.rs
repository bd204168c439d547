//! Decides when and whether a datagram arrives. Pure: time is handed in, chance follows from a seed, deliveries come out.
//!
//! Each direction between two nodes is a link of its own. A datagram is lost at once or put on its way; what is on its way
//! arrives, also if the link is cut meanwhile. Datagrams of a link keep their order unless chance lets one fall back.

use std::collections::{BTreeMap, BTreeSet};

use tiebeam_wire::NodeId;

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The least time that a datagram takes, in microseconds.
    pub delay_us: u64,
    /// What chance adds to it, at most, in microseconds.
    pub jitter_us: u64,
    /// How many of a thousand datagrams are lost.
    pub loss_permille: u16,
    /// How many of a thousand arrive twice.
    pub duplicate_permille: u16,
    /// How many of a thousand fall back behind later ones, by up to [`FALL_BACK_US_MAX`].
    pub reorder_permille: u16,
    /// Longer datagrams, in bytes, are lost.
    pub mtu_bytes: usize,
}

/// How far a datagram falls back at most, in microseconds.
pub const FALL_BACK_US_MAX: u64 = 20_000;
/// Moments of arrival are multiples of this, in nanoseconds, so that a node is woken once for what arrives together.
pub const GRAIN_NANOS: u64 = 100_000;

impl Link {
    /// A good network of one place.
    pub const GOOD: Self = Self {
        delay_us: 200,
        jitter_us: 200,
        loss_permille: 0,
        duplicate_permille: 0,
        reorder_permille: 0,
        mtu_bytes: 1500,
    };
}

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What became of a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this moment, in nanoseconds.
    Arrives(u64),
    /// It arrives at both.
    ArrivesTwice(u64, u64),
    /// Chance took it.
    Lost,
    /// The link is cut.
    Cut,
    /// It is longer than the link can carry.
    TooLong,
}

/// All links and what is on them.
#[derive(Debug)]
pub struct Network {
    chance: fastrand::Rng,
    usual: Link,
    links: BTreeMap<(NodeId, NodeId), Link>,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// By moment of arrival, then in the order of sending.
    under_way: BTreeMap<(u64, u64), Datagram>,
    /// The last arrival of each link, which later datagrams don't overtake.
    latest: BTreeMap<(NodeId, NodeId), u64>,
    serial: u64,
}

impl Network {
    /// Makes a network of good links.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            usual: Link::GOOD,
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            under_way: BTreeMap::new(),
            latest: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Changes all links that have no settings of their own.
    pub fn set_usual(&mut self, link: Link) {
        self.usual = link;
    }

    /// Gives one direction between two nodes its own settings.
    pub fn set(&mut self, from: NodeId, to: NodeId, link: Link) {
        self.links.insert((from, to), link);
    }

    /// Lets nothing more through from one node to another.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Takes one cut away.
    pub fn join(&mut self, from: NodeId, to: NodeId) {
        self.cut.remove(&(from, to));
    }

    /// Takes away the settings of one direction.
    pub fn reset(&mut self, from: NodeId, to: NodeId) {
        self.links.remove(&(from, to));
    }

    /// Takes all cuts and settings away.
    pub fn heal(&mut self) {
        self.links.clear();
        self.cut.clear();
        self.usual = Link::GOOD;
    }

    /// Takes a datagram at `now`, in nanoseconds, and decides its fate.
    pub fn send(&mut self, now: u64, datagram: Datagram) -> Fate {
        let pair = (datagram.from, datagram.to);
        let link = self.links.get(&pair).copied().unwrap_or(self.usual);
        if self.cut.contains(&pair) {
            return Fate::Cut;
        }
        if datagram.bytes.len() > link.mtu_bytes {
            return Fate::TooLong;
        }
        if self.hits(link.loss_permille) {
            return Fate::Lost;
        }
        let twice = self.hits(link.duplicate_permille).then(|| datagram.clone());
        let first = self.put(now, link, datagram);
        twice.map_or(Fate::Arrives(first), |again| Fate::ArrivesTwice(first, self.put(now, link, again)))
    }

    /// Hands out the next datagram that has arrived by `now`.
    pub fn take(&mut self, now: u64) -> Option<Datagram> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next datagram arrives, in nanoseconds.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    fn hits(&mut self, permille: u16) -> bool {
        permille > 0 && self.chance.u16(..1000) < permille
    }

    fn put(&mut self, now: u64, link: Link, datagram: Datagram) -> u64 {
        let pair = (datagram.from, datagram.to);
        let falls_back = self.hits(link.reorder_permille);
        let mut delay_us = link.delay_us + self.chance.u64(..=link.jitter_us);
        if falls_back {
            delay_us += self.chance.u64(..=FALL_BACK_US_MAX);
        }
        let mut at = (now + delay_us * 1000).next_multiple_of(GRAIN_NANOS);
        if !falls_back {
            let latest = self.latest.entry(pair).or_default();
            at = at.max(*latest);
            *latest = at;
        }
        self.serial += 1;
        self.under_way.insert((at, self.serial), datagram);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const STEADY: Link = Link { delay_us: 1000, jitter_us: 0, ..Link::GOOD };

    fn datagram(from: u64, to: u64, byte: u8) -> Datagram {
        Datagram { from: NodeId(from), to: NodeId(to), bytes: vec![byte] }
    }

    /// Sends one datagram per millisecond from node 1 to node 2 and returns what arrives when, in microseconds.
    fn arrivals(link: Link, seed: u64, count: u8) -> Vec<(u64, u8)> {
        let mut network = Network::new(seed);
        network.set(NodeId(1), NodeId(2), link);
        for byte in 0..count {
            network.send(u64::from(byte) * MS, datagram(1, 2, byte));
        }
        let mut found = Vec::new();
        while let Some(at) = network.next() {
            let Datagram { bytes, .. } = network.take(at).unwrap();
            found.push((at / 1000, bytes[0]));
        }
        found
    }

    #[test]
    fn steady_link_delays_all_alike() {
        assert_eq!(arrivals(STEADY, 1, 3), [(1000, 0), (2000, 1), (3000, 2)]);
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let mut network = Network::new(1);
        network.set_usual(STEADY);
        assert_eq!(network.send(5 * MS, datagram(1, 2, 7)), Fate::Arrives(6 * MS));
        assert_eq!((network.next(), network.take(6 * MS - 1)), (Some(6 * MS), None));
        assert_eq!(network.take(6 * MS), Some(datagram(1, 2, 7)));
        assert_eq!((network.next(), network.take(7 * MS)), (None, None));
    }

    /// Jitter of ten times the distance between datagrams: without the rule they would overtake each other.
    #[test]
    fn jitter_alone_keeps_the_order() {
        let jitter = Link { jitter_us: 10_000, ..STEADY };
        let found = arrivals(jitter, 3, 200);
        assert!(found.iter().map(|(_, byte)| *byte).eq(0..200), "{found:?}");
        assert!(found.windows(2).any(|pair| pair[0].0 == pair[1].0), "some arrive together");
    }

    #[test]
    fn chance_loses_doubles_and_reorders_as_told() {
        let link = Link { loss_permille: 200, ..STEADY };
        let arrived = [(1000, 0), (2000, 1), (3000, 2), (5000, 4), (6000, 5), (8000, 7), (9000, 8), (10_000, 9)];
        assert_eq!(arrivals(link, 7, 10), arrived);
        let link = Link { duplicate_permille: 1000, ..STEADY };
        assert_eq!(arrivals(link, 7, 2), [(1000, 0), (1000, 0), (2000, 1), (2000, 1)]);
        let link = Link { reorder_permille: 300, ..STEADY };
        let found = arrivals(link, 7, 10);
        assert!(!found.iter().map(|(_, byte)| *byte).is_sorted(), "{found:?}");
        assert_eq!(found.len(), 10);
    }

    #[test]
    fn cut_holds_in_one_direction_until_it_is_healed() {
        let mut network = Network::new(1);
        network.set_usual(STEADY);
        network.cut(NodeId(1), NodeId(2));
        assert_eq!(network.send(0, datagram(1, 2, 0)), Fate::Cut);
        assert_eq!(network.send(0, datagram(2, 1, 0)), Fate::Arrives(MS));
        network.join(NodeId(1), NodeId(2));
        assert_eq!(network.send(0, datagram(1, 2, 0)), Fate::Arrives(MS));
    }

    #[test]
    fn long_datagrams_are_lost() {
        let mut network = Network::new(1);
        network.set_usual(Link { mtu_bytes: 2, ..STEADY });
        let long = Datagram { bytes: vec![0; 3], ..datagram(1, 2, 0) };
        assert_eq!(network.send(0, long), Fate::TooLong);
        assert_eq!(network.send(0, Datagram { bytes: vec![0; 2], ..datagram(1, 2, 0) }), Fate::Arrives(MS));
    }

    #[test]
    fn same_seed_has_the_same_fates() {
        let link = Link { jitter_us: 500, loss_permille: 100, duplicate_permille: 50, reorder_permille: 50, ..STEADY };
        assert_eq!(arrivals(link, 9, 200), arrivals(link, 9, 200));
        assert_ne!(arrivals(link, 9, 200), arrivals(link, 10, 200));
    }
}
