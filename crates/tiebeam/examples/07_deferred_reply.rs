//! Deferred replies: answer later, answer many at once, or let somebody else answer.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::future::IntoFuture;

use tiebeam::{Addr, CallError, Ctx, ExitReason, Incarnation, NodeId, ReplyTo, System};

/// Does the slow part, so that the desk stays free.
struct Clerk;

#[tiebeam::actor]
impl Clerk {
    fn init() -> Self {
        Self
    }

    /// Answers the desk's caller. A way back is a value: it can be sent on.
    #[cast]
    async fn stamp(&self, form: String, reply_to: ReplyTo<String>) {
        reply_to.send(format!("{form}, stamped"));
    }
}

struct Desk {
    clerk: Addr<Clerk>,
    meeting: Vec<(String, ReplyTo<Vec<String>>)>,
}

#[tiebeam::actor]
impl Desk {
    const SEATS: usize = 3;

    async fn init(ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { clerk: ctx.spawn_link::<Clerk>(()).await?, meeting: Vec::new() })
    }

    /// Hands the caller on.
    #[call(deferred)]
    async fn stamp(&self, form: String, reply_to: ReplyTo<String>) {
        self.clerk.stamp(form, reply_to).await;
    }

    /// Gathers callers and answers all of them when the last has come.
    #[call(deferred)]
    fn meet(&mut self, name: String, reply_to: ReplyTo<Vec<String>>) {
        self.meeting.push((name, reply_to));
        if self.meeting.len() == Self::SEATS {
            let names: Vec<_> = self.meeting.iter().map(|(name, _)| name.clone()).collect();
            for (_, reply_to) in self.meeting.drain(..) {
                reply_to.send(names.clone());
            }
        }
    }

    /// Dropping the way back fails the call at once: the caller doesn't wait for its timeout.
    #[call(deferred)]
    fn lose(&self, reply_to: ReplyTo<()>) {
        println!("somebody waits: {}", reply_to.is_awaited());
        drop(reply_to);
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let desk = system.spawn::<Desk>(()).await?;

    // Callers see no difference between a call that is answered on return and one that is answered later.
    println!("{}", desk.stamp("form A38".into()).await?);

    // A call begins when it is awaited; `into_future` makes futures of several, to wait for them together.
    let (a, b, c) = futures::join!(
        desk.meet("Joe".into()).into_future(),
        desk.meet("Mike".into()).into_future(),
        desk.meet("Robert".into()).into_future(),
    );
    println!("all met: {:?}", a?);
    assert_eq!(b?, c?);

    let lost = desk.lose().await;
    println!("lost: {lost:?}");
    assert_eq!(lost, Err(CallError::Unanswered));
    Ok(())
}
