//! Makes the types of messages and their handlers.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Generics, Ident, Index, Type, Visibility};

use crate::method::{Answer, Method};
use crate::signature::Parameter;

/// Whose messages are made.
pub(crate) struct Owner<'a> {
    /// What the names of what is made begin with.
    pub(crate) name: &'a Ident,
    /// What messages are generic over; nothing for a protocol.
    pub(crate) generics: &'a Generics,
    /// The actor's type; a generic message must use all of its parameters.
    pub(crate) ty: &'a Type,
    pub(crate) vis: &'a Visibility,
}

/// Lifts the lints that would blame users for what they didn't write. Only those: who forbids a lint can't have it lifted.
pub(crate) fn allowed() -> TokenStream {
    quote! {
        #[allow(
            dead_code, missing_debug_implementations, private_bounds, private_interfaces, unnameable_types, unreachable_pub,
            reason = "made by a macro, for whoever may need it"
        )]
    }
}

/// Turns `reserve_seat` into `ReserveSeat`.
pub(crate) fn camel_case(name: &Ident) -> String {
    let name = name.to_string();
    let words = name.trim_start_matches("r#").split('_');
    words
        .flat_map(|word| word.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }))
        .collect()
}

/// Resolves like the macro's own code and is shown at `span`, so that errors point at the user's method.
pub(crate) fn at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

impl Owner<'_> {
    /// The name of a method's message.
    pub(crate) fn message_name(&self, method: &Method) -> Ident {
        format_ident!("{}{}", self.name, camel_case(&method.name), span = method.name.span())
    }

    /// The type of a method's message.
    pub(crate) fn message_type(&self, method: &Method) -> TokenStream {
        let (name, (_, parameters, _)) = (self.message_name(method), self.generics.split_for_impl());
        quote!(#name #parameters)
    }

    /// Makes a method's message of `arguments`.
    pub(crate) fn message(&self, method: &Method, arguments: &[&Ident]) -> TokenStream {
        let name = self.message_name(method);
        match (arguments, self.generics.params.is_empty()) {
            ([], true) => quote!(#name),
            (_, true) => quote!(#name(#(#arguments),*)),
            (_, false) => quote!(#name(#(#arguments,)* ::core::marker::PhantomData)),
        }
    }

    /// Declares the type of a method's message.
    pub(crate) fn message_struct(&self, method: &Method) -> TokenStream {
        let (name, (_, types)) = (self.message_name(method), method.fields());
        let (vis, ty, generics, cfgs, docs) = (self.vis, self.ty, self.generics, &method.cfgs, &method.docs);
        let summary = format!(" Message `{}` of `{}`.\n", method.name, self.name);
        let is_generic = !generics.params.is_empty();
        let (bound, clause) = (is_generic.then(|| quote!(, bound = "")), &generics.where_clause);
        let serde = method.tag.as_ref().map(|_| {
            quote! {
                #[derive(::tiebeam::__private::serde::Serialize, ::tiebeam::__private::serde::Deserialize)]
                #[serde(crate = "::tiebeam::__private::serde" #bound)]
            }
        });
        let fields = match (types.is_empty(), is_generic) {
            (true, false) => None,
            (false, false) => Some(quote!((#(pub #types),*))),
            (_, true) => {
                let skip = method.tag.as_ref().map(|_| quote!(#[serde(skip)]));
                Some(quote!((#(pub #types,)* #skip pub ::core::marker::PhantomData<fn() -> #ty>)))
            }
        };
        let allowed = allowed();
        quote! {
            #(#cfgs)*
            #[doc = #summary]
            #(#docs)*
            #allowed
            #serde
            #vis struct #name #generics #fields #clause;
        }
    }
}

/// Implements the trait that handles `message`, by calling the method on `actor`: [`Answer::OnReturn`] asks for `Handler`,
/// [`Answer::Later`] for `Deferred`, through which a method that answers when it returns can answer too.
pub(crate) fn handler(
    method: &Method,
    through: Answer,
    message: &TokenStream,
    actor: &Type,
    generics: &Generics,
) -> TokenStream {
    let span = at(method.name.span());
    let (name, cfgs, wait, reply) = (&method.name, &method.cfgs, &method.wait, method.reply());
    let mut index = 0..;
    let arguments = method.parameters.iter().map(|parameter| match parameter {
        Parameter::Field(..) => {
            let index = Index::from(index.next().unwrap_or_default());
            quote_spanned!(span=> message.#index)
        }
        Parameter::Ctx(_) => quote_spanned!(span=> ctx),
        Parameter::ReplyTo(_) | Parameter::Reason => quote_spanned!(span=> reply_to),
    });
    let call = quote_spanned!(span=> Self::#name(self, #(#arguments),*) #wait);
    let (parameters, _, clause) = generics.split_for_impl();
    let answered = match method.answer() {
        Answer::OnReturn => quote_spanned!(span=> reply_to.send(#call)),
        Answer::Later => call.clone(),
    };
    let body = match through {
        Answer::OnReturn => quote_spanned! {span=>
            impl #parameters ::tiebeam::Handler<#message> for #actor #clause {
                type Reply = #reply;

                async fn handle(&mut self, message: #message, ctx: &mut ::tiebeam::Ctx<Self>) -> #reply {
                    let _ = (&message, &ctx);
                    #call
                }
            }
        },
        Answer::Later => quote_spanned! {span=>
            impl #parameters ::tiebeam::Deferred<#message> for #actor #clause {
                type Reply = #reply;

                async fn handle_call(
                    &mut self,
                    message: #message,
                    reply_to: ::tiebeam::ReplyTo<#reply>,
                    ctx: &mut ::tiebeam::Ctx<Self>,
                ) {
                    let _ = (&message, &ctx);
                    #answered;
                }
            }
        },
    };
    quote!(#(#cfgs)* #[automatically_derived] #body)
}
