//! A cluster on this machine: one directory, one authority, each node a child process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use tiebeam_node::Identity;
use tiebeam_node::ca::Authority;
use tiebeam_node::wire::{NodeId, Role};

/// The cluster's name; names of local clusters never meet.
const CLUSTER: &str = "local";

/// How many addresses of the loopback network are looked at for free ports.
const HOSTS_TRIED: u32 = 100;

/// Which ports the nodes take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ports {
    /// At 127.0.0.1, 4000 and on for HTTP, 4400 and on for QUIC, in order of node.
    Default,
    /// The same at another address of the loopback network that nobody uses. Free ports at 127.0.0.1 would be lost to
    /// somebody's outgoing connection while their node is away.
    Free,
}

/// A node of the local cluster, running or not.
#[derive(Debug)]
pub(crate) struct LocalNode {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) http: SocketAddr,
    quic: SocketAddr,
    dir: PathBuf,
    child: Option<Child>,
}

/// The nodes, in order of id: cores first. Dropping it kills what still runs.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    pub(crate) nodes: Vec<LocalNode>,
    dir: PathBuf,
}

impl LocalCluster {
    /// Lays out a cluster of `cores` and `edges` in `dir`, or finds the one that was laid out there before with the same
    /// shape; starts nothing. `apps` returns the `[apps.*]` sections of a node's configuration.
    pub(crate) fn lay_out(
        dir: &Path,
        cores: usize,
        edges: usize,
        ports: Ports,
        apps: impl Fn(&str) -> String,
    ) -> Result<Self> {
        if !(1..=9).contains(&cores) || edges > 16 {
            bail!("a local cluster has 1 to 9 cores and at most 16 edges, {cores} and {edges} were asked for");
        }
        fs::create_dir_all(dir.join("logs")).with_context(|| format!("directory {} can't be made", dir.display()))?;
        let dir = dir.canonicalize()?;
        let authority = match Authority::load(&dir.join("ca")) {
            Ok(authority) => authority,
            Err(_) => Authority::create(&dir.join("ca"), CLUSTER).context("certificate authority can't be made")?,
        };
        let names = (1..=cores).map(|n| (Role::Core, n)).chain((1..=edges).map(|n| (Role::Edge, n)));
        let mut nodes = Vec::new();
        let addresses = addresses(ports, cores + edges)?;
        for ((id, (role, n)), (http, quic)) in (1..).map(NodeId).zip(names).zip(addresses) {
            let name = format!("{role}-{n}");
            nodes.push(LocalNode { id, role, http, quic, dir: dir.join(&name), name, child: None });
        }
        let cookie = cookie(&dir)?;
        let seats: BTreeMap<u64, SocketAddr> =
            nodes.iter().filter(|n| n.role == Role::Core).map(|n| (n.id.0, n.quic)).collect();
        for node in &nodes {
            issue(&authority, &dir, node)?;
            let text = config(&dir, node, &cookie, &seats) + &apps(&node.name);
            fs::write(dir.join(format!("{}.toml", node.name)), text)?;
        }
        Ok(Self { nodes, dir })
    }

    /// Starts node `i` as a child process; its text lines go to `logs/NAME.log`.
    pub(crate) fn start(&mut self, i: usize) -> Result<()> {
        let config = self.config_of(i);
        let node = &mut self.nodes[i];
        let log = self.dir.join("logs").join(format!("{}.log", node.name));
        let log = File::options().create(true).append(true).open(log)?;
        let exe = std::env::current_exe().context("own executable can't be found")?;
        // The child ends when its standard input does: a killed parent leaves no orphans behind.
        let child = Command::new(exe)
            .args(["node", "run", "--exit-with-stdin", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("node {} can't be started", node.name))?;
        node.child = Some(child);
        Ok(())
    }

    pub(crate) fn start_all(&mut self) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|i| self.start(i))
    }

    /// Kills nodes with SIGKILL, each before any is waited for, and waits until all are gone.
    pub(crate) fn kill(&mut self, nodes: &[usize]) -> Result<()> {
        for i in nodes {
            if let Some(child) = &mut self.nodes[*i].child {
                child.kill()?;
            }
        }
        for i in nodes {
            if let Some(mut child) = self.nodes[*i].child.take() {
                child.wait()?;
            }
        }
        Ok(())
    }

    /// Fails with the node's last words if one ended that nobody killed.
    pub(crate) fn check(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            if let Some(status) = child.try_wait()? {
                let log = self.dir.join("logs").join(format!("{}.log", node.name));
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(3).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                bail!(
                    "node {} ended by itself ({status}); {} ends with:\n{}",
                    node.name,
                    log.display(),
                    last.join("\n")
                );
            }
        }
        Ok(())
    }

    /// The configuration file of node `i`.
    pub(crate) fn config_of(&self, i: usize) -> PathBuf {
        self.dir.join(format!("{}.toml", self.nodes[i].name))
    }

    /// Where the nodes' trace lines are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub(crate) fn position(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.id == id)
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        // Nobody is left to hear of an error here.
        let _ = self.kill(&all);
    }
}

/// HTTP and QUIC addresses of `count` nodes; all of them are free at this moment.
fn addresses(ports: Ports, count: usize) -> Result<Vec<(SocketAddr, SocketAddr)>> {
    let at = |host: Ipv4Addr| {
        let places = 0..u16::try_from(count).expect("a few nodes at most");
        places.map(move |i| (SocketAddr::from((host, 4000 + i)), SocketAddr::from((host, 4400 + i))))
    };
    let free = |host: Ipv4Addr| -> Result<Vec<_>> {
        for (http, quic) in at(host) {
            TcpListener::bind(http).with_context(|| format!("port {http} (http) is in use"))?;
            UdpSocket::bind(quic).with_context(|| format!("port {quic} (quic) is in use"))?;
        }
        Ok(at(host).collect())
    };
    if matches!(ports, Ports::Default) {
        return free(Ipv4Addr::LOCALHOST);
    }
    let hosts = (0..HOSTS_TRIED).map(|_| {
        let [a, b, ..] = tiebeam_node::world::random().to_le_bytes();
        Ipv4Addr::new(127, a.clamp(1, 254), b, 1)
    });
    let found = hosts.into_iter().find_map(|host| free(host).ok());
    found.with_context(|| format!("none of {HOSTS_TRIED} loopback addresses has {count} free ports"))
}

/// The cluster's shared secret: made once, from the system's entropy.
fn cookie(dir: &Path) -> Result<String> {
    let path = dir.join("cookie");
    if let Ok(cookie) = fs::read_to_string(&path) {
        return Ok(cookie);
    }
    let mut cookie = String::new();
    let mut secret = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    for byte in secret {
        write!(cookie, "{byte:02x}")?;
    }
    fs::write(&path, &cookie)?;
    Ok(cookie)
}

fn issue(authority: &Authority, dir: &Path, node: &LocalNode) -> Result<()> {
    let certs = dir.join("certs");
    if !certs.join(format!("{}.pem", node.name)).exists() {
        let identity =
            Identity { node: node.id, name: node.name.clone(), role: node.role, cluster: CLUSTER.to_owned() };
        authority.issue(identity)?.write(&certs)?;
    }
    Ok(())
}

fn config(dir: &Path, node: &LocalNode, cookie: &str, cores: &BTreeMap<u64, SocketAddr>) -> String {
    let LocalNode { id, name, role, http, quic, dir: data, .. } = node;
    let (dir, data) = (dir.display(), data.display());
    let cores: Vec<String> = cores.iter().map(|(id, at)| format!("{id} = \"{at}\"")).collect();
    format!(
        "[node]\nid = {}\nname = \"{name}\"\nrole = \"{role}\"\ndir = \"{data}\"\n\n\
         [listen]\nquic = \"{quic}\"\nhttp = \"{http}\"\n\n\
         [tls]\nca = \"{dir}/ca/ca.pem\"\ncert = \"{dir}/certs/{name}.pem\"\nkey = \"{dir}/certs/{name}.key\"\n\n\
         [cluster]\nname = \"{CLUSTER}\"\ncookie = \"{cookie}\"\ncores = {{ {} }}\n\n",
        id.0,
        cores.join(", "),
    )
}
