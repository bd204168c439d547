use std::future::Future;

use crate::{Ctx, ExitReason, Pid, Ref, ReplyTo, Table};

/// What an actor hears besides messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Info {
    /// A monitored process is gone; told exactly once for each monitor.
    Down {
        /// What [`Ctx::monitor`] returned.
        monitor: Ref,
        /// The process that is gone.
        pid: Pid,
        /// Why; [`ExitReason::NoProc`] if it was gone before the monitor reached it.
        reason: ExitReason,
    },
    /// An exit signal, caught because the actor traps exits.
    Exit {
        /// The linked process that ended, or whoever sent the exit.
        from: Pid,
        /// Why.
        reason: ExitReason,
    },
    /// A timer of [`Ctx::send_after`] went off; holds its tag.
    Timer(u64),
    /// Nothing came in the time that [`Ctx::set_timeout`] gave.
    Timeout,
}

/// State that one process owns and changes, one message at a time.
///
/// The process runs as long as nobody stops it: dropping every [`Addr`](crate::Addr) changes nothing.
pub trait Actor: Sized + Send + 'static {
    /// What [`Actor::init`] needs.
    type Args: Send + 'static;

    /// Makes the state, in the new process. The starter waits for it; an error or a panic is the starter's result, and
    /// is told to nobody else. [`ExitReason::Ignore`] says that the actor is not needed; what takes long and need not be
    /// waited for is left to [`Ctx::continue_with`].
    fn init(args: Self::Args, ctx: &mut Ctx<Self>) -> impl Future<Output = Result<Self, ExitReason>> + Send;

    /// Hears of a death, an exit or a timer. Ignored unless written.
    fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) -> impl Future<Output = ()> + Send {
        let _ = (info, ctx);
        std::future::ready(())
    }

    /// Cleans up before an end that was asked for: by [`Ctx::stop`], by [`Addr::stop`](crate::Addr::stop), or, if the
    /// actor traps exits, by its parent's exit.
    ///
    /// Not called after a panic (the state can't be trusted), after an untrapped exit, or after a kill; what must
    /// happen in any case belongs in `Drop`.
    fn terminate(&mut self, reason: &ExitReason, ctx: &mut Ctx<Self>) -> impl Future<Output = ()> + Send {
        let _ = (reason, ctx);
        std::future::ready(())
    }

    /// Gives back what memory can be made again, as asked by [`Ctx::hibernate`], when nothing waits.
    fn hibernate(&mut self) {}

    /// Says what the state is, for people: in crash reports and [`System::status_text`](crate::System::status_text). Also
    /// called after a panic, so it must not trust the state. Cut after 4,096 bytes. Nothing unless written.
    fn format_status(&self) -> Option<String> {
        None
    }

    /// Lists what other nodes may send. Empty unless written: the actor then serves its own node only.
    #[must_use]
    fn table() -> Table<Self> {
        Table::new()
    }
}

/// Answers messages of type `M` when its handler returns.
///
/// The handler may wait. Meanwhile the actor takes no other message, but exits still act: they drop the handler's future
/// at the point where it waits.
pub trait Handler<M: Send + 'static>: Actor {
    /// The answer; `()` for messages that are only cast.
    type Reply: Send + 'static;

    /// Handles one message.
    fn handle(&mut self, message: M, ctx: &mut Ctx<Self>) -> impl Future<Output = Self::Reply> + Send;
}

/// Answers messages of type `M` whenever it likes, through the [`ReplyTo`] that comes with each.
///
/// For work that is gathered first and answered together. An actor implements this or [`Handler`] for a message type, not
/// both; callers see no difference.
pub trait Deferred<M: Send + 'static>: Actor {
    /// The answer.
    type Reply: Send + 'static;

    /// Takes one message. Keep `reply_to` and answer later; dropping it tells the caller
    /// [`CallError::Unanswered`](crate::CallError::Unanswered).
    fn handle_call(
        &mut self,
        message: M,
        reply_to: ReplyTo<Self::Reply>,
        ctx: &mut Ctx<Self>,
    ) -> impl Future<Output = ()> + Send;
}

/// Marks messages that are answered by [`Handler`].
#[derive(Debug)]
pub enum Immediate {}

/// Marks messages that are answered by [`Deferred`].
#[derive(Debug)]
pub enum Later {}

/// Joins [`Handler`] and [`Deferred`], so that [`Addr::call`](crate::Addr::call) takes either; `Mode` is inferred.
/// Implemented for every handler; users need not.
pub trait Dispatch<M: Send + 'static, Mode: 'static>: Actor {
    /// The answer.
    type Answer: Send + 'static;

    /// Handles one message and sees to its answer.
    fn dispatch(
        &mut self,
        message: M,
        reply_to: ReplyTo<Self::Answer>,
        ctx: &mut Ctx<Self>,
    ) -> impl Future<Output = ()> + Send;

    /// Handles one message that asks for no answer.
    fn dispatch_cast(&mut self, message: M, ctx: &mut Ctx<Self>) -> impl Future<Output = ()> + Send;
}

impl<A: Handler<M>, M: Send + 'static> Dispatch<M, Immediate> for A {
    type Answer = A::Reply;

    async fn dispatch(&mut self, message: M, reply_to: ReplyTo<A::Reply>, ctx: &mut Ctx<Self>) {
        let reply = self.handle(message, ctx).await;
        reply_to.send(reply);
    }

    async fn dispatch_cast(&mut self, message: M, ctx: &mut Ctx<Self>) {
        self.handle(message, ctx).await;
    }
}

impl<A: Deferred<M>, M: Send + 'static> Dispatch<M, Later> for A {
    type Answer = A::Reply;

    async fn dispatch(&mut self, message: M, reply_to: ReplyTo<A::Reply>, ctx: &mut Ctx<Self>) {
        self.handle_call(message, reply_to.kept_by(ctx.process()), ctx).await;
    }

    fn dispatch_cast(&mut self, message: M, ctx: &mut Ctx<Self>) -> impl Future<Output = ()> + Send {
        self.handle_call(message, ReplyTo::nobody(), ctx)
    }
}
