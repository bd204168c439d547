//! Two nodes that reach each other only by way of relays, which can be cut and healed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tiebeam_cluster::Config;
use tiebeam_wire::Role;
use tokio::net::UdpSocket;

use crate::host::{Host, all_joined, config, until};

/// Two joined nodes.
pub(crate) struct Pair {
    pub(crate) one: Host,
    pub(crate) two: Host,
    cut: Arc<AtomicBool>,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl Fn(&mut Config)) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let (mut hosts, mut seeds) = (Vec::new(), Vec::new());
        for node in [1, 2] {
            let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut config = config(node, Role::Core, &seeds);
            config.dial_backoff.max = Duration::from_millis(200);
            config.net.advertise = Some(front.local_addr().unwrap());
            seeds.push(front.local_addr().unwrap());
            // A free port, known before the node runs.
            let listen = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            config.net.listen = listen;
            change(&mut config);
            drop(tiebeam_world::spawn("test.relay", relay(front, listen, Arc::clone(&cut))));
            hosts.push(Host::start(config).await.unwrap());
        }
        let (two, one) = (hosts.pop().unwrap(), hosts.pop().unwrap());
        all_joined(&[&one, &two]).await;
        Self { one, two, cut }
    }

    /// Cuts the two apart, and waits until both have noticed.
    pub(crate) async fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        let alone = |host: &Host| host.cluster.members().iter().filter(|member| member.live).count() == 1;
        until("both to be alone", || alone(&self.one) && alone(&self.two)).await;
    }

    /// Lets the two meet again, and waits until they have.
    pub(crate) async fn heal(&self) {
        self.cut.store(false, Ordering::SeqCst);
        all_joined(&[&self.one, &self.two]).await;
    }
}

/// Carries packets between whoever sends to `front` and `target`, unless the way is cut.
async fn relay(front: UdpSocket, target: SocketAddr, cut: Arc<AtomicBool>) {
    let front = Arc::new(front);
    let mut backs = BTreeMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((size, from)) = front.recv_from(&mut packet).await else { continue };
        if let Entry::Vacant(way) = backs.entry(from) {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            drop(tiebeam_world::spawn(
                "test.relay",
                back_to(Arc::clone(&back), Arc::clone(&front), from, Arc::clone(&cut)),
            ));
            way.insert(back);
        }
        if !cut.load(Ordering::SeqCst) {
            let _ = backs[&from].send_to(&packet[..size], target).await;
        }
    }
}

async fn back_to(back: Arc<UdpSocket>, front: Arc<UdpSocket>, to: SocketAddr, cut: Arc<AtomicBool>) {
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((size, _)) = back.recv_from(&mut packet).await else { continue };
        if !cut.load(Ordering::SeqCst) {
            let _ = front.send_to(&packet[..size], to).await;
        }
    }
}
