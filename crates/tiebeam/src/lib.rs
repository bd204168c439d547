//! Facade.
#[doc(inline)]
pub use tiebeam_actor::*;
pub use tiebeam_macros::{actor, protocol};
#[doc(inline)]
pub use tiebeam_wire::{Incarnation, NodeId};

#[doc(hidden)]
pub mod __private {
    pub use serde;
}
