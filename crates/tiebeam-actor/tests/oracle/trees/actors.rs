//! Workers, the one who hears of every start and end, and the root's parent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tiebeam_actor::{
    Actor, Addr, CallError, Ctx, DynamicSpec, DynamicSupervisor, ExitReason, Handler, Info, Pid, Starter, Supervisor,
    SupervisorSpec,
};

use crate::processes::text;

/// What the recorder knows.
#[derive(Default)]
pub(super) struct Book {
    pub(super) log: Vec<String>,
    /// What the root's parent heard of its end.
    pub(super) heard: Vec<ExitReason>,
    /// How many starts of a label will fail, and how.
    pub(super) failing: BTreeMap<String, (u32, String)>,
    pub(super) current: BTreeMap<String, Pid>,
    /// The last of each label, whether it lives or not.
    pub(super) last: BTreeMap<String, Pid>,
    lives: BTreeMap<String, u32>,
    names: BTreeMap<Pid, String>,
}

impl Book {
    pub(super) fn name(&self, pid: Pid) -> String {
        self.names.get(&pid).map_or("unknown", String::as_str).to_owned()
    }
}

/// One process that hears of every start and end, so that their order is known.
pub(super) struct Recorder(Arc<Mutex<Book>>);

struct Starting(String);

struct Up(String, Pid);

struct Terminating(Pid, ExitReason);

impl Actor for Recorder {
    type Args = Arc<Mutex<Book>>;

    async fn init(book: Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(book))
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        let Info::Down { pid, reason, .. } = info else { return };
        let mut book = self.0.lock().unwrap();
        let line = format!("down {} {}", book.name(pid), text(&reason));
        book.log.push(line);
        book.current.retain(|_, other| *other != pid);
    }
}

impl Handler<Starting> for Recorder {
    type Reply = ();

    async fn handle(&mut self, Starting(id): Starting, _: &mut Ctx<Self>) {
        self.0.lock().unwrap().log.push(format!("starting {id}"));
    }
}

impl Handler<Up> for Recorder {
    /// How the start is to fail.
    type Reply = Option<String>;

    async fn handle(&mut self, Up(id, pid): Up, ctx: &mut Ctx<Self>) -> Option<String> {
        let mut book = self.0.lock().unwrap();
        if let Some((times, how)) = book.failing.get_mut(&id).filter(|(times, _)| *times > 0) {
            *times -= 1;
            let how = how.clone();
            book.log.push(format!("fails {id}"));
            return Some(how);
        }
        let life = book.lives.entry(id.clone()).or_default();
        *life += 1;
        let name = format!("{id}.{life}");
        book.log.push(format!("up {name}"));
        book.names.insert(pid, name);
        book.last.insert(id.clone(), pid);
        book.current.insert(id, pid);
        ctx.monitor(pid);
        None
    }
}

impl Handler<Terminating> for Recorder {
    type Reply = ();

    async fn handle(&mut self, Terminating(pid, why): Terminating, _: &mut Ctx<Self>) {
        let mut book = self.0.lock().unwrap();
        let line = format!("terminate {} {}", book.name(pid), text(&why));
        book.log.push(line);
    }
}

pub(super) async fn start_supervisor<S: Actor>(
    starter: Starter,
    id: String,
    spec: S::Args,
    recorder: Addr<Recorder>,
) -> Result<Pid, ExitReason> {
    recorder.call(Starting(id.clone())).await.unwrap();
    let supervisor = starter.spawn::<S>(spec).await?.pid();
    let fails = recorder.call(Up(id, supervisor)).await.unwrap();
    assert_eq!(fails, None, "only workers are made to fail");
    Ok(supervisor)
}

#[derive(Clone)]
pub(super) enum Root {
    Tree(SupervisorSpec),
    Crowd(DynamicSpec),
}

/// The root's parent.
pub(super) struct Keeper {
    book: Arc<Mutex<Book>>,
    recorder: Addr<Recorder>,
    root: Option<Pid>,
}

pub(super) struct Start(pub(super) Root);

pub(super) struct Leave(pub(super) ExitReason);

impl Actor for Keeper {
    type Args = (Arc<Mutex<Book>>, Addr<Recorder>);

    async fn init((book, recorder): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.trap_exit();
        Ok(Self { book, recorder, root: None })
    }

    async fn info(&mut self, info: Info, _: &mut Ctx<Self>) {
        if let Info::Exit { reason, .. } = info {
            self.book.lock().unwrap().heard.push(reason);
        }
    }
}

impl Handler<Start> for Keeper {
    type Reply = Result<(), ExitReason>;

    async fn handle(&mut self, Start(root): Start, ctx: &mut Ctx<Self>) -> Self::Reply {
        let (id, recorder) = ("s0".to_owned(), self.recorder.clone());
        let root = match root {
            Root::Tree(spec) => start_supervisor::<Supervisor>(ctx.starter(), id, spec, recorder).await?,
            Root::Crowd(spec) => {
                start_supervisor::<DynamicSupervisor<Worker>>(ctx.starter(), id, spec, recorder).await?
            }
        };
        self.root = Some(root);
        Ok(())
    }
}

impl Handler<Leave> for Keeper {
    type Reply = ();

    async fn handle(&mut self, Leave(why): Leave, ctx: &mut Ctx<Self>) {
        ctx.exit(self.root.unwrap(), why);
    }
}

pub(super) struct Worker {
    is_stuck: bool,
    recorder: Addr<Recorder>,
}

pub(super) struct End(pub(super) ExitReason);

pub(super) struct Crash;

/// Panics without a word on stderr.
fn crash() -> ! {
    std::panic::resume_unwind(Box::new("boom"))
}

impl Actor for Worker {
    type Args = (String, bool, bool, Addr<Recorder>);

    async fn init((id, traps, is_stuck, recorder): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if traps {
            ctx.trap_exit();
        }
        match recorder.call(Up(id, ctx.pid())).await.unwrap().as_deref() {
            None => Ok(Self { is_stuck, recorder }),
            Some("crash") => crash(),
            Some("ignore") => Err(ExitReason::Ignore),
            Some(_) => Err(ExitReason::Other("not yet".to_owned())),
        }
    }

    async fn terminate(&mut self, why: &ExitReason, ctx: &mut Ctx<Self>) {
        let told: Result<(), CallError> = self.recorder.call(Terminating(ctx.pid(), why.clone())).await;
        told.unwrap();
        if self.is_stuck {
            std::future::pending::<()>().await;
        }
    }
}

impl Handler<End> for Worker {
    type Reply = ();

    async fn handle(&mut self, End(why): End, ctx: &mut Ctx<Self>) {
        // A child is stuck only when its supervisor stops it: else nobody would end it.
        self.is_stuck = false;
        ctx.stop(why);
    }
}

impl Handler<Crash> for Worker {
    type Reply = ();

    async fn handle(&mut self, _: Crash, _: &mut Ctx<Self>) {
        crash();
    }
}
