use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tiebeam_actor::System;
use tiebeam_cluster::{Cluster, Config, MemberEvent};
use tiebeam_net::ca::Authority;
use tiebeam_net::{Cookie, Credentials, Identity};
use tiebeam_wire::{Incarnation, NodeId, Role};

use super::second::Second;
use crate::peer::workers;

/// The node that measures, and the authority of its cluster.
pub(super) struct First {
    pub(super) system: System,
    cluster: Cluster,
    authority: Authority,
    folder: TempDir,
}

impl First {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::create(folder.path(), CLUSTER)?;
        issue(&authority, folder.path(), FIRST)?;
        let system = System::new(NodeId(FIRST), Incarnation(1));
        let cluster = Cluster::start(config(folder.path(), FIRST, &[])?, system.clone()).await?;
        Ok(Self { system, cluster, authority, folder })
    }

    /// Starts another process with these nodes and waits until this node is connected to all of them.
    pub(super) async fn join(&self, nodes: RangeInclusive<u64>) -> anyhow::Result<Second> {
        for node in nodes.clone() {
            issue(&self.authority, self.folder.path(), node)?;
        }
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--workers", &workers().to_string()]);
        child.arg("--second").arg(self.folder.path()).arg(self.cluster.local_addr().to_string());
        child.args([nodes.start().to_string(), nodes.end().to_string()]).stdin(Stdio::piped());
        let second = Second(child.spawn()?);
        let mut events = self.cluster.subscribe();
        let joined = async {
            let mut missing: Vec<_> = nodes.map(NodeId).collect();
            while !missing.is_empty() {
                match events.next().await.context("the cluster stopped")? {
                    MemberEvent::Up(member) => missing.retain(|node| *node != member.node),
                    MemberEvent::Down(node, _) => missing.push(node),
                }
            }
            Ok(second)
        };
        tokio::time::timeout(JOIN_TIMEOUT, joined).await.context("the second node did not join")?
    }
}

/// Reads a node's certificate from `folder`; all else is as by default.
pub(super) fn config(folder: &Path, node: u64, seeds: &[SocketAddr]) -> anyhow::Result<Config> {
    let [certificate, key] = ["pem", "key"].map(|kind| folder.join(format!("{}.{kind}", name(node))));
    let credentials = Credentials::load(&folder.join("ca.pem"), &certificate, &key)?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let cookie = Cookie::new("a secret of the benchmark")?;
    let mut config = Config::new(tiebeam_net::Config::new(listen, Incarnation(1), credentials, cookie));
    config.seeds = seeds.iter().copied().map(Into::into).collect();
    Ok(config)
}

fn issue(authority: &Authority, folder: &Path, node: u64) -> anyhow::Result<()> {
    let identity = Identity { node: NodeId(node), name: name(node), role: Role::Core, cluster: CLUSTER.to_owned() };
    authority.issue(identity)?.write(folder)?;
    Ok(())
}

fn name(node: u64) -> String {
    format!("node-{node}")
}

const FIRST: u64 = 1;
const CLUSTER: &str = "bench";
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
