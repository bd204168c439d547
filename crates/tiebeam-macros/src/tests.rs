//! Mistakes, and what is said of them: line and column, the token there, the message.

use expect_test::{Expect, expect};
use proc_macro2::{TokenStream, TokenTree};

/// Expands `source`, which begins with the attribute, and compares its errors.
#[expect(clippy::needless_pass_by_value, reason = "an `Expect` is made for one comparison")]
fn check(source: &str, expected: Expect) {
    let (attribute, item) = source.trim_start().split_once('\n').unwrap();
    // Keeps the lines as they are in `source`.
    let item: TokenStream = format!("\n{item}").parse().unwrap();
    let (name, options) = attribute.trim_matches(['#', '[', ']']).split_once('(').unwrap_or((attribute, ")"));
    let options: TokenStream = options.trim_end_matches(']').strip_suffix(')').unwrap_or_default().parse().unwrap();
    let expanded = match name.trim_matches(['#', '[', ']']) {
        "actor" => crate::actor::expand(options, item),
        "protocol" => crate::protocol::expand(options, item),
        other => panic!("no macro {other}"),
    };
    let mut found = String::new();
    errors(expanded, &mut found);
    expected.assert_eq(&found);
}

/// Writes down every `compile_error!` among `tokens`.
fn errors(tokens: TokenStream, found: &mut String) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) if ident == "compile_error" => {
                tokens.next();
                let Some(TokenTree::Group(message)) = tokens.next() else { panic!("compile_error! says nothing") };
                let (at, what) = (ident.span().start(), ident.span().source_text().unwrap_or_default());
                let message: syn::LitStr = syn::parse2(message.stream()).unwrap();
                found.push_str(&format!("{}:{} {what}: {}\n", at.line, at.column + 1, message.value()));
            }
            TokenTree::Group(group) => errors(group.stream(), found),
            _ => {}
        }
    }
}

#[test]
fn actor_without_mistakes_is_no_error() {
    check(
        "#[actor(vis = pub(crate), protocols(Ledger, other::Audit))]
        impl<T: Send + 'static> Holder<T> {
            fn init(args: T) -> Self { .. }
            #[call(tag = 1)] async fn put(&mut self, value: T, visit: Box<dyn Fn(&str) -> &str + Send>) -> Option<Self> { .. }
            #[call(deferred)] fn later(&mut self, reply_to: ReplyTo<u64>, ctx: &mut Ctx<Self>) { .. }
            #[cast] fn forward(&mut self, _: &'static str, reply_to: ReplyTo<u64>) { .. }
            #[info] fn hear(&mut self, info: Info) { .. }
            async fn terminate(&mut self, reason: &ExitReason) { .. }
            fn hibernate(&mut self) { .. }
            fn format_status(&self) -> Option<String> { .. }
            fn helper<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> { .. }
        }",
        expect![[""]],
    );
}

#[test]
fn actor_needs_init() {
    check(
        "#[actor]\nimpl Counter { #[call] fn get(&self) -> u64 { 1 } }",
        expect![[r#"
        2:6 Counter: actor `Counter` has no `init`, which makes its state; write `async fn init(args: .., ctx: &mut Ctx<Self>) -> Result<Self, ExitReason>`, or `fn init() -> Self`
    "#]],
    );
    check(
        "#[actor]\nimpl Counter { fn init(&self) -> Self { .. } }",
        expect![[r#"
        2:24 &: `init` makes the state, so there is no `self` yet; take what it needs as an argument
    "#]],
    );
    check(
        "#[actor]\nimpl Counter { fn init(a: u64, b: u64) -> Self { .. } }",
        expect![[r#"
        2:35 u64: `init` takes one argument beside `ctx`; put several into a tuple or a struct
    "#]],
    );
    check(
        "#[actor]\nimpl Counter { fn init(a: u64) -> Option<Self> { .. } }",
        expect![[r#"
        2:32 -: `init` returns `Self` or `Result<Self, ExitReason>`
    "#]],
    );
    check(
        "#[actor]\nimpl Counter { fn init(a: u64) { .. } }",
        expect![[r#"
        2:19 init: `init` returns `Self` or `Result<Self, ExitReason>`
    "#]],
    );
    check(
        "#[actor]\nimpl Counter { fn init(name: &str) -> Self { .. } }",
        expect![[r#"
        2:30 &: the argument of `init` borrows, but it outlives whoever sends it; take an owned type such as `String`, `Vec<_>` or `Arc<_>`
    "#]],
    );
}

#[test]
fn actor_is_an_inherent_block_of_an_owned_type() {
    check(
        "#[actor]\nstruct Counter;",
        expect![[r#"
        2:1 struct: `#[actor]` stands on the `impl` block of the actor's state: expected `impl`
    "#]],
    );
    check(
        "#[actor]\nimpl Ledger for Counter { fn init() -> Self { .. } }",
        expect![[r#"
        2:6 Ledger: `#[actor]` stands on the actor's own `impl` block; to serve a protocol write `#[tiebeam::protocol]`
    "#]],
    );
    check(
        "#[actor]\nimpl<'a> Counter<'a> { fn init() -> Self { .. } }",
        expect![[r#"
        2:6 ': an actor borrows nothing, since it lives until it is stopped; own the data, or share it by `Arc`
    "#]],
    );
    check(
        "#[actor]\nimpl (u64, u64) { fn init() -> Self { .. } }",
        expect![[r#"
        2:6 (u64, u64): an actor is a struct or an enum, since its messages are named after it
    "#]],
    );
    check(
        "#[actor(tag = 1)]\nimpl Counter { fn init() -> Self { .. } }",
        expect![[r#"
        1:1 tag: `#[actor]` knows no option `tag`; it knows `vis = pub(crate)` and `protocols(A, B)`
    "#]],
    );
}

/// All mistakes of a block are told at once.
#[test]
fn message_is_handled_by_the_state() {
    check(
        "#[actor]
        impl Counter {
            fn init() -> Self { .. }
            #[call] fn free(by: u64) -> u64 { by }
            #[cast] fn consuming(self) { .. }
            #[info] fn deaf() { .. }
            #[call] fn boxed(self: Box<Self>) -> u64 { 1 }
            fn terminate(self) { .. }
            async fn hibernate(&mut self) { .. }
        }",
        expect![[r#"
            4:24 free: call `free` takes no `self`, but the state handles it; take `&mut self` or `&self`
            5:34 self: cast `consuming` consumes the actor, which lives on; take `&mut self` or `&self`
            6:24 deaf: info `deaf` takes no `self`, but the state handles it; take `&mut self` or `&self`
            7:30 self: call `boxed` consumes the actor, which lives on; take `&mut self` or `&self`
            8:26 self: hook `terminate` consumes the actor, which lives on; take `&mut self` or `&self`
            9:13 async: hook `hibernate` is `fn hibernate(&mut self)`: it takes nothing else, and doesn't wait
        "#]],
    );
}

#[test]
fn message_owns_what_it_carries() {
    check(
        "#[actor]
        impl Counter {
            fn init() -> Self { .. }
            #[call] fn borrowed(&self, name: &str) -> u64 { 1 }
            #[cast] fn within(&self, names: Vec<Cow<'_, str>>) { .. }
            #[call] fn unnamed(&self, numbers: impl Iterator<Item = u64>) -> u64 { 1 }
            #[call] fn answer(&self) -> &str { .. }
            #[call] fn generic<T>(&self, value: T) -> u64 { 1 }
            #[cast] fn reason(&self, reason: &ExitReason) { .. }
            #[cast] fn twice(&self, a: &mut Ctx<Self>, b: &mut Ctx<Self>) { .. }
        }",
        expect![[r#"
            4:46 &: argument `name` of call `borrowed` borrows, but it outlives whoever sends it; take an owned type such as `String`, `Vec<_>` or `Arc<_>`
            5:53 ': argument `names` of cast `within` borrows, but it outlives whoever sends it; take an owned type such as `String`, `Vec<_>` or `Arc<_>`
            6:48 impl: argument `numbers` of call `unnamed` is an `impl Trait`, but a message has one type that can be written down; take it, or a `Box<dyn _>`
            7:41 &: the answer of call `answer` borrows, but it outlives whoever sends it; take an owned type such as `String`, `Vec<_>` or `Arc<_>`
            8:31 <: call `generic` is generic, but each message has one type; make the actor generic instead
            9:31 &: cast `reason` borrows an `ExitReason`; a message owns it
            10:56 b: &mut Ctx<Self>: `twice` takes `ctx` twice
        "#]],
    );
}

#[test]
fn method_has_one_mark_with_known_options() {
    check(
        "#[actor]
        impl Counter {
            fn init() -> Self { .. }
            #[call] #[cast] fn both(&self) { .. }
            #[call(retry)] fn unknown(&self) { .. }
            #[cast(deferred)] fn late(&self) { .. }
            #[info(tag = 1)] fn hear(&self, info: Info) { .. }
            #[call = 7] fn value(&self) { .. }
            #[call(tag = \"seven\")] fn text(&self) { .. }
            #[call(tag = 5000000000)] fn large(&self) { .. }
            #[cast] fn replies(&self) -> u64 { 1 }
        }",
        expect![[r#"
            4:21 #: `#[cast]` beside `#[call]`: a method handles one kind of message
            5:20 retry: `#[call]` knows no option `retry`; it knows `deferred` and `tag = 7`
            6:20 deferred: `#[cast]` knows no option `deferred`; it knows `tag = 7`
            7:20 tag: `#[info]` knows no option `tag`; it knows none
            8:15 call: options stand in parentheses: `#[call(..)]`
            9:26 "seven": expected integer literal
            10:26 5000000000: number too large to fit in target type
            11:42 u64: cast `replies` returns something, but nobody waits for it; make it a `#[call]`
        "#]],
    );
}

#[test]
fn deferred_call_takes_its_way_back() {
    check(
        "#[actor]
        impl Counter {
            fn init() -> Self { .. }
            #[call(deferred)] fn lost(&self) { .. }
            #[call(deferred)] fn returns(&self, reply_to: ReplyTo<u64>) -> u64 { 1 }
            #[call] fn forgotten(&self, reply_to: ReplyTo<u64>) { .. }
            #[call(deferred)] fn twice(&self, a: ReplyTo<u64>, b: ReplyTo<u64>) { .. }
        }",
        expect![[r#"
            4:20 deferred: deferred call `lost` has nothing to answer with; take `reply_to: ReplyTo<_>`
            5:76 u64: deferred call `returns` answers through its `ReplyTo` and returns nothing
            6:51 ReplyTo: call `forgotten` answers when it returns; to answer later write `#[call(deferred)]`
            7:67 ReplyTo: call `twice` has one caller, so it takes one `ReplyTo`
        "#]],
    );
}

#[test]
fn names_and_tags_are_given_once() {
    check(
        "#[actor]
        impl Counter {
            fn init() -> Self { .. }
            #[call(tag = 7)] fn get(&self) -> u64 { 1 }
            #[cast(tag = 7)] fn set(&self) { .. }
            #[call] fn try_set(&self) -> u64 { 1 }
            #[call] fn add_2(&self) { .. }
            #[call] fn add2(&self) { .. }
            #[cast] fn client(&self) { .. }
            #[call] fn stop(&self) { .. }
            #[info] fn first(&self, info: Info) { .. }
            #[info] fn second(&self, info: Info) { .. }
        }",
        expect![[r#"
            12:24 second: `first` hears every info already; match on the `Info` there
            5:26 7: tag 7 is that of `get`; a tag names one message for ever
            6:24 try_set: `try_set` is how cast `set` is sent without waiting; choose another name
            8:24 add2: `add_2` and `add2` are both message `CounterAdd2`
            10:24 stop: `stop` is a method of every address, which would hide this one; choose another name
            9:24 client: message `CounterClient` has the name of the client trait; choose another name
        "#]],
    );
}

#[test]
fn protocol_holds_calls_and_casts_only() {
    check("#[protocol]\ntrait Ledger { #[call(tag = 1)] fn balance(&self, account: u64) -> u64; }", expect![[""]]);
    check(
        "#[protocol(remote)]\ntrait Ledger {}",
        expect![[r#"
        1:1 remote: `#[protocol]` takes no options
    "#]],
    );
    check(
        "#[protocol]\nstruct Ledger;",
        expect![[r#"
        2:1 struct: `#[protocol]` stands on a trait, or on the `impl` block of such a trait for an actor
    "#]],
    );
    check(
        "#[protocol]\ntrait Ledger<T> {}",
        expect![[r#"
        2:13 <: protocol `Ledger` is generic, but its messages have one type each; make one for each type
    "#]],
    );
    check(
        "#[protocol]\ntrait Ledger: Clone {}",
        expect![[r#"
        2:15 Clone: protocol `Ledger` has supertraits, but an address implements its messages alone
    "#]],
    );
    check(
        "#[protocol]
        trait Ledger {
            type Account;
            fn unmarked(&self);
            #[info] fn hear(&self, info: Info);
            #[call] async fn waits(&self) -> u64;
            #[call] fn changes(&mut self) -> u64;
            #[call] fn free() -> u64;
            #[call] fn does(&self) -> u64 { 1 }
            #[call(deferred)] fn late(&self, reply_to: ReplyTo<u64>);
            #[cast] fn borrowed(&self, name: &str);
            #[cfg(unix)] #[cast] fn sometimes(&self);
            #[call(tag = 1)] fn one(&self);
            #[call(tag = 1)] fn another(&self);
        }",
        expect![[r#"
            3:13 type: a protocol holds calls and casts, and nothing else
            4:16 unmarked: `unmarked` is neither `#[call]` nor `#[cast]`
            5:24 hear: a message is a call or a cast, not an info
            6:21 async: `waits` is async, but callers wait in any case; write a plain `fn`
            7:32 &: `changes` is called on an address, which many share; take `&self`
            8:24 free: call `free` takes no `self`, but the state handles it; take `&mut self` or `&self`
            9:43 { 1 }: `does` has a body, but what it does is up to whoever serves it
            10:20 deferred: whether `late` is answered later is up to whoever serves it; write it there
            11:46 &: argument `name` of cast `borrowed` borrows, but it outlives whoever sends it; take an owned type such as `String`, `Vec<_>` or `Arc<_>`
            12:13 #: a protocol is the same for all who share it; put `cfg` on the whole trait
            14:26 1: tag 1 is that of `one`; a tag names one message for ever
        "#]],
    );
}

#[test]
fn protocol_is_served_by_calls_and_casts_only() {
    check("#[protocol]\nimpl Ledger for Bank { #[cast] fn note(&mut self, text: String) { .. } }", expect![[""]]);
    check(
        "#[protocol]\nimpl Bank {}",
        expect![[r#"
        2:6 Bank: `#[protocol]` stands on `impl Protocol for Actor`; an actor's own block takes `#[tiebeam::actor]`
    "#]],
    );
    check(
        "#[protocol]
        impl Ledger for Bank {
            const LIMIT: u64 = 1;
            fn unmarked(&self) {}
            #[info] fn hear(&self, info: Info) { .. }
            #[call(tag = 1)] fn balance(&self) -> u64 { 1 }
        }",
        expect![[r#"
            3:13 const: a protocol holds calls and casts, and nothing else
            4:16 unmarked: `unmarked` is neither `#[call]` nor `#[cast]`
            5:24 hear: a message is a call or a cast, not an info
            6:26 1: the tag stands in the protocol, where it is the same for all who serve it
        "#]],
    );
}
