use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};
use tokio::sync::oneshot;

use super::start;
use crate::shape::RING;
use crate::watch::{Watch, ns_each};

/// Passes the token on. One of them, the head, holds the watch as well.
#[derive(Actor)]
struct Member {
    /// Absent in the head until the ring is closed.
    next: Option<ActorRef<Self>>,
    run: Option<(Watch, u64, oneshot::Sender<f64>)>,
}

/// Closes the ring at the head and sends a token around.
struct Start {
    next: ActorRef<Member>,
    hops: u64,
    reply_to: oneshot::Sender<f64>,
}

/// Holds how many hops are left.
struct Token(i64);

pub(super) async fn hops(hops: u64) -> anyhow::Result<f64> {
    let head = start::<Member>(Member { next: None, run: None });
    let mut next = head.clone();
    for _ in 0..RING {
        next = start::<Member>(Member { next: Some(next), run: None });
        next.wait_for_startup().await;
    }
    let (reply_to, reply) = oneshot::channel();
    head.tell(Start { next, hops, reply_to }).await?;
    Ok(reply.await?)
}

impl Message<Start> for Member {
    type Reply = ();

    async fn handle(&mut self, Start { next, hops, reply_to }: Start, _: &mut Context<Self, ()>) {
        self.run = Some((Watch::start(), hops, reply_to));
        let _ = next.tell(Token(hops.cast_signed())).await;
        self.next = Some(next);
    }
}

impl Message<Token> for Member {
    type Reply = ();

    async fn handle(&mut self, Token(left): Token, _: &mut Context<Self, ()>) {
        if left <= 0
            && let Some((watch, hops, reply_to)) = self.run.take()
        {
            let _ = reply_to.send(ns_each(watch.elapsed(), hops));
        } else if let Some(next) = &self.next {
            let _ = next.tell(Token(left - 1)).await;
        }
    }
}
