//! On each node a clerk is an instance of one service, ends now and then, and is followed by another; each node calls the
//! service.
//!
//! Must hold: no question is handled twice, though calls go on to other instances; an answer means that the question was
//! handled; a call ends by its one deadline, however many instances it goes to. In the end, when no clerk ends any more, all
//! nodes see the same instances, these live, and calls succeed.
//!
//! Breaks if, for example, a call that may have been handled goes on, an attempt gets the time of a whole call, or a breaker
//! never closes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, CallError, Ctx, ExitReason, Handler, Pid, Table};
use tiebeam_cluster::services::{Balance, Caller, InstanceSpec, Policy, ServiceError};
use tiebeam_wire::NodeId;

use super::calls::{SLACK_NANOS, SLACK_PERCENT};
use super::{End, Workload, lock};
use crate::outside::Outside;
use crate::site::{Site, draw};

const SERVICE: &str = "clerks";
const BALANCES: [Balance; 4] = [Balance::RoundRobin, Balance::TwoByLoad, Balance::LeastInFlight, Balance::ByKey];

/// The workload.
#[derive(Debug, Default)]
pub struct Services {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    /// The latest start of each node.
    sites: BTreeMap<NodeId, Site>,
    handled: BTreeSet<u64>,
    answered: u64,
    /// Calls that ended with another error than one of the network's and of time.
    went_on: u64,
    /// The last call that had no answer: when it began, and why.
    last_failure: Option<(u64, String)>,
}

impl Workload for Services {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        lock(&book).sites.insert(site.node(), site.clone());
        async move {
            drop(tiebeam_world::spawn("sim.clerks", clerks(site.clone(), Arc::clone(&book))));
            drop(tiebeam_world::spawn("sim.customers", customers(site, book)));
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let book = lock(&self.book);
        let (calls, handled) = (book.next, book.handled.len());
        let (answered, went_on) = (book.answered, book.went_on);
        end.outside.tell(
            NodeId(0),
            format!("services: {calls} calls, {handled} handled, {answered} answered, {went_on} in vain"),
        );
        if let Some((began, error)) = book.last_failure.as_ref().filter(|(began, _)| *began > end.quiet_from) {
            end.outside
                .fail(format!("a call that began at {began}, in a network without faults, has no answer: {error}"));
        }
        let living: BTreeSet<Pid> = book.sites.values().flat_map(instances).collect();
        for (node, site) in &book.sites {
            let seen: BTreeSet<Pid> = instances(site).collect();
            if seen != living || seen.len() != book.sites.len() {
                end.outside.fail(format!("in the end {node} sees the instances {seen:?}, of {living:?}"));
            }
        }
        let is_alive = |pid: &&Pid| book.sites.get(&pid.node).is_some_and(|site| site.system.is_alive(**pid));
        if let Some(dead) = living.iter().find(|pid| !is_alive(pid)) {
            end.outside.fail(format!("in the end {dead} is an instance, and is gone"));
        }
    }
}

fn instances(site: &Site) -> impl Iterator<Item = Pid> + use<> {
    site.cluster.services().list(SERVICE).into_iter().filter_map(|instance| instance.actor)
}

/// One clerk after the other; the last one stays.
async fn clerks(site: Site, book: Arc<Mutex<Book>>) {
    loop {
        let args = (Arc::clone(&site.outside), Arc::clone(&book));
        let Ok(clerk) = site.system.spawn::<Clerk>(args).await else { continue };
        let spec = InstanceSpec::new(SERVICE, "clerk").weight(u32::try_from(draw(1..4)).unwrap_or(1));
        // The one before may have its registration still, but is no hindrance.
        if let Err(error) = site.cluster.services().register(spec, &clerk) {
            site.outside.fail(format!("clerk of {} is not registered: {error}", site.node()));
        }
        tiebeam_world::sleep(Duration::from_millis(draw(200..20_000))).await;
        if site.outside.is_healed() {
            return;
        }
        site.system.exit(clerk.pid(), if draw(0..2) == 0 { ExitReason::Kill } else { ExitReason::Shutdown });
        site.system.wait(clerk.pid()).await;
    }
}

async fn customers(site: Site, book: Arc<Mutex<Book>>) {
    let balance = BALANCES[usize::try_from(draw(0..BALANCES.len() as u64)).unwrap_or(0)];
    let near_percent_min = (draw(0..2) == 0).then_some(50);
    let policy = Policy { balance, near_percent_min, ..Policy::default() };
    let caller: Caller<Clerk> = site.cluster.services().caller(SERVICE, policy);
    loop {
        tiebeam_world::sleep(Duration::from_millis(draw(50..600))).await;
        drop(tiebeam_world::spawn("sim.customer", call(site.clone(), caller.clone(), Arc::clone(&book))));
    }
}

async fn call(site: Site, caller: Caller<Clerk>, book: Arc<Mutex<Book>>) {
    let is_healed = site.outside.is_healed();
    let timeout = Duration::from_millis(if is_healed { 2_500 } else { draw(20..2_500) });
    let work_ms = if !is_healed && draw(0..4) == 0 { draw(0..3_000) } else { draw(0..20) };
    let (began, paused) = (site.outside.now(), site.outside.paused_nanos(site.node()));
    let question = {
        let mut book = lock(&book);
        book.next += 1;
        book.next
    };
    let answer = caller.call_for(&question.to_be_bytes(), Ask { question, work_ms }, timeout).await;
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    let limit = nanos + nanos * SLACK_PERCENT / 100 + SLACK_NANOS;
    let took = (site.outside.now() - began).saturating_sub(site.outside.paused_nanos(site.node()) - paused);
    let mut book = lock(&book);
    let was_handled = book.handled.contains(&question);
    match answer {
        Ok(answer) if answer == !question && was_handled => book.answered += 1,
        Ok(answer) => site.outside.fail(format!("call {question} of {} is answered {answer}", site.node())),
        Err(error) => {
            let surely_not =
                matches!(error, ServiceError::Call { error: CallError::NoProc | CallError::Overloaded, .. });
            book.went_on += u64::from(surely_not);
            if was_handled && !error.may_have_run() {
                site.outside.fail(format!("call {question} was handled, and says that it wasn't: {error}"));
            }
            book.last_failure = book
                .last_failure
                .take()
                .max(Some((began, format!("{error}, asked by {}, handled: {was_handled}", site.node()))));
        }
    }
    if took > limit {
        site.outside.fail(format!("call {question} of {} took {took} ns of {nanos}", site.node()));
    }
}

/// An instance; it is told what time it takes.
#[derive(Debug)]
struct Clerk {
    outside: Arc<Outside>,
    book: Arc<Mutex<Book>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Ask {
    question: u64,
    work_ms: u64,
}

impl Actor for Clerk {
    type Args = (Arc<Outside>, Arc<Mutex<Book>>);

    async fn init((outside, book): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { outside, book })
    }

    fn table() -> Table<Self> {
        Table::new().call::<Ask>(1)
    }
}

impl Handler<Ask> for Clerk {
    type Reply = u64;

    async fn handle(&mut self, Ask { question, work_ms }: Ask, _: &mut Ctx<Self>) -> u64 {
        if !lock(&self.book).handled.insert(question) {
            self.outside.fail(format!("call {question} is handled twice"));
        }
        tiebeam_world::sleep(Duration::from_millis(work_ms)).await;
        !question
    }
}
