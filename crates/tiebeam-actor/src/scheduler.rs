//! Runs processes: a few workers, each one task of tokio, take turns over those that are ready.
//!
//! A process that nobody sent anything is no task and waits in no queue. One that is woken goes to the worker that woke
//! it, into its next seat, so that a caller and its callee stay on one core; whom that displaces goes to the worker's
//! queue, from which others steal. Whoever used up its turn goes to the back.
//!
//! Workers live in the runtime in which the first process was started, and give its other tasks their turn: after
//! [`TURNS_MAX`] processes or [`TURN_TIME_MAX`]. When that runtime ends, processes that still live are dropped where they
//! wait.
//!
//! What it does not do: it can't interrupt a handler that computes. What waits in the next seat behind such a one waits
//! with it; what waits in the queue is stolen.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Queue};
use futures::task::AtomicWaker;
use tiebeam_wire::Instant;

use crate::Polled;
use crate::raw::ready::Ready;
use crate::watchdog::TurnAt;

/// How many processes a worker runs before tokio's other tasks get their turn.
const TURNS_MAX: u32 = 1024;

/// How long a worker runs processes before tokio's other tasks get their turn, looked at after every few.
const TURN_TIME_MAX: Duration = Duration::from_micros(200);
const TURNS_PER_LOOK: u32 = 16;

/// For how long a worker gathers what its processes send to other nodes, looked at after each turn.
const GATHER_MAX: Duration = Duration::from_micros(50);

/// How many bytes a worker gathers before a sender that can wait gives way.
const GATHER_BYTES_MAX: usize = 64 * 1024;

/// How often in a row the next seat goes before the queue: two that wake each other must not keep the others waiting.
const NEXT_MAX: u32 = 3;

/// How many turns pass before what came from outside is looked at first.
const TURNS_PER_INJECTOR: u32 = 61;

/// Starts workers with the first process.
#[derive(Default)]
pub(crate) struct Scheduler {
    shared: OnceLock<Arc<Shared>>,
}

pub(crate) struct Shared {
    /// Woken from outside of all workers.
    injector: Injector<Ready>,
    seats: Box<[Seat]>,
    sleepers: AtomicUsize,
    /// Workers that were not dropped.
    workers: AtomicUsize,
    hooks: Box<dyn Hooks>,
    /// Whether one of the workers looks for what arrives, instead of going to sleep.
    is_polled: AtomicBool,
    /// Whether the last worker is gone, for threads that wait for that.
    is_over: (Mutex<bool>, Condvar),
}

/// What workers ask of their system.
pub(crate) trait Hooks: Send + Sync {
    /// Sends to other nodes what processes have sent.
    fn flush(&self);
    /// Takes in what has arrived from other nodes, if something is likely to have.
    fn poll(&self) -> Polled;
    /// Takes in what has arrived from other nodes.
    fn look(&self);
    /// Drops the processes that sleep: the last worker is gone.
    fn abandon(&self);
}

/// What others see of a worker.
struct Seat {
    stealer: Stealer<Ready>,
    waker: AtomicWaker,
    asleep: AtomicBool,
    /// Whose turn it is, and which of the worker's turns.
    serial: AtomicU64,
    turn: AtomicU64,
}

/// A worker's own part, in its thread while it runs.
struct Local {
    shared: Arc<Shared>,
    queue: Queue<Ready>,
}

struct Worker {
    shared: Arc<Shared>,
    index: usize,
    local: Option<Local>,
    next: Option<Ready>,
    turns: u32,
    /// Whether what came from outside is looked at first: time has passed.
    is_outside_due: bool,
}

/// Whether a worker sees to what a process sends to another node.
pub(crate) enum Gathers {
    No,
    More,
    /// It would rather send first what it has.
    Full,
}

/// What a worker found that had nothing to do.
enum Found {
    Ready(Ready),
    /// Nothing yet, and it was time to let others have their turn.
    Hope,
    Nothing,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
    /// The worker's next seat, apart from the rest since most go there.
    static NEXT: Cell<Option<Ready>> = const { Cell::new(None) };
    /// Since when something waits to be sent to other nodes: what processes of the worker have sent, or an answer to what was
    /// taken in, which waits in case there is more to say.
    static UNSENT: Cell<Option<Instant>> = const { Cell::new(None) };
    /// How many bytes these are.
    static GATHERED: Cell<usize> = const { Cell::new(0) };
    /// Names the workers of which the thread runs one; compared and never followed.
    static SHARED: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

impl Scheduler {
    pub(crate) fn is_started(&self) -> bool {
        self.shared.get().is_some()
    }

    /// Says whether this thread runs a worker of it.
    fn runs_here(&self) -> bool {
        self.shared.get().is_some_and(|shared| ptr::eq(Arc::as_ptr(shared), SHARED.get()))
    }

    /// Notes that so many bytes are to be sent to another node; says whether a worker will see to it.
    pub(crate) fn gathers(&self, bytes: usize) -> Gathers {
        if !self.runs_here() {
            return Gathers::No;
        }
        note_unsent();
        let gathered = GATHERED.get().saturating_add(bytes);
        GATHERED.set(gathered);
        if gathered < GATHER_BYTES_MAX { Gathers::More } else { Gathers::Full }
    }

    /// Starts the workers unless they run. `watch` is told of the workers; the arguments of the first call count.
    pub(crate) fn start(&self, watch: impl FnOnce(Arc<Shared>), hooks: impl Hooks + 'static) {
        self.shared.get_or_init(|| {
            let shared = start(Box::new(hooks));
            watch(Arc::clone(&shared));
            shared
        });
    }
}

/// Notes that the worker has something to send.
#[inline]
fn note_unsent() {
    if UNSENT.get().is_none() {
        UNSENT.set(Some(tiebeam_world::now()));
    }
}

/// Gives a process a turn that was woken.
#[inline]
pub(crate) fn queue(process: Ready) {
    if !is_of_here(&process) {
        return put_outside(process);
    }
    // One process alone is not worth another worker's waking up.
    if let Some(displaced) = NEXT.replace(Some(process)) {
        put_last(displaced, true);
    }
}

/// Gives a process another turn, behind all others.
pub(crate) fn queue_again(process: Ready) {
    if !is_of_here(&process) {
        return put_outside(process);
    }
    let next = NEXT.take();
    let is_alone = next.is_none();
    NEXT.set(next);
    put_last(process, !is_alone);
}

/// Says whether this thread runs a worker of the process's system.
#[inline]
fn is_of_here(process: &Ready) -> bool {
    process.process().scheduler().runs_here()
}

/// Puts a process at the end of the worker's queue; has another worker help if there is something before it, or if told.
fn put_last(process: Ready, helps: bool) {
    LOCAL.with_borrow(|local| {
        let local = local.as_ref().expect("the thread runs a worker");
        let helps = helps || !local.queue.is_empty();
        local.queue.push(process);
        if helps {
            local.shared.wake_one();
        }
    });
}

/// Leaves a process with any worker of its system.
#[cold]
fn put_outside(process: Ready) {
    let shared = process.process().scheduler().shared.get().cloned();
    let Some(shared) = shared else { return };
    // Without workers the runtime is gone, and so may be the process by now.
    if shared.workers.load(Ordering::Acquire) > 0 {
        shared.injector.push(process);
        shared.wake_one();
    }
}

fn start(hooks: Box<dyn Hooks>) -> Arc<Shared> {
    let count = tokio::runtime::Handle::current().metrics().num_workers().max(1);
    let queues: Vec<Queue<Ready>> = (0..count).map(|_| Queue::new_fifo()).collect();
    let seat = |queue: &Queue<Ready>| Seat {
        stealer: queue.stealer(),
        waker: AtomicWaker::new(),
        asleep: AtomicBool::new(false),
        serial: AtomicU64::new(0),
        turn: AtomicU64::new(0),
    };
    let shared = Arc::new(Shared {
        injector: Injector::new(),
        seats: queues.iter().map(seat).collect(),
        sleepers: AtomicUsize::new(0),
        workers: AtomicUsize::new(count),
        hooks,
        is_polled: AtomicBool::new(false),
        is_over: (Mutex::new(false), Condvar::new()),
    });
    for (index, queue) in queues.into_iter().enumerate() {
        let local = Some(Local { shared: Arc::clone(&shared), queue });
        // Not under tokio's budget, which is meant for one task: once it was used up, every process would find
        // everything pending until the worker's next turn.
        let worker = tokio::task::unconstrained(Worker {
            shared: Arc::clone(&shared),
            index,
            local,
            next: None,
            turns: 0,
            is_outside_due: false,
        });
        drop(tiebeam_world::spawn("actor.worker", worker));
    }
    shared
}

impl Shared {
    pub(crate) fn workers(&self) -> usize {
        self.seats.len()
    }

    /// Returns what a worker is at.
    pub(crate) fn turn_of(&self, worker: usize) -> TurnAt {
        let seat = &self.seats[worker];
        TurnAt { serial: seat.serial.load(Ordering::Relaxed), number: seat.turn.load(Ordering::Relaxed) }
    }

    /// Blocks the thread for `timeout`, or until the last worker is gone, and says whether there is one.
    pub(crate) fn wait_for_end(&self, timeout: Duration) -> bool {
        let is_over = self.is_over.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.is_over.1.wait_timeout_while(is_over, timeout, |is_over| !*is_over);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn wake_one(&self) {
        // A worker that goes to sleep says so before it looks for work once more; whoever brings work looks for sleepers
        // after it: one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(seat) = self.seats.iter().find(|seat| self.leaves(seat)) {
            seat.waker.wake();
        }
    }

    /// Ends the sleep of a worker; says whether it slept.
    fn leaves(&self, seat: &Seat) -> bool {
        let slept = seat.asleep.load(Ordering::Relaxed) && seat.asleep.swap(false, Ordering::AcqRel);
        if slept {
            self.sleepers.fetch_sub(1, Ordering::AcqRel);
        }
        slept
    }
}

impl Local {
    /// Returns who is to run next.
    fn take(&self, index: usize, nexts: &mut u32, is_outside_due: bool) -> Option<Ready> {
        if is_outside_due && let Steal::Success(process) = self.shared.injector.steal() {
            return Some(process);
        }
        if *nexts < NEXT_MAX
            && let Some(process) = NEXT.take()
        {
            *nexts += 1;
            return Some(process);
        }
        *nexts = 0;
        self.queue.pop().or_else(|| NEXT.take()).or_else(|| self.steal(index))
    }

    fn steal(&self, index: usize) -> Option<Ready> {
        let others = self.shared.seats.iter().enumerate().filter(|(i, _)| *i != index);
        std::iter::once_with(|| retry(|| self.shared.injector.steal_batch_and_pop(&self.queue)))
            .chain(others.map(|(_, seat)| retry(|| seat.stealer.steal_batch_and_pop(&self.queue))))
            .flatten()
            .next()
    }
}

/// Gives tokio's other tasks their turn. Not by a plain wake-up, which would have another of tokio's threads come and take
/// this worker: it is woken after tokio has looked at its sockets and timers.
fn pass(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

/// Lets the other processes that are ready have their turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn retry(steal: impl Fn() -> Steal<Ready>) -> Option<Ready> {
    loop {
        match steal() {
            Steal::Success(process) => return Some(process),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

impl Future for Worker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (local, next) = (self.local.take(), self.next.take());
        let former = (LOCAL.replace(local), NEXT.replace(next), SHARED.replace(Arc::as_ptr(&self.shared)));
        self.work(cx);
        self.local = LOCAL.replace(former.0);
        self.next = NEXT.replace(former.1);
        SHARED.set(former.2);
        Poll::Pending
    }
}

impl Worker {
    /// Runs processes until there are none, or until others are to have their turn. In either case it will be woken.
    fn work(&mut self, cx: &mut Context<'_>) {
        let started = tiebeam_world::now();
        let (mut nexts, mut turns) = (0, 0);
        // Tokio's other tasks have had their turn.
        self.is_outside_due = true;
        loop {
            let is_late = || tiebeam_world::now().since(started) > TURN_TIME_MAX;
            let process = match self.take(&mut nexts) {
                Some(process) => process,
                None => match self.poll_others(&mut nexts, is_late) {
                    Found::Ready(process) => process,
                    Found::Hope => return pass(cx),
                    Found::Nothing => match self.sleep(cx, &mut nexts) {
                        Some(process) => process,
                        None => return,
                    },
                },
            };
            // A process catches what its actor's code throws; this is for faults of the runtime itself, of which the
            // other processes must not die.
            let seat = &self.shared.seats[self.index];
            seat.turn.store(u64::from(self.turns), Ordering::Relaxed);
            seat.serial.store(process.process().serial(), Ordering::Relaxed);
            if catch_unwind(AssertUnwindSafe(|| process.turn())).is_err() {
                tracing::error!("process ended by a panic outside of its actor");
            }
            self.shared.seats[self.index].serial.store(0, Ordering::Relaxed);
            turns += 1;
            let has_much = GATHERED.get() >= GATHER_BYTES_MAX;
            if has_much || UNSENT.get().is_some_and(|since| tiebeam_world::now().since(since) > GATHER_MAX) {
                self.flush();
                tiebeam_world::give_way_if_due();
                // What others wait for is not to wait until this worker has nothing to do.
                self.shared.hooks.look();
                note_unsent();
                self.is_outside_due = true;
            }
            if turns >= TURNS_MAX || (turns % TURNS_PER_LOOK == 0 && is_late()) {
                self.flush();
                return pass(cx);
            }
        }
    }

    #[inline]
    fn take(&mut self, nexts: &mut u32) -> Option<Ready> {
        self.turns = self.turns.wrapping_add(1);
        let is_outside_due = std::mem::take(&mut self.is_outside_due) || self.turns.is_multiple_of(TURNS_PER_INJECTOR);
        if *nexts < NEXT_MAX
            && !is_outside_due
            && let Some(process) = NEXT.take()
        {
            *nexts += 1;
            return Some(process);
        }
        LOCAL.with(|local| local.borrow().as_ref()?.take(self.index, nexts, is_outside_due))
    }

    /// Sends what is to be sent, and takes in what arrives as long as that is likely: an answer that is on its way comes
    /// sooner than this thread would be woken, as BEAM's schedulers reckon too (`+sbwt`). One worker at a time does.
    fn poll_others(&mut self, nexts: &mut u32, is_late: impl Fn() -> bool) -> Found {
        self.flush();
        let shared = Arc::clone(&self.shared);
        if shared.is_polled.swap(true, Ordering::Acquire) {
            return Found::Nothing;
        }
        let found = loop {
            let polled = shared.hooks.poll();
            if polled == Polled::Arrived {
                note_unsent();
            }
            if let Some(process) = self.take(nexts) {
                break Found::Ready(process);
            }
            self.flush();
            if polled == Polled::Quiet {
                break Found::Nothing;
            }
            if is_late() {
                break Found::Hope;
            }
            std::hint::spin_loop();
        };
        shared.is_polled.store(false, Ordering::Release);
        found
    }

    /// Sends to other nodes what processes have sent, if there is anything.
    #[inline]
    fn flush(&self) {
        if UNSENT.take().is_some() {
            GATHERED.set(0);
            self.shared.hooks.flush();
        }
    }

    /// Goes to sleep unless there is work after all.
    fn sleep(&mut self, cx: &Context<'_>, nexts: &mut u32) -> Option<Ready> {
        let shared = Arc::clone(&self.shared);
        let seat = &shared.seats[self.index];
        seat.waker.register(cx.waker());
        if !seat.asleep.swap(true, Ordering::AcqRel) {
            shared.sleepers.fetch_add(1, Ordering::AcqRel);
        }
        fence(Ordering::SeqCst);
        let found = self.take(nexts);
        if found.is_some() {
            shared.leaves(seat);
        }
        found
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let Some(Local { shared, queue }) = self.local.take() else { return };
        let is_last = shared.workers.fetch_sub(1, Ordering::AcqRel) == 1;
        while queue.pop().is_some() {}
        if is_last {
            while retry(|| shared.injector.steal()).is_some() {}
            shared.hooks.abandon();
            *shared.is_over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            shared.is_over.1.notify_all();
        }
    }
}
