//! `#[actor]`: an inherent `impl` block becomes an actor.

mod hooks;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Error, GenericParam, Ident, ImplItem, ItemImpl, Path, Result, Type, Visibility};

use crate::client::{self, combined};
use crate::message::{Owner, handler};
use crate::method::{Answer, Kind, Mark, Method, take_mark};
use hooks::Hooks;

/// What stands in `#[actor(..)]`.
struct Options {
    vis: Visibility,
    protocols: Vec<Path>,
}

/// What an `impl` block says of its actor.
struct Actor {
    name: Ident,
    methods: Vec<Method>,
    hooks: Hooks,
    options: Options,
}

/// Expands `#[actor]`. On a mistake the block stays as it is, so that no other error follows from its absence.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut block: ItemImpl = match syn::parse2(item.clone()) {
        Ok(block) => block,
        Err(error) => {
            let message = format!("`#[actor]` stands on the `impl` block of the actor's state: {error}");
            let error = Error::new(error.span(), message).into_compile_error();
            return quote!(#error #item);
        }
    };
    let made = Actor::read(options, &mut block).map(|actor| actor.expand(&block));
    let made = made.unwrap_or_else(|error| error.into_compile_error());
    quote!(#block #made)
}

impl Options {
    fn read(options: TokenStream) -> Result<Self> {
        let mut read = Self { vis: syn::parse_quote!(pub), protocols: Vec::new() };
        let parser = syn::meta::parser(|option| {
            if option.path.is_ident("vis") {
                read.vis = option.value()?.parse()?;
                return Ok(());
            }
            if option.path.is_ident("protocols") {
                return option.parse_nested_meta(|protocol| {
                    read.protocols.push(protocol.path);
                    Ok(())
                });
            }
            let name = option.path.to_token_stream();
            let message =
                format!("`#[actor]` knows no option `{name}`; it knows `vis = pub(crate)` and `protocols(A, B)`");
            Err(Error::new_spanned(&option.path, message))
        });
        parser.parse2(options)?;
        Ok(read)
    }
}

/// Finds what the names of an actor's messages begin with; refuses types that can't be actors.
pub(crate) fn name_of(ty: &Type) -> Result<Ident> {
    let Type::Path(path) = ty else {
        return Err(Error::new_spanned(ty, "an actor is a struct or an enum, since its messages are named after it"));
    };
    let last = path.path.segments.last().map(|last| last.ident.clone());
    last.ok_or_else(|| Error::new_spanned(ty, "an actor has a name"))
}

impl Actor {
    /// Reads the block and takes the marks off its methods.
    fn read(options: TokenStream, block: &mut ItemImpl) -> Result<Self> {
        let mut errors = Vec::new();
        let (mut methods, mut hooks) = (Vec::new(), Hooks::default());
        let owner = (*block.self_ty).clone();
        for item in &mut block.items {
            let ImplItem::Fn(function) = item else { continue };
            let read = match take_mark(&mut function.attrs) {
                Ok(Some(Mark::Info)) => hooks.read_info(&function.sig, &owner),
                Ok(Some(mark)) => {
                    Method::read(mark, &function.attrs, &function.sig, &owner).map(|method| methods.push(method))
                }
                Ok(None) => hooks.read_named(&function.sig, &owner),
                Err(error) => Err(error),
            };
            errors.extend(read.err());
        }
        errors.extend(check_block(block).err());
        // With errors so far, an `init` may be missing only because it could not be read.
        if errors.is_empty() {
            errors.extend(hooks.check(&owner).err());
        }
        errors.extend(client::check_tags(&methods).err());
        let options = Options::read(options).map_err(|error| errors.push(error));
        let name = name_of(&owner).map_err(|error| errors.push(error));
        if let (Ok(name), Ok(options)) = (name, options) {
            let actor = Self { name, methods, hooks, options };
            errors.extend(actor.check_names(&actor.owner(block)).err());
            return combined(errors).map(|()| actor);
        }
        Err(combined(errors).expect_err("without name or options there is an error"))
    }

    fn check_names(&self, owner: &Owner<'_>) -> Result<()> {
        let client = client::client_name(owner);
        let mut errors = Vec::from_iter(client::check_names(owner, &self.methods).err());
        for method in self.methods.iter().filter(|method| owner.message_name(method) == client) {
            let message = format!("message `{client}` has the name of the client trait; choose another name");
            errors.push(Error::new_spanned(&method.name, message));
        }
        combined(errors)
    }

    fn owner<'a>(&'a self, block: &'a ItemImpl) -> Owner<'a> {
        Owner { name: &self.name, generics: &block.generics, ty: &block.self_ty, vis: &self.options.vis }
    }

    fn expand(&self, block: &ItemImpl) -> TokenStream {
        let owner = self.owner(block);
        let (parameters, _, clause) = block.generics.split_for_impl();
        let actor = &block.self_ty;
        let structs = self.methods.iter().map(|method| owner.message_struct(method));
        let handlers = self.methods.iter().map(|method| {
            let message = owner.message_type(method);
            handler(method, method.answer(), &message, actor, &block.generics)
        });
        let client = (!self.methods.is_empty()).then(|| client::client(&owner, &self.methods));
        let (hooks, table) = (self.hooks.expand(), self.table(&owner));
        quote! {
            #(#structs)*

            #[automatically_derived]
            impl #parameters ::tiebeam::Actor for #actor #clause {
                #hooks
                #table
            }

            #(#handlers)*
            #client
        }
    }

    /// The actor's `table`, unless nothing is in it.
    fn table(&self, owner: &Owner<'_>) -> Option<TokenStream> {
        let tagged: Vec<_> = self.methods.iter().filter(|method| method.tag.is_some()).collect();
        if tagged.is_empty() && self.options.protocols.is_empty() {
            return None;
        }
        let entries = tagged.into_iter().map(|method| entry(method, &owner.message_type(method)));
        let protocols = &self.options.protocols;
        Some(quote! {
            fn table() -> ::tiebeam::Table<Self> {
                let table = ::tiebeam::Table::new();
                #(#entries)*
                #(let table = <dyn #protocols as ::tiebeam::__private::Entries<Self>>::add_to(table);)*
                table
            }
        })
    }
}

/// Adds a tagged message to `table`.
pub(crate) fn entry(method: &Method, message: &TokenStream) -> Option<TokenStream> {
    let (tag, cfgs) = (method.tag.as_ref()?, &method.cfgs);
    let number = proc_macro2::Literal::u32_suffixed(tag.number);
    let add = match (&method.kind, method.answer()) {
        (Kind::Cast, _) => quote!(cast),
        (Kind::Call { .. }, Answer::OnReturn) => quote!(call),
        (Kind::Call { .. }, Answer::Later) => quote!(call_deferred),
    };
    Some(quote!(#(#cfgs)* let table = table.#add::<#message>(#number);))
}

/// Refuses blocks that can't be an actor.
fn check_block(block: &ItemImpl) -> Result<()> {
    if let Some((_, path, _)) = &block.trait_ {
        let message =
            "`#[actor]` stands on the actor's own `impl` block; to serve a protocol write `#[tiebeam::protocol]`";
        return Err(Error::new_spanned(path, message));
    }
    let borrowed = block.generics.params.iter().find(|parameter| matches!(parameter, GenericParam::Lifetime(_)));
    match borrowed {
        None => Ok(()),
        Some(lifetime) => {
            let message =
                "an actor borrows nothing, since it lives until it is stopped; own the data, or share it by `Arc`";
            Err(Error::new_spanned(lifetime, message))
        }
    }
}
