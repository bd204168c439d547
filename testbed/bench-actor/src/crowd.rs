//! A million idle actors beside a tree of 100,000 supervised ones: how long they take to start and to end, whether they end
//! in order, and whether anything is left. Twice: what leaked would be missing the second time. The allocator keeps what
//! is freed, for each of its arenas, so memory can be compared only if it has one (`MALLOC_ARENA_MAX=1`).

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use tiebeam_actor::{
    Actor, Addr, ChildSpec, Config, Ctx, DynamicSpec, DynamicSupervisor, ExitReason, Pid, Starter, Supervisor,
    SupervisorSpec, System,
};
use tiebeam_wire::{Incarnation, NodeId};

use crate::watch::{Watch, resident_bytes};

const IDLE: u64 = 1_000_000;
const BRANCHES: u64 = 100;
const LEAVES: u64 = 1_000;

/// Actors that live.
static ALIVE: AtomicU64 = AtomicU64::new(0);
/// Leaves that outlived their supervisor.
static OUT_OF_ORDER: AtomicU64 = AtomicU64::new(0);

struct Idle;

struct Leaf {
    system: System,
    supervisor: Pid,
}

pub(crate) async fn show() -> anyhow::Result<()> {
    let mut peaks = Vec::new();
    for round in 1..=2 {
        println!("round {round}");
        let config = Config { processes_max: 2_000_000, ..Config::default() };
        let system = System::with_config(NodeId(1), Incarnation(round), config);
        peaks.push(once(&system).await?);
    }
    println!("resident with all of them: {} MiB, and the second time {} MiB", peaks[0] >> 20, peaks[1] >> 20);
    Ok(())
}

/// Returns the bytes that were resident while all lived.
async fn once(system: &System) -> anyhow::Result<u64> {
    let watch = Watch::start();
    let mut idle = Vec::with_capacity(IDLE as usize);
    for _ in 0..IDLE {
        idle.push(start::<Idle>(system.spawn(()).await)?);
    }
    println!("  {IDLE} idle actors started in {:?}", watch.elapsed());

    let watch = Watch::start();
    let (root, branches) = grow(system).await?;
    println!("  tree of {} leaves started in {:?}", BRANCHES * LEAVES, watch.elapsed());
    let resident = resident_bytes()?;

    let watch = Watch::start();
    system.exit(root, ExitReason::Kill);
    for branch in branches {
        system.wait(branch).await;
    }
    println!(
        "  root killed, all {} leaves and {BRANCHES} supervisors ended in {:?}",
        BRANCHES * LEAVES,
        watch.elapsed()
    );
    let (left, late) = (system.process_count() - IDLE, OUT_OF_ORDER.load(Ordering::Relaxed));
    ensure!(left == 0 && late == 0, "{left} processes of the tree are left, {late} ended after their supervisor");

    let watch = Watch::start();
    for addr in &idle {
        system.exit(addr.pid(), ExitReason::Shutdown);
    }
    for addr in idle {
        system.wait(addr.pid()).await;
    }
    println!("  {IDLE} idle actors ended in {:?}", watch.elapsed());
    let (left, alive) = (system.process_count(), ALIVE.load(Ordering::Relaxed));
    ensure!(left == 0 && alive == 0, "{left} processes and {alive} states are left");
    println!("  in order, nothing left");
    Ok(resident)
}

/// Starts the tree; returns its root and the supervisors below it.
async fn grow(system: &System) -> anyhow::Result<(Pid, Vec<Pid>)> {
    let branch = |number: u64| {
        let start = |starter: Starter| starter.spawn::<DynamicSupervisor<Leaf>>(DynamicSpec::default());
        ChildSpec::new(format!("branch {number}"), start).is_supervisor()
    };
    let spec = (0..BRANCHES).map(branch).fold(SupervisorSpec::one_for_one(), SupervisorSpec::child);
    let root = start::<Supervisor>(system.spawn(spec).await)?;
    let mut branches = Vec::new();
    for child in root.which_children().await? {
        let tiebeam_actor::ChildState::Running(supervisor) = child.state else {
            anyhow::bail!("{child:?} doesn't run")
        };
        let branch: Addr<DynamicSupervisor<Leaf>> = system.addr(supervisor);
        for _ in 0..LEAVES {
            branch.start_child((system.clone(), supervisor)).await?;
        }
        branches.push(supervisor);
    }
    Ok((root.pid(), branches))
}

fn start<A: Actor>(started: Result<Addr<A>, ExitReason>) -> anyhow::Result<Addr<A>> {
    started.map_err(|reason| anyhow::anyhow!("an actor did not start: {reason}"))
}

impl Actor for Idle {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Ok(Self)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Actor for Leaf {
    type Args = (System, Pid);

    async fn init((system, supervisor): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Ok(Self { system, supervisor })
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        if !self.system.is_alive(self.supervisor) {
            OUT_OF_ORDER.fetch_add(1, Ordering::Relaxed);
        }
    }
}
