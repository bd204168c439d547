use std::future::Future;

use crate::raw::own::Birth;
use crate::{Actor, Addr, CallError, Ctx, ExitReason, Starter};

/// The state of an actor, to be taken over by another life of it, perhaps by newer code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Which version of the code wrote it.
    pub version: u32,
    /// What only the actor's type understands.
    pub state: Vec<u8>,
}

/// An actor whose state can be handed over to newer code, as OTP's `code_change` does. Native code can't be exchanged in
/// place, so a new life begins with the state of the former.
pub trait CodeChange: Actor {
    /// Counts the formats of the exported state.
    const VERSION: u32;

    /// Writes the state down.
    fn export(&self) -> Vec<u8>;

    /// Makes an actor of what this version or an earlier one wrote; stands for [`Actor::init`].
    ///
    /// # Errors
    /// The reason why that can't be, as for [`Actor::init`].
    fn import(
        exported: Exported,
        args: Self::Args,
        ctx: &mut Ctx<Self>,
    ) -> impl Future<Output = Result<Self, ExitReason>> + Send;
}

impl<A: CodeChange> Addr<A> {
    /// Returns the actor's state, written down between two messages. [`System::suspend`](crate::System::suspend) it first
    /// if it must not change afterwards.
    ///
    /// # Errors
    /// As [`Addr::with_state`].
    pub async fn export(&self) -> Result<Exported, CallError> {
        self.with_state(|actor| Exported { version: A::VERSION, state: actor.export() }).await
    }
}

impl Starter {
    /// Starts an actor with an exported state, otherwise as [`Starter::spawn`] does.
    ///
    /// # Errors
    /// As [`Starter::spawn`].
    pub async fn import<A: CodeChange>(self, exported: Exported, args: A::Args) -> Result<Addr<A>, ExitReason> {
        self.give_birth(Import(exported, args)).await
    }
}

struct Import<A: Actor>(Exported, A::Args);

impl<A: CodeChange> Birth<A> for Import<A> {
    fn born(self, ctx: &mut Ctx<A>) -> impl Future<Output = Result<A, ExitReason>> + Send {
        A::import(self.0, self.1, ctx)
    }
}
