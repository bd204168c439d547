//! Links: actors that end together, and one that traps exits and lives on.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use tiebeam::{Addr, Ctx, ExitReason, Incarnation, Info, NodeId, Pid, ReplyTo, System};

/// Ends when told to, and with whoever it is linked to.
struct Worker;

#[tiebeam::actor]
impl Worker {
    fn init() -> Self {
        Self
    }

    #[call]
    fn link(&self, other: Pid, ctx: &mut Ctx<Self>) {
        ctx.link(other);
    }

    /// A panic is an exit reason: it ends this actor, not the program.
    #[cast]
    fn crash(&self) {
        panic!("out of cheese");
    }

    #[cast]
    fn finish(&self, ctx: &mut Ctx<Self>) {
        ctx.stop(ExitReason::Normal);
    }
}

/// Starts workers that are linked to it, and hears of their ends, since it traps exits.
#[derive(Default)]
struct Boss {
    exits: Vec<ExitReason>,
    waiting: Option<(usize, ReplyTo<Vec<ExitReason>>)>,
}

#[tiebeam::actor]
impl Boss {
    fn init(ctx: &mut Ctx<Self>) -> Self {
        ctx.trap_exit();
        Self::default()
    }

    #[call]
    async fn hire(&self, ctx: &mut Ctx<Self>) -> Result<Addr<Worker>, ExitReason> {
        ctx.spawn_link::<Worker>(()).await
    }

    /// Answers when this many exits were heard.
    #[call(deferred)]
    fn exits(&mut self, count: usize, reply_to: ReplyTo<Vec<ExitReason>>) {
        self.waiting = Some((count, reply_to));
        self.answer();
    }

    #[info]
    fn hear(&mut self, info: Info) {
        if let Info::Exit { from, reason } = info {
            println!("boss hears that {from} ended: {reason}");
            self.exits.push(reason);
            self.answer();
        }
    }

    fn answer(&mut self) {
        if let Some((_, reply_to)) = self.waiting.take_if(|(count, _)| self.exits.len() >= *count) {
            reply_to.send(self.exits.clone());
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // Two workers that don't trap exits: the crash of one ends the other, with the same reason.
    let (one, two) = (system.spawn::<Worker>(()).await?, system.spawn::<Worker>(()).await?);
    one.link(two.pid()).await?;
    // Who waits asks first: a process that is gone already has no reason any more.
    let ended = system.wait(two.pid());
    one.crash().await;
    println!("two ended with one: {}", ended.await);

    // A normal end pulls nobody along.
    let (one, two) = (system.spawn::<Worker>(()).await?, system.spawn::<Worker>(()).await?);
    one.link(two.pid()).await?;
    let ended = system.wait(one.pid());
    one.finish().await;
    println!("one ended: {}; two lives: {}", ended.await, system.is_alive(two.pid()));

    // Who traps exits is told of them, in the order in which they happened.
    let boss = system.spawn::<Boss>(()).await?;
    let (one, two) = (boss.hire().await??, boss.hire().await??);
    one.crash().await;
    println!("boss knows {:?}", boss.exits(1).await?);
    two.finish().await;
    let exits = boss.exits(2).await?;
    assert_eq!(exits, [ExitReason::Panic("out of cheese".into()), ExitReason::Normal]);

    // A kill can't be trapped.
    let ended = system.wait(boss.pid());
    system.exit(boss.pid(), ExitReason::Kill);
    println!("boss ended: {}", ended.await);
    Ok(())
}
