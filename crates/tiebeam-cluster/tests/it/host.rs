//! Nodes that can be started, killed and started again.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use futures::FutureExt;
use tiebeam_actor::System;
use tiebeam_cluster::{Cluster, Config, MemberEvent, MemberEvents, StartError, Voters};
use tiebeam_net::ca::Authority;
use tiebeam_net::{Cookie, Credentials, Identity};
use tiebeam_wire::{Incarnation, NodeId, Role};
use tokio::runtime::Runtime;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::ephemeral("skies").unwrap());

pub(crate) fn net(node: u64, incarnation: u64, role: Role) -> tiebeam_net::Config {
    let identity = Identity { node: NodeId(node), name: format!("node-{node}"), role, cluster: "skies".into() };
    let issued = AUTHORITY.issue(identity).unwrap();
    let credentials =
        Credentials::from_pem(AUTHORITY.pem().as_bytes(), issued.certificate.as_bytes(), issued.key.as_bytes());
    let cookie = Cookie::new("a secret of the tests").unwrap();
    tiebeam_net::Config::new("127.0.0.1:0".parse().unwrap(), Incarnation(incarnation), credentials.unwrap(), cookie)
}

/// A configuration with short times and `seeds`.
pub(crate) fn config(node: u64, role: Role, seeds: &[SocketAddr]) -> Config {
    let mut config = Config::new(net(node, 1, role));
    config.net.idle_timeout = Duration::from_millis(1000);
    config.net.keep_alive_interval = Duration::from_millis(300);
    config.gossip_interval = Duration::from_millis(50);
    config.seeds = seeds.iter().copied().map(Into::into).collect();
    config
}

/// As [`config`], with voters that grant short leases.
pub(crate) fn voting(node: u64, voters: &[u64], seeds: &[SocketAddr]) -> Config {
    let mut config = config(node, Role::Core, seeds);
    config.voters = Voters { version: 0, nodes: voters.iter().copied().map(NodeId).collect() };
    config.lease_time = Duration::from_millis(1500);
    config
}

/// Starts nodes 1 to 3, all of which vote.
pub(crate) async fn three() -> [Host; 3] {
    let one = Host::start(voting(1, &[1, 2, 3], &[])).await.unwrap();
    let two = Host::start(voting(2, &[1, 2, 3], &[one.address()])).await.unwrap();
    let three = Host::start(voting(3, &[1, 2, 3], &[one.address()])).await.unwrap();
    all_joined(&[&one, &two, &three]).await;
    [one, two, three]
}

/// A running node. Dropping it kills it: its tasks stop at once and nothing is sent any more.
pub(crate) struct Host {
    pub(crate) cluster: Cluster,
    pub(crate) system: System,
    runtime: Option<Runtime>,
}

impl Host {
    pub(crate) async fn start(config: Config) -> Result<Self, StartError> {
        // One worker, so that none still sends while another one stops.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let system = System::new(config.net.credentials.identity().node, config.net.incarnation);
        let started = runtime.spawn_here(Cluster::start(config, system.clone())).await;
        match started {
            Ok(cluster) => Ok(Self { cluster, system, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    pub(crate) async fn core(node: u64, seeds: &[SocketAddr]) -> Self {
        Self::start(config(node, Role::Core, seeds)).await.unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.cluster.local_addr()
    }

    pub(crate) fn node(&self) -> NodeId {
        self.cluster.node()
    }

    /// Runs `work` where the node's tasks run.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.as_ref().unwrap().spawn_here(work).await
    }

    /// Kills the node and starts it again at its old address; its port may be free only a moment later.
    pub(crate) async fn restart(self, mut config: Config) -> Self {
        config.net.listen = self.address();
        drop(self);
        loop {
            match Self::start(config.clone()).await {
                Ok(host) => return host,
                Err(StartError::Listen(_)) => tiebeam_world::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

trait SpawnHere {
    async fn spawn_here<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T;
}

impl SpawnHere for Runtime {
    async fn spawn_here<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let task = {
            let _entered = self.enter();
            tiebeam_world::spawn("test.host", work)
        };
        task.await.unwrap()
    }
}

/// How long a test waits for what must come; far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tiebeam_world::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tiebeam_world::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The next event in short: `up n2 i1`, `down n2 i1`, `end`.
pub(crate) async fn next(events: &mut MemberEvents) -> String {
    match soon("a change of members", events.next()).await {
        Some(MemberEvent::Up(member)) => format!("up {} {}", member.node, member.incarnation),
        Some(MemberEvent::Down(node, incarnation)) => format!("down {node} {incarnation}"),
        None => "end".to_owned(),
    }
}

/// Says that no event waits.
pub(crate) fn is_quiet(events: &mut MemberEvents) -> bool {
    events.next().now_or_never().is_none()
}

/// Waits until each of `hosts` is connected to all others.
pub(crate) async fn all_joined(hosts: &[&Host]) {
    until("everybody to be connected", || {
        hosts.iter().all(|host| {
            let live = host.cluster.members().into_iter().filter(|member| member.live).count();
            live == hosts.len()
        })
    })
    .await;
}
