//! Reads signatures: which parameter is what, and whether a type can be a message.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Error, FnArg, GenericArgument, Ident, Pat, PathArguments, Result, ReturnType, Signature, Type};

/// One parameter besides `self`.
pub(crate) enum Parameter {
    /// Travels in the message.
    Field(Ident, Box<Type>),
    /// `&mut Ctx<Self>`, recognised by its type's name.
    Ctx(Span),
    /// `ReplyTo<R>`, recognised by its type's name.
    ReplyTo(Box<WayBack>),
    /// `&ExitReason`, recognised by its type's name.
    Reason,
}

/// What a call is answered with.
pub(crate) struct WayBack {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) reply: Type,
}

/// Reads the parameters behind `self`; `owner` is what `Self` means.
pub(crate) fn parameters(signature: &Signature, owner: &Type) -> Result<Vec<Parameter>> {
    let mut found = Vec::new();
    for (index, input) in signature.inputs.iter().enumerate() {
        let FnArg::Typed(input) = input else { continue };
        let parameter = match &*input.ty {
            Type::Reference(reference) if is_named(&reference.elem, "Ctx") => Parameter::Ctx(input.span()),
            Type::Reference(reference) if is_named(&reference.elem, "ExitReason") => Parameter::Reason,
            ty => {
                let ty = owned(ty, owner);
                let (name, reply) = (name(&input.pat, index), replied(&ty));
                match reply {
                    Some(reply) => Parameter::ReplyTo(Box::new(WayBack { name, ty, reply })),
                    None => Parameter::Field(name, Box::new(ty)),
                }
            }
        };
        found.push(parameter);
    }
    let mut contexts = found.iter().filter_map(|parameter| match parameter {
        Parameter::Ctx(span) => Some(*span),
        _ => None,
    });
    match contexts.nth(1) {
        Some(second) => Err(Error::new(second, format!("`{}` takes `ctx` twice", signature.ident))),
        None => Ok(found),
    }
}

/// The type that a method returns, `()` if it says nothing; `Self` replaced by `owner`.
pub(crate) fn output(signature: &Signature, owner: &Type) -> Type {
    match &signature.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => owned(ty, owner),
    }
}

/// Refuses signatures that no handler can have.
pub(crate) fn check_plain(what: &str, signature: &Signature) -> Result<()> {
    let name = &signature.ident;
    let refuse = |at: &dyn ToTokens, why: &str| Err(Error::new_spanned(at, format!("{what} `{name}` {why}")));
    if signature.generics.params.iter().next().is_some() {
        return refuse(
            &signature.generics,
            "is generic, but each message has one type; make the actor generic instead",
        );
    }
    if let Some(keyword) = &signature.unsafety {
        return refuse(keyword, "is unsafe, but whoever sends a message can't vouch for anything");
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic, "is variadic, but a message has fixed fields");
    }
    Ok(())
}

/// Refuses a type that can't be kept in a message or sent back: it borrows, or has no name.
pub(crate) fn check_sendable(what: &str, ty: &Type) -> Result<()> {
    let mut borrows = Borrows(None);
    borrows.visit_type(ty);
    match borrows.0 {
        None => Ok(()),
        Some((tokens, why)) => Err(Error::new_spanned(tokens, format!("{what} {why}"))),
    }
}

struct Borrows(Option<(TokenStream, &'static str)>);

impl Borrows {
    fn found(&mut self, what: &impl ToTokens, why: &'static str) {
        self.0.get_or_insert_with(|| (what.to_token_stream(), why));
    }
}

const BORROWS: &str =
    "borrows, but it outlives whoever sends it; take an owned type such as `String`, `Vec<_>` or `Arc<_>`";
const UNNAMED: &str =
    "is an `impl Trait`, but a message has one type that can be written down; take it, or a `Box<dyn _>`";

impl<'ast> Visit<'ast> for Borrows {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        if reference.lifetime.as_ref().is_none_or(|lifetime| lifetime.ident != "static") {
            self.found(reference, BORROWS);
        }
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if lifetime.ident != "static" {
            self.found(lifetime, BORROWS);
        }
    }

    fn visit_type_impl_trait(&mut self, unnamed: &'ast syn::TypeImplTrait) {
        self.found(unnamed, UNNAMED);
    }

    // What a function borrows while it runs is its own affair.
    fn visit_type_bare_fn(&mut self, _: &'ast syn::TypeBareFn) {}

    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast syn::ParenthesizedGenericArguments) {}

    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        if bound.lifetimes.is_none() {
            visit::visit_trait_bound(self, bound);
        }
    }
}

/// Says whether the last part of a type's path is `name`.
pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// The `R` of a `ReplyTo<R>`.
fn replied(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "ReplyTo")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(reply)) => Some(reply.clone()),
        _ => None,
    }
}

/// What a parameter is called in the client: its name, or its place if it has a pattern.
fn name(pattern: &Pat, index: usize) -> Ident {
    match pattern {
        Pat::Ident(pattern) => pattern.ident.clone(),
        _ => format_ident!("argument_{index}"),
    }
}

/// Replaces `Self`, which means something else where the type is used.
fn owned(ty: &Type, owner: &Type) -> Type {
    syn::parse2(replaced(ty.to_token_stream(), owner)).unwrap_or_else(|_| ty.clone())
}

fn replaced(tokens: TokenStream, owner: &Type) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident == "Self" => owner.to_token_stream(),
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), replaced(group.stream(), owner));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        other => other.into(),
    };
    tokens.into_iter().map(replace).collect::<Vec<TokenStream>>().into_iter().collect()
}
