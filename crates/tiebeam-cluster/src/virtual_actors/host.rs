//! The shell around what a node hosts: performs what the [`House`] of each kind says.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::{Addr, CallError, ExitReason, Pid, Starter};
use tiebeam_wire::{Instant, NodeId};
use tiebeam_world::TaskGuard;
use tokio::sync::Notify;

use super::gate::{Gate, MAILBOX_MESSAGES_MAX, Mode, Refusal};
use super::house::{House, Life, Output, Parcel, Refused, Rules};
use super::ring::{Ring, SHARDS, shard_of};
use super::{Activation, HostError, SCOPE};
use crate::groups;
use crate::leases::{Claim, LeaseError, Standing};
use crate::node::{Node, lock};

/// How long a node that leaves waits until its actors have ended.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// When a claim is tried again that could not even be made.
const CLAIM_AGAIN: Duration = Duration::from_millis(200);

/// A message on its way to a virtual actor of this node.
pub(crate) struct Letter {
    pub(super) mode: Mode,
    pub(super) tag: u32,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
    pub(super) answer: Box<dyn FnOnce(Result<Bytes, Refusal>) + Send>,
}

impl Parcel for Letter {
    fn is_awaited(&self, now: Instant) -> bool {
        now < self.deadline
    }
}

/// Starts an actor of a kind.
pub(super) type Start = Arc<dyn Fn(Activation, Starter) -> BoxFuture<'static, Result<Pid, ExitReason>> + Send + Sync>;

/// All kinds that this node hosts, and where it found those of others.
#[derive(Default)]
pub(crate) struct Virtuals {
    hosts: RwLock<BTreeMap<&'static str, Arc<Host>>>,
    gate: tokio::sync::Mutex<Option<Addr<Gate>>>,
    rings: Mutex<BTreeMap<String, Arc<Ring>>>,
    /// Which host had a shard last. Kinds are the program's own constants, so their number is bounded by its text.
    pub(super) found: Mutex<BTreeMap<(&'static str, u16), NodeId>>,
}

impl Virtuals {
    pub(super) fn host(&self, kind: &str) -> Option<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    /// Says where the shards of a kind should be, as this node sees it now.
    pub(super) fn ring(&self, node: &Node, kind: &str) -> Arc<Ring> {
        let hosts = groups::members(node, &(SCOPE.to_owned(), kind.to_owned()));
        let hosts: BTreeMap<NodeId, Pid> = hosts.into_iter().map(|(pid, _)| (pid.node, pid)).collect();
        let mut rings = lock(&self.rings);
        match rings.get(kind).filter(|ring| *ring.hosts() == hosts) {
            Some(ring) => Arc::clone(ring),
            None => {
                let ring = Arc::new(Ring::new(hosts));
                rings.insert(kind.to_owned(), Arc::clone(&ring));
                ring
            }
        }
    }
}

/// The hosting of one kind.
pub(crate) struct Host {
    kind: &'static str,
    start: Start,
    inside: Mutex<Inside>,
    due: Notify,
    /// Tells who waits for it that nothing is held or wanted any more.
    emptied: Notify,
    tasks: Mutex<Vec<TaskGuard>>,
}

struct Inside {
    house: House<Letter>,
    claims: BTreeMap<u16, (u64, Option<Claim>)>,
    serial: u64,
}

/// Begins to host a kind.
pub(super) async fn open(node: &Arc<Node>, kind: &'static str, rules: Rules, start: Start) -> Result<(), HostError> {
    let virtuals = &node.virtuals;
    let gate = {
        let mut gate = virtuals.gate.lock().await;
        match gate.as_ref().filter(|gate| node.system.is_alive(gate.pid())) {
            Some(gate) => gate.clone(),
            None => {
                let starter = node.system.starter().mailbox_messages_max(MAILBOX_MESSAGES_MAX);
                let started = starter.spawn::<Gate>(Arc::downgrade(node)).await.map_err(HostError::Start)?;
                gate.insert(started).clone()
            }
        }
    };
    let house = House::new(tiebeam_world::now(), node.me.node, rules);
    let inside = Inside { house, claims: BTreeMap::new(), serial: 0 };
    let (due, emptied, tasks) = (Notify::new(), Notify::new(), Mutex::default());
    let host = Arc::new(Host { kind, start, inside: Mutex::new(inside), due, emptied, tasks });
    {
        let mut hosts = virtuals.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if hosts.contains_key(kind) {
            return Err(HostError::Hosted(kind));
        }
        hosts.insert(kind, Arc::clone(&host));
    }
    let group = groups::Groups::new(Arc::clone(node)).scope(SCOPE).group::<Gate>(kind);
    let events = group.events().map_err(HostError::Watch).and_then(|events| {
        group.join(&gate)?;
        Ok(events)
    });
    let events = events.inspect_err(|_| {
        virtuals.hosts.write().unwrap_or_else(PoisonError::into_inner).remove(kind);
    })?;
    let tasks = [
        node.sharing.spawn("cluster.virtual", watch(Arc::clone(node), Arc::clone(&host), events)).into_guard(),
        node.sharing.spawn("cluster.virtual", run(Arc::clone(node), Arc::clone(&host))).into_guard(),
    ];
    lock(&host.tasks).extend(tasks);
    Ok(())
}

/// Hosts a kind no longer, once its actors have ended.
pub(super) async fn close(node: &Arc<Node>, kind: &str) -> bool {
    let Some(host) = node.virtuals.host(kind) else { return false };
    let gate = node.virtuals.gate.lock().await.clone();
    if let Some(gate) = gate {
        let group = groups::Groups::new(Arc::clone(node)).scope(SCOPE).group::<Gate>(host.kind);
        // It was in, unless the gate has ended, which takes it out too.
        let _ = group.leave(&gate);
    }
    host.act(node, |inside| inside.house.close(tiebeam_world::now()));
    loop {
        // Before looking: what happens in between is heard.
        let emptied = host.emptied.notified();
        if lock(&host.inside).house.is_empty() {
            break;
        }
        emptied.await;
    }
    lock(&host.tasks).clear();
    node.virtuals.hosts.write().unwrap_or_else(PoisonError::into_inner).remove(kind);
    true
}

/// Ends all actors and gives their shards back, as far as that can be done in a moment.
pub(crate) async fn leave(node: &Arc<Node>) {
    let kinds: Vec<&'static str> = {
        let hosts = node.virtuals.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.keys().copied().collect()
    };
    let closed = futures::future::join_all(kinds.into_iter().map(|kind| close(node, kind)));
    if tiebeam_world::timeout(LEAVE_MAX, closed).await.is_err() {
        tracing::warn!(node = %node.me.node, "left before all virtual actors had ended");
    }
}

/// Takes in a message of this node or another one.
pub(crate) fn deliver(node: &Arc<Node>, kind: &str, key: &str, letter: Letter) {
    let Some(host) = node.virtuals.host(kind) else { return (letter.answer)(Err(Refusal::NoKind)) };
    let shard = shard_of(key);
    let owner = node.virtuals.ring(node, kind).owner(kind, shard);
    host.act(node, |inside| inside.house.deliver(tiebeam_world::now(), shard, key, letter, owner));
}

impl Host {
    /// How many actors of the kind live here.
    pub(super) fn activations(&self) -> usize {
        lock(&self.inside).house.activations()
    }

    /// Lets `act` change what is hosted, and performs what that leads to, in order.
    fn perform<T>(self: &Arc<Self>, node: &Arc<Node>, act: impl FnOnce(&mut Inside) -> T) -> T {
        let mut answers = Vec::new();
        let result = {
            let mut inside = lock(&self.inside);
            let result = act(&mut inside);
            while let Some(output) = inside.house.take() {
                match output {
                    Output::Claim(shard) => self.claim(node, &mut inside, shard),
                    Output::Release(shard) => drop(inside.claims.remove(&shard)),
                    Output::Start { life } => self.begin(node, &inside, life),
                    Output::Hand { life, pid, parcel } => {
                        if let Err(parcel) = hand(node, pid, parcel) {
                            inside.house.returned(&life, pid, parcel);
                        }
                    }
                    Output::Refuse { parcel, why } => answers.push((parcel.answer, Err(refusal(why)))),
                    Output::Stop(pid) => {
                        let addr = node.system.addr::<Gate>(pid);
                        drop(node.sharing.spawn("cluster.virtual", async move {
                            // Its type doesn't matter to its end.
                            let _ = addr.stop(ExitReason::Shutdown).await;
                        }));
                    }
                    Output::Kill(pid) => node.system.exit(pid, ExitReason::Kill),
                }
            }
            if inside.house.is_empty() {
                self.emptied.notify_waiters();
            }
            result
        };
        // Without the lock: these are others' code.
        for (answer, refused) in answers {
            answer(refused);
        }
        result
    }

    /// As [`Host::perform`], and has the shell look at its deadline.
    fn act<T>(self: &Arc<Self>, node: &Arc<Node>, act: impl FnOnce(&mut Inside) -> T) -> T {
        let result = self.perform(node, act);
        self.due.notify_one();
        result
    }

    fn claim(self: &Arc<Self>, node: &Arc<Node>, inside: &mut Inside, shard: u16) {
        inside.serial += 1;
        let serial = inside.serial;
        inside.claims.insert(shard, (serial, None));
        let pursued = pursue(Arc::clone(node), Arc::clone(self), shard, serial);
        drop(node.sharing.spawn("cluster.claim", pursued));
    }

    fn begin(self: &Arc<Self>, node: &Arc<Node>, inside: &Inside, life: Life) {
        let Some((_, Some(claim))) = inside.claims.get(&life.shard) else { return };
        let starter = node.system.starter().until(claim.deadline().clone());
        let activation = Activation { key: life.key.clone(), fence: life.fence };
        let (host, node) = (Arc::clone(self), Arc::clone(node));
        drop(Arc::clone(&node).sharing.spawn("cluster.virtual", async move {
            // Making the arguments is the user's code.
            let start = AssertUnwindSafe(async { (host.start)(activation, starter).await });
            let started = start.catch_unwind().await;
            let started = started.unwrap_or_else(|panic| Err(ExitReason::Panic(tiebeam_world::panic_message(&*panic))));
            let pid = started.as_ref().ok().copied();
            if let Err(reason) = &started {
                tracing::warn!(kind = host.kind, key = life.key, %reason, "virtual actor does not start");
            }
            host.act(&node, |inside| inside.house.started(tiebeam_world::now(), &life, started));
            let Some(pid) = pid else { return };
            node.system.wait(pid).await;
            host.act(&node, |inside| inside.house.ended(tiebeam_world::now(), &life, pid));
        }));
    }
}

/// Puts a message into a mailbox; gives it back if the actor is gone.
fn hand(node: &Arc<Node>, pid: Pid, letter: Letter) -> Result<(), Letter> {
    let now = tiebeam_world::now();
    if !letter.is_awaited(now) {
        (letter.answer)(Err(Refusal::Call(CallError::Timeout)));
        return Ok(());
    }
    let (system, body) = (&node.system, letter.body.clone());
    let handed = match letter.mode {
        Mode::Cast => system.forward_cast(pid, letter.tag, body).map(|()| None),
        Mode::Call => system.forward_call(pid, letter.tag, body, letter.deadline.since(now)).map(Some),
    };
    match handed {
        Ok(None) => (letter.answer)(Ok(Bytes::new())),
        Ok(Some(answer)) => {
            let answered = async move { (letter.answer)(answer.await.map_err(Refusal::Call)) };
            drop(node.sharing.spawn("cluster.virtual", answered));
        }
        Err(CallError::NoProc) => return Err(letter),
        Err(error) => (letter.answer)(Err(Refusal::Call(error))),
    }
    Ok(())
}

fn refusal(why: Refused) -> Refusal {
    match why {
        Refused::Moved(to) => Refusal::Moved(to),
        Refused::Overloaded => Refusal::Overloaded,
        Refused::Start(reason) => Refusal::Start(reason),
    }
}

/// Names the lease of a shard.
fn resource(kind: &str, shard: u16) -> String {
    format!("virtual/{kind}/{shard}")
}

/// Follows one claim until it is over or given up.
async fn pursue(node: Arc<Node>, host: Arc<Host>, shard: u16, serial: u64) {
    let is_current = |inside: &Inside| inside.claims.get(&shard).is_some_and(|(current, _)| *current == serial);
    let (mut standing, first) = loop {
        let placed = host.perform(&node, |inside| {
            if !is_current(inside) {
                return None;
            }
            Some(Claim::new(&node, &resource(host.kind, shard)).map(|claim| {
                let watch = (claim.watch(), claim.standing());
                inside.claims.insert(shard, (serial, Some(claim)));
                watch
            }))
        });
        match placed {
            None => return,
            Some(Ok(watch)) => break watch,
            Some(Err(LeaseError::Left)) => return,
            Some(Err(error)) => {
                tracing::debug!(kind = host.kind, shard, %error, "shard can't be claimed");
                tiebeam_world::sleep(CLAIM_AGAIN).await;
            }
        }
    };
    let mut now_standing = first;
    loop {
        let is_over = now_standing == Standing::Over;
        let ring = node.virtuals.ring(&node, host.kind);
        let goes_on = host.act(&node, |inside| {
            if !is_current(inside) {
                return false;
            }
            let now = tiebeam_world::now();
            match now_standing {
                Standing::Held(fence) => inside.house.held(now, shard, fence),
                Standing::Wanted { by } => {
                    let by = by.filter(|by| *by != node.me.node && ring.gate(*by).is_some());
                    inside.house.denied(now, shard, by);
                }
                Standing::Over => {
                    inside.claims.remove(&shard);
                    inside.house.lost(shard);
                }
            }
            true
        });
        if is_over || !goes_on || standing.changed().await.is_err() {
            return;
        }
        now_standing = *standing.borrow_and_update();
    }
}

/// Hears who hosts the kind.
async fn watch(node: Arc<Node>, host: Arc<Host>, mut events: groups::GroupEvents) {
    loop {
        let ring = node.virtuals.ring(&node, host.kind);
        let owners: Vec<Option<NodeId>> = (0..SHARDS).map(|shard| ring.owner(host.kind, shard)).collect();
        host.act(&node, |inside| {
            inside.house.placed(tiebeam_world::now(), |shard| owners.get(usize::from(shard)).copied().flatten());
        });
        if events.next().await.is_none() {
            return;
        }
    }
}

async fn run(node: Arc<Node>, host: Arc<Host>) {
    loop {
        let deadline = host.perform(&node, |inside| {
            inside.house.expire(tiebeam_world::now());
            inside.house.deadline()
        });
        tokio::select! {
            () = crate::leases::sleep_until(deadline) => {}
            () = host.due.notified() => {}
        }
    }
}
