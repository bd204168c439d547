//! Monitors: hear once that another actor is gone, and live on.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::BTreeMap;
use std::error::Error;

use tiebeam::{Addr, Ctx, ExitReason, Incarnation, Info, NodeId, Pid, Ref, ReplyTo, System};

/// Something that many want to use, one at a time; a user that dies must not keep it.
#[derive(Default)]
struct Lock {
    holder: Option<(Pid, Ref)>,
    queue: BTreeMap<u64, (Pid, ReplyTo<()>)>,
    tickets: u64,
}

#[tiebeam::actor]
impl Lock {
    fn init() -> Self {
        Self::default()
    }

    /// Answers when it is the caller's turn.
    #[call(deferred)]
    fn acquire(&mut self, who: Pid, reply_to: ReplyTo<()>, ctx: &mut Ctx<Self>) {
        self.tickets += 1;
        self.queue.insert(self.tickets, (who, reply_to));
        self.serve(ctx);
    }

    #[cast]
    fn release(&mut self, who: Pid, ctx: &mut Ctx<Self>) {
        if let Some((_, monitor)) = self.holder.take_if(|(holder, _)| *holder == who) {
            // No `Down` of this monitor comes from here on, not even one that waits already.
            ctx.demonitor(monitor);
            self.serve(ctx);
        }
    }

    /// A monitor tells exactly once why the other is gone.
    #[info]
    fn hear(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        if let Info::Down { monitor, pid, reason } = info
            && self.holder == Some((pid, monitor))
        {
            println!("lock: holder {pid} is gone ({reason})");
            self.holder = None;
            self.serve(ctx);
        }
    }

    fn serve(&mut self, ctx: &mut Ctx<Self>) {
        if self.holder.is_none()
            && let Some((_, (who, reply_to))) = self.queue.pop_first()
        {
            println!("lock: {who} has it");
            self.holder = Some((who, ctx.monitor(who)));
            reply_to.send(());
        }
    }
}

struct User {
    lock: Addr<Lock>,
}

#[tiebeam::actor]
impl User {
    fn init(lock: Addr<Lock>) -> Self {
        Self { lock }
    }

    #[call]
    async fn work(&self, ctx: &mut Ctx<Self>) -> bool {
        self.lock.acquire(ctx.pid()).await.is_ok()
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let lock = system.spawn::<Lock>(()).await?;
    let (one, two) = (system.spawn::<User>(lock.clone()).await?, system.spawn::<User>(lock.clone()).await?);

    assert!(one.work().await?);
    // The first user dies without giving the lock back; the second gets it nevertheless.
    one.stop(ExitReason::Other("power cut".into())).await?;
    assert!(two.work().await?);

    // Monitoring somebody who is gone already tells `NoProc`, so there is no race to lose.
    lock.release(two.pid()).await;
    lock.acquire(one.pid()).await?;
    assert!(two.work().await?);
    println!("two works again; monitors of the lock: {:?}", system.process_info(lock.pid()).map(|info| info.monitors));
    Ok(())
}
