//! What the runtime calls by itself: `init`, `info`, `terminate`, `hibernate` and `format_status`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Error, Ident, Result, ReturnType, Signature, Type};

use crate::actor::name_of;
use crate::message::at;
use crate::method::check_receiver;
use crate::signature::{self, Parameter};

/// The hooks that a block has.
#[derive(Default)]
pub(super) struct Hooks {
    init: Option<Init>,
    info: Option<Hook>,
    terminate: Option<Hook>,
    hibernate: Option<Ident>,
    format_status: Option<Ident>,
}

struct Init {
    hook: Hook,
    args: Type,
    outcome: Outcome,
}

/// What `init` returns.
enum Outcome {
    State,
    Result,
}

struct Hook {
    name: Ident,
    arguments: Vec<Argument>,
    wait: Option<TokenStream>,
}

/// What is passed on to a hook, in the order in which it asks.
enum Argument {
    Given,
    Ctx,
}

impl Hook {
    fn new(signature: &Signature, parameters: &[Parameter]) -> Self {
        let argument = |parameter: &Parameter| match parameter {
            Parameter::Ctx(_) => Argument::Ctx,
            Parameter::Field(..) | Parameter::ReplyTo(_) | Parameter::Reason => Argument::Given,
        };
        Self {
            name: signature.ident.clone(),
            arguments: parameters.iter().map(argument).collect(),
            wait: signature.asyncness.map(|_| quote!(.await)),
        }
    }

    /// Calls the hook with `given` and `ctx`, behind `receiver`.
    fn call(&self, receiver: Option<TokenStream>, given: &Ident) -> TokenStream {
        let (span, name, wait) = (self.span(), &self.name, &self.wait);
        let arguments = self.arguments.iter().map(|argument| match argument {
            Argument::Given => given.to_token_stream(),
            Argument::Ctx => quote_spanned!(span=> ctx),
        });
        let arguments = receiver.into_iter().chain(arguments);
        quote_spanned!(span=> Self::#name(#(#arguments),*) #wait)
    }

    fn span(&self) -> Span {
        at(self.name.span())
    }
}

impl Hooks {
    /// Reads a method without a mark: hooks are known by their names, others are the user's own.
    pub(super) fn read_named(&mut self, signature: &Signature, owner: &Type) -> Result<()> {
        match signature.ident.to_string().as_str() {
            "init" => self.read_init(signature, owner),
            "terminate" => {
                signature::check_plain("hook", signature)?;
                check_receiver("hook", signature)?;
                let parameters = signature::parameters(signature, owner)?;
                let is_known = |parameter: &Parameter| matches!(parameter, Parameter::Ctx(_) | Parameter::Reason);
                if !parameters.iter().all(is_known) {
                    let message = "`terminate` takes `reason: &ExitReason`, `ctx: &mut Ctx<Self>`, both or none";
                    return Err(Error::new_spanned(&signature.inputs, message));
                }
                self.terminate = Some(Hook::new(signature, &parameters));
                Ok(())
            }
            "hibernate" => read_bare(signature, "fn hibernate(&mut self)").map(|name| self.hibernate = Some(name)),
            "format_status" => read_bare(signature, "fn format_status(&self) -> Option<String>")
                .map(|name| self.format_status = Some(name)),
            _ => Ok(()),
        }
    }

    fn read_init(&mut self, signature: &Signature, owner: &Type) -> Result<()> {
        signature::check_plain("hook", signature)?;
        if let Some(receiver) = signature.receiver() {
            let message = "`init` makes the state, so there is no `self` yet; take what it needs as an argument";
            return Err(Error::new_spanned(receiver, message));
        }
        let parameters = signature::parameters(signature, owner)?;
        let mut given = parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Field(_, ty) => Some(&**ty),
            Parameter::ReplyTo(way_back) => Some(&way_back.ty),
            Parameter::Ctx(_) | Parameter::Reason => None,
        });
        let (args, another) = (given.next(), given.next());
        if let Some(ty) = another {
            let message = "`init` takes one argument beside `ctx`; put several into a tuple or a struct";
            return Err(Error::new_spanned(ty, message));
        }
        let args = args.cloned().unwrap_or_else(|| syn::parse_quote!(()));
        signature::check_sendable("the argument of `init`", &args)?;
        let outcome = match &signature.output {
            ReturnType::Type(_, ty) if signature::is_named(ty, "Result") => Outcome::Result,
            ReturnType::Type(_, ty) if is_state(ty, owner) => Outcome::State,
            output => {
                let at: &dyn ToTokens = if matches!(output, ReturnType::Default) { &signature.ident } else { output };
                return Err(Error::new_spanned(at, "`init` returns `Self` or `Result<Self, ExitReason>`"));
            }
        };
        self.init = Some(Init { hook: Hook::new(signature, &parameters), args, outcome });
        Ok(())
    }

    /// Reads the method marked `#[info]`.
    pub(super) fn read_info(&mut self, signature: &Signature, owner: &Type) -> Result<()> {
        let name = &signature.ident;
        signature::check_plain("info", signature)?;
        check_receiver("info", signature)?;
        if let Some(first) = &self.info {
            let message = format!("`{}` hears every info already; match on the `Info` there", first.name);
            return Err(Error::new_spanned(name, message));
        }
        let parameters = signature::parameters(signature, owner)?;
        let given = parameters.iter().filter(|parameter| !matches!(parameter, Parameter::Ctx(_)));
        let is_info =
            |parameter: &Parameter| matches!(parameter, Parameter::Field(_, ty) if signature::is_named(ty, "Info"));
        if !given.map(is_info).eq([true]) {
            let message = format!("info `{name}` takes `info: Info`, and `ctx: &mut Ctx<Self>` if it needs that");
            return Err(Error::new_spanned(name, message));
        }
        self.info = Some(Hook::new(signature, &parameters));
        Ok(())
    }

    /// Refuses an actor that can't be started.
    pub(super) fn check(&self, owner: &Type) -> Result<()> {
        if self.init.is_some() {
            return Ok(());
        }
        let name = name_of(owner)?;
        let message = format!(
            "actor `{name}` has no `init`, which makes its state; write `async fn init(args: .., ctx: &mut Ctx<Self>) -> \
             Result<Self, ExitReason>`, or `fn init() -> Self`"
        );
        Err(Error::new_spanned(owner, message))
    }

    /// The methods of `impl Actor`, its table excepted.
    pub(super) fn expand(&self) -> TokenStream {
        let init = self.init.as_ref().map(|Init { hook, args, outcome }| {
            let span = hook.span();
            let call = hook.call(None, &Ident::new("args", span));
            let made = match outcome {
                Outcome::Result => call,
                Outcome::State => quote_spanned!(span=> ::core::result::Result::Ok(#call)),
            };
            quote_spanned! {span=>
                type Args = #args;

                async fn init(
                    args: #args,
                    ctx: &mut ::tiebeam::Ctx<Self>,
                ) -> ::core::result::Result<Self, ::tiebeam::ExitReason> {
                    let _ = (&args, &ctx);
                    #made
                }
            }
        });
        let info = self.info.as_ref().map(|hook| {
            let span = hook.span();
            let call = hook.call(Some(quote_spanned!(span=> self)), &Ident::new("info", span));
            quote_spanned! {span=>
                async fn info(&mut self, info: ::tiebeam::Info, ctx: &mut ::tiebeam::Ctx<Self>) {
                    let _ = &ctx;
                    #call;
                }
            }
        });
        let terminate = self.terminate.as_ref().map(|hook| {
            let span = hook.span();
            let call = hook.call(Some(quote_spanned!(span=> self)), &Ident::new("reason", span));
            quote_spanned! {span=>
                async fn terminate(&mut self, reason: &::tiebeam::ExitReason, ctx: &mut ::tiebeam::Ctx<Self>) {
                    let _ = (reason, &ctx);
                    #call;
                }
            }
        });
        let hibernate = self.hibernate.as_ref().map(|name| {
            quote_spanned! {at(name.span())=> fn hibernate(&mut self) { Self::#name(self); } }
        });
        let format_status = self.format_status.as_ref().map(|name| {
            quote_spanned! {at(name.span())=>
                fn format_status(&self) -> ::core::option::Option<::std::string::String> { Self::#name(self) }
            }
        });
        quote!(#init #info #terminate #hibernate #format_status)
    }
}

/// Reads a hook that takes nothing but the state, and doesn't wait.
fn read_bare(signature: &Signature, wanted: &str) -> Result<Ident> {
    signature::check_plain("hook", signature)?;
    check_receiver("hook", signature)?;
    if signature.inputs.len() > 1 || signature.asyncness.is_some() {
        let message = format!("hook `{}` is `{wanted}`: it takes nothing else, and doesn't wait", signature.ident);
        return Err(Error::new_spanned(signature, message));
    }
    Ok(signature.ident.clone())
}

/// Says whether a type is the state itself.
fn is_state(ty: &Type, owner: &Type) -> bool {
    ty == owner || matches!(ty, Type::Path(path) if path.path.is_ident("Self"))
}
