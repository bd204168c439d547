//! One term of leadership: which instances run, and which wait.

use std::collections::BTreeMap;
use std::fmt;

use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Info, Pid};

use super::Shared;
use super::instance::{InstanceActor, InstanceArgs};
use crate::proposer::Proposer;
use crate::replica::Replica;

pub(super) struct TenureArgs<R> {
    pub(super) shared: Shared<R>,
    pub(super) term: u64,
}

/// The dynamic supervisor of the running instances. It has its own rules, which a general one hasn't: a limit with a
/// queue, and restarts without intensity, since a lost quorum fails all instances at once and is nobody's crash.
pub(super) struct Tenure<R: Replica> {
    shared: Shared<R>,
    term: u64,
    proposer: Proposer,
    /// The turn of the next instance to take.
    next_turn: u64,
    running: BTreeMap<Pid, Slot>,
    /// Instances that wait to be loaded again, by the tag of their timer, their turn. They keep their place.
    reloading: BTreeMap<u64, Slot>,
}

/// A place among the instances that run.
#[derive(Clone, Debug)]
struct Slot {
    turn: u64,
    id: String,
    /// How often it was loaded again in a row.
    reloads: u32,
}

/// More entries were applied; maybe instances were started.
struct Wake;

impl<R: Replica> fmt::Debug for Tenure<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("term", &self.term).field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl<R: Replica> Actor for Tenure<R> {
    type Args = TenureArgs<R>;

    async fn init(TenureArgs { shared, term }: TenureArgs<R>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        let (proposer, work) = Proposer::new(shared.replica.clone());
        ctx.spawn_task(work);
        let (replica, addr) = (shared.replica.clone(), ctx.addr());
        ctx.spawn_task(async move {
            let mut seen = 0;
            loop {
                seen = replica.applied_past(seen).await;
                // A call, not a cast: while the tenure is busy, any number of entries make one message.
                if addr.call(Wake).await.is_err() {
                    tracing::debug!(term, "tenure was too busy to be woken, trying again");
                }
            }
        });
        tracing::info!(term, "runs the instances of a partition");
        let mut tenure =
            Self { shared, term, proposer, next_turn: 0, running: BTreeMap::new(), reloading: BTreeMap::new() };
        tenure.fill(ctx).await;
        Ok(tenure)
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        match info {
            Info::Exit { from, reason } => {
                let Some(slot) = self.running.remove(&from) else { return };
                if reason == ExitReason::Normal {
                    self.fill(ctx).await;
                } else {
                    self.reload_later(slot, &reason, ctx);
                }
            }
            Info::Timer(turn) => {
                if let Some(slot) = self.reloading.remove(&turn) {
                    self.launch(slot, ctx).await;
                    self.fill(ctx).await;
                }
            }
            _ => {}
        }
    }
}

impl<R: Replica> Handler<Wake> for Tenure<R> {
    type Reply = ();

    async fn handle(&mut self, _: Wake, ctx: &mut Ctx<Self>) {
        self.fill(ctx).await;
    }
}

impl<R: Replica> Tenure<R> {
    /// Takes instances as long as there are any and there is room.
    async fn fill(&mut self, ctx: &Ctx<Self>) {
        loop {
            let taken = self.running.len() + self.reloading.len();
            let free = self.shared.config.running_max.max(1).saturating_sub(taken);
            if free == 0 {
                return;
            }
            let due = self.shared.replica.read(|partition| partition.due(self.next_turn, free));
            let Some((last, _)) = due.last() else { return };
            self.next_turn = last + 1;
            for (turn, id) in due {
                self.launch(Slot { turn, id, reloads: 0 }, ctx).await;
            }
        }
    }

    async fn launch(&mut self, slot: Slot, ctx: &Ctx<Self>) {
        let Some(load) = self.shared.replica.read(|partition| partition.load(&slot.id)) else { return };
        let args = InstanceArgs {
            id: slot.id.clone(),
            term: self.term,
            load,
            registry: self.shared.registry.clone(),
            proposer: self.proposer.clone(),
        };
        match ctx.spawn_link::<InstanceActor>(args).await {
            Ok(addr) => drop(self.running.insert(addr.pid(), slot)),
            // Its init can't fail by itself, so this node is ending.
            Err(reason) => tracing::debug!(instance = slot.id, %reason, "instance not started"),
        }
    }

    fn reload_later(&mut self, mut slot: Slot, reason: &ExitReason, ctx: &mut Ctx<Self>) {
        let delay = self.shared.config.reload.delay(slot.reloads, tiebeam_world::random());
        tracing::debug!(instance = slot.id, %reason, ?delay, "instance stopped, loading it again");
        slot.reloads = slot.reloads.saturating_add(1);
        // The timer's tag is the turn: no two instances have the same one.
        ctx.send_after(delay, slot.turn);
        self.reloading.insert(slot.turn, slot);
    }
}
