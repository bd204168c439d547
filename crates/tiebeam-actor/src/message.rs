//! Messages as they lie in a mailbox.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tiebeam_wire::codec::DecodeError;

use crate::actor::Dispatch;
use crate::raw::body::Body;
use crate::raw::item::{Item, Payload};
use crate::{Actor, CallError, Ctx, ReplyTo};

/// A message as its sender made it.
pub(crate) struct Typed<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    pub(crate) message: M,
    pub(crate) reply_to: ReplyTo<A::Answer>,
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Payload<A> for Typed<A, M, Mode> {
    #[inline]
    fn handle<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a {
        actor.dispatch(self.message, self.reply_to, ctx)
    }

    fn is_wanted(&self) -> bool {
        self.reply_to.is_wanted()
    }

    fn refuse(self, error: CallError) {
        self.reply_to.refuse(error);
    }

    fn name() -> &'static str {
        std::any::type_name::<M>()
    }
}

/// A message that asks for no answer.
pub(crate) struct Told<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    message: M,
    to: PhantomData<fn() -> (A, Mode)>,
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Told<A, M, Mode> {
    #[inline]
    pub(crate) const fn new(message: M) -> Self {
        Self { message, to: PhantomData }
    }
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Payload<A> for Told<A, M, Mode> {
    const IS_ALWAYS_WANTED: bool = true;

    #[inline]
    fn handle<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a {
        actor.dispatch_cast(self.message, ctx)
    }

    fn is_wanted(&self) -> bool {
        true
    }

    fn refuse(self, _: CallError) {}

    fn name() -> &'static str {
        std::any::type_name::<M>()
    }
}

/// A message by way of an alias.
pub(crate) struct Aliased<P> {
    pub(crate) message: P,
    pub(crate) active: Arc<AtomicBool>,
}

impl<A: Actor, P: Payload<A>> Payload<A> for Aliased<P> {
    fn handle<'a>(self, actor: &'a mut A, ctx: &'a mut Ctx<A>) -> impl Future<Output = ()> + Send + 'a {
        self.message.handle(actor, ctx)
    }

    fn is_wanted(&self) -> bool {
        self.active.load(Ordering::Acquire) && self.message.is_wanted()
    }

    fn refuse(self, error: CallError) {
        self.message.refuse(error);
    }

    fn name() -> &'static str {
        P::name()
    }
}

/// Code of others that looks at an actor, or changes it, between two messages.
pub(crate) struct Inspect<F>(pub(crate) F);

impl<A: Actor, F: FnOnce(&mut A) + Send + 'static> Payload<A> for Inspect<F> {
    async fn handle<'a>(self, actor: &'a mut A, _: &'a mut Ctx<A>) {
        (self.0)(actor);
    }

    fn is_wanted(&self) -> bool {
        true
    }

    fn refuse(self, _: CallError) {}

    fn name() -> &'static str {
        "inspection"
    }
}

/// Makes a message of the bytes of another node.
pub(crate) type Decode<A> = fn(&[u8], ReplyTo<()>) -> Result<Item<A>, DecodeError>;

/// A message as it came from another node; decoded by its receiver, so that no lane waits for it.
pub(crate) struct Encoded<A: Actor> {
    pub(crate) decode: Decode<A>,
    pub(crate) name: &'static str,
    pub(crate) body: Body,
    pub(crate) reply_to: ReplyTo<()>,
}
