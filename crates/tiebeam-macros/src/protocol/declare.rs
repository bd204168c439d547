//! The trait: its messages, itself as addresses implement it, and the way from it to its messages.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Error, FnArg, Generics, ItemTrait, Result, TraitItem, TraitItemFn, Type};

use super::key;
use crate::actor::entry;
use crate::client::{check_names, check_tags, combined, try_name};
use crate::message::{Owner, allowed, at};
use crate::method::{Answer, Kind, Mark, Method, take_mark};

/// Makes a protocol of a trait.
pub(super) fn expand(mut declared: ItemTrait) -> Result<TokenStream> {
    check(&declared)?;
    let name = declared.ident.clone();
    let ty: Type = syn::parse_quote!(dyn #name);
    let (mut methods, mut errors) = (Vec::new(), Vec::new());
    for item in &mut declared.items {
        match item {
            TraitItem::Fn(function) => match read(function, &ty) {
                Ok(method) => methods.push(method),
                Err(error) => errors.push(error),
            },
            other => errors.push(Error::new_spanned(other, "a protocol holds calls and casts, and nothing else")),
        }
    }
    let (vis, generics) = (declared.vis.clone(), Generics::default());
    let owner = Owner { name: &name, generics: &generics, ty: &ty, vis: &vis };
    errors.extend(check_names(&owner, &methods).err());
    errors.extend(check_tags(&methods).err());
    combined(errors)?;

    let structs = methods.iter().map(|method| owner.message_struct(method));
    let signatures = methods.iter().map(signature);
    let keys = methods.iter().map(|method| {
        let (message, key) = (owner.message_type(method), key(&method.name));
        quote! {
            #[automatically_derived]
            impl ::tiebeam::__private::MessageOf<#key> for #ty {
                type Message = #message;
            }
        }
    });
    let addresses = ["Addr", "Named"].map(|address| on_address(&owner, &methods, address));
    let (attributes, entries, allowed) = (&declared.attrs, entries(&owner, &methods), allowed());
    Ok(quote! {
        #(#structs)*

        #(#attributes)*
        #allowed
        #vis trait #name: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#signatures)*
        }

        #(#keys)*
        #(#addresses)*
        #entries
    })
}

/// Refuses traits that can't be protocols.
fn check(declared: &ItemTrait) -> Result<()> {
    let refuse =
        |at: &dyn ToTokens, why: &str| Err(Error::new_spanned(at, format!("protocol `{}` {why}", declared.ident)));
    if !declared.generics.params.is_empty() {
        return refuse(&declared.generics, "is generic, but its messages have one type each; make one for each type");
    }
    if !declared.supertraits.is_empty() {
        return refuse(&declared.supertraits, "has supertraits, but an address implements its messages alone");
    }
    Ok(())
}

fn read(function: &mut TraitItemFn, ty: &Type) -> Result<Method> {
    let mark = take_mark(&mut function.attrs)?;
    let (name, signature) = (&function.sig.ident, &function.sig);
    let mark = match mark {
        Some(Mark::Call { deferred: Some(span), .. }) => {
            let message = format!("whether `{name}` is answered later is up to whoever serves it; write it there");
            return Err(Error::new(span, message));
        }
        Some(mark) => mark,
        None => return Err(Error::new_spanned(name, format!("`{name}` is neither `#[call]` nor `#[cast]`"))),
    };
    // What an actor must handle is a list of bounds, and `cfg` can't leave one out.
    if let Some(cfg) = function.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
        return Err(Error::new_spanned(
            cfg,
            "a protocol is the same for all who share it; put `cfg` on the whole trait",
        ));
    }
    if let Some(body) = &function.default {
        return Err(Error::new_spanned(
            body,
            format!("`{name}` has a body, but what it does is up to whoever serves it"),
        ));
    }
    if let Some(keyword) = &signature.asyncness {
        let message = format!("`{name}` is async, but callers wait in any case; write a plain `fn`");
        return Err(Error::new_spanned(keyword, message));
    }
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first()
        && receiver.mutability.is_some()
    {
        let message = format!("`{name}` is called on an address, which many share; take `&self`");
        return Err(Error::new_spanned(receiver, message));
    }
    let mut method = Method::read(mark, &function.attrs, signature, ty)?;
    if let Kind::Call { answer, .. } = &mut method.kind {
        // Who serves may answer on return or later; what admits both is the latter.
        *answer = Answer::Later;
    }
    Ok(method)
}

/// A method as the trait declares it: what addresses and stand-ins implement.
fn signature(method: &Method) -> TokenStream {
    let (span, name, (names, types)) = (at(method.name.span()), &method.name, method.fields());
    let docs = &method.docs;
    match &method.kind {
        Kind::Call { reply, .. } => quote_spanned! {span=>
            #(#docs)*
            #[must_use = "a call does nothing until it is awaited"]
            fn #name(&self, #(#names: #types),*) -> ::tiebeam::BoxCall<#reply>;
        },
        Kind::Cast => {
            let (try_name, summary) = (try_name(method), format!(" Casts `{name}` without waiting."));
            quote_spanned! {span=>
                #(#docs)*
                fn #name(&self, #(#names: #types),*) -> ::tiebeam::BoxCast<'_>;

                #[doc = #summary]
                fn #try_name(&self, #(#names: #types),*) -> ::core::result::Result<(), ::tiebeam::CallError> {
                    ::tiebeam::__private::try_now(self.#name(#(#names),*))
                }
            }
        }
    }
}

/// What an actor must handle to serve the protocol, as bounds on `A`.
fn bounds(owner: &Owner<'_>, methods: &[Method]) -> TokenStream {
    let bounds = methods.iter().map(|method| {
        let (message, reply) = (owner.message_type(method), method.reply());
        match method.kind {
            Kind::Call { .. } => quote!(A: ::tiebeam::Deferred<#message, Reply = #reply>,),
            Kind::Cast => quote!(A: ::tiebeam::Handler<#message, Reply = ()>,),
        }
    });
    quote!(A: ::tiebeam::Actor, #(#bounds)*)
}

/// Implements the trait for `Addr<A>` or `Named<A>`.
fn on_address(owner: &Owner<'_>, methods: &[Method], address: &str) -> TokenStream {
    let (name, ty, bounds) = (owner.name, owner.ty, bounds(owner, methods));
    let address = format_ident!("{address}");
    let methods = methods.iter().map(|method| {
        let (span, name, (names, types)) = (at(method.name.span()), &method.name, method.fields());
        let (message, message_type) = (owner.message(method, &names), owner.message_type(method));
        match &method.kind {
            Kind::Call { reply, .. } => quote_spanned! {span=>
                fn #name(&self, #(#names: #types),*) -> ::tiebeam::BoxCall<#reply> {
                    let (to, message) = (self.clone(), #message);
                    ::tiebeam::BoxCall::new(move |timeout| async move {
                        to.call::<#message_type, ::tiebeam::Later>(message).timeout(timeout).await
                    })
                }
            },
            Kind::Cast => {
                let try_name = try_name(method);
                quote_spanned! {span=>
                    fn #name(&self, #(#names: #types),*) -> ::tiebeam::BoxCast<'_> {
                        ::std::boxed::Box::pin(self.cast::<#message_type, ::tiebeam::Immediate>(#message))
                    }

                    fn #try_name(&self, #(#names: #types),*) -> ::core::result::Result<(), ::tiebeam::CallError> {
                        self.try_cast::<#message_type, ::tiebeam::Immediate>(#message)
                    }
                }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl<A> #name for ::tiebeam::#address<A> where #bounds {
            #(#methods)*
        }

        #[automatically_derived]
        impl<A> ::tiebeam::__private::Serves<#ty> for ::tiebeam::#address<A> where #bounds {
            fn serve(self) -> ::std::sync::Arc<#ty> {
                ::std::sync::Arc::new(self)
            }
        }
    }
}

/// Lets an actor that serves the protocol add its tagged messages to its table.
fn entries(owner: &Owner<'_>, methods: &[Method]) -> TokenStream {
    let (ty, bounds) = (owner.ty, bounds(owner, methods));
    let entries = methods.iter().map(|method| entry(method, &owner.message_type(method)));
    quote! {
        #[automatically_derived]
        impl<A> ::tiebeam::__private::Entries<A> for #ty where #bounds {
            fn add_to(table: ::tiebeam::Table<A>) -> ::tiebeam::Table<A> {
                #(#entries)*
                table
            }
        }
    }
}
