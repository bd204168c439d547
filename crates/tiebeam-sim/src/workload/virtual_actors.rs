//! Each node hosts virtual actors and a singleton, calls them all the time, and hands them over now and then.
//!
//! Must hold, in true time: what is done for one key is done under fences that never go back, and under one fence by one life
//! after the other; so no activation does anything once a later one has begun to. Only a start of most voters at once may
//! make them forget fences. A message is handled at most once, and not at all if its caller was told so. In the end every
//! key answers, and so does the singleton.
//!
//! Breaks if, for example, a paused node goes on with a handler when its lease is over, a voter that started anew grants what
//! is held, or a message that was taken is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Info, Table};
use tiebeam_cluster::leases::Fence;
use tiebeam_cluster::singletons::Singleton;
use tiebeam_cluster::virtual_actors::{Activation, Hosting, Kind};
use tiebeam_wire::{Incarnation, NodeId};

use super::{End, Workload, lock};
use crate::simulation::SECOND;
use crate::site::{Site, draw};

const VAULTS: Kind<Vault> = Kind::new("vaults");
const CLERK: Singleton<Vault> = Singleton::new("clerk");

/// From how many nanoseconds on a run has time for handovers.
const WHOLE_RUN: u64 = 120_000_000_000;
const KEYS: u64 = 12;
/// Short, so that actors come and go.
const HOSTING: Hosting = Hosting { role: None, idle: Duration::from_secs(3), activations_max: 1000, waiting_max: 1000 };
/// How often an actor does something that nobody asked for, in milliseconds.
const PULSE_MS: u64 = 300;

/// The workload.
#[derive(Debug, Default)]
pub struct VirtualActors {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// The last that was done for each key.
    steps: BTreeMap<String, Step>,
    next: u64,
    handled: BTreeSet<u64>,
    /// Messages whose caller was told that nothing was done.
    undone: BTreeSet<u64>,
    answered: u64,
    /// When each key answered last.
    answered_at: BTreeMap<String, u64>,
    lives: u64,
    tenures: u64,
    /// Changes of the node that has a key.
    moves: u64,
    /// How often a node handed over all that it had.
    withdrawals: u64,
    /// When each node started last.
    started_at: BTreeMap<NodeId, u64>,
}

/// Who did something, and when.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: u64,
    fence: Fence,
    node: NodeId,
    incarnation: Incarnation,
    serial: u64,
}

impl Workload for VirtualActors {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        lock(&book).started_at.insert(site.node(), site.outside.now());
        async move {
            host_vaults(&site, &book).await;
            host_clerk(&site, &book).await;
            drop(tiebeam_world::spawn("sim.virtual", come_and_go(site.clone(), Arc::clone(&book))));
            drop(tiebeam_world::spawn("sim.virtual", async move {
                loop {
                    tiebeam_world::sleep(Duration::from_millis(draw(50..900))).await;
                    drop(tiebeam_world::spawn("sim.virtual", call(site.clone(), Arc::clone(&book))));
                }
            }));
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let book = lock(&self.book);
        let Book { next, answered, lives, tenures, moves, withdrawals, .. } = *book;
        let told = format!(
            "virtual actors: {next} calls, {} handled, {answered} answered, {lives} lives, {tenures} tenures, {moves} moves, \
             {withdrawals} withdrawals",
            book.handled.len()
        );
        end.outside.tell(NodeId(0), told);
        // A run in which nothing moves shows nothing; a short one has no time for much.
        let is_whole = end.quiet_from >= WHOLE_RUN;
        let is_dead = answered * 8 < next || lives < 4 * KEYS || tenures < 2 * KEYS || moves < 4 || withdrawals < 1;
        if answered == 0 || (is_whole && is_dead) {
            end.outside
                .fail(format!("too little happens: {answered} of {next}, {lives}, {tenures}, {moves}, {withdrawals}"));
        }
        for key in (0..KEYS).map(name).chain(["clerk".to_owned()]) {
            if book.answered_at.get(&key).is_none_or(|at| *at < end.quiet_from) {
                end.outside.fail(format!("in the end nobody answers for {key}"));
            }
        }
    }
}

fn name(key: u64) -> String {
    format!("key {key}")
}

impl Book {
    /// Notes that something is done for a key, and says what doesn't hold.
    fn step(&mut self, key: &str, step: Step) -> Result<(), String> {
        let Some(last) = self.steps.insert(key.to_owned(), step) else {
            self.tenures += 1;
            return Ok(());
        };
        self.tenures += u64::from(step.fence != last.fence);
        self.moves += u64::from(step.node != last.node);
        let (node, incarnation) = (step.node, step.incarnation);
        let is_same_holder = (node, incarnation) == (last.node, last.incarnation);
        if step.fence == last.fence && (!is_same_holder || step.serial < last.serial) {
            return Err(format!("{step:?} follows {last:?}"));
        }
        // So many have forgotten that those who remember are no majority.
        let started = self.started_at.values().filter(|at| **at + SECOND >= last.at).count();
        let can_forget = 2 * started >= self.started_at.len();
        if step.fence < last.fence && !can_forget {
            return Err(format!("{step:?} follows {last:?}, which has a higher fence"));
        }
        Ok(())
    }
}

async fn host_vaults(site: &Site, book: &Arc<Mutex<Book>>) {
    let (of, book) = (site.clone(), Arc::clone(book));
    let vault = move |activation| (of.clone(), Arc::clone(&book), activation);
    if let Err(error) = site.cluster.virtual_actors().host(&VAULTS, HOSTING, vault).await {
        site.outside.fail(format!("{} does not host vaults: {error}", site.node()));
    }
}

async fn host_clerk(site: &Site, book: &Arc<Mutex<Book>>) {
    let (of, book) = (site.clone(), Arc::clone(book));
    let clerk = move |fence| (of.clone(), Arc::clone(&book), Activation { key: "clerk".to_owned(), fence });
    if let Err(error) = site.cluster.singletons().host(&CLERK, None, clerk).await {
        site.outside.fail(format!("{} does not host the clerk: {error}", site.node()));
    }
}

/// Hands everything over now and then, until the network is healed, and hosts again.
async fn come_and_go(site: Site, book: Arc<Mutex<Book>>) {
    loop {
        tiebeam_world::sleep(Duration::from_millis(draw(5_000..90_000))).await;
        if site.outside.is_healed() {
            return;
        }
        let hosted = site.cluster.virtual_actors().withdraw(&VAULTS).await;
        let ran = site.cluster.singletons().withdraw(&CLERK).await;
        if !hosted || !ran {
            site.outside.fail(format!("{} did not host, {hosted} and {ran}", site.node()));
        }
        lock(&book).withdrawals += 1;
        tiebeam_world::sleep(Duration::from_millis(draw(0..5_000))).await;
        host_vaults(&site, &book).await;
        host_clerk(&site, &book).await;
    }
}

async fn call(site: Site, book: Arc<Mutex<Book>>) {
    let is_quiet = site.outside.is_healed();
    let timeout = Duration::from_millis(if is_quiet { 5_000 } else { draw(100..6_000) });
    let wait_ms = if draw(0..3) == 0 { draw(1..400) } else { 0 };
    let number = {
        let mut book = lock(&book);
        book.next += 1;
        book.next
    };
    let (key, to) = match draw(0..KEYS + 1) {
        KEYS => ("clerk".to_owned(), site.cluster.singletons().refer(&CLERK)),
        key => (name(key), site.cluster.virtual_actors().refer(&VAULTS, name(key))),
    };
    let answer = if draw(0..4) == 0 {
        to.cast(Open { number, wait_ms }).timeout(timeout).await.map(|()| None)
    } else {
        to.call(Open { number, wait_ms }).timeout(timeout).await.map(Some)
    };
    let mut book = lock(&book);
    match answer {
        Ok(None) => {}
        Ok(Some(answer)) => {
            book.answered += 1;
            book.answered_at.insert(key, site.outside.now());
            if answer != !number || !book.handled.contains(&number) {
                site.outside.fail(format!("call {number} of {} is answered {answer}", site.node()));
            }
        }
        Err(error) if !error.may_have_been_done() => {
            book.undone.insert(number);
            if book.handled.contains(&number) {
                site.outside.fail(format!("call {number} of {} was done, but fails: {error}", site.node()));
            }
        }
        Err(_) => {}
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    number: u64,
    wait_ms: u64,
}

/// Notes what it does, and under which fence.
struct Vault {
    site: Site,
    book: Arc<Mutex<Book>>,
    of: Activation,
}

impl Vault {
    fn step(&self, ctx: &Ctx<Self>) {
        let (node, incarnation) = (self.site.node(), self.site.incarnation());
        let (at, serial) = (self.site.outside.now(), ctx.pid().serial);
        let step = Step { at, fence: self.of.fence, node, incarnation, serial };
        if let Err(broken) = lock(&self.book).step(&self.of.key, step) {
            self.site.outside.fail(format!("{}: {broken}", self.of.key));
        }
    }
}

impl Actor for Vault {
    type Args = (Site, Arc<Mutex<Book>>, Activation);

    async fn init((site, book, of): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        lock(&book).lives += 1;
        let vault = Self { site, book, of };
        vault.step(ctx);
        ctx.send_after(Duration::from_millis(PULSE_MS), 0);
        Ok(vault)
    }

    async fn info(&mut self, _: Info, ctx: &mut Ctx<Self>) {
        self.step(ctx);
        ctx.send_after(Duration::from_millis(PULSE_MS), 0);
    }

    async fn terminate(&mut self, _: &ExitReason, ctx: &mut Ctx<Self>) {
        self.step(ctx);
    }

    fn table() -> Table<Self> {
        Table::new().call::<Open>(1)
    }
}

impl Handler<Open> for Vault {
    type Reply = u64;

    async fn handle(&mut self, Open { number, wait_ms }: Open, ctx: &mut Ctx<Self>) -> u64 {
        self.step(ctx);
        let is_first = lock(&self.book).handled.insert(number);
        let is_undone = lock(&self.book).undone.contains(&number);
        if !is_first || is_undone {
            self.site.outside.fail(format!("call {number} is handled, first {is_first}, given up {is_undone}"));
        }
        if wait_ms > 0 {
            tiebeam_world::sleep(Duration::from_millis(wait_ms)).await;
            // Never after a pause that the lease did not survive.
            self.step(ctx);
        }
        !number
    }
}
