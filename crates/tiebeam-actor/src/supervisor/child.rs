use super::{ChildSpec, Restart, Shutdown};
use crate::{ExitReason, Pid, Starter, System};

/// Whether a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It runs.
    Running(Pid),
    /// Its restart failed and is tried again.
    Restarting,
    /// It ended and stays so until somebody restarts it.
    Stopped,
}

/// What a supervisor says of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id in the supervisor; a dynamic supervisor's children have their pid's text.
    pub id: String,
    /// Whether it runs.
    pub state: ChildState,
    /// When it is restarted.
    pub restart: Restart,
    /// Whether it is a supervisor itself.
    pub is_supervisor: bool,
}

/// How many children a supervisor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// All that it knows.
    pub specs: u64,
    /// Those that run.
    pub active: u64,
    /// Those that are supervisors.
    pub supervisors: u64,
    /// Those that are not.
    pub workers: u64,
}

impl ChildCounts {
    pub(super) fn of(children: &[ChildInfo]) -> Self {
        let active = children.iter().filter(|child| matches!(child.state, ChildState::Running(_))).count() as u64;
        let supervisors = children.iter().filter(|child| child.is_supervisor).count() as u64;
        let specs = children.len() as u64;
        Self { specs, active, supervisors, workers: specs - supervisors }
    }
}

pub(super) struct Child {
    pub(super) spec: ChildSpec,
    pub(super) state: ChildState,
}

impl Child {
    pub(super) const fn new(spec: ChildSpec) -> Self {
        Self { spec, state: ChildState::Stopped }
    }

    /// Starts the child unless it runs.
    pub(super) async fn start(&mut self, starter: Starter) -> Result<Pid, ExitReason> {
        if let ChildState::Running(pid) = self.state {
            return Ok(pid);
        }
        let started = (self.spec.start)(starter).await;
        self.state = started.as_ref().map_or(ChildState::Stopped, |pid| ChildState::Running(*pid));
        started
    }

    /// Stops the child if it runs, and waits for its end.
    pub(super) async fn stop(&mut self, system: &System) {
        let state = std::mem::replace(&mut self.state, ChildState::Stopped);
        if let ChildState::Running(pid) = state {
            stop(system, pid, self.spec.shutdown).await;
        }
    }

    pub(super) fn info(&self) -> ChildInfo {
        let ChildSpec { id, restart, is_supervisor, .. } = &self.spec;
        ChildInfo { id: id.clone(), state: self.state, restart: *restart, is_supervisor: *is_supervisor }
    }
}

/// Stops a child the way it is to be stopped, and waits for its end. Its exit comes to the supervisor later and means
/// nothing then.
pub(super) async fn stop(system: &System, pid: Pid, shutdown: Shutdown) {
    let ended = system.wait(pid);
    match shutdown {
        Shutdown::BrutalKill => system.exit(pid, ExitReason::Kill),
        Shutdown::Infinity => system.exit(pid, ExitReason::Shutdown),
        Shutdown::Timeout(limit) => {
            let mut ended = std::pin::pin!(ended);
            system.exit(pid, ExitReason::Shutdown);
            if tiebeam_world::timeout(limit, &mut ended).await.is_err() {
                tracing::warn!(%pid, ?limit, "child does not stop in time, killed");
                system.exit(pid, ExitReason::Kill);
                ended.await;
            }
            return;
        }
    }
    ended.await;
}
