//! The supervisor against a naive model of `supervisor.erl`, over random lives of its children.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tiebeam_actor::{
    Actor, Addr, ChildSpec, ChildState, Ctx, ExitReason, Restart, Strategy as Restarts, Supervisor, SupervisorSpec,
};
use tokio::runtime::Builder;

use crate::probe::{settle, system};

const LIMIT: usize = 3;
const PERIOD: u64 = 5;

type Diary = Arc<Mutex<Vec<String>>>;

struct Worker(usize, Diary);

impl Actor for Worker {
    type Args = (usize, Diary);

    async fn init((number, diary): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        diary.lock().unwrap().push(format!("+{number}"));
        Ok(Self(number, diary))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(format!("-{}", self.0));
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The how-manieth running child ends, and whether in an abnormal way.
    End(usize, bool),
    Pass(u64),
}

struct Model {
    strategy: Restarts,
    children: Vec<(usize, Restart, bool)>,
    now: u64,
    restarts: Vec<u64>,
    is_alive: bool,
    diary: Vec<String>,
}

impl Model {
    fn stop(&mut self, index: usize) {
        if std::mem::take(&mut self.children[index].2) {
            self.diary.push(format!("-{}", self.children[index].0));
        }
    }

    fn start(&mut self, index: usize) {
        if !std::mem::replace(&mut self.children[index].2, true) {
            self.diary.push(format!("+{}", self.children[index].0));
        }
    }

    fn end(&mut self, index: usize, is_abnormal: bool) {
        self.stop(index);
        match (self.children[index].1, is_abnormal) {
            (Restart::Temporary, _) => drop(self.children.remove(index)),
            (Restart::Transient, false) => {}
            (Restart::Permanent | Restart::Transient, _) => self.restart(index),
        }
    }

    fn restart(&mut self, index: usize) {
        let recent = self.restarts.iter().filter(|then| self.now - **then <= PERIOD).count();
        if recent >= LIMIT {
            (0..self.children.len()).rev().for_each(|index| self.stop(index));
            self.is_alive = false;
            return;
        }
        self.restarts.push(self.now);
        let concerned: Vec<_> = match self.strategy {
            Restarts::OneForOne => vec![self.children[index].0],
            Restarts::OneForAll => self.children.iter().map(|child| child.0).collect(),
            Restarts::RestForOne => self.children[index..].iter().map(|child| child.0).collect(),
        };
        for index in (0..self.children.len()).rev() {
            if concerned.contains(&self.children[index].0) {
                self.stop(index);
            }
        }
        self.children.retain(|child| child.1 != Restart::Temporary || !concerned.contains(&child.0));
        for index in 0..self.children.len() {
            if concerned.contains(&self.children[index].0) {
                self.start(index);
            }
        }
    }

    /// Returns the index of the how-manieth running child.
    fn running(&self, choice: usize) -> Option<usize> {
        let running: Vec<_> = (0..self.children.len()).filter(|index| self.children[*index].2).collect();
        (!running.is_empty()).then(|| running[choice % running.len()])
    }
}

async fn end(system: &tiebeam_actor::System, supervisor: &Addr<Supervisor>, number: usize, is_abnormal: bool) {
    let children = supervisor.which_children().await.unwrap();
    let child = children.iter().find(|child| child.id == number.to_string()).unwrap();
    let ChildState::Running(pid) = child.state else { panic!("{child:?} does not run") };
    if is_abnormal {
        system.exit(pid, ExitReason::Kill);
    } else {
        let _ = system.addr::<Worker>(pid).stop(ExitReason::Normal).await;
    }
    settle().await;
}

async fn check(strategy: Restarts, kinds: Vec<Restart>, steps: Vec<Step>) {
    let (system, diary) = (system(1), Diary::default());
    let mut spec = SupervisorSpec::new(strategy).intensity(LIMIT as u32, Duration::from_secs(PERIOD));
    for (number, kind) in kinds.iter().enumerate() {
        let child = ChildSpec::actor::<Worker>(number.to_string(), (number, Arc::clone(&diary)));
        spec = spec.child(match kind {
            Restart::Permanent => child.permanent(),
            Restart::Transient => child.transient(),
            Restart::Temporary => child.temporary(),
        });
    }
    let supervisor = system.spawn::<Supervisor>(spec).await.unwrap();
    let children = kinds.into_iter().enumerate().map(|(number, kind)| (number, kind, false)).collect();
    let mut model = Model { strategy, children, now: 0, restarts: vec![], is_alive: true, diary: vec![] };
    (0..model.children.len()).for_each(|index| model.start(index));
    for step in steps {
        match step {
            Step::Pass(secs) => {
                tiebeam_world::sleep(Duration::from_secs(secs)).await;
                model.now += secs;
            }
            Step::End(choice, is_abnormal) => {
                let Some(index) = model.running(choice) else { continue };
                let number = model.children[index].0;
                end(&system, &supervisor, number, is_abnormal).await;
                model.end(index, is_abnormal);
            }
        }
        assert_eq!(*diary.lock().unwrap(), model.diary);
        assert_eq!(system.is_alive(supervisor.pid()), model.is_alive);
        if !model.is_alive {
            return;
        }
    }
}

fn scenario() -> impl Strategy<Value = (Restarts, Vec<Restart>, Vec<Step>)> {
    let strategy = prop::sample::select(vec![Restarts::OneForOne, Restarts::OneForAll, Restarts::RestForOne]);
    let kind = prop::sample::select(vec![Restart::Permanent, Restart::Transient, Restart::Temporary]);
    let end = (0..6_usize, any::<bool>()).prop_map(|(choice, is_abnormal)| Step::End(choice, is_abnormal));
    // Never exactly the period together: each end takes some virtual milliseconds, the model's take none.
    let step = prop_oneof![3 => end, 1 => prop::sample::select(vec![2_u64, 4, 7]).prop_map(Step::Pass)];
    (strategy, prop::collection::vec(kind, 1..6), prop::collection::vec(step, 0..25))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Fails if the order of stops and starts, the fate of a restart type, the reach of a strategy or the window of the
    /// intensity differs from the model's.
    #[test]
    fn supervisor_does_what_the_naive_model_does((strategy, kinds, steps) in scenario()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(strategy, kinds, steps));
    }
}
