//! Messages as they lie in a mailbox.

use bytes::Bytes;
use tiebeam_wire::codec::DecodeError;

use crate::actor::Dispatch;
use crate::raw::item::{Item, Payload};
use crate::{Actor, CallError, Ctx, ReplyTo};

/// A message as its sender made it.
pub(crate) struct Typed<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> {
    pub(crate) message: M,
    pub(crate) reply_to: ReplyTo<A::Answer>,
}

impl<A: Dispatch<M, Mode>, M: Send + 'static, Mode: 'static> Payload<A> for Typed<A, M, Mode> {
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

/// Makes a message of the bytes of another node.
pub(crate) type Decode<A> = fn(&[u8], ReplyTo<()>) -> Result<Item<A>, DecodeError>;

/// A message as it came from another node; decoded by its receiver, so that no lane waits for it.
pub(crate) struct Encoded<A: Actor> {
    pub(crate) decode: Decode<A>,
    pub(crate) name: &'static str,
    pub(crate) body: Bytes,
    pub(crate) reply_to: ReplyTo<()>,
}
