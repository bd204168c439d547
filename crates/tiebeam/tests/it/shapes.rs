//! The shapes that actors and arguments come in.
#![deny(warnings, clippy::pedantic, clippy::nursery)]
#![allow(
    clippy::missing_const_for_fn,
    clippy::needless_pass_by_ref_mut,
    clippy::unused_async,
    clippy::unused_self,
    reason = "these are for the user's own methods; what is made must be free of all others"
)]

use std::fmt::Debug;

use tiebeam::{Ctx, ReplyTo};

use crate::system;

struct Holder<T, const N: usize>
where
    T: Debug,
{
    values: [T; N],
}

#[tiebeam::actor]
impl<T, const N: usize> Holder<T, N>
where
    T: Copy + Debug + Send + 'static,
{
    fn init(value: T) -> Self {
        Self { values: [value; N] }
    }

    #[call]
    fn put(&mut self, at: usize, value: T) -> T {
        std::mem::replace(&mut self.values[at], value)
    }

    #[call]
    fn all(&self) -> Vec<T> {
        self.values.to_vec()
    }

    #[cast]
    fn fill(&mut self, value: T) {
        self.values = [value; N];
    }
}

#[tokio::test(start_paused = true)]
async fn actor_may_be_generic() {
    let holder = system(1).spawn::<Holder<u8, 2>>(7).await.unwrap();
    assert_eq!(holder.put(1, 8).await, Ok(7));
    assert_eq!(holder.all().await, Ok(vec![7, 8]));
    holder.fill(9).await;
    assert_eq!(holder.all().await, Ok(vec![9, 9]));
}

/// Arguments may have patterns, name `Self`, and be called like keywords; a method may be left out by `cfg`.
#[derive(Clone, Debug, PartialEq)]
struct Point(i64, i64);

#[tiebeam::actor]
impl Point {
    fn init(Self(x, y): Self) -> Self {
        Self(x, y)
    }

    #[call]
    fn r#move(&mut self, (x, y): (i64, i64), _: bool, mut r#type: String, ctx: &Ctx<Self>) -> String {
        *self = Self(self.0 + x, self.1 + y);
        r#type.push_str(if ctx.pid().serial == 1 { "!" } else { "?" });
        r#type
    }

    #[call]
    fn replace(&mut self, other: Option<Self>) -> Vec<Self> {
        let other = other.unwrap_or_else(|| self.clone());
        vec![std::mem::replace(self, other)]
    }

    #[cfg(any())]
    #[call(tag = 1)]
    fn never(&self, nothing: NoSuchType) {}

    #[cfg(any())]
    #[cast]
    fn ever(&self, nothing: NoSuchType) {}
}

#[tokio::test(start_paused = true)]
async fn arguments_may_be_anything_owned() {
    let point = system(1).spawn::<Point>(Point(1, 2)).await.unwrap();
    assert_eq!(point.r#move((1, 1), true, "moved".into()).await, Ok("moved!".into()));
    assert_eq!(point.replace(Some(Point(0, 0))).await, Ok(vec![Point(2, 3)]));
    assert_eq!(point.replace(None).await, Ok(vec![Point(0, 0)]));
}

/// What is made stands beside the block, so types that only a function knows are known to it.
#[tokio::test(start_paused = true)]
async fn actor_may_live_in_a_function() {
    #[derive(Debug, PartialEq)]
    struct Local;
    struct Front;
    struct Back;

    #[tiebeam::actor(vis = pub(self))]
    impl Front {
        fn init(_ctx: &Ctx<Self>) -> Self {
            Self
        }

        #[call(deferred)]
        async fn ask(&self, reply_to: ReplyTo<Local>, ctx: &mut Ctx<Self>) {
            let back = ctx.spawn_link::<Back>(()).await.expect("it only waits");
            back.answer(reply_to).await;
        }
    }

    #[tiebeam::actor]
    impl Back {
        async fn init() -> Self {
            Self
        }

        /// Answers somebody else's caller.
        #[cast]
        fn answer(&self, reply_to: ReplyTo<Local>) {
            reply_to.send(Local);
        }
    }

    let front = system(1).spawn::<Front>(()).await.unwrap();
    assert_eq!(front.ask().await, Ok(Local));
}
