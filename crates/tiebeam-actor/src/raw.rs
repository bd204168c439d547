//! Everything that needs unsafe code, and nothing else ([ADR 0025](../../../docs/adr/0025-processes-are-cells.md)).
//!
//! Each file is one small thing with its invariants at the top; what is built on them needs no unsafe code. The two that
//! threads compete for, the mailbox and the slot, and the state word are checked by loom (`make loom`); all of it runs
//! under AddressSanitizer and ThreadSanitizer (`make sanitize`).
#![expect(unsafe_code, reason = "intrusive lists and futures that borrow from beside themselves; ADR 0025")]

pub(crate) mod body;
pub(crate) mod current;
pub(crate) mod item;
pub(crate) mod mailbox;
pub(crate) mod own;
pub(crate) mod pool;
pub(crate) mod ready;
pub(crate) mod running;
pub(crate) mod slot;
mod sync;
pub(crate) mod word;
