//! One running instance as an actor.

use std::sync::Arc;

use tiebeam_actor::{Actor, Ctx, ExitReason, Handler};

use crate::command::Command;
use crate::partition::Load;
use crate::proposer::Proposer;
use crate::registry::{Registry, RunFuture};
use crate::wf::{Exit, Run, Wf, drive};

pub(super) struct InstanceArgs {
    pub(super) id: String,
    pub(super) term: u64,
    pub(super) load: Load,
    pub(super) registry: Arc<Registry>,
    pub(super) proposer: Proposer,
}

/// Runs one instance in a task of its own, so that exits reach it wherever its code waits.
#[derive(Debug)]
pub(super) struct InstanceActor;

struct Ended(Exit);

impl Actor for InstanceActor {
    type Args = InstanceArgs;

    async fn init(args: InstanceArgs, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let addr = ctx.addr();
        ctx.spawn_task(async move {
            let exit = run(args).await;
            addr.cast(Ended(exit)).await;
        });
        Ok(Self)
    }
}

impl Handler<Ended> for InstanceActor {
    type Reply = ();

    async fn handle(&mut self, Ended(exit): Ended, ctx: &mut Ctx<Self>) {
        ctx.stop(match exit {
            Exit::Ended => ExitReason::Normal,
            Exit::Lost(why) => ExitReason::Other(why),
        });
    }
}

/// Runs an instance from its journal to its end.
pub(super) async fn run(args: InstanceArgs) -> Exit {
    let InstanceArgs { id, term, load, registry, proposer } = args;
    let run = Arc::new(Run::new(id.clone(), term, &load.journal));
    let wf = Wf::new(Arc::clone(&run));
    let code = code(&registry, &load, wf, &run);
    let write = move |position, events| proposer.propose(Command::Record { id: id.clone(), position, term, events });
    drive(run, code, Box::new(write)).await
}

fn code(registry: &Registry, load: &Load, wf: Wf, run: &Arc<Run>) -> RunFuture {
    if let Some(definition) = registry.find(&load.definition) {
        let (definition, input) = (Arc::clone(definition), load.input.clone());
        // Called within the future, so that a panic of the call itself is caught as one of the code.
        return Box::pin(async move { definition(wf, input).await });
    }
    let (run, name) = (Arc::clone(run), load.definition.clone());
    Box::pin(async move { run.halt(format!("definition {name} is not registered on this node")).await })
}
