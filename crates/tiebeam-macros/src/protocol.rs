//! `#[protocol]`: a trait becomes a protocol, and an `impl` block of that trait lets an actor serve it.

mod declare;
mod serve;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, Ident, Item};

/// Expands `#[protocol]`. On a mistake only what is wrong is told: a trait half made would bring errors of its own.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let made = if let Some(option) = options.into_iter().next() {
        Err(Error::new_spanned(option, "`#[protocol]` takes no options"))
    } else {
        match syn::parse2(item.clone()) {
            Ok(Item::Trait(declared)) => declare::expand(declared),
            Ok(Item::Impl(block)) => serve::expand(block),
            Ok(other) => Err(Error::new_spanned(other.to_token_stream(), WRONG_PLACE)),
            Err(error) => Err(error),
        }
    };
    made.unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#error)
    })
}

const WRONG_PLACE: &str = "`#[protocol]` stands on a trait, or on the `impl` block of such a trait for an actor";

/// Names a method across crates, by the FNV-1a hash of its name: a const parameter can't be a string yet.
fn key(name: &Ident) -> u64 {
    let name = name.to_string();
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
