//! The shapes on kameo, with unbounded mailboxes, as those of the other peers.

mod ring;

use std::convert::Infallible;

use anyhow::{bail, ensure};
use kameo::Actor;
use kameo::actor::{ActorRef, Spawn as _};
use kameo::mailbox;
use kameo::message::{Context, Message};
use tokio::sync::oneshot;

use crate::shape::Shape;
use crate::watch::{Watch, bytes_each, ns_each, resident_bytes};

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    match shape {
        Shape::CallRtt => call_rtt(count).await,
        Shape::Cast1to1 | Shape::Cast8to1 => cast_to_one(shape.senders(), count).await,
        Shape::SpawnStop => spawn_and_stop(count).await,
        Shape::Ring1000 => ring::hops(count).await,
        Shape::IdleBytes => idle_bytes(count).await,
        _ => bail!("not measured"),
    }
}

fn start<A: Actor>(args: A::Args) -> ActorRef<A> {
    A::spawn_with_mailbox(args, mailbox::unbounded())
}

async fn call_rtt(count: u64) -> anyhow::Result<f64> {
    let caller = start::<Caller>(Caller(start::<Server>(Server(7))));
    let (reply_to, reply) = oneshot::channel();
    caller.tell(Calls(count, reply_to)).await?;
    Ok(reply.await?)
}

async fn cast_to_one(senders: u64, count: u64) -> anyhow::Result<f64> {
    let driver = start::<Driver>(Driver(None));
    let (reply_to, reply) = oneshot::channel();
    driver.tell(StartCasts { senders, each: count / senders, reply_to }).await?;
    let (counted, ns) = reply.await?;
    ensure!(counted == count / senders * senders, "{counted} of {count} messages were counted");
    Ok(ns)
}

async fn spawn_and_stop(count: u64) -> anyhow::Result<f64> {
    let parent = start::<Parent>(Parent(None));
    let (reply_to, reply) = oneshot::channel();
    parent.tell(StartSpawns(count, reply_to)).await?;
    Ok(reply.await?)
}

async fn idle_bytes(count: u64) -> anyhow::Result<f64> {
    let before = resident_bytes()?;
    let mut actors = Vec::with_capacity(count as usize);
    for state in 0..count {
        let actor = start::<Server>(Server(state));
        actor.wait_for_startup().await;
        actors.push(actor);
    }
    bytes_each(before, count, size_of::<ActorRef<Server>>())
}

/// Counts, and says how far.
#[derive(Actor)]
struct Server(u64);

struct Get;

struct Inc;

struct Done(ActorRef<Driver>);

impl Message<Get> for Server {
    type Reply = u64;

    async fn handle(&mut self, _: Get, _: &mut Context<Self, u64>) -> u64 {
        self.0
    }
}

impl Message<Inc> for Server {
    type Reply = ();

    async fn handle(&mut self, _: Inc, _: &mut Context<Self, ()>) {
        self.0 += 1;
    }
}

impl Message<Done> for Server {
    type Reply = ();

    async fn handle(&mut self, Done(driver): Done, _: &mut Context<Self, ()>) {
        let _ = driver.tell(Counted(self.0)).await;
    }
}

#[derive(Actor)]
struct Caller(ActorRef<Server>);

struct Calls(u64, oneshot::Sender<f64>);

impl Message<Calls> for Caller {
    type Reply = ();

    async fn handle(&mut self, Calls(count, reply_to): Calls, _: &mut Context<Self, ()>) {
        let watch = Watch::start();
        for _ in 0..count {
            assert!(self.0.ask(Get).await.is_ok_and(|state| state == 7), "the server did not answer with its state");
        }
        let _ = reply_to.send(ns_each(watch.elapsed(), count));
    }
}

#[derive(Actor)]
struct Sender;

struct Burst {
    server: ActorRef<Server>,
    count: u64,
    driver: ActorRef<Driver>,
}

impl Message<Burst> for Sender {
    type Reply = ();

    async fn handle(&mut self, burst: Burst, _: &mut Context<Self, ()>) {
        for _ in 0..burst.count {
            let _ = burst.server.tell(Inc).await;
        }
        let _ = burst.driver.tell(Sent).await;
    }
}

/// Starts the senders and holds the watch.
#[derive(Actor)]
struct Driver(Option<CastRun>);

struct CastRun {
    watch: Watch,
    server: ActorRef<Server>,
    /// An actor here ends when nobody can reach it any more.
    _senders: Vec<ActorRef<Sender>>,
    sending: u64,
    reply_to: oneshot::Sender<(u64, f64)>,
}

struct StartCasts {
    senders: u64,
    each: u64,
    reply_to: oneshot::Sender<(u64, f64)>,
}

struct Sent;

struct Counted(u64);

impl Message<StartCasts> for Driver {
    type Reply = ();

    async fn handle(&mut self, run: StartCasts, ctx: &mut Context<Self, ()>) {
        let server = start::<Server>(Server(0));
        let watch = Watch::start();
        let mut senders = Vec::new();
        for _ in 0..run.senders {
            let sender = start::<Sender>(Sender);
            let burst = Burst { server: server.clone(), count: run.each, driver: ctx.actor_ref().clone() };
            let _ = sender.tell(burst).await;
            senders.push(sender);
        }
        self.0 = Some(CastRun { watch, server, _senders: senders, sending: run.senders, reply_to: run.reply_to });
    }
}

impl Message<Sent> for Driver {
    type Reply = ();

    async fn handle(&mut self, _: Sent, ctx: &mut Context<Self, ()>) {
        let Some(run) = &mut self.0 else { return };
        run.sending -= 1;
        if run.sending == 0 {
            let _ = run.server.tell(Done(ctx.actor_ref().clone())).await;
        }
    }
}

impl Message<Counted> for Driver {
    type Reply = ();

    async fn handle(&mut self, Counted(count): Counted, _: &mut Context<Self, ()>) {
        let Some(run) = self.0.take() else { return };
        let _ = run.reply_to.send((count, ns_each(run.watch.elapsed(), count)));
    }
}

/// Sends its parent one message and ends, since its parent keeps no reference to it.
struct Brief;

impl Actor for Brief {
    type Args = ActorRef<Parent>;
    type Error = Infallible;

    async fn on_start(parent: ActorRef<Parent>, _: ActorRef<Self>) -> Result<Self, Infallible> {
        let _ = parent.tell(Hello).await;
        Ok(Self)
    }
}

/// Starts one after the other and holds the watch.
#[derive(Actor)]
struct Parent(Option<SpawnRun>);

struct SpawnRun {
    watch: Watch,
    left: u64,
    count: u64,
    reply_to: oneshot::Sender<f64>,
}

struct StartSpawns(u64, oneshot::Sender<f64>);

struct Hello;

impl Message<StartSpawns> for Parent {
    type Reply = ();

    async fn handle(&mut self, StartSpawns(count, reply_to): StartSpawns, ctx: &mut Context<Self, ()>) {
        self.0 = Some(SpawnRun { watch: Watch::start(), left: count, count, reply_to });
        start::<Brief>(ctx.actor_ref().clone());
    }
}

impl Message<Hello> for Parent {
    type Reply = ();

    async fn handle(&mut self, _: Hello, ctx: &mut Context<Self, ()>) {
        let Some(run) = &mut self.0 else { return };
        run.left -= 1;
        if run.left > 0 {
            start::<Brief>(ctx.actor_ref().clone());
        } else if let Some(run) = self.0.take() {
            let _ = run.reply_to.send(ns_each(run.watch.elapsed(), run.count));
        }
    }
}
