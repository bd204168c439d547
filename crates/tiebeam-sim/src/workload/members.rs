//! Each node listens to its membership.
//!
//! Must hold: events of a member alternate, `Up` first; a `Down` names the start that was up; no start is up after a later
//! one was. Soon after the network is healed everybody is up at everybody's, in the
//! latest start, and nobody is lost again.
//!
//! Breaks if, for example, a session's end is not told, or the next session starts before it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_cluster::MemberEvent;
use tiebeam_wire::{Incarnation, NodeId};

use super::{End, Workload, lock};
use crate::site::Site;

/// The workload.
#[derive(Debug, Default)]
pub struct Members {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    heard: BTreeMap<(NodeId, Incarnation), Heard>,
    /// When the last loss was told, and by whom.
    last_down: Option<(u64, NodeId, NodeId)>,
}

/// What one start of a node heard of the others: the latest start, and whether it is up.
type Heard = BTreeMap<NodeId, (Incarnation, bool)>;

impl Workload for Members {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        async move {
            let mut events = site.cluster.subscribe();
            drop(tiebeam_world::spawn("sim.members", async move {
                while let Some(event) = events.next().await {
                    let mut book = lock(&book);
                    if let MemberEvent::Down(lost, _) = event {
                        book.last_down = Some((site.outside.now(), site.node(), lost));
                    }
                    let heard = book.heard.entry((site.node(), site.incarnation())).or_default();
                    if let Err(broken) = hear(heard, &event) {
                        site.outside.fail(format!("{} is told {event:?}: {broken}", site.node()));
                    }
                }
            }));
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let book = lock(&self.book);
        if let Some((at, node, lost)) = book.last_down.filter(|(at, ..)| *at > end.quiet_from) {
            end.outside.fail(format!("{node} loses {lost} at {at}, in a network without faults"));
        }
        for (node, incarnation) in &end.latest {
            let heard = book.heard.get(&(*node, *incarnation));
            for (other, latest) in end.latest.iter().filter(|(other, _)| *other != node) {
                let of_other = heard.and_then(|heard| heard.get(other));
                if of_other != Some(&(*latest, true)) {
                    end.outside
                        .fail(format!("in the end {node} has heard {of_other:?} of {other}, which is up as {latest}"));
                }
            }
        }
    }
}

fn hear(heard: &mut Heard, event: &MemberEvent) -> Result<(), &'static str> {
    match event {
        MemberEvent::Up(member) => {
            let former = heard.insert(member.node, (member.incarnation, true));
            match former {
                Some((_, true)) => Err("it was up already"),
                Some((former, false)) if former > member.incarnation => Err("a later start was up before"),
                _ => Ok(()),
            }
        }
        MemberEvent::Down(node, incarnation) => match heard.insert(*node, (*incarnation, false)) {
            Some((up, true)) if up == *incarnation => Ok(()),
            Some((_, true)) => Err("another start was up"),
            _ => Err("it was not up"),
        },
    }
}
