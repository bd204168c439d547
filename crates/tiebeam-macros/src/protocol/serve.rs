//! The `impl` block: the handlers of a protocol's messages for one actor.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ItemImpl, Path, Result};

use super::key;
use crate::client::combined;
use crate::message::{allowed, at, handler};
use crate::method::{Answer, Kind, Method, take_mark};

/// Lets an actor serve a protocol: the methods become inherent ones, and handlers call them.
pub(super) fn expand(mut block: ItemImpl) -> Result<TokenStream> {
    let Some((_, protocol, _)) = block.trait_.take() else {
        let message =
            "`#[protocol]` stands on `impl Protocol for Actor`; an actor's own block takes `#[tiebeam::actor]`";
        return Err(Error::new_spanned(&block.self_ty, message));
    };
    let actor = (*block.self_ty).clone();
    let (mut methods, mut errors) = (Vec::new(), Vec::new());
    for item in &mut block.items {
        let ImplItem::Fn(function) = item else {
            errors.push(Error::new_spanned(item, "a protocol holds calls and casts, and nothing else"));
            continue;
        };
        let name = &function.sig.ident;
        let method = match take_mark(&mut function.attrs) {
            Ok(Some(mark)) => Method::read(mark, &function.attrs, &function.sig, &actor).and_then(untagged),
            Ok(None) => Err(Error::new_spanned(name, format!("`{name}` is neither `#[call]` nor `#[cast]`"))),
            Err(error) => Err(error),
        };
        match method {
            Ok(method) => methods.push(method),
            Err(error) => errors.push(error),
        }
    }
    combined(errors)?;
    let handlers = methods.iter().map(|method| {
        let (span, key) = (at(method.name.span()), key(&method.name));
        let through = match method.kind {
            Kind::Call { .. } => Answer::Later,
            Kind::Cast => Answer::OnReturn,
        };
        let message = quote_spanned!(span=> <dyn #protocol as ::tiebeam::__private::MessageOf<#key>>::Message);
        handler(method, through, &message, &actor, &block.generics)
    });
    let whole = whole(&block, &protocol);
    Ok(quote!(#block #(#handlers)* #whole))
}

/// Tags belong to the protocol: they are the same for all who serve it.
fn untagged(method: Method) -> Result<Method> {
    match &method.tag {
        None => Ok(method),
        Some(tag) => {
            Err(Error::new(tag.span, "the tag stands in the protocol, where it is the same for all who serve it"))
        }
    }
}

/// Has the compiler say here, and not where an address is first made, which of the protocol's methods are missing.
fn whole(block: &ItemImpl, protocol: &Path) -> TokenStream {
    let (span, actor, allowed) = (at(protocol.span()), &block.self_ty, allowed());
    let (parameters, _, clause) = block.generics.split_for_impl();
    quote_spanned! {span=>
        const _: () = {
            #allowed
            fn serves #parameters (addr: &::tiebeam::Addr<#actor>) -> &dyn #protocol #clause {
                addr
            }
        };
    }
}
