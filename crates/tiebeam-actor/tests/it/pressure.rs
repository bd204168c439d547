//! Full mailboxes on another node.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{
    Actor, Addr, CallError, Ctx, ExitReason, Handler, NoConnection, Pid, RemoteSignal, Room, Router, Table,
};
use tiebeam_wire::{Incarnation, NodeId};
use tokio::sync::{Semaphore, mpsc};

use crate::probe::{settle, system};
use crate::remote::{Pair, pair};

const LIMIT: u32 = 4;

/// Takes a number for each permit.
struct Taker {
    permits: Arc<Semaphore>,
    taken: mpsc::UnboundedSender<u32>,
}

#[derive(Serialize, Deserialize)]
struct Take(u32);

impl Actor for Taker {
    type Args = (Arc<Semaphore>, mpsc::UnboundedSender<u32>);

    async fn init((permits, taken): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { permits, taken })
    }

    fn table() -> Table<Self> {
        Table::new().call::<Take>(1)
    }
}

impl Handler<Take> for Taker {
    type Reply = u32;

    async fn handle(&mut self, Take(number): Take, _: &mut Ctx<Self>) -> u32 {
        self.permits.acquire().await.unwrap().forget();
        let _ = self.taken.send(number);
        number
    }
}

struct Far {
    pair: Pair,
    here: Addr<Taker>,
    there: Addr<Taker>,
    permits: Arc<Semaphore>,
    taken: mpsc::UnboundedReceiver<u32>,
}

/// An actor that takes nothing yet, seen from another node.
async fn far() -> Far {
    let (pair, permits, (tx, taken)) = (pair(), Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let starter = pair.far.starter().mailbox_messages_max(LIMIT);
    let here = starter.spawn::<Taker>((Arc::clone(&permits), tx)).await.unwrap();
    let there = pair.near.addr(here.pid());
    Far { pair, here, there, permits, taken }
}

impl Far {
    /// Casts until a cast waits; returns how many went.
    async fn fill(&self) -> u32 {
        for number in 0..100 {
            settle().await;
            if self.there.cast(Take(number)).now_or_never().is_none() {
                return number;
            }
        }
        panic!("no cast ever waits");
    }

    fn taken(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.taken.try_recv().ok()).collect()
    }
}

/// Without it whatever is cast faster than it is handled is lost in silence.
#[tokio::test(start_paused = true)]
async fn casts_to_a_full_mailbox_of_another_node_wait_and_none_is_lost() {
    let mut far = far().await;
    let all = async {
        for number in 0..1000 {
            far.there.cast(Take(number)).await;
        }
    };
    let handle = async {
        for _ in 0..1000 {
            tiebeam_world::sleep(Duration::from_millis(1)).await;
            far.permits.add_permits(1);
        }
    };
    tokio::join!(all, handle);
    settle().await;
    assert_eq!(far.taken(), (0..1000).collect::<Vec<_>>());
    assert_eq!(far.pair.far.process_info(far.here.pid()).unwrap().refused, 0);
}

/// One in hand, the mailbox, and the first beyond it, of which the node hears at once here.
#[tokio::test(start_paused = true)]
async fn node_is_told_with_the_first_message_beyond_the_limit() {
    let mut far = far().await;
    assert_eq!(far.fill().await, 1 + LIMIT + 1);
    assert_eq!(far.there.try_cast(Take(99)), Err(CallError::Overloaded));
    let call = far.there.call(Take(99)).timeout(Duration::from_secs(1)).await;
    assert_eq!(call, Err(CallError::Overloaded), "it was never sent");
    far.permits.add_permits(100);
    settle().await;
    assert_eq!(far.there.call(Take(7)).await, Ok(7));
    assert_eq!(far.taken(), [0, 1, 2, 3, 4, 5, 7]);
    far.there.try_cast(Take(8)).unwrap();
}

/// Whoever waits for one that is gone would wait for ever.
#[tokio::test(start_paused = true)]
async fn casts_go_on_when_the_actor_ends_or_its_node_is_lost() {
    let far_ends = far().await;
    far_ends.fill().await;
    let end = async { far_ends.pair.far.exit(far_ends.here.pid(), ExitReason::Kill) };
    tokio::join!(far_ends.there.cast(Take(0)), end);
    let far_lost = far().await;
    far_lost.fill().await;
    let lose = async { far_lost.pair.cut() };
    tokio::join!(far_lost.there.cast(Take(0)), lose);
    assert_eq!(far_lost.there.try_cast(Take(0)), Err(CallError::NoConnection), "not remembered as full");
}

/// Told once and not again after the connection was lost, the next connection's casts would be lost.
#[tokio::test(start_paused = true)]
async fn node_is_told_again_on_the_next_connection() {
    let mut far = far().await;
    far.fill().await;
    far.pair.near.node_down(far.here.pid().node, far.here.pid().incarnation);
    far.pair.far.node_down(far.pair.near.node(), far.pair.near.incarnation());
    far.there.cast(Take(50)).await;
    settle().await;
    assert_eq!(far.there.try_cast(Take(51)), Err(CallError::Overloaded));
    far.permits.add_permits(100);
    settle().await;
    assert_eq!(far.taken(), [0, 1, 2, 3, 4, 5, 50]);
}

/// Takes everything, and has room only for as many as there are permits.
struct Narrow {
    taken: Mutex<Vec<RemoteSignal>>,
    room: Arc<Semaphore>,
}

impl Router for Narrow {
    fn route(&self, _: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        self.taken.lock().unwrap().push(signal);
        let room = Arc::clone(&self.room);
        Ok(Some(Box::pin(async move { room.acquire().await.unwrap().forget() })))
    }
}

/// Without it a sender that is faster than the network fills the memory of its node, and then loses the connection.
#[tokio::test(start_paused = true)]
async fn sender_waits_after_a_cast_that_leaves_no_room_on_the_way() {
    let system = system(1);
    let narrow = Arc::new(Narrow { taken: Mutex::default(), room: Arc::new(Semaphore::new(0)) });
    system.install_router(Arc::clone(&narrow) as Arc<dyn Router>);
    let far = system.addr::<Taker>(Pid { node: NodeId(2), incarnation: Incarnation(1), serial: 5 });
    let taken = || narrow.taken.lock().unwrap().len();
    let mut two = std::pin::pin!(async {
        far.cast(Take(1)).await;
        far.cast(Take(2)).await;
    });
    assert_eq!((two.as_mut().now_or_never(), taken()), (None, 1), "it is sent before its sender waits");
    narrow.room.add_permits(1);
    assert_eq!((two.as_mut().now_or_never(), taken()), (None, 2));
    narrow.room.add_permits(1);
    two.await;
    // Who can't wait doesn't.
    far.try_cast(Take(3)).unwrap();
    assert_eq!(taken(), 3);
}
