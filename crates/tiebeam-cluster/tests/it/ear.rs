//! An actor that remembers all it hears, as text.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, Handler, Table};
use tiebeam_cluster::NodeEvent;
use tiebeam_cluster::groups::GroupEvent;
use tiebeam_cluster::names::NameConflict;
use tiebeam_cluster::presence::{PresenceEvent, Present};
use tiebeam_cluster::services::ServiceEvent;

use crate::host::{Host, until};

pub(crate) struct Ear(Arc<Mutex<Vec<String>>>);

/// What an [`Ear`] heard.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Say(pub(crate) u64);

/// As [`Say`], and says how much was heard so far.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Ask(pub(crate) u64);

impl Heard {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until exactly this was heard.
    pub(crate) async fn becomes(&self, expected: &[String]) {
        until("an ear to have heard it all", || self.0.lock().unwrap().len() >= expected.len()).await;
        assert_eq!(self.all(), expected);
    }
}

pub(crate) async fn ear(host: &Host) -> (Addr<Ear>, Heard) {
    let (heard, system) = (Heard::default(), host.system.clone());
    let args = Arc::clone(&heard.0);
    let addr = host.run(async move { system.spawn::<Ear>(args).await.unwrap() }).await;
    (addr, heard)
}

impl Actor for Ear {
    type Args = Arc<Mutex<Vec<String>>>;

    async fn init(heard: Arc<Mutex<Vec<String>>>, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(heard))
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Say>(1).call::<Ask>(2)
    }
}

impl Ear {
    fn hear(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Handler<Say> for Ear {
    type Reply = ();

    async fn handle(&mut self, Say(number): Say, _: &mut Ctx<Self>) {
        self.hear(number.to_string());
    }
}

impl Handler<Ask> for Ear {
    type Reply = u64;

    async fn handle(&mut self, Ask(number): Ask, _: &mut Ctx<Self>) -> u64 {
        self.hear(number.to_string());
        self.0.lock().unwrap().len() as u64
    }
}

impl Handler<GroupEvent> for Ear {
    type Reply = ();

    async fn handle(&mut self, event: GroupEvent, _: &mut Ctx<Self>) {
        self.hear(group_event(&event));
    }
}

impl Handler<NameConflict> for Ear {
    type Reply = ();

    async fn handle(&mut self, conflict: NameConflict, _: &mut Ctx<Self>) {
        self.hear(format!("{} is {} and not {}", conflict.name, conflict.winner, conflict.loser));
    }
}

impl Handler<ServiceEvent> for Ear {
    type Reply = ();

    async fn handle(&mut self, event: ServiceEvent, _: &mut Ctx<Self>) {
        self.hear(match event {
            ServiceEvent::Added(instance) => format!("+ {}", instance.id),
            ServiceEvent::Changed { before, after } => {
                format!("{} {} > {}", after.id, before.details.weight, after.details.weight)
            }
            ServiceEvent::Removed(instance) => format!("- {}", instance.id),
        });
    }
}

impl Handler<NodeEvent> for Ear {
    type Reply = ();

    async fn handle(&mut self, event: NodeEvent, _: &mut Ctx<Self>) {
        self.hear(match event {
            NodeEvent::Up(member) => format!("up {} {}", member.node, member.incarnation),
            NodeEvent::Suspect(node, incarnation) => format!("suspect {node} {incarnation}"),
            NodeEvent::Back(node, incarnation) => format!("back {node} {incarnation}"),
            NodeEvent::Down(node, incarnation) => format!("down {node} {incarnation}"),
        });
    }
}

impl Handler<PresenceEvent> for Ear {
    type Reply = ();

    async fn handle(&mut self, event: PresenceEvent, _: &mut Ctx<Self>) {
        self.hear(presence_event(&event));
    }
}

pub(crate) fn group_event(event: &GroupEvent) -> String {
    match event {
        GroupEvent::Joined { group, member, times, .. } => format!("{group} +{times} {member}"),
        GroupEvent::Left { group, member, times, .. } => format!("{group} -{times} {member}"),
    }
}

pub(crate) fn presence_event(event: &PresenceEvent) -> String {
    let show = |present: &Present| format!("{} {}", present.key, present.meta::<String>().unwrap());
    match event {
        PresenceEvent::Joined(present) => format!("+ {}", show(present)),
        PresenceEvent::Updated { before, after } => format!("{} > {}", show(before), show(after)),
        PresenceEvent::Left(present) => format!("- {}", show(present)),
    }
}
