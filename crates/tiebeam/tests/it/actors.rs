use std::future::IntoFuture;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use tiebeam::{Actor, Addr, CallError, Ctx, ExitReason, Info, Pid, ReplyTo, System};

use crate::system;

/// Does a bit of everything and tells what it hears.
struct Clerk {
    heard: UnboundedSender<String>,
    waiting: Vec<ReplyTo<usize>>,
}

#[tiebeam::actor]
impl Clerk {
    async fn init(heard: UnboundedSender<String>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if heard.is_closed() {
            return Err(ExitReason::Other("nobody listens".into()));
        }
        ctx.trap_exit();
        // Nobody has the address yet, so this is the first message.
        ctx.addr().try_start().expect("the mailbox is empty");
        Ok(Self { heard, waiting: Vec::new() })
    }

    #[call]
    fn sum(&self, a: u64, b: u64) -> u64 {
        a + b
    }

    #[call]
    async fn slow_sum(&mut self, a: u64, b: u64, ctx: &mut Ctx<Self>) -> (u64, Pid) {
        tiebeam_world::sleep(Duration::from_secs(1)).await;
        (a + b, ctx.pid())
    }

    #[call(deferred)]
    fn gather(&mut self, at_least: usize, reply_to: ReplyTo<usize>) {
        self.waiting.push(reply_to);
        let count = self.waiting.len();
        if count >= at_least {
            self.waiting.drain(..).for_each(|waiting| waiting.send(count));
        }
    }

    #[cast]
    fn start(&self) {
        self.tell("start".into());
    }

    #[cast]
    fn note(&mut self, text: String) {
        self.tell(text);
    }

    #[cast]
    async fn slow_note(&mut self, text: String, ctx: &mut Ctx<Self>) {
        tiebeam_world::sleep(Duration::from_secs(1)).await;
        self.tell(format!("{text} of {}", ctx.pid().serial));
    }

    #[cast]
    fn watch(&mut self, other: Pid, ctx: &mut Ctx<Self>) {
        ctx.monitor(other);
    }

    #[cast]
    fn rest(&mut self, ctx: &mut Ctx<Self>) {
        ctx.hibernate();
    }

    fn hibernate(&mut self) {
        self.tell("hibernate".to_owned());
    }

    fn format_status(&self) -> Option<String> {
        Some("at the desk".to_owned())
    }

    #[info]
    async fn hear(&mut self, info: Info, _: &mut Ctx<Self>) {
        if let Info::Down { reason, .. } = info {
            self.tell(format!("down: {reason}"));
        }
    }

    async fn terminate(&mut self, reason: &ExitReason) {
        self.tell(format!("terminate: {reason}"));
    }

    fn tell(&self, text: String) {
        self.heard.unbounded_send(text).unwrap();
    }
}

async fn clerk(system: &System) -> (Addr<Clerk>, UnboundedReceiver<String>) {
    let (tx, mut rx) = unbounded();
    let clerk = system.spawn::<Clerk>(tx).await.unwrap();
    assert_eq!(rx.next().await, Some("start".into()));
    (clerk, rx)
}

/// Lets everything settle and returns what was heard.
async fn heard(rx: &mut UnboundedReceiver<String>) -> Vec<String> {
    tiebeam_world::sleep(Duration::from_secs(10)).await;
    std::iter::from_fn(|| rx.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn call_is_answered_by_the_method() {
    let (clerk, _rx) = clerk(&system(1)).await;
    assert_eq!(clerk.sum(1, 2).await, Ok(3));
    assert_eq!(clerk.slow_sum(1, 2).await, Ok((3, clerk.pid())));
}

#[tokio::test(start_paused = true)]
async fn call_gives_up_after_its_timeout() {
    let (clerk, _rx) = clerk(&system(1)).await;
    assert_eq!(clerk.slow_sum(1, 2).timeout(Duration::from_millis(999)).await, Err(CallError::Timeout));
    let began = tiebeam_world::now();
    assert_eq!(clerk.gather(2).await, Err(CallError::Timeout));
    assert!(tiebeam_world::now().since(began) >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn deferred_call_is_answered_when_the_actor_likes() {
    let (clerk, _rx) = clerk(&system(1)).await;
    let answers = futures::join!(clerk.gather(2).into_future(), clerk.gather(2).into_future());
    assert_eq!(answers, (Ok(2), Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn hooks_without_a_mark_are_known_by_their_names() {
    let system = system(1);
    let (clerk, mut rx) = clerk(&system).await;
    clerk.rest().await;
    assert_eq!(heard(&mut rx).await, ["hibernate"]);
    assert_eq!(system.status_text(clerk.pid()).await, Ok(Some("at the desk".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn casts_arrive_in_order() {
    let (clerk, mut rx) = clerk(&system(1)).await;
    clerk.note("a".into()).await;
    clerk.slow_note("b".into()).await;
    clerk.try_note("c".into()).unwrap();
    let serial = clerk.pid().serial;
    assert_eq!(heard(&mut rx).await, ["a".into(), format!("b of {serial}"), "c".into()]);
}

#[tokio::test(start_paused = true)]
async fn tried_cast_is_refused_by_a_full_mailbox() {
    let (tx, mut rx) = unbounded();
    let clerk = system(1).starter().mailbox_messages_max(1).spawn::<Clerk>(tx).await.unwrap();
    assert_eq!(heard(&mut rx).await, ["start"]);
    clerk.try_note("fits".into()).unwrap();
    assert_eq!(clerk.try_note("refused".into()), Err(CallError::Overloaded));
    assert_eq!(heard(&mut rx).await, ["fits"]);
}

#[tokio::test(start_paused = true)]
async fn name_has_the_same_client() {
    let system = system(1);
    let (clerk, mut rx) = clerk(&system).await;
    let named = system.named::<Clerk>(system.node(), "clerk");
    assert_eq!(named.sum(1, 2).await, Err(CallError::NoProc));
    system.register("clerk", clerk.pid()).unwrap();
    assert_eq!(named.sum(1, 2).await, Ok(3));
    named.note("by name".into()).await;
    named.try_note("again".into()).unwrap();
    assert_eq!(heard(&mut rx).await, ["by name", "again"]);
}

#[tokio::test(start_paused = true)]
async fn info_and_terminate_are_told() {
    let system = system(1);
    let ((clerk, mut rx), (other, mut other_rx)) = (clerk(&system).await, clerk(&system).await);
    clerk.watch(other.pid()).await;
    assert_eq!(other.stop(ExitReason::Other("done".into())).await, Ok(ExitReason::Other("done".into())));
    assert_eq!(heard(&mut other_rx).await, ["terminate: done"]);
    assert_eq!(heard(&mut rx).await, ["down: done"]);
}

#[tokio::test(start_paused = true)]
async fn failed_init_is_the_result_of_spawn() {
    let (tx, _) = unbounded();
    let failed = system(1).spawn::<Clerk>(tx).await;
    assert_eq!(failed.unwrap_err(), ExitReason::Other("nobody listens".into()));
}

/// What is made is what could be written by hand: messages have names, and the traits are the runtime's.
#[tokio::test(start_paused = true)]
async fn messages_can_be_named() {
    let (clerk, mut rx) = clerk(&system(1)).await;
    assert_eq!(clerk.call(ClerkSum(1, 2)).await, Ok(3));
    clerk.cast(ClerkNote("by hand".into())).await;
    assert_eq!(heard(&mut rx).await, ["by hand"]);
    let args: <Clerk as Actor>::Args = unbounded().0;
    drop(args);
}
