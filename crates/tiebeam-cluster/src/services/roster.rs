//! The instances that this node has registered: who holds them, how they are, and when they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::Pid;
use tiebeam_wire::Instant;
use tiebeam_world::TaskGuard;
use tokio::sync::Notify;

use super::cut_off::{Children, WhenCutOff};
use super::health::{self, Finding, Judge};
use super::{
    CHECKS_MAX, Check, Condition, Details, INSTANCES_MAX, InstanceKey, InstanceSpec, METADATA_BYTES_MAX, RegisterError,
    Shared,
};
use crate::node::{Node, lock};
use crate::sharing::plane::{ShareError, checked};

/// The longest version or zone, in bytes.
const TEXT_BYTES_MAX: usize = 64;
/// The largest weight.
const WEIGHT_MAX: u32 = 1_000;

/// What an instance ends with, besides its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Actor(Pid),
    Guard,
    Lease(Duration),
}

/// All instances of this node, by service and id.
#[derive(Default)]
pub(crate) struct Roster {
    state: Mutex<State>,
    /// Tells whoever minds the node's standing of a new registration.
    added: Notify,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<(String, String), Own>,
    /// Numbers registrations, so that what belongs to an earlier one has no effect on a later one.
    serial: u64,
}

struct Own {
    serial: u64,
    holder: Holder,
    pid: Pid,
    details: Details,
    when_cut_off: WhenCutOff,
    judges: Vec<Judge>,
    /// When a lease ends.
    until: Instant,
    /// Checks, and the end of a lease.
    _tasks: Vec<TaskGuard>,
}

impl Roster {
    /// Registers an instance and begins its checks; returns the number of the registration.
    pub(super) fn add(&self, node: &Arc<Node>, spec: InstanceSpec, holder: Holder) -> Result<u64, RegisterError> {
        self.put(node, spec, holder, None)
    }

    /// Registers an instance in place of one that a guard holds.
    pub(super) fn replace(&self, node: &Arc<Node>, spec: InstanceSpec, serial: u64) -> Result<u64, RegisterError> {
        self.put(node, spec, Holder::Guard, Some(serial))
    }

    fn put(
        &self,
        node: &Arc<Node>,
        spec: InstanceSpec,
        holder: Holder,
        former: Option<u64>,
    ) -> Result<u64, RegisterError> {
        check(&spec, holder)?;
        let pid = match holder {
            Holder::Actor(pid) if !node.system.is_alive(pid) => return Err(ShareError::NoProc { pid }.into()),
            Holder::Actor(pid) => pid,
            Holder::Guard | Holder::Lease(_) => Pid { node: node.me.node, incarnation: node.me.incarnation, serial: 0 },
        };
        let InstanceSpec { service, id, mut details, zone, checks, when_cut_off } = spec;
        details.zone = zone.unwrap_or_else(|| node.config.zone.clone());
        let at = (service, id);
        let mut state = lock(&self.state);
        if let Some(own) = state.instances.get(&at) {
            if !own.gives_way_to(node, holder, former) {
                return Err(RegisterError::Taken { service: at.0, id: at.1 });
            }
        } else if state.instances.len() >= INSTANCES_MAX {
            return Err(RegisterError::TooMany { limit: INSTANCES_MAX });
        }
        let former = state.instances.get(&at);
        let passed = former.is_some_and(|own| own.pid == pid && own.details.health.condition == Condition::Passing);
        let begin = if passed { Judge::trusting } else { Judge::new };
        let judges: Vec<Judge> = checks.iter().map(|check| begin(check.rise, check.fall)).collect();
        let (condition, reason) = health::worst(&judges);
        details.health = health_now(condition, reason);
        let key = InstanceKey { service: at.0.clone(), id: at.1.clone(), holder: pid };
        let shared = Shared(Arc::new(details.clone()));
        // With the roster locked, so that what is shared last is what is known here.
        node.sharing.services.change(node, pid, &key, |_| Ok::<_, ShareError>(Some(shared)))?;
        state.serial += 1;
        let serial = state.serial;
        let until = if let Holder::Lease(ttl) = holder { tiebeam_world::now() + ttl } else { Instant { nanos: 0 } };
        let mut tasks: Vec<TaskGuard> =
            checks.into_iter().enumerate().map(|(index, check)| look(node, at.clone(), serial, index, check)).collect();
        if matches!(holder, Holder::Lease(_)) {
            tasks.push(expire(node, at.clone(), serial));
        }
        let own = Own { serial, holder, pid, details, when_cut_off, judges, until, _tasks: tasks };
        if let Some(former) = state.instances.insert(at, own).filter(|former| former.pid != pid) {
            node.sharing.services.withdraw(node, &InstanceKey { holder: former.pid, ..key });
        }
        self.added.notify_one();
        Ok(serial)
    }

    /// Gives a lease its whole time again; says whether there was one.
    pub(super) fn renew(&self, service: &str, id: &str) -> bool {
        let mut state = lock(&self.state);
        let own = state.instances.get_mut(&(service.to_owned(), id.to_owned()));
        let Some((own, ttl)) =
            own.and_then(|own| if let Holder::Lease(ttl) = own.holder { Some((own, ttl)) } else { None })
        else {
            return false;
        };
        own.until = tiebeam_world::now() + ttl;
        true
    }

    /// Ends a registration; only the one with this number, if one is named. Says whether there was one.
    pub(super) fn remove(&self, node: &Node, service: &str, id: &str, serial: Option<u64>) -> bool {
        let at = (service.to_owned(), id.to_owned());
        let mut state = lock(&self.state);
        if state.instances.get(&at).is_none_or(|own| serial.is_some_and(|serial| serial != own.serial)) {
            return false;
        }
        let Some(own) = state.instances.remove(&at) else { return false };
        let (service, id) = at;
        node.sharing.services.withdraw(node, &InstanceKey { service, id, holder: own.pid });
        true
    }

    /// Ends a lease whose time is up, unless it was renewed at the last moment; says whether it did.
    fn remove_expired(&self, node: &Node, at: &(String, String), serial: u64) -> bool {
        let now = tiebeam_world::now();
        let is_over = |own: &Own| own.serial == serial && own.until <= now;
        let mut state = lock(&self.state);
        if !state.instances.get(at).is_some_and(is_over) {
            return false;
        }
        let Some(own) = state.instances.remove(at) else { return false };
        let key = InstanceKey { service: at.0.clone(), id: at.1.clone(), holder: own.pid };
        node.sharing.services.withdraw(node, &key);
        true
    }

    /// Forgets what an actor held that has ended; what was shared of it is taken back already.
    pub(super) fn ended(&self, pid: Pid) {
        lock(&self.state).instances.retain(|_, own| own.pid != pid || !matches!(own.holder, Holder::Actor(_)));
    }

    /// Forgets all, and ends what looks at them: the node leaves.
    pub(crate) fn clear(&self) {
        lock(&self.state).instances.clear();
    }

    /// The children that are to stop while this node is cut off.
    pub(super) fn to_stop(&self) -> Children {
        let state = lock(&self.state);
        let children = state.instances.values().filter_map(|own| match &own.when_cut_off {
            WhenCutOff::ServeStale => None,
            WhenCutOff::Stop { supervisor, child } => Some(((supervisor.pid(), child.clone()), supervisor.clone())),
        });
        children.collect()
    }

    /// Waits until there is a new registration.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes in a finding, and shares the condition if that changed; says whether the registration is still there.
    fn hear(&self, node: &Arc<Node>, at: &(String, String), serial: u64, index: usize, finding: Finding) -> bool {
        let mut state = lock(&self.state);
        let Some(own) = state.instances.get_mut(at).filter(|own| own.serial == serial) else { return false };
        own.judges[index].hear(finding);
        let (condition, reason) = health::worst(&own.judges);
        let before = own.details.health.condition;
        if condition == before {
            return true;
        }
        tracing::info!(service = at.0, instance = at.1, ?before, ?condition, reason, "instance changed");
        own.details.health = health_now(condition, reason);
        let key = InstanceKey { service: at.0.clone(), id: at.1.clone(), holder: own.pid };
        let (pid, shared) = (own.pid, Shared(Arc::new(own.details.clone())));
        // With the roster locked, as when it was registered. Whoever ended meanwhile must not be put back.
        let shared = node.sharing.services.change(node, pid, &key, |core| match core.owner(&key) {
            Some(_) => Ok(Some(shared)),
            None => Err(ShareError::NoProc { pid }),
        });
        if let Err(error) = shared {
            tracing::debug!(service = at.0, instance = at.1, %error, "condition not shared");
        }
        true
    }

    /// When a lease ends; none if there is no such registration any more.
    fn until(&self, at: &(String, String), serial: u64) -> Option<Instant> {
        lock(&self.state).instances.get(at).filter(|own| own.serial == serial).map(|own| own.until)
    }
}

impl Own {
    /// Whether another registration may take the place of this one.
    fn gives_way_to(&self, node: &Node, holder: Holder, former: Option<u64>) -> bool {
        match (self.holder, holder) {
            (Holder::Actor(held), Holder::Actor(by)) if held == by => true,
            (Holder::Actor(held), _) => !node.system.is_alive(held),
            (Holder::Lease(_), Holder::Lease(_)) => true,
            (Holder::Guard, Holder::Guard) => former == Some(self.serial),
            (Holder::Guard | Holder::Lease(_), _) => false,
        }
    }
}

fn check(spec: &InstanceSpec, holder: Holder) -> Result<(), RegisterError> {
    checked("service", &spec.service)?;
    checked("instance", &spec.id)?;
    let metadata: usize = spec.details.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if metadata > METADATA_BYTES_MAX {
        return Err(ShareError::TooLarge { what: "metadata", size: metadata, limit: METADATA_BYTES_MAX }.into());
    }
    for (what, text) in [("version", &spec.details.version), ("zone", spec.zone.as_ref().unwrap_or(&String::new()))] {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ShareError::TooLarge { what, size: text.len(), limit: TEXT_BYTES_MAX }.into());
        }
    }
    let fault = match spec {
        _ if spec.checks.len() > CHECKS_MAX => Some("an instance has at most 8 checks"),
        _ if spec.details.weight > WEIGHT_MAX => Some("weights go from 0 to 1,000"),
        _ if holder == Holder::Lease(Duration::ZERO) => Some("a lease lasts longer than no time"),
        _ => spec.checks.iter().find_map(Check::fault),
    };
    fault.map_or(Ok(()), |why| Err(RegisterError::Unusable { service: spec.service.clone(), id: spec.id.clone(), why }))
}

fn health_now(condition: Condition, reason: &str) -> super::Health {
    super::Health { condition, reason: reason.to_owned(), since_ms: tiebeam_world::wall_clock_ms() }
}

/// Looks again and again, until the registration is gone.
fn look(node: &Arc<Node>, at: (String, String), serial: u64, index: usize, check: Check) -> TaskGuard {
    let weak = Arc::downgrade(node);
    let looking = async move {
        loop {
            let finding = check.look().await;
            let Some(node) = weak.upgrade() else { return };
            if !node.sharing.roster.hear(&node, &at, serial, index, finding) {
                return;
            }
            drop(node);
            tiebeam_world::sleep(check.pause(tiebeam_world::random())).await;
        }
    };
    node.sharing.spawn("cluster.check", looking).into_guard()
}

/// Ends a lease that isn't renewed in time.
fn expire(node: &Arc<Node>, at: (String, String), serial: u64) -> TaskGuard {
    let weak = Arc::downgrade(node);
    let waiting = async move {
        loop {
            let Some(until) = weak.upgrade().and_then(|node| node.sharing.roster.until(&at, serial)) else { return };
            if until > tiebeam_world::now() {
                tiebeam_world::sleep_until(until).await;
                continue;
            }
            let Some(node) = weak.upgrade() else { return };
            if node.sharing.roster.remove_expired(&node, &at, serial) {
                tracing::info!(service = at.0, instance = at.1, "lease ran out");
                return;
            }
        }
    };
    node.sharing.spawn("cluster.lease", waiting).into_guard()
}
