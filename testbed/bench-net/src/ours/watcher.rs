use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use anyhow::ensure;
use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, Info, Pid, Ref, ReplyTo};
use tokio::runtime::Handle;

use super::call::{Get, Server};
use super::stage::Act;
use super::{Pair, WORK_TIMEOUT, start};
use crate::shape::WATCHED;
use crate::watch::Watch;

/// Watches servers of another node.
struct Watcher {
    servers: Vec<Pid>,
    /// Which monitors have not fired yet.
    left: HashSet<Ref>,
    /// Monitors that fired twice or that nobody made.
    stray: u64,
    waiting: Option<ReplyTo<()>>,
}

/// What to tie the watchers to each server by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    None,
    Monitor,
    /// A monitor whose end is waited for.
    Counted,
    Link,
}

/// Answered when all monitors that count have fired.
struct UntilFired;

/// Answered with how many more fired than were made.
struct Stray;

pub(super) struct Watchers(Vec<Addr<Watcher>>);

/// Kills the second node's process; returns the milliseconds until the last monitor has fired.
pub(super) async fn until_all_fired(pair: &mut Pair, count: u64) -> anyhow::Result<f64> {
    let watchers = Watchers::start(pair, count).await?;
    watchers.tie(Tie::Counted).await?;
    let watch = Watch::start();
    pair.second.kill()?;
    watchers.each(|watcher| async move { Ok(watcher.call(UntilFired).timeout(WORK_TIMEOUT).await?) }).await?;
    let took = watch.elapsed();
    // Those that would fire twice would do so soon.
    #[expect(clippy::disallowed_methods, reason = "a benchmark runs on real time")]
    tokio::time::sleep(Duration::from_millis(200)).await;
    for watcher in &watchers.0 {
        let stray = watcher.call(Stray).await?;
        ensure!(stray == 0, "{stray} monitors fired more than once");
    }
    Ok(took.as_secs_f64() * 1e3)
}

impl Watchers {
    /// Starts as many as make `count` ties to the same [`WATCHED`] servers.
    pub(super) async fn start(pair: &Pair, count: u64) -> anyhow::Result<Self> {
        let servers = pair.act(Act::Servers { count: WATCHED }).await?;
        let mut watchers = Vec::new();
        for _ in 0..count / WATCHED {
            watchers.push(start::<Watcher>(pair.system(), servers.clone()).await?);
        }
        Ok(Self(watchers))
    }

    /// Ties each watcher to each server; the servers know it when this returns.
    pub(super) async fn tie(&self, tie: Tie) -> anyhow::Result<()> {
        self.each(move |watcher| async move { watcher.call(tie).timeout(WORK_TIMEOUT).await? }).await
    }

    async fn each<F>(&self, work: impl Fn(Addr<Watcher>) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let working: Vec<_> = self.0.iter().map(|watcher| Handle::current().spawn(work(watcher.clone()))).collect();
        for work in working {
            work.await??;
        }
        Ok(())
    }
}

impl Actor for Watcher {
    type Args = Vec<Pid>;

    async fn init(servers: Vec<Pid>, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        Ok(Self { servers, left: HashSet::new(), stray: 0, waiting: None })
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let Info::Down { monitor, .. } = info else { return };
        if !self.left.remove(&monitor) {
            self.stray += 1;
        }
        if self.left.is_empty()
            && let Some(waiting) = self.waiting.take()
        {
            waiting.send(());
        }
    }
}

impl Handler<Tie> for Watcher {
    type Reply = anyhow::Result<()>;

    async fn handle(&mut self, tie: Tie, ctx: &mut Ctx<Self>) -> anyhow::Result<()> {
        for server in &self.servers {
            match tie {
                Tie::None => {}
                Tie::Monitor => _ = ctx.monitor(*server),
                Tie::Counted => _ = self.left.insert(ctx.monitor(*server)),
                Tie::Link => ctx.link(*server),
            }
        }
        // An answer tells that what was sent to the server before has arrived as well.
        for server in &self.servers {
            ctx.system().addr::<Server>(*server).call(Get).timeout(WORK_TIMEOUT).await?;
        }
        Ok(())
    }
}

impl Deferred<UntilFired> for Watcher {
    type Reply = ();

    async fn handle_call(&mut self, _: UntilFired, reply_to: ReplyTo<()>, _: &mut Ctx<Self>) {
        if self.left.is_empty() {
            return reply_to.send(());
        }
        self.waiting = Some(reply_to);
    }
}

impl Handler<Stray> for Watcher {
    type Reply = u64;

    async fn handle(&mut self, _: Stray, _: &mut Ctx<Self>) -> u64 {
        self.stray
    }
}
