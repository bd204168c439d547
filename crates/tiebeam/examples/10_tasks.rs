//! Tasks: wait for something slow beside the actor, which stays free to answer.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::future::IntoFuture;

use futures::channel::oneshot;
use tiebeam::{CallError, Ctx, ExitReason, Incarnation, NodeId, ReplyTo, System};

/// Fetches pages, each once, however many ask for it.
#[derive(Default)]
struct Fetcher {
    pages: BTreeMap<String, String>,
    waiting: BTreeMap<String, Vec<ReplyTo<String>>>,
}

#[tiebeam::actor]
impl Fetcher {
    fn init() -> Self {
        Self::default()
    }

    #[call(deferred)]
    fn page(&mut self, url: String, reply_to: ReplyTo<String>, ctx: &mut Ctx<Self>) {
        if let Some(page) = self.pages.get(&url) {
            return reply_to.send(page.clone());
        }
        let waiting = self.waiting.entry(url.clone()).or_default();
        waiting.push(reply_to);
        if waiting.len() == 1 {
            println!("fetching {url}");
            let fetcher = ctx.addr();
            // The task ends with the actor, and a panic in it is an exit signal to the actor.
            ctx.spawn_task(async move {
                let page = fetch(&url).await;
                // The result comes back as a message, in its turn.
                fetcher.fetched(url, page).await;
            });
        }
    }

    #[cast]
    fn fetched(&mut self, url: String, page: String) {
        for reply_to in self.waiting.remove(&url).unwrap_or_default() {
            reply_to.send(page.clone());
        }
        self.pages.insert(url, page);
    }

    #[call]
    fn known(&self) -> usize {
        self.pages.len()
    }

    /// Drops its end of `held` when it is dropped.
    #[cast]
    fn hang(&self, held: oneshot::Sender<()>, ctx: &mut Ctx<Self>) {
        ctx.spawn_task(async move {
            let _held = held;
            std::future::pending().await
        });
    }
}

/// Stands for something slow.
async fn fetch(url: &str) -> String {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!url.contains("404"), "{url} does not exist");
    format!("<h1>{url}</h1>")
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let fetcher = system.spawn::<Fetcher>(()).await?;

    // Two wait for the same page, a third is answered meanwhile.
    let (one, two, known) = futures::join!(
        fetcher.page("erlang.org".into()).into_future(),
        fetcher.page("erlang.org".into()).into_future(),
        fetcher.known().into_future(),
    );
    println!("{} and {}; known meanwhile: {}", one?, two?, known?);
    println!("known now: {}", fetcher.known().await?);

    // A task that runs when its actor ends is dropped.
    let (held, dropped) = oneshot::channel::<()>();
    fetcher.hang(held).await;

    // A task that panics takes its actor along, as a link would; the callers hear the reason.
    let failed = fetcher.page("erlang.org/404".into()).await;
    println!("failed: {failed:?}");
    assert!(matches!(failed, Err(CallError::Exit(ExitReason::Panic(_)))));
    println!("the other task is gone: {}", dropped.await.is_err());
    Ok(())
}
