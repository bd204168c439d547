//! Makes the trait by which an actor's addresses have its calls and casts as methods.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Error, Ident, Result};

use crate::message::{Owner, allowed, at};
use crate::method::{Answer, Kind, Method};

/// Methods that addresses have themselves, and that would be called in place of the trait's.
const TAKEN: [&str; 8] = ["call", "cast", "clone", "is_local", "name", "pid", "stop", "try_cast"];

/// Refuses methods whose names would hide each other or be hidden.
pub(crate) fn check_names(owner: &Owner<'_>, methods: &[Method]) -> Result<()> {
    let mut errors = Vec::new();
    for (at, method) in methods.iter().enumerate() {
        let (name, text) = (&method.name, method.name.to_string());
        if TAKEN.contains(&text.as_str()) {
            let message =
                format!("`{text}` is a method of every address, which would hide this one; choose another name");
            errors.push(Error::new_spanned(name, message));
        }
        let message_name = owner.message_name(method);
        for other in &methods[..at] {
            if owner.message_name(other) == message_name {
                let message = format!("`{}` and `{text}` are both message `{message_name}`", other.name);
                errors.push(Error::new_spanned(name, message));
            }
        }
        let is_tried = |other: &&Method| matches!(other.kind, Kind::Cast) && try_name(other) == *name;
        if let Some(cast) = methods.iter().find(is_tried) {
            let message = format!("`{text}` is how cast `{}` is sent without waiting; choose another name", cast.name);
            errors.push(Error::new_spanned(name, message));
        }
    }
    combined(errors)
}

/// Refuses tags that two messages share.
pub(crate) fn check_tags(methods: &[Method]) -> Result<()> {
    let mut errors = Vec::new();
    for (at, method) in methods.iter().enumerate() {
        let Some(tag) = &method.tag else { continue };
        let has_it = |other: &&Method| other.tag.as_ref().is_some_and(|other| other.number == tag.number);
        if let Some(first) = methods[..at].iter().find(has_it) {
            let message = format!("tag {} is that of `{}`; a tag names one message for ever", tag.number, first.name);
            errors.push(Error::new(tag.span, message));
        }
    }
    combined(errors)
}

/// All errors as one, none as success.
pub(crate) fn combined(errors: Vec<Error>) -> Result<()> {
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.map_or(Ok(()), Err)
}

pub(crate) fn client_name(owner: &Owner<'_>) -> Ident {
    format_ident!("{}Client", owner.name)
}

/// The name by which a cast is sent without waiting.
pub(crate) fn try_name(method: &Method) -> Ident {
    format_ident!("try_{}", method.name)
}

/// Declares the client trait and implements it for `Addr` and `Named`.
pub(crate) fn client(owner: &Owner<'_>, methods: &[Method]) -> TokenStream {
    let (trait_name, vis, actor, allowed) = (client_name(owner), owner.vis, owner.ty, allowed());
    let (generics, (parameters, arguments, clause)) = (owner.generics, owner.generics.split_for_impl());
    let declared = methods.iter().map(|method| declaration(owner, method));
    let docs = format!(
        " The calls and casts of `{}` as methods of its addresses.\n\nA cast has a twin that begins with `try_` and does \
         not wait for room in the mailbox.",
        owner.name
    );
    let implemented = ["Addr", "Named"].map(|address| {
        let address = format_ident!("{address}");
        let methods = methods.iter().map(|method| definition(owner, method));
        quote! {
            #[automatically_derived]
            impl #parameters #trait_name #arguments for ::tiebeam::#address<#actor> #clause {
                #(#methods)*
            }
        }
    });
    quote! {
        #[doc = #docs]
        #allowed
        #vis trait #trait_name #generics #clause {
            #(#declared)*
        }
        #(#implemented)*
    }
}

/// The head of a method that calls or casts.
fn head(owner: &Owner<'_>, method: &Method) -> TokenStream {
    let (span, name, actor) = (at(method.name.span()), &method.name, owner.ty);
    let ((names, types), message, mode) = (method.fields(), owner.message_type(method), mode(method.answer()));
    match method.kind {
        Kind::Call { .. } => quote_spanned! {span=>
            fn #name(&self, #(#names: #types),*) -> ::tiebeam::Call<'_, #actor, #message, #mode>
        },
        Kind::Cast => quote_spanned! {span=>
            fn #name(&self, #(#names: #types),*) -> ::tiebeam::Cast<'_, #actor, #message, #mode>
        },
    }
}

fn try_head(method: &Method) -> TokenStream {
    let (span, name, (names, types)) = (at(method.name.span()), try_name(method), method.fields());
    quote_spanned! {span=>
        fn #name(&self, #(#names: #types),*) -> ::core::result::Result<(), ::tiebeam::CallError>
    }
}

pub(crate) fn mode(answer: Answer) -> TokenStream {
    match answer {
        Answer::OnReturn => quote!(::tiebeam::Immediate),
        Answer::Later => quote!(::tiebeam::Later),
    }
}

fn declaration(owner: &Owner<'_>, method: &Method) -> TokenStream {
    let (head, cfgs, docs) = (head(owner, method), &method.cfgs, &method.docs);
    match method.kind {
        Kind::Call { .. } => {
            let summary = format!(" Calls `{}`.\n", method.name);
            quote! {
                #(#cfgs)*
                #[doc = #summary]
                #(#docs)*
                #[must_use = "a call does nothing until it is awaited"]
                #head;
            }
        }
        Kind::Cast => {
            let summary = format!(" Casts `{}`, and waits while the mailbox is full.\n", method.name);
            let (try_summary, try_head) = (format!(" Casts `{}` without waiting.\n", method.name), try_head(method));
            quote! {
                #(#cfgs)*
                #[doc = #summary]
                #(#docs)*
                #[must_use = "a cast does nothing until it is awaited"]
                #head;

                #(#cfgs)*
                #[doc = #try_summary]
                #(#docs)*
                #try_head;
            }
        }
    }
}

fn definition(owner: &Owner<'_>, method: &Method) -> TokenStream {
    let (head, cfgs, (names, _)) = (head(owner, method), &method.cfgs, method.fields());
    let (span, message) = (at(method.name.span()), owner.message(method, &names));
    match method.kind {
        Kind::Call { .. } => quote_spanned!(span=> #(#cfgs)* #head { self.call(#message) }),
        Kind::Cast => {
            let (try_head, message_type) = (try_head(method), owner.message_type(method));
            quote_spanned! {span=>
                #(#cfgs)*
                #head { self.cast(#message) }

                #(#cfgs)*
                #try_head { self.try_cast::<#message_type, ::tiebeam::Immediate>(#message) }
            }
        }
    }
}
