//! Directories, certificates and configurations for real nodes, and the processes that run on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use tiebeam_net::Identity;
use tiebeam_net::ca::Authority;
use tiebeam_node::wire::{NodeId, Role};

pub(crate) const CLUSTER: &str = "tests";
pub(crate) const COOKIE: &str = "a secret of the tests";
pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_tiebeam");

/// Longest wait for a line. Nothing depends on it but how long a failure takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with an authority of its own.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("ca"), CLUSTER).unwrap();
        Self { dir, authority }
    }

    /// Issues a certificate and writes it down; returns what a node with it is configured with. The node is its cluster's
    /// only core, or knows of none.
    pub(crate) fn node(&self, id: u64, role: Role) -> NodeFile {
        let name = format!("{role}-{id}");
        let cluster = CLUSTER.to_owned();
        let issued = self.authority.issue(Identity { node: NodeId(id), name: name.clone(), role, cluster }).unwrap();
        issued.write(&self.path("certs")).unwrap();
        let host = host();
        let (quic, http) = (SocketAddr::from((host, 4400)), SocketAddr::from((host, 4000)));
        NodeFile {
            id,
            role,
            dir: self.path(&name),
            quic,
            http,
            ca: self.path("ca/ca.pem"),
            cert: self.path(&format!("certs/{name}.pem")),
            key: self.path(&format!("certs/{name}.key")),
            cookie: COOKIE.to_owned(),
            cores: (role == Role::Core).then_some((id, quic)).into_iter().collect(),
            name,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a node's configuration file; returns where.
    pub(crate) fn write(&self, text: &str) -> PathBuf {
        let id = text.lines().find_map(|line| line.strip_prefix("id = ")?.parse::<u64>().ok());
        let other = id.filter(|id| *id > 1).map(|id| format!("-{id}")).unwrap_or_default();
        let path = self.path(&format!("node{other}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a node on `text`.
    pub(crate) fn start(&self, text: &str) -> Process {
        let config = self.write(text);
        let ready = Process::start(&config);
        ready.until("node started");
        ready
    }

    /// Starts a node that must not start; returns how it ended and all that it wrote.
    pub(crate) fn refused(&self, text: &str) -> String {
        let config = self.write(text);
        // Without standard input a node that starts nevertheless ends by itself, and with success.
        let output = Process::command(&config).env("TIEBEAM_TRACE", "error").stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

/// What a configuration file says.
#[derive(Clone)]
pub(crate) struct NodeFile {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) dir: PathBuf,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) cookie: String,
    pub(crate) cores: BTreeMap<u64, SocketAddr>,
}

impl NodeFile {
    pub(crate) fn text(&self) -> String {
        let Self { id, name, role, dir, quic, http, ca, cert, key, cookie, cores } = self;
        let cores: Vec<String> = cores.iter().map(|(id, at)| format!("{id} = \"{at}\"")).collect();
        format!(
            "[node]\nid = {id}\nname = \"{name}\"\nrole = \"{role}\"\ndir = {dir:?}\n\
             [listen]\nquic = \"{quic}\"\nhttp = \"{http}\"\n\
             [tls]\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n\
             [cluster]\nname = \"{CLUSTER}\"\ncookie = \"{cookie}\"\ncores = {{ {} }}\n",
            cores.join(", ")
        )
    }
}

/// A loopback address that no other node of this process has, nor one of another that runs at the same time.
fn host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let [a, b, ..] = std::process::id().to_le_bytes();
    let c = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, a.clamp(1, 254), b, c.saturating_add(2))
}

/// A running node; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    kept: RefCell<Vec<String>>,
    _stdin: Option<ChildStdin>,
}

impl Process {
    fn command(config: &Path) -> Command {
        let mut command = Command::new(EXE);
        command.args(["node", "run", "--exit-with-stdin", "--config"]).arg(config);
        command
    }

    pub(crate) fn start(config: &Path) -> Self {
        let mut child = Self::command(config).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tx, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tx.send(line)));
        let stdin = child.stdin.take();
        Self { child, lines, kept: RefCell::default(), _stdin: stdin }
    }

    /// Waits for a trace line that contains `text`, and returns it; each line is returned once. What is said once may have
    /// been said before anybody asked for it, so other lines are kept.
    pub(crate) fn until(&self, text: &str) -> String {
        let mut kept = self.kept.borrow_mut();
        if let Some(found) = kept.iter().position(|line| line.contains(text)) {
            return kept.remove(found);
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => kept.push(line),
                Err(error) => panic!("no line has {text:?} ({error}); there were:\n{}", kept.join("\n")),
            }
        }
    }

    /// Tells the node to read its configuration again.
    pub(crate) fn hang_up(&self) {
        let killed = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Asks the node to stop and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        drop(self._stdin.take());
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
