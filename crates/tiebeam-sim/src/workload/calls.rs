//! Each node calls an oracle on the others, or sends a request to them, with deadlines that are sometimes too short.
//!
//! Must hold: a call ends once, by its deadline, and with the answer to its own question. An oracle is asked the same question
//! at most once, and an answer means that it was. In the end no call is under way beyond its deadline.
//!
//! Breaks if, for example, a request is sent again on the next connection, a reply wakes another call, or a call outlives
//! its session and its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, Deferred, ExitReason, ReplyTo, Table};
use tiebeam_cluster::{Handler, Service};
use tiebeam_wire::{Incarnation, NodeId};

use super::{End, Workload, lock};
use crate::outside::Outside;
use crate::site::{Site, draw};

/// How late a call may end, in nanoseconds: timers count whole milliseconds.
pub(super) const SLACK_NANOS: u64 = 10_000_000;
/// The same in the share of the time by which a clock may be slow, in hundredths.
pub(super) const SLACK_PERCENT: u64 = 3;
const NAME: &str = "oracle";
const SERVICE: Service = Service::APPLICATION;

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
    answered: u64,
}

impl Workload for Calls {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        async move {
            let args = (Arc::clone(&site.outside), Arc::clone(&book));
            if let Err(error) = site.system.starter().named(NAME).spawn::<Oracle>(args).await {
                site.outside.fail(format!("oracle does not start: {error}"));
            }
            site.cluster.serve(SERVICE, handler(Arc::clone(&site.outside), Arc::clone(&book)));
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
        let (book, now) = (lock(&self.book), end.outside.now());
        let (calls, asked) = (book.next, book.asked.len());
        end.outside.tell(NodeId(0), format!("calls: {calls} made, {asked} reached, {} answered", book.answered));
        for (question, (node, incarnation, until)) in &book.under_way {
            if end.lives(*node, *incarnation) && *until < now {
                end.outside.fail(format!("call {question} of {node} never ended"));
            }
        }
    }
}

async fn call(site: Site, book: Arc<Mutex<Book>>) {
    let timeout = Duration::from_millis(draw(20..2500));
    let (target, work_ms) = (site.other(), if draw(0..4) == 0 { draw(0..3000) } else { draw(0..20) });
    let (began, paused) = (site.outside.now(), site.outside.paused_nanos(site.node()));
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let limit = nanos + nanos * SLACK_PERCENT / 100 + SLACK_NANOS;
    let question = {
        let mut book = lock(&book);
        book.next += 1;
        let question = book.next;
        book.under_way.insert(question, (site.node(), site.incarnation(), began + limit));
        question
    };
    let answer = if draw(0..3) == 0 {
        let body = [question.to_be_bytes(), work_ms.to_be_bytes()].concat().into();
        let answer = site.cluster.request(target, SERVICE, body, timeout).await;
        answer.map(|body| word(&body, 0)).map_err(|error| error.to_string())
    } else {
        let oracle = site.system.named::<Oracle>(target, NAME);
        oracle.call(Ask { question, work_ms }).timeout(timeout).await.map_err(|error| error.to_string())
    };
    let took =
        site.outside.now() - began - (site.outside.paused_nanos(site.node()) - paused).min(site.outside.now() - began);
    let mut book = lock(&book);
    book.under_way.remove(&question);
    book.answered += u64::from(answer.is_ok());
    if took > limit {
        site.outside.fail(format!("call {question} of {} took {took} ns of {nanos}: {answer:?}", site.node()));
    }
    if let Ok(answer) = answer
        && (answer != !question || !book.asked.contains(&question))
    {
        site.outside.fail(format!("call {question} of {} is answered {answer}", site.node()));
    }
}

/// Reads one of the numbers that a body is made of.
fn word(body: &[u8], index: usize) -> u64 {
    let word = body.chunks_exact(8).nth(index).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_be_bytes)
}

/// Answers requests as the oracle answers calls.
fn handler(outside: Arc<Outside>, book: Arc<Mutex<Book>>) -> Handler {
    Arc::new(move |asker, body| {
        let (question, work_ms) = (word(&body, 0), word(&body, 1));
        if !lock(&book).asked.insert(question) {
            outside.fail(format!("request {question} of {} is served twice", asker.node));
        }
        async move {
            if work_ms > 0 {
                tiebeam_world::sleep(Duration::from_millis(work_ms)).await;
            }
            Ok(Bytes::copy_from_slice(&(!question).to_be_bytes()))
        }
        .boxed()
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    question: u64,
    work_ms: u64,
}

/// Answers when its work is done.
struct Oracle {
    outside: Arc<Outside>,
    book: Arc<Mutex<Book>>,
}

impl Actor for Oracle {
    type Args = (Arc<Outside>, Arc<Mutex<Book>>);

    async fn init((outside, book): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { outside, book })
    }

    fn table() -> Table<Self> {
        Table::new().call_deferred::<Ask>(1)
    }
}

impl Deferred<Ask> for Oracle {
    type Reply = u64;

    async fn handle_call(&mut self, ask: Ask, reply_to: ReplyTo<u64>, ctx: &mut Ctx<Self>) {
        if !lock(&self.book).asked.insert(ask.question) {
            self.outside.fail(format!("oracle {} is asked {} twice", ctx.pid(), ask.question));
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
