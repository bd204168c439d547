//! How many strangers may be in their handshakes at once, and which.
//!
//! A half handshake costs a stranger one packet and this node some memory until the handshake's time is over, and a
//! stranger can write any address on its packet. So while many places are taken, a stranger must show that it gets what
//! is sent to its address (a QUIC retry, RFC 9000 section 8.1.2), which costs this node nothing; and one address gets a
//! quarter of the places, so that the others are left to those who live elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Door {
    places: Arc<Semaphore>,
    max: usize,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place in front of the door; given back when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// What a stranger is answered.
pub(super) enum Knock {
    Enter(Place),
    ShowAddress,
    Wait,
}

impl Door {
    pub(super) fn new(max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(max)), max, held: Arc::default() }
    }

    /// Waits for a free place.
    pub(super) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Decides about a stranger who knocks from `address`; `shown` says that it gets what is sent there.
    pub(super) fn knock(&self, permit: OwnedSemaphorePermit, address: IpAddr, shown: bool) -> Knock {
        let taken = self.max - self.places.available_permits();
        if 2 * taken > self.max && !shown {
            return Knock::ShowAddress;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&address).copied().unwrap_or(0);
        // A door of a few places can't be shared; then first come, first served.
        if 4 * count >= self.max.max(16) {
            return Knock::Wait;
        }
        held.insert(address, count + 1);
        Knock::Enter(Place { _permit: permit, address, held: Arc::clone(&self.held) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.remove(&self.address).unwrap_or(0);
        if count > 1 {
            held.insert(self.address, count - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    async fn knock(door: &Door, host: u8, shown: bool) -> Knock {
        let permit = door.wait().await.unwrap();
        door.knock(permit, IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), shown)
    }

    #[tokio::test]
    async fn one_address_gets_a_quarter_and_gives_it_back() {
        let door = Door::new(64);
        let mut places = Vec::new();
        while let Knock::Enter(place) = knock(&door, 1, true).await {
            places.push(place);
        }
        assert_eq!(places.len(), 16);
        assert!(matches!(knock(&door, 2, false).await, Knock::Enter(_)), "others aren't kept out");
        places.pop();
        assert!(matches!(knock(&door, 1, true).await, Knock::Enter(_)));
        places.clear();
        assert!(door.held.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn addresses_must_be_shown_while_many_knock() {
        let door = Door::new(64);
        let mut places = Vec::new();
        for host in 1..=32 {
            let Knock::Enter(place) = knock(&door, host, false).await else { panic!("place {host}") };
            places.push(place);
        }
        assert!(matches!(knock(&door, 33, false).await, Knock::ShowAddress));
        let Knock::Enter(_place) = knock(&door, 33, true).await else { panic!("whoever shows it may enter") };
        places.truncate(20);
        assert!(matches!(knock(&door, 34, false).await, Knock::Enter(_)));
    }
}
