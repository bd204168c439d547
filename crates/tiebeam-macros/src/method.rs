//! Reads methods that are messages: marked `#[call]`, `#[cast]` or `#[info]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, LitInt, Meta, Result, ReturnType, Signature, Type};

use crate::signature::{self, Parameter};

/// What a method's mark says.
pub(crate) enum Mark {
    Call { deferred: Option<Span>, tag: Option<Tag> },
    Cast { tag: Option<Tag> },
    Info,
}

/// The number of a message in the actor's table.
#[derive(Clone)]
pub(crate) struct Tag {
    pub(crate) number: u32,
    pub(crate) span: Span,
}

/// When a call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    OnReturn,
    Later,
}

/// What a message asks for.
pub(crate) enum Kind {
    Call { reply: Box<Type>, answer: Answer },
    Cast,
}

/// A method that handles a message.
pub(crate) struct Method {
    pub(crate) name: Ident,
    pub(crate) kind: Kind,
    pub(crate) tag: Option<Tag>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) cfgs: Vec<Attribute>,
    /// `.await`, if the method is async.
    pub(crate) wait: Option<TokenStream>,
}

/// Takes the mark off a method's attributes, if there is one.
pub(crate) fn take_mark(attributes: &mut Vec<Attribute>) -> Result<Option<Mark>> {
    let is_mark = |attribute: &Attribute| ["call", "cast", "info"].iter().any(|name| attribute.path().is_ident(name));
    let marks: Vec<_> = attributes.extract_if(.., |attribute| is_mark(attribute)).collect();
    match &marks[..] {
        [] => Ok(None),
        [mark] => read_mark(mark).map(Some),
        [first, second, ..] => {
            let (first, second_name) = (name_of(first), name_of(second));
            let message = format!("`#[{second_name}]` beside `#[{first}]`: a method handles one kind of message");
            Err(Error::new_spanned(second, message))
        }
    }
}

fn name_of(attribute: &Attribute) -> String {
    attribute.path().require_ident().map(ToString::to_string).unwrap_or_default()
}

fn read_mark(mark: &Attribute) -> Result<Mark> {
    let kind = name_of(mark);
    let (mut deferred, mut tag) = (None, None);
    match &mark.meta {
        Meta::Path(_) => {}
        Meta::NameValue(value) => {
            return Err(Error::new_spanned(value, format!("options stand in parentheses: `#[{kind}(..)]`")));
        }
        Meta::List(_) => mark.parse_nested_meta(|option| {
            let span = option.path.span();
            if option.path.is_ident("tag") && kind != "info" {
                let number: LitInt = option.value()?.parse()?;
                if tag.replace(Tag { number: number.base10_parse()?, span: number.span() }).is_some() {
                    return Err(Error::new(span, "a message has one tag"));
                }
                return Ok(());
            }
            if option.path.is_ident("deferred") && kind == "call" {
                deferred = Some(span);
                return Ok(());
            }
            Err(Error::new(span, unknown_option(&kind, &option.path.to_token_stream().to_string())))
        })?,
    }
    Ok(match &*kind {
        "call" => Mark::Call { deferred, tag },
        "cast" => Mark::Cast { tag },
        _ => Mark::Info,
    })
}

fn unknown_option(kind: &str, option: &str) -> String {
    let known = match kind {
        "call" => "it knows `deferred` and `tag = 7`",
        "cast" => "it knows `tag = 7`",
        _ => "it knows none",
    };
    format!("`#[{kind}]` knows no option `{option}`; {known}")
}

impl Method {
    /// Reads a method marked `#[call]` or `#[cast]`; `owner` is what `Self` means.
    pub(crate) fn read(mark: Mark, attributes: &[Attribute], signature: &Signature, owner: &Type) -> Result<Self> {
        let (what, deferred, tag) = match mark {
            Mark::Call { deferred, tag } => ("call", deferred, tag),
            Mark::Cast { tag } => ("cast", None, tag),
            Mark::Info => {
                return Err(Error::new_spanned(&signature.ident, "a message is a call or a cast, not an info"));
            }
        };
        signature::check_plain(what, signature)?;
        check_receiver(what, signature)?;
        let mut parameters = signature::parameters(signature, owner)?;
        if what == "cast" {
            parameters = parameters.into_iter().map(forwarded).collect();
        }
        let fields = parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Field(name, ty) => Some((name, ty)),
            _ => None,
        });
        for (name, ty) in fields {
            signature::check_sendable(&format!("argument `{name}` of {what} `{}`", signature.ident), ty)?;
        }
        if parameters.iter().any(|parameter| matches!(parameter, Parameter::Reason)) {
            let message = format!("{what} `{}` borrows an `ExitReason`; a message owns it", signature.ident);
            return Err(Error::new_spanned(&signature.inputs, message));
        }
        let kind = match what {
            "cast" => cast(signature)?,
            _ => call(signature, owner, &parameters, deferred)?,
        };
        let of = |name: &'static str| move |a: &&Attribute| a.path().is_ident(name);
        Ok(Self {
            name: signature.ident.clone(),
            kind,
            tag,
            parameters,
            docs: attributes.iter().filter(of("doc")).cloned().collect(),
            cfgs: attributes.iter().filter(of("cfg")).cloned().collect(),
            wait: signature.asyncness.map(|_| quote!(.await)),
        })
    }

    pub(crate) const fn answer(&self) -> Answer {
        match self.kind {
            Kind::Call { answer, .. } => answer,
            Kind::Cast => Answer::OnReturn,
        }
    }

    /// The reply's type; `()` for a cast.
    pub(crate) fn reply(&self) -> Type {
        match &self.kind {
            Kind::Call { reply, .. } => (**reply).clone(),
            Kind::Cast => syn::parse_quote!(()),
        }
    }

    /// The names and types of what travels in the message.
    pub(crate) fn fields(&self) -> (Vec<&Ident>, Vec<&Type>) {
        let fields = self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Field(name, ty) => Some((name, &**ty)),
            Parameter::ReplyTo(..) | Parameter::Ctx(_) | Parameter::Reason => None,
        });
        fields.unzip()
    }
}

/// A cast has no caller, so a way back among its arguments is somebody else's, handed on.
fn forwarded(parameter: Parameter) -> Parameter {
    match parameter {
        Parameter::ReplyTo(way_back) => Parameter::Field(way_back.name, Box::new(way_back.ty)),
        other => other,
    }
}

/// Refuses a method that isn't called on the state.
pub(crate) fn check_receiver(what: &str, signature: &Signature) -> Result<()> {
    let name = &signature.ident;
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.colon_token.is_none() => Ok(()),
        Some(FnArg::Receiver(receiver)) => {
            let message = format!("{what} `{name}` consumes the actor, which lives on; take `&mut self` or `&self`");
            Err(Error::new_spanned(receiver, message))
        }
        _ => {
            let message =
                format!("{what} `{name}` takes no `self`, but the state handles it; take `&mut self` or `&self`");
            Err(Error::new_spanned(name, message))
        }
    }
}

fn cast(signature: &Signature) -> Result<Kind> {
    match &signature.output {
        ReturnType::Default => Ok(Kind::Cast),
        ReturnType::Type(_, ty) if matches!(&**ty, Type::Tuple(unit) if unit.elems.is_empty()) => Ok(Kind::Cast),
        ReturnType::Type(_, ty) => {
            let message =
                format!("cast `{}` returns something, but nobody waits for it; make it a `#[call]`", signature.ident);
            Err(Error::new_spanned(ty, message))
        }
    }
}

fn call(signature: &Signature, owner: &Type, parameters: &[Parameter], deferred: Option<Span>) -> Result<Kind> {
    let name = &signature.ident;
    let mut ways_back = parameters.iter().filter_map(|parameter| match parameter {
        Parameter::ReplyTo(way_back) => Some(way_back),
        _ => None,
    });
    let (way_back, another) = (ways_back.next(), ways_back.next());
    let (reply, answer) = match (deferred, way_back) {
        (Some(span), None) => {
            let message = format!("deferred call `{name}` has nothing to answer with; take `reply_to: ReplyTo<_>`");
            return Err(Error::new(span, message));
        }
        (Some(_), Some(way_back)) => {
            if let ReturnType::Type(_, ty) = &signature.output {
                let message = format!("deferred call `{name}` answers through its `ReplyTo` and returns nothing");
                return Err(Error::new_spanned(ty, message));
            }
            (way_back.reply.clone(), Answer::Later)
        }
        (None, Some(way_back)) => {
            let message = format!("call `{name}` answers when it returns; to answer later write `#[call(deferred)]`");
            return Err(Error::new_spanned(&way_back.ty, message));
        }
        (None, None) => (signature::output(signature, owner), Answer::OnReturn),
    };
    if let Some(another) = another {
        return Err(Error::new_spanned(
            &another.ty,
            format!("call `{name}` has one caller, so it takes one `ReplyTo`"),
        ));
    }
    signature::check_sendable(&format!("the answer of call `{name}`"), &reply)?;
    Ok(Kind::Call { reply: Box::new(reply), answer })
}
