//! Turns plain methods into what [`tiebeam`](https://docs.rs/tiebeam)'s traits ask for: messages, handlers and clients.
//!
//! Tokens in, tokens out: nothing is registered, linked or looked up at run time, and everything that is made could be
//! written by hand. Names of what is made begin with the name of the actor or protocol and stand beside it, in the same
//! scope, so that argument types mean there what they meant in the method, also inside a function.
//!
//! A mistake is a compile error at the place where it was made; all mistakes of a block are told at once.

mod actor;
mod client;
mod message;
mod method;
mod protocol;
mod signature;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes the type of an `impl` block an actor; documented as `tiebeam::actor`.
#[proc_macro_attribute]
pub fn actor(options: TokenStream, item: TokenStream) -> TokenStream {
    actor::expand(options.into(), item.into()).into()
}

/// Makes a trait a protocol, or an actor serve one; documented as `tiebeam::protocol`.
#[proc_macro_attribute]
pub fn protocol(options: TokenStream, item: TokenStream) -> TokenStream {
    protocol::expand(options.into(), item.into()).into()
}
