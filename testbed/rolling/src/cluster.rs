//! The nodes: five processes, and this one.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tiebeam_node::ca::Authority;
use tiebeam_node::cluster::Cluster;
use tiebeam_node::wire::{Incarnation, NodeId, Role};
use tiebeam_node::{Config, Identity, Node};

use crate::echo::{self, EchoApp, WORKERS};

/// The processes, and the folder with all that they need. Dropping it kills what still runs.
pub(crate) struct Nodes {
    folder: TempDir,
    cores: usize,
    children: Vec<Option<Child>>,
}

/// Starts a node of this process, as its configuration says.
pub(crate) async fn start(config: &Path) -> anyhow::Result<Node> {
    let config = Config::load(config, None)?;
    Ok(Node::start(config, vec![Arc::new(EchoApp)]).await?)
}

impl Nodes {
    /// Makes certificates and configurations of cores, of edges, and of one edge more, which runs in this process.
    pub(crate) fn lay_out(cores: usize, edges: usize) -> anyhow::Result<Self> {
        let count = cores + edges;
        let name = |i: usize| name(cores, i);
        let voters = cores;
        let folder = tempfile::tempdir()?;
        let authority = Authority::create(&folder.path().join("ca"), CLUSTER)?;
        // Held until all are known, so that no port is taken twice.
        let sockets: Vec<_> = (0..=count).map(|_| UdpSocket::bind(LOOPBACK)).collect::<Result<_, _>>()?;
        let pages: Vec<_> = (0..=count).map(|_| TcpListener::bind(LOOPBACK)).collect::<Result<_, _>>()?;
        let quic: Vec<_> = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
        let cores: Vec<_> = (0..voters).map(|i| format!("{} = \"{}\"", i + 1, quic[i])).collect();
        let cores = cores.join(", ");
        for (i, page) in pages.iter().enumerate() {
            let (node, name) = (NodeId(i as u64 + 1), name(i));
            let role = if i < voters { Role::Core } else { Role::Edge };
            let identity = Identity { node, name: name.clone(), role, cluster: CLUSTER.to_owned() };
            authority.issue(identity)?.write(&folder.path().join("certs"))?;
            let root = folder.path().display();
            let app = if i < count { "[apps.echo]\n" } else { "" };
            let text = format!(
                "[node]\nid = {}\nname = \"{name}\"\nrole = \"{role}\"\ndir = \"{root}/{name}\"\n\n\
                 [listen]\nquic = \"{}\"\nhttp = \"{}\"\n\n\
                 [tls]\nca = \"{root}/ca/ca.pem\"\ncert = \"{root}/certs/{name}.pem\"\nkey = \"{root}/certs/{name}.key\"\n\n\
                 [cluster]\nname = \"{CLUSTER}\"\ncookie = \"a secret of the testbed\"\ncores = {{ {cores} }}\n\n{app}",
                node.0,
                quic[i],
                page.local_addr()?,
            );
            fs::write(folder.path().join(format!("{name}.toml")), text)?;
        }
        Ok(Self { folder, cores: voters, children: (0..count).map(|_| None).collect() })
    }

    /// The configuration of the node in this process.
    pub(crate) fn observer(&self) -> PathBuf {
        self.config(self.children.len())
    }

    pub(crate) fn name(&self, i: usize) -> String {
        name(self.cores, i)
    }

    fn config(&self, i: usize) -> PathBuf {
        self.folder.path().join(format!("{}.toml", self.name(i)))
    }

    pub(crate) fn start_all(&mut self) -> anyhow::Result<()> {
        (0..self.children.len()).try_for_each(|i| self.start(i))
    }

    fn start(&mut self, i: usize) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--node").arg(self.config(i)).stdin(Stdio::null()).stdout(Stdio::null());
        self.children[i] = Some(command.spawn().with_context(|| format!("node {} can't be started", self.name(i)))?);
        Ok(())
    }

    /// Waits until every node's actors are seen here.
    pub(crate) async fn all_serve(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.until(cluster, "all nodes to serve", |seen| seen.len() == self.children.len()).await.map(drop)
    }

    /// Stops a node in order; returns how long it took.
    pub(crate) async fn stop(&mut self, i: usize) -> anyhow::Result<Duration> {
        self.end(i, Signal::SIGTERM).await
    }

    pub(crate) async fn kill(&mut self, i: usize) -> anyhow::Result<Duration> {
        self.end(i, Signal::SIGKILL).await
    }

    pub(crate) fn signal(&self, i: usize, signal: Signal) -> anyhow::Result<()> {
        let child = self.children[i].as_ref().with_context(|| format!("node {} doesn't run", self.name(i)))?;
        Ok(kill(Pid::from_raw(child.id().try_into()?), signal)?)
    }

    async fn end(&mut self, i: usize, signal: Signal) -> anyhow::Result<Duration> {
        let mut child = self.children[i].take().with_context(|| format!("node {} doesn't run", name(self.cores, i)))?;
        let began = Instant::now();
        kill(Pid::from_raw(child.id().try_into()?), signal)?;
        let ended = tokio::task::spawn_blocking(move || child.wait()).await??;
        if signal == Signal::SIGTERM && !ended.success() {
            bail!("node {} ended with {ended} when it was told to stop", self.name(i));
        }
        Ok(began.elapsed())
    }

    /// Starts a node again; returns how long it took until its actors were seen here.
    pub(crate) async fn start_again(&mut self, i: usize, cluster: &Cluster) -> anyhow::Result<Duration> {
        let (began, node) = (Instant::now(), NodeId(i as u64 + 1));
        // If it was killed, it may not have been missed yet.
        let members = echo::group(cluster).members().into_iter().map(|member| member.pid());
        let former = members.filter(|pid| pid.node == node).map(|pid| pid.incarnation).max();
        self.start(i)?;
        let is_back = |seen: &BTreeMap<NodeId, Incarnation>| seen.get(&node) > former.as_ref();
        self.until(cluster, "the node to serve again", is_back).await?;
        Ok(began.elapsed())
    }

    /// Waits until `enough` of the nodes have all their actors in the group.
    async fn until(
        &self,
        cluster: &Cluster,
        what: &str,
        enough: impl Fn(&BTreeMap<NodeId, Incarnation>) -> bool,
    ) -> anyhow::Result<BTreeMap<NodeId, Incarnation>> {
        let began = Instant::now();
        loop {
            let pids = echo::group(cluster).members().into_iter().map(|member| member.pid());
            let members: Vec<_> = pids.map(|pid| (pid.node, pid.incarnation)).collect();
            let is_whole = |start: &(_, _)| members.iter().filter(|member| *member == start).count() == WORKERS;
            let seen: BTreeMap<_, _> = members.iter().copied().filter(is_whole).collect();
            if enough(&seen) {
                return Ok(seen);
            }
            if began.elapsed() > PATIENCE {
                bail!("waited {} s for {what}; seen: {seen:?}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn name(cores: usize, i: usize) -> String {
    if i < cores { format!("core-{}", i + 1) } else { format!("edge-{}", i + 1 - cores) }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // Nobody is left to hear of an error here.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const CLUSTER: &str = "rolling";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(60);
