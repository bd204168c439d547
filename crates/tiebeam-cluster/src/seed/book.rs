//! What each seed led to last, and whether that is to be said. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::SEED_ADDRESSES_MAX;

/// What seeds lead to, by their place in the configuration.
#[derive(Debug)]
pub(crate) struct SeedBook {
    /// Addresses that are configured as such, whatever names and files lead to.
    fixed: BTreeSet<SocketAddr>,
    seeds: BTreeMap<usize, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: BTreeSet<SocketAddr>,
    failed: bool,
}

/// What follows from a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Addresses that no seed led to before.
    pub(super) added: Vec<SocketAddr>,
    /// Addresses that no seed leads to any more.
    pub(super) removed: Vec<SocketAddr>,
    /// What to say: that it can't be resolved, or that it can again; once each.
    pub(super) said: Option<Result<(), String>>,
}

impl SeedBook {
    pub(crate) const fn new(fixed: BTreeSet<SocketAddr>) -> Self {
        Self { fixed, seeds: BTreeMap::new() }
    }

    /// Takes in what one look at a seed found. What can't be resolved leads where it led.
    pub(super) fn resolved(&mut self, index: usize, found: Result<BTreeSet<SocketAddr>, String>) -> Change {
        let before = self.all();
        let entry = self.seeds.entry(index).or_default();
        let said = match found {
            Ok(addresses) => {
                entry.addresses = addresses.into_iter().take(SEED_ADDRESSES_MAX).collect();
                std::mem::replace(&mut entry.failed, false).then_some(Ok(()))
            }
            Err(error) => (!std::mem::replace(&mut entry.failed, true)).then_some(Err(error)),
        };
        let after = self.all();
        let added = after.difference(&before).copied().collect();
        Change { added, removed: before.difference(&after).copied().collect(), said }
    }

    fn all(&self) -> BTreeSet<SocketAddr> {
        let found = self.seeds.values().flat_map(|entry| &entry.addresses);
        found.chain(&self.fixed).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn found(ports: impl IntoIterator<Item = u16>) -> Result<BTreeSet<SocketAddr>, String> {
        Ok(ports.into_iter().map(at).collect())
    }

    fn change(added: &[u16], removed: &[u16], said: Option<Result<(), &str>>) -> Change {
        let addresses = |ports: &[u16]| ports.iter().copied().map(at).collect();
        let said = said.map(|said| said.map_err(str::to_owned));
        Change { added: addresses(added), removed: addresses(removed), said }
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let mut book = SeedBook::new(BTreeSet::new());
        assert_eq!(book.resolved(0, found([1, 2])), change(&[1, 2], &[], None));
        assert_eq!(book.resolved(0, found([1, 2])), Change::default());
        assert_eq!(book.resolved(1, found([2, 3])), change(&[3], &[], None));
        assert_eq!(book.resolved(0, found([4])), change(&[4], &[1], None), "2 is named by the other one");
    }

    /// A name server that is down for a minute must neither fill the log nor take the seeds away.
    #[test]
    fn failure_is_said_once_and_changes_nothing_else() {
        let mut book = SeedBook::new(BTreeSet::new());
        let failed = || Err("no such host".to_owned());
        assert_eq!(book.resolved(0, found([1])), change(&[1], &[], None));
        assert_eq!(book.resolved(0, failed()), change(&[], &[], Some(Err("no such host"))));
        assert_eq!(book.resolved(0, Err("another reason".to_owned())), Change::default());
        assert_eq!(book.resolved(0, found([1])), change(&[], &[], Some(Ok(()))));
        assert_eq!(book.resolved(0, failed()), change(&[], &[], Some(Err("no such host"))));
    }

    /// An address that is configured and was also found by a name must not go with the name.
    #[test]
    fn configured_address_stays_whatever_a_name_says() {
        let mut book = SeedBook::new([at(1)].into());
        assert_eq!(book.resolved(0, found([1, 2])), change(&[2], &[], None));
        assert_eq!(book.resolved(0, found([])), change(&[], &[2], None));
    }

    #[test]
    fn one_seed_leads_to_a_bounded_number_of_addresses() {
        let mut book = SeedBook::new(BTreeSet::new());
        assert_eq!(book.resolved(0, found(1..1_000)).added.len(), SEED_ADDRESSES_MAX);
    }
}
