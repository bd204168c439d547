use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::{ask, start};
use crate::shape::RING;
use crate::watch::{Watch, ns_each};

/// Passes the token on. One of them, the head, holds the watch as well.
struct Member;

enum Message {
    /// Closes the ring at the head and sends a token around.
    Start { next: ActorRef<Self>, hops: u64, reply_to: RpcReplyPort<f64> },
    /// Holds how many hops are left.
    Token(i64),
}

struct Place {
    /// Absent in the head until the ring is closed.
    next: Option<ActorRef<Message>>,
    run: Option<(Watch, u64, RpcReplyPort<f64>)>,
}

pub(super) async fn hops(hops: u64) -> anyhow::Result<f64> {
    let head = start(Member, None).await?;
    let mut next = head.clone();
    for _ in 0..RING {
        next = start(Member, Some(next)).await?;
    }
    ask(&head, |reply_to| Message::Start { next, hops, reply_to }).await
}

impl Actor for Member {
    type Msg = Message;
    type State = Place;
    type Arguments = Option<ActorRef<Message>>;

    async fn pre_start(&self, _: ActorRef<Message>, next: Self::Arguments) -> Result<Place, ActorProcessingErr> {
        Ok(Place { next, run: None })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        place: &mut Place,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Start { next, hops, reply_to } => {
                place.run = Some((Watch::start(), hops, reply_to));
                next.cast(Message::Token(hops.cast_signed()))?;
                place.next = Some(next);
            }
            Message::Token(left) => {
                if left <= 0
                    && let Some((watch, hops, reply_to)) = place.run.take()
                {
                    reply_to.send(ns_each(watch.elapsed(), hops))?;
                } else if let Some(next) = &place.next {
                    next.cast(Message::Token(left - 1))?;
                }
            }
        }
        Ok(())
    }
}
