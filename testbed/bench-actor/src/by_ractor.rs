//! The shapes on ractor.

mod ring;

use anyhow::{anyhow, bail, ensure};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};

use crate::shape::Shape;
use crate::watch::{Watch, bytes_each, ns_each, resident_bytes};

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    match shape {
        Shape::CallRtt => {
            let server = start(Server, 7).await?;
            let caller = start(Caller, server).await?;
            ask(&caller, |reply_to| Calls(count, reply_to)).await
        }
        Shape::Cast1to1 | Shape::Cast8to1 => {
            let (driver, senders) = (start(Driver, ()).await?, shape.senders());
            ask(&driver, |reply_to| Casts::Start { senders, each: count / senders, reply_to }).await
        }
        Shape::SpawnStop => {
            let parent = start(Parent, ()).await?;
            ask(&parent, |reply_to| Spawns::Start(count, reply_to)).await
        }
        Shape::Ring1000 => ring::hops(count).await,
        Shape::IdleBytes => idle_bytes(count).await,
        _ => bail!("not measured"),
    }
}

async fn start<A: Actor>(actor: A, args: A::Arguments) -> Result<ActorRef<A::Msg>, SpawnErr> {
    Ok(A::spawn(None, actor, args).await?.0)
}

async fn ask<M: ractor::Message, R: Send + 'static>(
    actor: &ActorRef<M>,
    message: impl FnOnce(RpcReplyPort<R>) -> M,
) -> anyhow::Result<R> {
    match actor.call(message, None).await {
        Ok(CallResult::Success(reply)) => Ok(reply),
        _ => Err(anyhow!("an actor did not answer")),
    }
}

/// Counts, and says how far.
struct Server;

enum Request {
    Get(RpcReplyPort<u64>),
    Inc,
    Done(ActorRef<Casts>),
}

impl Actor for Server {
    type Msg = Request;
    type State = u64;
    type Arguments = u64;

    async fn pre_start(&self, _: ActorRef<Request>, state: u64) -> Result<u64, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<Request>, request: Request, state: &mut u64) -> Result<(), ActorProcessingErr> {
        match request {
            Request::Get(reply_to) => reply_to.send(*state)?,
            Request::Inc => *state += 1,
            Request::Done(driver) => driver.cast(Casts::Counted(*state))?,
        }
        Ok(())
    }
}

struct Caller;

struct Calls(u64, RpcReplyPort<f64>);

impl Actor for Caller {
    type Msg = Calls;
    type State = ActorRef<Request>;
    type Arguments = ActorRef<Request>;

    async fn pre_start(&self, _: ActorRef<Calls>, server: Self::State) -> Result<Self::State, ActorProcessingErr> {
        Ok(server)
    }

    async fn handle(
        &self,
        _: ActorRef<Calls>,
        Calls(count, reply_to): Calls,
        server: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let watch = Watch::start();
        for _ in 0..count {
            if ask(server, Request::Get).await? != 7 {
                return Err("the server answered with another state".into());
            }
        }
        reply_to.send(ns_each(watch.elapsed(), count))?;
        Ok(())
    }
}

struct Sender;

struct Burst {
    server: ActorRef<Request>,
    count: u64,
    driver: ActorRef<Casts>,
}

impl Actor for Sender {
    type Msg = Burst;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Burst>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Burst>, burst: Burst, _: &mut ()) -> Result<(), ActorProcessingErr> {
        for _ in 0..burst.count {
            burst.server.cast(Request::Inc)?;
        }
        burst.driver.cast(Casts::Sent)?;
        Ok(())
    }
}

/// Starts the senders and holds the watch.
struct Driver;

enum Casts {
    Start { senders: u64, each: u64, reply_to: RpcReplyPort<f64> },
    Sent,
    Counted(u64),
}

struct CastRun {
    watch: Watch,
    server: ActorRef<Request>,
    sending: u64,
    count: u64,
    reply_to: RpcReplyPort<f64>,
}

impl Actor for Driver {
    type Msg = Casts;
    type State = Option<CastRun>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Casts>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        myself: ActorRef<Casts>,
        message: Casts,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match (message, state.take()) {
            (Casts::Start { senders, each, reply_to }, _) => {
                let server = start(Server, 0).await?;
                let watch = Watch::start();
                for _ in 0..senders {
                    let sender = start(Sender, ()).await?;
                    sender.cast(Burst { server: server.clone(), count: each, driver: myself.clone() })?;
                }
                *state = Some(CastRun { watch, server, sending: senders, count: each * senders, reply_to });
            }
            (Casts::Sent, Some(mut run)) => {
                run.sending -= 1;
                if run.sending == 0 {
                    run.server.cast(Request::Done(myself))?;
                }
                *state = Some(run);
            }
            (Casts::Counted(count), Some(run)) if count == run.count => {
                run.reply_to.send(ns_each(run.watch.elapsed(), count))?;
            }
            _ => return Err("messages were lost".into()),
        }
        Ok(())
    }
}

/// Sends its parent one message and ends.
struct Brief;

impl Actor for Brief {
    type Msg = ();
    type State = ();
    type Arguments = ActorRef<Spawns>;

    async fn pre_start(&self, myself: ActorRef<()>, parent: ActorRef<Spawns>) -> Result<(), ActorProcessingErr> {
        parent.cast(Spawns::Hello)?;
        myself.stop(None);
        Ok(())
    }
}

/// Starts one after the other and holds the watch.
struct Parent;

enum Spawns {
    Start(u64, RpcReplyPort<f64>),
    Hello,
}

struct SpawnRun {
    watch: Watch,
    left: u64,
    count: u64,
    reply_to: RpcReplyPort<f64>,
}

impl Actor for Parent {
    type Msg = Spawns;
    type State = Option<SpawnRun>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Spawns>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        myself: ActorRef<Spawns>,
        message: Spawns,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let run = match (message, state.take()) {
            (Spawns::Start(count, reply_to), _) => SpawnRun { watch: Watch::start(), left: count, count, reply_to },
            (Spawns::Hello, Some(run)) => SpawnRun { left: run.left - 1, ..run },
            (Spawns::Hello, None) => return Err("nobody was started".into()),
        };
        if run.left == 0 {
            run.reply_to.send(ns_each(run.watch.elapsed(), run.count))?;
        } else {
            start(Brief, myself).await?;
            *state = Some(run);
        }
        Ok(())
    }
}

async fn idle_bytes(count: u64) -> anyhow::Result<f64> {
    let before = resident_bytes()?;
    let mut actors = Vec::with_capacity(count as usize);
    for state in 0..count {
        actors.push(start(Server, state).await?);
    }
    ensure!(actors.len() as u64 == count, "some did not start");
    bytes_each(before, count, size_of::<ActorRef<Request>>())
}
