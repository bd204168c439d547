//! Each node calls an oracle on the others, with deadlines that are sometimes too short.
//!
//! Must hold: a call ends once, by its deadline, and with the answer to its own question. An oracle is asked the same question
//! at most once, and an answer means that it was. In the end no call is under way beyond its deadline.
//!
//! Breaks if, for example, a request is sent again on the next connection, a reply wakes another call, or a call outlives
//! its session and its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, Deferred, ExitReason, ReplyTo, Table};
use tiebeam_wire::{Incarnation, NodeId};

use super::{End, Workload, lock};
use crate::shared::{Shared, Site, draw};

/// How late a call may end, in nanoseconds: timers count whole milliseconds.
const SLACK_NANOS: u64 = 10_000_000;
/// The same in the share of the time by which a clock may be slow, in hundredths.
const SLACK_PERCENT: u64 = 3;
const NAME: &str = "oracle";

/// The workload.
#[derive(Debug, Default)]
pub struct Calls {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    /// Calls that have not ended: who asked, and by when the call is to end unless its node is paused.
    under_way: BTreeMap<u64, (NodeId, Incarnation, u64)>,
    /// Questions that an oracle was asked.
    asked: BTreeSet<u64>,
}

impl Workload for Calls {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        async move {
            let args = (Arc::clone(&site.shared), Arc::clone(&book));
            if let Err(error) = site.system.starter().named(NAME).spawn::<Oracle>(args).await {
                site.shared.fail(format!("oracle does not start: {error}"));
            }
            drop(tiebeam_world::spawn("sim.calls", async move {
                loop {
                    tiebeam_world::sleep(Duration::from_millis(draw(50..600))).await;
                    drop(tiebeam_world::spawn("sim.call", call(site.clone(), Arc::clone(&book))));
                }
            }));
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let (book, now) = (lock(&self.book), end.shared.now());
        for (question, (node, incarnation, until)) in &book.under_way {
            if end.lives(*node, *incarnation) && *until < now {
                end.shared.fail(format!("call {question} of {node} never ended"));
            }
        }
    }
}

async fn call(site: Site, book: Arc<Mutex<Book>>) {
    let timeout = Duration::from_millis(draw(20..2500));
    let (target, work_ms) = (site.other(), if draw(0..4) == 0 { draw(0..3000) } else { draw(0..20) });
    let (began, paused) = (site.shared.now(), site.shared.paused_nanos(site.node()));
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let limit = nanos + nanos * SLACK_PERCENT / 100 + SLACK_NANOS;
    let question = {
        let mut book = lock(&book);
        book.next += 1;
        let question = book.next;
        book.under_way.insert(question, (site.node(), site.incarnation(), began + limit));
        question
    };
    let answer = site.system.named::<Oracle>(target, NAME).call(Ask { question, work_ms }).timeout(timeout).await;
    let took =
        site.shared.now() - began - (site.shared.paused_nanos(site.node()) - paused).min(site.shared.now() - began);
    let mut book = lock(&book);
    book.under_way.remove(&question);
    if took > limit {
        site.shared.fail(format!("call {question} of {} took {took} ns of {nanos}: {answer:?}", site.node()));
    }
    if let Ok(answer) = answer
        && (answer != !question || !book.asked.contains(&question))
    {
        site.shared.fail(format!("call {question} of {} is answered {answer}", site.node()));
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    question: u64,
    work_ms: u64,
}

/// Answers when its work is done.
struct Oracle {
    shared: Arc<Shared>,
    book: Arc<Mutex<Book>>,
}

impl Actor for Oracle {
    type Args = (Arc<Shared>, Arc<Mutex<Book>>);

    async fn init((shared, book): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { shared, book })
    }

    fn table() -> Table<Self> {
        Table::new().call_deferred::<Ask>(1)
    }
}

impl Deferred<Ask> for Oracle {
    type Reply = u64;

    async fn handle_call(&mut self, ask: Ask, reply_to: ReplyTo<u64>, ctx: &mut Ctx<Self>) {
        if !lock(&self.book).asked.insert(ask.question) {
            self.shared.fail(format!("oracle {} is asked {} twice", ctx.pid(), ask.question));
        }
        if ask.work_ms == 0 {
            return reply_to.send(!ask.question);
        }
        ctx.spawn_task(async move {
            tiebeam_world::sleep(Duration::from_millis(ask.work_ms)).await;
            reply_to.send(!ask.question);
        });
    }
}
