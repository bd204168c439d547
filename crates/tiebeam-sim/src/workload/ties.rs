//! A watcher on each node has children born on the others, links itself to each, and monitors it.
//!
//! Children end by themselves, in all ways; are killed by their watcher; or are lost with their node or the connection to it.
//! Some ties are dissolved before.
//!
//! Must hold: of each monitor one down is told, of each link one exit, or none after it was dissolved; with the reason of the
//! end, or with `NoConnection` or `NoProc`. A child is told at most one exit of its watcher. In the end, when all children
//! are gone, no tie of a watcher that lives is untold.
//!
//! Breaks if, for example, a lost session is not told to those who have ties, or an end is told once by the child and once
//! more by the session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Info, Pid, Ref, Table};
use tiebeam_wire::NodeId;

use super::{End, MEANT_PANIC, Workload, lock};
use crate::outside::Outside;
use crate::site::{Site, draw};

/// How long a child lives at most, in milliseconds.
const LIFE_MS_MAX: u64 = 8_000;
/// How long a tie may stay untold in the end, in nanoseconds: a child's life and a lost connection.
const UNTOLD_NANOS_MAX: u64 = 15_000_000_000;
/// Ties that a watcher has at once.
const TIES_MAX: usize = 16;
const NAME: &str = "nursery";

/// The workload.
#[derive(Debug, Default)]
pub struct Ties {
    book: Arc<Mutex<Book>>,
}

type Shelf = Arc<Mutex<Book>>;

#[derive(Debug, Default)]
struct Book {
    /// Why each child ended.
    ended: BTreeMap<Pid, ExitReason>,
    /// Who watches whom since when, and is untold.
    untold: BTreeMap<(Pid, Pid), u64>,
    told: u64,
}

impl Workload for Ties {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        async move {
            let nursery =
                site.system.starter().named(NAME).spawn::<Nursery>((Arc::clone(&site.outside), Arc::clone(&book)));
            let nursery = nursery.await.err();
            let watcher = site.system.spawn::<Watcher>((site.clone(), book)).await.err();
            if let Some(error) = nursery.or(watcher) {
                site.outside.fail(format!("nursery or watcher does not start: {error}"));
            }
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let (book, now) = (lock(&self.book), end.outside.now());
        end.outside.tell(NodeId(0), format!("ties: {} children ended, {} ends told", book.ended.len(), book.told));
        if book.told == 0 {
            end.outside.fail("no tie was ever told".to_owned());
        }
        for ((watcher, child), since) in &book.untold {
            if end.lives(watcher.node, watcher.incarnation) && since + UNTOLD_NANOS_MAX < now {
                let ended = book.ended.get(child);
                end.outside.fail(format!("{watcher} was never told that {child} ended: {ended:?}, tied at {since}"));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    Normal,
    Shutdown,
    Other,
    Panic,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bear {
    life_ms: u64,
    way: Way,
}

struct Born(Result<Pid, ()>);

/// Starts children for others.
struct Nursery {
    outside: Arc<Outside>,
    book: Shelf,
}

impl Actor for Nursery {
    type Args = (Arc<Outside>, Shelf);

    async fn init((outside, book): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { outside, book })
    }

    fn table() -> Table<Self> {
        Table::new().call::<Bear>(1)
    }
}

impl Handler<Bear> for Nursery {
    type Reply = Option<Pid>;

    async fn handle(&mut self, bear: Bear, ctx: &mut Ctx<Self>) -> Option<Pid> {
        let args = (bear, Arc::clone(&self.outside), Arc::clone(&self.book));
        ctx.system().spawn::<Child>(args).await.ok().map(|child| child.pid())
    }
}

/// Lives for a while.
struct Child {
    way: Way,
    me: Pid,
    outside: Arc<Outside>,
    book: Shelf,
    exits: BTreeMap<Pid, u32>,
}

impl Actor for Child {
    type Args = (Bear, Arc<Outside>, Shelf);

    async fn init((bear, outside, book): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        ctx.send_after(Duration::from_millis(bear.life_ms), 0);
        Ok(Self { way: bear.way, me: ctx.pid(), outside, book, exits: BTreeMap::new() })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        match info {
            Info::Exit { from, .. } => {
                let exits = self.exits.entry(from).or_default();
                *exits += 1;
                if *exits > 1 {
                    self.outside.fail(format!("child {} is told twice that {from} ended", self.me));
                }
            }
            Info::Timer(_) => {
                let reason = match self.way {
                    Way::Normal => ExitReason::Normal,
                    Way::Shutdown => ExitReason::Shutdown,
                    Way::Other => ExitReason::Other("its life is over".to_owned()),
                    Way::Panic => ExitReason::Panic(MEANT_PANIC.to_owned()),
                };
                lock(&self.book).ended.insert(self.me, reason.clone());
                assert!(self.way != Way::Panic, "{MEANT_PANIC}");
                ctx.stop(reason);
            }
            _ => {}
        }
    }
}

/// Has children on other nodes.
struct Watcher {
    site: Site,
    book: Shelf,
    ties: BTreeMap<Pid, Tie>,
    /// Whose link was dissolved last, and when.
    unlinked: Option<(Pid, u64)>,
}

/// What is still to come of a child.
struct Tie {
    down: Option<Ref>,
    exit: bool,
}

impl Watcher {
    /// An exit that waits already when its link is dissolved stays, and is handled at the same moment.
    fn waited(&self, child: Pid) -> bool {
        self.unlinked == Some((child, self.site.outside.now()))
    }
}

const LOOK: u64 = 0;

impl Actor for Watcher {
    type Args = (Site, Shelf);

    async fn init((site, book): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        ctx.send_after(Duration::from_millis(draw(1..1000)), LOOK);
        Ok(Self { site, book, ties: BTreeMap::new(), unlinked: None })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        let me = ctx.pid();
        match info {
            Info::Timer(LOOK) if self.ties.len() < TIES_MAX => self.ask(ctx),
            Info::Timer(_) => {
                self.meddle(ctx);
                ctx.send_after(Duration::from_millis(draw(100..900)), LOOK);
            }
            Info::Down { monitor, pid, reason } => {
                let is_due =
                    self.ties.get_mut(&pid).is_some_and(|tie| tie.down.take_if(|due| *due == monitor).is_some());
                self.told(me, pid, &reason, is_due, "down");
            }
            Info::Exit { from, reason } => {
                let is_due =
                    self.ties.get_mut(&from).is_some_and(|tie| std::mem::take(&mut tie.exit)) || self.waited(from);
                self.told(me, from, &reason, is_due, "exit");
            }
            Info::Timeout => {}
            _ => {}
        }
    }
}

impl Watcher {
    fn ask(&mut self, ctx: &mut Ctx<Self>) {
        self.meddle(ctx);
        let way = [Way::Normal, Way::Shutdown, Way::Other, Way::Panic][usize::try_from(draw(0..4)).unwrap_or(0)];
        let bear = Bear { life_ms: draw(1..LIFE_MS_MAX), way };
        let (named, me) = (self.site.system.named::<Nursery>(self.site.other(), NAME), ctx.addr());
        ctx.spawn_task(async move {
            let born = named.call(bear).timeout(Duration::from_secs(1)).await;
            let _ = me.try_cast(Born(born.ok().flatten().ok_or(())));
        });
    }

    /// Kills a child, or dissolves a tie, now and then.
    fn meddle(&mut self, ctx: &mut Ctx<Self>) {
        let count = self.ties.len() as u64;
        let index = usize::try_from(draw(0..count.max(1))).unwrap_or(0);
        let Some((&child, tie)) = self.ties.iter_mut().nth(index) else { return };
        match draw(0..12) {
            0 => ctx.exit(child, ExitReason::Kill),
            1 if tie.exit => {
                tie.exit = false;
                self.unlinked = Some((child, self.site.outside.now()));
                ctx.unlink(child);
            }
            2 => tie.down.take().into_iter().for_each(|monitor| ctx.demonitor(monitor)),
            _ => {}
        }
        self.settle(ctx.pid(), child);
    }

    fn told(&mut self, me: Pid, child: Pid, reason: &ExitReason, is_due: bool, what: &str) {
        let mut book = lock(&self.book);
        book.told += 1;
        let expected = book.ended.get(&child).cloned().unwrap_or(ExitReason::Killed);
        let is_lost = matches!(reason, ExitReason::NoConnection | ExitReason::NoProc | ExitReason::Killed);
        drop(book);
        if !is_due {
            self.site.outside.fail(format!("{me} is told {what} of {child} once too often: {reason:?}"));
        }
        if !is_lost && *reason != expected {
            self.site.outside.fail(format!("{me} is told {what} of {child} as {reason:?}, it was {expected:?}"));
        }
        self.settle(me, child);
    }

    fn settle(&mut self, me: Pid, child: Pid) {
        if self.ties.get(&child).is_some_and(|tie| tie.down.is_none() && !tie.exit) {
            self.ties.remove(&child);
            lock(&self.book).untold.remove(&(me, child));
        }
    }
}

impl Handler<Born> for Watcher {
    type Reply = ();

    async fn handle(&mut self, Born(born): Born, ctx: &mut Ctx<Self>) {
        if let Ok(child) = born {
            let now = self.site.outside.now();
            lock(&self.book).untold.insert((ctx.pid(), child), now);
            let down = Some(ctx.monitor(child));
            ctx.link(child);
            self.ties.insert(child, Tie { down, exit: true });
        }
        ctx.send_after(Duration::from_millis(draw(100..900)), LOOK);
    }
}
