//! Actors of two nodes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, CallError, Ctx, ExitReason, Handler, Info, Pid, Table};
use tiebeam_wire::{Incarnation, Role};

use crate::host::{Host, all_joined, config, soon, until};

/// Remembers every number in order.
#[derive(Default)]
struct Ledger(Vec<u64>);

#[derive(Serialize, Deserialize)]
struct Note(u64);
#[derive(Serialize, Deserialize)]
struct Read;
/// Noted with its length.
#[derive(Serialize, Deserialize)]
struct Bulk(Bytes);

impl Actor for Ledger {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self::default())
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Note>(1).call::<Read>(2).cast::<Bulk>(3)
    }
}

impl Handler<Note> for Ledger {
    type Reply = ();

    async fn handle(&mut self, Note(number): Note, _: &mut Ctx<Self>) {
        self.0.push(number);
    }
}

impl Handler<Bulk> for Ledger {
    type Reply = ();

    async fn handle(&mut self, Bulk(bytes): Bulk, _: &mut Ctx<Self>) {
        self.0.push(bytes.len() as u64);
    }
}

impl Handler<Read> for Ledger {
    type Reply = Vec<u64>;

    async fn handle(&mut self, _: Read, _: &mut Ctx<Self>) -> Vec<u64> {
        self.0.clone()
    }
}

/// Watches one process of another node by a monitor and a link.
struct Watcher(Heard);
type Heard = Arc<Mutex<Vec<(&'static str, ExitReason)>>>;

impl Actor for Watcher {
    type Args = (Pid, Heard);

    async fn init((pid, heard): (Pid, Heard), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        ctx.monitor(pid);
        ctx.link(pid);
        Ok(Self(heard))
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let heard = match info {
            Info::Down { reason, .. } => ("down", reason),
            Info::Exit { reason, .. } => ("exit", reason),
            _ => return,
        };
        self.0.lock().unwrap().push(heard);
    }
}

async fn ledger(host: &Host) -> Pid {
    let system = host.system.clone();
    host.run(async move { system.spawn::<Ledger>(()).await.unwrap().pid() }).await
}

async fn watch(host: &Host, pid: Pid) -> Heard {
    let (heard, system) = (Heard::default(), host.system.clone());
    let args = (pid, Arc::clone(&heard));
    host.run(async move { system.spawn::<Watcher>(args).await.unwrap() }).await;
    heard
}

async fn read(ledger: &Addr<Ledger>) -> Result<Vec<u64>, CallError> {
    soon("an answer", ledger.call(Read).into_future()).await
}

async fn pair() -> (Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::start(config(2, Role::Edge, &[one.address()])).await.unwrap();
    all_joined(&[&one, &two]).await;
    (one, two)
}

/// A call behind a thousand casts sees them all, in order: the pair has one lane.
#[tokio::test(flavor = "multi_thread")]
async fn casts_and_calls_reach_another_node_in_order() {
    let (one, two) = pair().await;
    let far = one.system.addr::<Ledger>(ledger(&two).await);
    for number in 0..1000 {
        far.cast(Note(number)).await;
    }
    assert_eq!(read(&far).await.unwrap(), (0..1000).collect::<Vec<_>>());
    two.system.register("ledger", far.pid()).unwrap();
    let named = one.system.named::<Ledger>(two.node(), "ledger");
    assert_eq!(soon("an answer", named.call(Read).into_future()).await.unwrap().len(), 1000);
}

/// More than a lane may hold, cast in one go by somebody who lets nobody else run unless he must wait: the lane would be full
/// and the connection closed.
#[tokio::test]
async fn sender_that_is_faster_than_the_network_waits_for_it() {
    let (one, two) = pair().await;
    let far = one.system.addr::<Ledger>(ledger(&two).await);
    let body = Bytes::from(vec![7; 64 * 1024]);
    soon("all to be sent", async {
        for _ in 0..700 {
            far.cast(Bulk(body.clone())).await;
        }
    })
    .await;
    assert_eq!(read(&far).await.unwrap(), vec![64 * 1024; 700]);
}

/// Without it a sender that is faster than its receiver would lose messages and never know.
#[tokio::test(flavor = "multi_thread")]
async fn full_mailbox_holds_senders_of_another_node_back_until_it_has_room() {
    let (one, two) = pair().await;
    let pid = ledger(&two).await;
    let far = one.system.addr::<Ledger>(pid);
    two.system.suspend(pid).await.unwrap();
    let is_full = || (0..100).any(|_| far.try_cast(Note(1)) == Err(CallError::Overloaded));
    until("the mailbox to be known as full", is_full).await;
    let resumed = soon("a cast", async { tokio::join!(far.cast(Note(2)), two.system.resume(pid)).1 });
    resumed.await.unwrap();
    let noted = read(&far).await.unwrap();
    assert!(noted.len() > 1024, "{} were noted", noted.len());
    assert_eq!(noted.last(), Some(&2), "the one that waited comes last");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_an_actor_is_told_to_another_node() {
    let (one, two) = pair().await;
    let pid = ledger(&two).await;
    let heard = watch(&one, pid).await;
    assert_eq!(read(&one.system.addr(pid)).await.unwrap(), [0; 0]);
    // The watcher's signals took another lane than the call: wait until they are in.
    until("the monitor to arrive", || two.system.process_info(pid).is_some_and(|info| !info.links.is_empty())).await;
    two.system.exit(pid, ExitReason::Kill);
    until("both ends to be told", || heard.lock().unwrap().len() == 2).await;
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_by_key(|(what, _)| *what);
    assert_eq!(heard, [("down", ExitReason::Killed), ("exit", ExitReason::Killed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_of_a_node_ends_links_monitors_and_calls_once() {
    let (one, two) = pair().await;
    let pid = ledger(&two).await;
    let heard = watch(&one, pid).await;
    let far = one.system.addr::<Ledger>(pid);
    read(&far).await.unwrap();
    drop(two);
    until("both ends to be told", || heard.lock().unwrap().len() == 2).await;
    assert_eq!(read(&far).await, Err(CallError::NoConnection));
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_by_key(|(what, _)| *what);
    assert_eq!(heard, [("down", ExitReason::NoConnection), ("exit", ExitReason::NoConnection)]);
}

/// Nothing is sent again after a reconnect, and a pid of the start before names nobody.
#[tokio::test(flavor = "multi_thread")]
async fn pid_of_an_earlier_start_names_nobody() {
    let (one, two) = pair().await;
    let pid = ledger(&two).await;
    let far = one.system.addr::<Ledger>(pid);
    far.cast(Note(1)).await;
    read(&far).await.unwrap();
    let mut again = config(2, Role::Edge, &[one.address()]);
    again.net.incarnation = Incarnation(2);
    let two = two.restart(again).await;
    let fresh = ledger(&two).await;
    until("the new start to be up", || {
        one.cluster.members()[1].incarnation == Incarnation(2) && one.cluster.members()[1].live
    })
    .await;
    assert_eq!(read(&far).await, Err(CallError::NoProc));
    assert_eq!(read(&one.system.addr(fresh)).await.unwrap(), [0; 0]);
}
