//! The service that is called: actors of a group, a few on each node.

use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_node::actor::{Actor, ChildSpec, Ctx, ExitReason, Handler, Table};
use tiebeam_node::cluster::{Cluster, Group, NodeEvent};
use tiebeam_node::wire::NodeId;
use tiebeam_node::workflow::Registry;
use tiebeam_node::{AppError, Application, ConsumerSpec, Handle};
use tokio::sync::mpsc;

/// Says back what it is told.
pub(crate) struct Echo;

/// A number, which comes back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Say(pub(crate) u64);

/// Runs [`WORKERS`] of them on every node that has a section for it.
pub(crate) struct EchoApp;

/// How many of them a node has.
pub(crate) const WORKERS: usize = 4;

pub(crate) fn group(cluster: &Cluster) -> Group<Echo> {
    cluster.groups().group("echo")
}

impl Actor for Echo {
    type Args = Cluster;

    async fn init(cluster: Cluster, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        // Only a node that is about to leave refuses, and there nobody is missed.
        let _ = group(&cluster).join(&ctx.addr());
        Ok(Self)
    }

    fn table() -> Table<Self> {
        Table::new().call::<Say>(1)
    }
}

impl Handler<Say> for Echo {
    type Reply = u64;

    async fn handle(&mut self, Say(number): Say, _: &mut Ctx<Self>) -> u64 {
        number
    }
}

/// Reports each loss of a node to whoever has the name [`OBSERVER`].
struct Watcher(Cluster);

impl Actor for Watcher {
    type Args = Cluster;

    async fn init(cluster: Cluster, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let _watches = cluster.monitor_nodes(&ctx.addr()).map_err(|error| ExitReason::Other(error.to_string()))?;
        Ok(Self(cluster))
    }

    fn table() -> Table<Self> {
        Table::new()
    }
}

impl Handler<NodeEvent> for Watcher {
    type Reply = ();

    async fn handle(&mut self, event: NodeEvent, ctx: &mut Ctx<Self>) {
        if let (NodeEvent::Down(lost, _), Some(observer)) = (event, self.0.names().whereis(OBSERVER)) {
            let by = self.0.node();
            ctx.system().addr::<Observer>(observer).cast(Missed { lost, by }).await;
        }
    }
}

/// The name of the [`Observer`].
pub(crate) const OBSERVER: &str = "observer";

/// Gathers which node was missed by which, and when it heard so.
pub(crate) struct Observer(pub(crate) mpsc::UnboundedSender<(Missed, Instant)>);

/// A node was missed by another one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Missed {
    pub(crate) lost: NodeId,
    pub(crate) by: NodeId,
}

impl Actor for Observer {
    type Args = mpsc::UnboundedSender<(Missed, Instant)>;

    async fn init(heard: Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(heard))
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Missed>(1)
    }
}

impl Handler<Missed> for Observer {
    type Reply = ();

    async fn handle(&mut self, missed: Missed, _: &mut Ctx<Self>) {
        let _ = self.0.send((missed, Instant::now()));
    }
}

impl Application for EchoApp {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn workflows(&self, _: &Handle, _: &mut Registry) {}

    fn consumers(&self, _: &Handle) -> Vec<ConsumerSpec> {
        Vec::new()
    }

    fn start(&self, handle: Handle, _: toml::Table) -> BoxFuture<'static, Result<(), AppError>> {
        async move {
            for n in 0..WORKERS {
                let cluster = handle.cluster().clone();
                handle.supervise(ChildSpec::actor::<Echo>(format!("echo/{n}"), cluster)).await?;
            }
            handle.supervise(ChildSpec::actor::<Watcher>("watcher", handle.cluster().clone())).await?;
            Ok(())
        }
        .boxed()
    }

    fn report(&self, _: &Handle) -> Option<String> {
        None
    }
}
