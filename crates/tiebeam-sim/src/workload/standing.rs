//! Each node watches where it stands, beside what it sees of the others.
//!
//! Must hold: a node that has seen a majority of the voters without a break for longer than it may take to believe it stands
//! with the majority; one that has seen none for as long doesn't. An edge without a core reaches nobody. In the end, when everybody is connected to everybody, all
//! stand with the majority, and since the network was healed nobody was cut off who saw a majority.
//!
//! Breaks if, for example, a change of membership wakes nobody, a deadline is forgotten, or a word outlives its connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_cluster::Standing;
use tiebeam_wire::{NodeId, Role};

use super::{End, Workload, lock};
use crate::site::Site;

/// How long a node may stand as it did against what it sees: its patience of a second, what a clock may be slow, and the time
/// between two looks.
const PATIENCE_MS: u64 = 1_300;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The workload.
#[derive(Debug, Default)]
pub struct Standings {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// The latest start of each node.
    sites: BTreeMap<NodeId, Site>,
    /// How often a node was cut off.
    cut_offs: u64,
}

impl Workload for Standings {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        lock(&book).sites.insert(site.node(), site.clone());
        async move {
            drop(tiebeam_world::spawn("sim.standing", watch(site, book)));
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let book = lock(&self.book);
        end.outside.tell(NodeId(0), format!("standing: nodes were cut off {} times", book.cut_offs));
        for (node, site) in &book.sites {
            let standing = site.cluster.standing();
            if standing != Standing::Majority {
                end.outside.fail(format!(
                    "in the end {node} stands as {standing:?}, and reaches {:?}",
                    site.cluster.voters_reached()
                ));
            }
        }
    }
}

/// Compares, on the node's own clock, where it stands with what it has seen for a while.
async fn watch(site: Site, book: Arc<Mutex<Book>>) {
    let mut before = (site.cluster.voters_reached().is_majority, tiebeam_world::now(), site.cluster.standing());
    // An edge isn't told when a core lost its majority and had it back between two looks, which begins its patience anew.
    let patience_ms = if site.cluster.role() == Role::Edge { 4 * PATIENCE_MS } else { PATIENCE_MS };
    // Looks count, not time: while the node was paused it neither saw nor thought.
    let (mut looks, looks_max) = (0, patience_ms / u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(u64::MAX));
    let mut members = site.cluster.subscribe();
    loop {
        // A core that was lost and is back between two looks was missed all the same.
        let change = tiebeam_world::timeout(LOOK_EVERY, members.next()).await;
        match change {
            Ok(Some(_)) => (before.1, looks) = (tiebeam_world::now(), 0),
            Ok(None) => return,
            Err(_) => {}
        }
        let (reaches, standing) = (site.cluster.voters_reached().is_majority, site.cluster.standing());
        if reaches && is_without_cores(&site) {
            site.outside.fail(format!("{} reaches a majority by the word of a core that is gone", site.node()));
        }
        if reaches != before.0 {
            (before.0, before.1, looks) = (reaches, tiebeam_world::now(), 0);
        }
        looks += 1;
        if matches!(standing, Standing::CutOff { .. }) && !matches!(before.2, Standing::CutOff { .. }) {
            lock(&book).cut_offs += 1;
        }
        before.2 = standing;
        let (node, for_ms) =
            (site.node(), u64::try_from(tiebeam_world::now().since(before.1).as_millis()).unwrap_or(0));
        if looks > looks_max && for_ms > patience_ms && reaches != (standing == Standing::Majority) {
            let sees = if reaches { "a majority" } else { "no majority" };
            site.outside.fail(format!("{node} has seen {sees} for {for_ms} ms, and stands as {standing:?}"));
        }
    }
}

/// Whether the node is an edge that is connected to no core.
fn is_without_cores(site: &Site) -> bool {
    let mut others = site.cluster.members().into_iter().filter(|member| member.node != site.node() && member.live);
    site.cluster.role() == Role::Edge && !others.any(|member| member.role == Role::Core)
}
