//! An actor that does what a test tells it and says what it hears.

use std::time::Duration;

use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, Handler, Info, System};
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::{mpsc, oneshot};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Info(Info),
    Note(u32),
    Terminate(ExitReason),
    Dropped,
}

pub(crate) struct Probe {
    heard: mpsc::UnboundedSender<Heard>,
}

/// Runs code inside the actor.
pub(crate) struct Run<R>(Work<R>);

type Work<R> = Box<dyn FnOnce(&mut Ctx<Probe>) -> R + Send>;

/// Keeps the handler waiting until the sender is used or dropped.
pub(crate) struct Block(pub(crate) oneshot::Receiver<()>);

/// Is heard.
pub(crate) struct Note(pub(crate) u32);

impl Actor for Probe {
    type Args = mpsc::UnboundedSender<Heard>;

    async fn init(heard: Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { heard })
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let _ = self.heard.send(Heard::Info(info));
    }

    async fn terminate(&mut self, reason: &ExitReason, _: &mut Ctx<Self>) {
        let _ = self.heard.send(Heard::Terminate(reason.clone()));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.heard.send(Heard::Dropped);
    }
}

impl<R: Send + 'static> Handler<Run<R>> for Probe {
    type Reply = R;

    async fn handle(&mut self, Run(work): Run<R>, ctx: &mut Ctx<Self>) -> R {
        work(ctx)
    }
}

impl Handler<Block> for Probe {
    type Reply = ();

    async fn handle(&mut self, Block(gate): Block, _: &mut Ctx<Self>) {
        let _ = gate.await;
    }
}

impl Handler<Note> for Probe {
    type Reply = ();

    async fn handle(&mut self, Note(number): Note, _: &mut Ctx<Self>) {
        let _ = self.heard.send(Heard::Note(number));
    }
}

/// A probe and what it has heard.
pub(crate) struct Ear {
    pub(crate) addr: Addr<Probe>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

pub(crate) fn system(node: u64) -> System {
    System::new(NodeId(node), Incarnation(1))
}

pub(crate) async fn probe(system: &System) -> Ear {
    let (tx, heard) = mpsc::unbounded_channel();
    Ear { addr: system.spawn::<Probe>(tx).await.unwrap(), heard }
}

/// Starts a probe linked to `parent`.
pub(crate) async fn child(parent: &Ear) -> Ear {
    let (tx, heard) = mpsc::unbounded_channel();
    let starter = parent.run(|ctx| ctx.starter()).await;
    Ear { addr: starter.spawn::<Probe>(tx).await.unwrap(), heard }
}

/// Waits until nothing moves any more: virtual time passes only then.
pub(crate) async fn settle() {
    tiebeam_world::sleep(Duration::from_millis(1)).await;
}

impl Ear {
    /// Talks to a probe without hearing it.
    pub(crate) fn new(addr: Addr<Probe>) -> Self {
        Self { addr, heard: mpsc::unbounded_channel().1 }
    }

    pub(crate) async fn run<R: Send + 'static>(&self, work: impl FnOnce(&mut Ctx<Probe>) -> R + Send + 'static) -> R {
        self.addr.call(Run(Box::new(work))).await.unwrap()
    }

    /// Runs code that ends the actor or keeps it, without asking for an answer.
    pub(crate) async fn go(&self, work: impl FnOnce(&mut Ctx<Probe>) + Send + 'static) {
        self.addr.cast(Run(Box::new(work))).await;
    }

    /// Makes the actor wait inside a handler; it goes on when the sender is used or dropped.
    pub(crate) async fn block(&self) -> oneshot::Sender<()> {
        let (gate, wait) = oneshot::channel();
        self.addr.cast(Block(wait)).await;
        settle().await;
        gate
    }

    /// Lets everything settle and returns what was heard since the last time.
    pub(crate) async fn heard(&mut self) -> Vec<Heard> {
        settle().await;
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}
