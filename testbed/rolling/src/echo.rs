//! The service that is called: actors of a group, a few on each node.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_node::actor::{Actor, ChildSpec, Ctx, ExitReason, Handler, Table};
use tiebeam_node::cluster::{Cluster, Group};
use tiebeam_node::workflow::Registry;
use tiebeam_node::{AppError, Application, ConsumerSpec, Handle};

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
            Ok(())
        }
        .boxed()
    }

    fn report(&self, _: &Handle) -> Option<String> {
        None
    }
}
