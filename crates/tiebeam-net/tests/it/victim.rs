//! A node in a process of its own, so that its memory is its own as well, and everything that it says can be read.
//!
//! The process is this test binary, told to run the one test below.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_net::ca::Authority;
use tiebeam_net::{
    Config, Cookie, Credentials, Declined, Denied, Endpoint, FRAME_BYTES_MAX, Handler, Lane, Peer, RequestError,
    Service,
};
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::pair::{COOKIE, config, identity};

/// Where the process finds its files; without it the test below has nothing to do.
const DIR: &str = "TIEBEAM_TEST_VICTIM";
/// How long a test waits for what must come; far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The node under attack: number 1, core. Dropping it kills it.
pub(crate) struct Victim {
    pub(crate) address: SocketAddr,
    child: Child,
    stdin: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

impl Victim {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        authority.issue(identity(authority, 1, Role::Core)).unwrap().write(dir.path()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["victim::process", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let said = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock().unwrap().push(line);
            }
        });
        let address = soon("the victim's address", async {
            loop {
                let found = lines.lock().unwrap().iter().find_map(|line| line.strip_prefix("address ")?.parse().ok());
                match found {
                    Some(address) => break address,
                    None => tiebeam_world::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await;
        Self { address, child, stdin, lines, _dir: dir }
    }

    /// Tells the victim to deny a node.
    pub(crate) fn revoke(&mut self, node: u64) {
        writeln!(self.stdin, "{node}").unwrap();
    }

    /// All lines with each of `texts`.
    pub(crate) fn said(&self, texts: &[&str]) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| texts.iter().all(|text| line.contains(text))).cloned().collect()
    }

    /// Waits until the victim has said something with each of `texts`.
    pub(crate) async fn says(&self, texts: &[&str]) {
        until(&format!("{texts:?}"), || !self.said(texts).is_empty()).await;
    }

    /// The most that the process ever held in memory, in MiB.
    pub(crate) fn memory_max_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another node of the cluster, which calls the victim all the time.
pub(crate) struct Honest {
    pub(crate) endpoint: Endpoint,
    pub(crate) peer: Peer,
    answered: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<RequestError>>>,
}

impl Honest {
    pub(crate) async fn start(authority: &Authority, victim: &Victim) -> Self {
        let endpoint = Endpoint::bind(patient(config(authority, 2, Role::Core))).unwrap();
        let peer = endpoint.dial(victim.address, Some(NodeId(1))).await.unwrap().settle().await.unwrap();
        let (answered, failed) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Option<RequestError>>>::default());
        let (asker, count, error) = (peer.clone(), Arc::clone(&answered), Arc::clone(&failed));
        drop(tiebeam_world::spawn("test.honest", async move {
            loop {
                match asker.request(Service::GROUP, "still there?".into()).await {
                    Ok(answer) => assert_eq!(answer, "still there?"),
                    Err(failure) => return *error.lock().unwrap() = Some(failure),
                }
                count.fetch_add(1, Ordering::Relaxed);
                tiebeam_world::sleep(Duration::from_millis(1)).await;
            }
        }));
        Self { endpoint, peer, answered, failed }
    }

    /// Calls that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Says that the attack was no matter: calls were answered meanwhile, none failed, and some more are.
    pub(crate) async fn is_served(&self, before: u64) {
        let now = self.answered();
        assert!(now > before, "no call was answered meanwhile");
        until("ten more answers", || self.answered() >= now + 10 || self.failed.lock().unwrap().is_some()).await;
        assert_eq!(*self.failed.lock().unwrap(), None);
    }
}

/// A connection isn't given up because the machine is busy with the attack.
pub(crate) fn patient(mut config: Config) -> Config {
    config.idle_timeout = Duration::from_secs(30);
    config.handshake_timeout = Duration::from_secs(20);
    config
}

/// Echoes; answers `big` with the largest answer there is. Drops frames.
struct Serve;

impl Handler for Serve {
    fn request(&self, _service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>> {
        async move { if body == "big" { Ok(Bytes::from(vec![1; FRAME_BYTES_MAX])) } else { Ok(body) } }.boxed()
    }

    fn frame(&self, _lane: Lane, _frame: Bytes) {}
}

/// The victim's own life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO).init();
    let file = |name: &str| dir.join(name);
    let credentials = Credentials::load(&file("ca.pem"), &file("node-1.pem"), &file("node-1.key")).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config::new(listen, Incarnation(1), credentials, Cookie::new(COOKIE).unwrap());
    // Longer than a test, so that half handshakes keep their places.
    let mut config = patient(config);
    config.handshake_timeout = Duration::from_secs(600);
    let endpoint = Endpoint::bind(config).unwrap();
    println!("\naddress {}", endpoint.address());
    let door = endpoint.clone();
    drop(tiebeam_world::spawn("test.accept", async move {
        while let Some(stranger) = door.accept().await {
            drop(tiebeam_world::spawn("test.stranger", async move {
                let Ok(candidate) = stranger.authenticate().await else { return };
                let Ok(peer) = candidate.settle().await else { return };
                peer.serve(Arc::new(Serve));
                peer.closed().await;
            }));
        }
    }));
    let orders = tiebeam_world::blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            endpoint.revoke(Denied::Node(NodeId(line.parse().unwrap()))).unwrap();
        }
    });
    orders.await.unwrap();
}
