//! Facade.
mod protocol;

pub use protocol::{AddrOf, BoxCall, BoxCast};
#[doc(inline)]
pub use tiebeam_actor::*;
pub use tiebeam_macros::{actor, protocol};
#[doc(inline)]
pub use tiebeam_wire::{Incarnation, NodeId};

/// What expanded macros name. No part of the API.
#[doc(hidden)]
pub mod __private {
    pub use serde;

    pub use crate::protocol::{Entries, MessageOf, Serves, try_now};
}
