use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, ReplyTo, System};

use super::{WORK_TIMEOUT, start};
use crate::shape::RING;
use crate::watch::{Watch, ns_each};

/// Passes the token on. One of them, the head, holds the watch as well.
struct Member {
    /// Absent in the head until the ring is closed.
    next: Option<Addr<Self>>,
    run: Option<Run>,
}

struct Run {
    watch: Watch,
    hops: u64,
    reply_to: ReplyTo<f64>,
}

/// Closes the ring at the head and sends a token around.
struct Start {
    next: Addr<Member>,
    hops: u64,
}

/// Holds how many hops are left.
struct Token(i64);

pub(super) async fn hops(system: &System, hops: u64) -> anyhow::Result<f64> {
    let head = start::<Member>(system, None).await?;
    let mut next = head.clone();
    for _ in 0..RING {
        next = start::<Member>(system, Some(next)).await?;
    }
    Ok(head.call(Start { next, hops }).timeout(WORK_TIMEOUT).await?)
}

impl Actor for Member {
    type Args = Option<Addr<Self>>;

    async fn init(next: Option<Addr<Self>>, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { next, run: None })
    }
}

impl Deferred<Start> for Member {
    type Reply = f64;

    async fn handle_call(&mut self, Start { next, hops }: Start, reply_to: ReplyTo<f64>, _: &mut Ctx<Self>) {
        self.run = Some(Run { watch: Watch::start(), hops, reply_to });
        next.cast(Token(hops.cast_signed())).await;
        self.next = Some(next);
    }
}

impl Handler<Token> for Member {
    type Reply = ();

    async fn handle(&mut self, Token(left): Token, _: &mut Ctx<Self>) {
        // As on the other side, the token goes on below zero until it comes by the head.
        if left <= 0
            && let Some(run) = self.run.take()
        {
            return run.reply_to.send(ns_each(run.watch.elapsed(), run.hops));
        }
        if let Some(next) = &self.next {
            next.cast(Token(left - 1)).await;
        }
    }
}
