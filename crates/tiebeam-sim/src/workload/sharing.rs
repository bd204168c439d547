//! On each node actors join groups, take names, and end.
//!
//! Must hold in the end, when nobody joins any more: all nodes see the same members of each group, and these are the ones that
//! live, each as often as it joined; all nodes see the same holder of each name, and it lives.
//!
//! Breaks if, for example, a change is lost for good with its message, an earlier start's member comes back after a split, or
//! both holders of a name keep it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::{Actor, Ctx, ExitReason, Pid};
use tiebeam_cluster::names::OnConflict;
use tiebeam_wire::NodeId;

use super::{End, Workload, lock};
use crate::site::{Site, draw};

const GROUPS: [&str; 3] = ["red", "green", "blue"];
const NAMES: [&str; 4] = ["north", "east", "south", "west"];
/// Members that a node has at once.
const MEMBERS_MAX: usize = 8;

/// The workload.
#[derive(Debug, Default)]
pub struct Sharing {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// The latest start of each node.
    sites: BTreeMap<NodeId, Site>,
    joined: u64,
    named: u64,
}

impl Workload for Sharing {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        lock(&book).sites.insert(site.node(), site.clone());
        async move {
            drop(tiebeam_world::spawn("sim.sharing", share(site, book)));
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let book = lock(&self.book);
        end.outside.tell(NodeId(0), format!("sharing: {} joins, {} names given", book.joined, book.named));
        if book.joined == 0 || book.named == 0 {
            end.outside.fail("nobody joined, or nobody took a name".to_owned());
        }
        for group in GROUPS {
            let mut living: Vec<Pid> = book.sites.values().flat_map(|site| pids(site, group, Of::Node)).collect();
            living.sort_unstable();
            for (node, site) in &book.sites {
                let mut seen = pids(site, group, Of::Cluster);
                seen.sort_unstable();
                if seen != living {
                    end.outside.fail(format!("in the end {node} sees {seen:?} in {group}, living are {living:?}"));
                }
            }
        }
        let mut lists = book.sites.iter().map(|(node, site)| (node, site.cluster.names().list()));
        let Some((first, names)) = lists.next() else { return };
        for (node, list) in lists.filter(|(_, list)| *list != names) {
            end.outside.fail(format!("in the end {node} sees the names {list:?}, {first} sees {names:?}"));
        }
        for (name, holder) in names {
            let lives = book.sites.get(&holder.node).is_some_and(|site| site.system.is_alive(holder));
            if !lives || !end.lives(holder.node, holder.incarnation) {
                end.outside.fail(format!("in the end {name} is held by {holder}, which is gone"));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Of {
    Node,
    Cluster,
}

fn pids(site: &Site, group: &str, of: Of) -> Vec<Pid> {
    let group = site.cluster.groups().group::<Member>(group);
    let members = match of {
        Of::Node => group.local_members(),
        Of::Cluster => group.members(),
    };
    members.iter().map(tiebeam_actor::Addr::pid).collect()
}

/// Starts, ends and joins members until the network is healed.
async fn share(site: Site, book: Arc<Mutex<Book>>) {
    let mut members: Vec<tiebeam_actor::Addr<Member>> = Vec::new();
    while !site.outside.is_healed() {
        tiebeam_world::sleep(Duration::from_millis(draw(200..3_000))).await;
        members.retain(|member| site.system.is_alive(member.pid()));
        if members.len() >= MEMBERS_MAX || (!members.is_empty() && draw(0..4) == 0) {
            let index = usize::try_from(draw(0..members.len() as u64)).unwrap_or(0);
            site.system.exit(members.swap_remove(index).pid(), ExitReason::Shutdown);
            continue;
        }
        let Ok(member) = site.system.spawn::<Member>(()).await else { continue };
        for _ in 0..draw(1..3) {
            let group = GROUPS[usize::try_from(draw(0..GROUPS.len() as u64)).unwrap_or(0)];
            if site.cluster.groups().group::<Member>(group).join(&member).is_ok() {
                lock(&book).joined += 1;
            }
        }
        let name = NAMES[usize::try_from(draw(0..NAMES.len() as u64)).unwrap_or(0)];
        if site.cluster.names().register(name, &member, OnConflict::Exit).is_ok() {
            lock(&book).named += 1;
        }
        members.push(member);
    }
}

/// A member of groups, and the holder of a name.
struct Member;

impl Actor for Member {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }
}
