//! Names what two protocols spell: node ids, groups, instants, frames and checksums.
//!
//! Floor 0 of the house. Nothing here knows a runtime, a socket, a file, a clock or a source of entropy. A type lives
//! here only if two protocols put it on a wire or on a disk; everything else lives with the protocol that gives it
//! meaning.

pub mod checksum;
pub mod codec;
mod group_id;
mod instant;
mod node_id;
pub mod varint;

pub use group_id::GroupId;
pub use instant::Instant;
pub use node_id::{Incarnation, NodeId, ParseRoleError, Role};
