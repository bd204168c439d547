use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, ReplyTo, System};

use super::{WORK_TIMEOUT, start};
use crate::watch::{Watch, ns_each};

/// Sends its parent one message and ends.
struct Brief;

/// Starts one after the other and holds the watch.
struct Parent(Option<Run>);

struct Run {
    watch: Watch,
    left: u64,
    count: u64,
    reply_to: ReplyTo<f64>,
}

struct Start(u64);

struct Hello;

pub(super) async fn and_stop(system: &System, count: u64) -> anyhow::Result<f64> {
    let parent = start::<Parent>(system, ()).await?;
    Ok(parent.call(Start(count)).timeout(WORK_TIMEOUT).await?)
}

impl Actor for Brief {
    type Args = Addr<Parent>;

    async fn init(parent: Addr<Parent>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        parent.cast(Hello).await;
        ctx.stop(ExitReason::Normal);
        Ok(Self)
    }
}

impl Actor for Parent {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(None))
    }
}

impl Deferred<Start> for Parent {
    type Reply = f64;

    async fn handle_call(&mut self, Start(count): Start, reply_to: ReplyTo<f64>, ctx: &mut Ctx<Self>) {
        self.0 = Some(Run { watch: Watch::start(), left: count, count, reply_to });
        start_brief(ctx).await;
    }
}

impl Handler<Hello> for Parent {
    type Reply = ();

    async fn handle(&mut self, _: Hello, ctx: &mut Ctx<Self>) {
        let Some(run) = &mut self.0 else { return };
        run.left -= 1;
        if run.left > 0 {
            return start_brief(ctx).await;
        }
        if let Some(run) = self.0.take() {
            run.reply_to.send(ns_each(run.watch.elapsed(), run.count));
        }
    }
}

/// Starts one without a link, as the processes of the other side are.
async fn start_brief(ctx: &Ctx<Parent>) {
    ctx.system().spawn::<Brief>(ctx.addr()).await.expect("its init does not fail");
}
