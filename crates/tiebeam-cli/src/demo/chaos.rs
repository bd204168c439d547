use std::time::Duration;

use anyhow::Result;
use tiebeam_node::wire::Instant;

use super::watch::Watch;
use crate::app;
use crate::local::LocalCluster;

/// Which kills a run sees.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Chaos {
    /// None.
    None,
    /// The leader of the metadata group, a core that leads partitions, and the edge with the inventory, in a drawn order.
    OneByOne,
    /// All five nodes at once, in mid-run.
    AllAtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    MetaLeader,
    PartitionLeader,
    Inventory,
    All,
}

/// A kill that is to come.
#[derive(Debug, PartialEq)]
pub(crate) struct Kill {
    /// How much of the work must be done before, from 0 to 1.
    pub(crate) at: f64,
    victim: Victim,
    /// How long the victim stays away, in milliseconds.
    away_ms: u64,
    draw: u64,
}

impl Chaos {
    /// Draws the kills from `seed`, in order of time.
    pub(crate) fn plan(self, seed: u64) -> Vec<Kill> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut kill = |victim, from: f64, to: f64| Kill {
            at: rng.f64().mul_add(to - from, from),
            victim,
            away_ms: rng.u64(200..2_500),
            draw: rng.u64(..),
        };
        match self {
            Self::None => Vec::new(),
            Self::AllAtOnce => vec![kill(Victim::All, 0.25, 0.75)],
            Self::OneByOne => {
                let windows = [(0.05, 0.25), (0.3, 0.55), (0.6, 0.85)];
                let mut victims = [Victim::MetaLeader, Victim::PartitionLeader, Victim::Inventory];
                fastrand::Rng::with_seed(!seed).shuffle(&mut victims);
                windows.into_iter().zip(victims).map(|((from, to), victim)| kill(victim, from, to)).collect()
            }
        }
    }
}

/// A blow that was struck.
#[derive(Debug)]
pub(crate) struct Blow {
    /// Who was killed, for people.
    pub(crate) what: String,
    /// When.
    pub(crate) at: Instant,
    /// Places of the nodes that are dead by it.
    victims: Vec<usize>,
    away: Duration,
}

impl Blow {
    /// Starts the victims again if they were away long enough by `now`; says whether they were.
    pub(crate) fn heal(&self, cluster: &mut LocalCluster, now: Instant) -> Result<bool> {
        let due = now.since(self.at) >= self.away;
        if due {
            self.victims.iter().try_for_each(|i| cluster.start(*i))?;
        }
        Ok(due)
    }
}

impl Kill {
    /// Kills the victim; returns nothing if nobody is known to be the victim right now.
    pub(crate) fn strike(&self, cluster: &mut LocalCluster, watch: &Watch) -> Result<Option<Blow>> {
        let victims = match self.victim {
            Victim::All => (0..cluster.nodes.len()).collect(),
            _ => self.find(cluster, watch).into_iter().collect::<Vec<_>>(),
        };
        let Some(first) = victims.first() else { return Ok(None) };
        let name = &cluster.nodes[*first].name;
        let what = match self.victim {
            Victim::All => "all five nodes".to_owned(),
            Victim::MetaLeader => format!("{name} (leader of the metadata group)"),
            Victim::PartitionLeader => format!("{name} (leader of partitions)"),
            Victim::Inventory => format!("{name} (host of the inventory)"),
        };
        let at = tiebeam_node::world::now();
        cluster.kill(&victims)?;
        Ok(Some(Blow { what, at, victims, away: Duration::from_millis(self.away_ms) }))
    }

    fn find(&self, cluster: &LocalCluster, watch: &Watch) -> Option<usize> {
        if self.victim == Victim::Inventory {
            return cluster.nodes.iter().position(|n| n.name == app::INVENTORY_NODE);
        }
        let view = watch.view()?;
        let prefix = match self.victim {
            Victim::MetaLeader => "meta".to_owned(),
            _ => format!("{}/", app::FLIGHTS_TOPIC),
        };
        let groups = view.groups();
        let leaders: Vec<u64> =
            groups.iter().filter(|g| g.name.starts_with(&prefix)).filter_map(|g| g.leader).collect();
        let at = usize::try_from(self.draw % leaders.len().max(1) as u64).ok()?;
        cluster.position(tiebeam_node::wire::NodeId(*leaders.get(at)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_draws_the_same_kills() {
        assert_eq!(Chaos::OneByOne.plan(3), Chaos::OneByOne.plan(3));
        assert_ne!(Chaos::OneByOne.plan(3), Chaos::OneByOne.plan(4));
    }

    #[test]
    fn kills_come_in_order_and_strike_each_victim() {
        for seed in 0..100 {
            let plan = Chaos::OneByOne.plan(seed);
            assert!(plan.is_sorted_by(|a, b| a.at < b.at), "{plan:?}");
            for victim in [Victim::MetaLeader, Victim::PartitionLeader, Victim::Inventory] {
                assert_eq!(plan.iter().filter(|k| k.victim == victim).count(), 1, "{plan:?}");
            }
        }
    }
}
