//! The process under test: does what the driver says and tells what it hears.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam_actor::{Actor, CallError, Ctx, Deferred, ExitReason, Handler, Info, Pid, Ref, ReplyTo};

use tokio::sync::Notify;

use super::{reason, text};

pub(super) const NAMES: [&str; 3] = ["n0", "n1", "n2"];

/// Longer than any scenario.
const FOREVER: Duration = Duration::from_secs(1_000_000);

pub(super) type Events = Arc<Mutex<Vec<Event>>>;

pub(super) struct Event {
    pub(super) who: Pid,
    pub(super) source: Pid,
    pub(super) what: What,
}

pub(super) enum What {
    Spawned(String, Pid),
    Calling,
    /// Waits until it is notified.
    Paused(Arc<Notify>),
    Called(String),
    Text(String),
}

pub(super) enum Target {
    Pid(Pid),
    Name(String),
}

pub(super) enum Act {
    Send(Target, u32),
    Link(Pid),
    Unlink(Pid),
    Monitor(Pid, String),
    Demonitor(String),
    Exit(Pid, ExitReason),
    ExitSelf(ExitReason),
    End(ExitReason),
    Linger(ExitReason),
    Crash,
    Trap(bool),
    Answer,
    Wait,
    Call { to: Target, is_there: bool, kind: Vec<String> },
}

pub(super) struct Acts(pub(super) Vec<Act>);

pub(super) struct SpawnChild {
    pub(super) label: String,
    pub(super) traps: bool,
    pub(super) is_slow: bool,
}

struct Note {
    number: u32,
    from: Pid,
}

struct Ask(Vec<String>);

pub(super) struct Probe {
    events: Events,
    monitors: BTreeMap<String, Ref>,
    callers: Vec<ReplyTo<()>>,
    lingers: bool,
}

/// Fails to start.
pub(super) struct Faulty;

pub(super) fn tell(events: &Events, who: Pid, source: Pid, what: What) {
    events.lock().unwrap().push(Event { who, source, what });
}

/// Panics without a word on stderr.
fn crash() -> ! {
    std::panic::resume_unwind(Box::new("boom"))
}

impl Actor for Faulty {
    type Args = String;

    async fn init(why: String, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if why == "boom" { crash() } else { Err(reason(&why)) }
    }
}

impl Probe {
    fn tell(&self, source: Pid, text: impl Into<String>, ctx: &Ctx<Self>) {
        tell(&self.events, ctx.pid(), source, What::Text(text.into()));
    }

    fn crash(&self, ctx: &Ctx<Self>) -> ! {
        self.tell(ctx.pid(), "crashing", ctx);
        crash()
    }

    async fn perform(&mut self, act: Act, ctx: &mut Ctx<Self>) {
        match act {
            // Whether it arrives is not known to a sender; a mailbox is never full here.
            Act::Send(to, number) => drop(send(&to, number, ctx)),
            Act::Link(pid) => ctx.link(pid),
            Act::Unlink(pid) => ctx.unlink(pid),
            Act::Monitor(pid, label) => drop(self.monitors.insert(label, ctx.monitor(pid))),
            Act::Demonitor(label) => {
                if let Some(monitor) = self.monitors.get(&label) {
                    ctx.demonitor(*monitor);
                }
            }
            Act::Exit(pid, why) => ctx.exit(pid, why),
            Act::ExitSelf(why) => ctx.exit(ctx.pid(), why),
            Act::End(why) => ctx.stop(why),
            Act::Linger(why) => {
                self.lingers = true;
                ctx.stop(why);
            }
            Act::Crash => self.crash(ctx),
            Act::Trap(true) => ctx.trap_exit(),
            Act::Trap(false) => ctx.untrap_exit(),
            Act::Answer => self.callers.drain(..).for_each(|caller| caller.send(())),
            Act::Wait => {
                pause(&self.events, ctx).await;
            }
            Act::Call { to, is_there, kind } => {
                if is_there {
                    tell(&self.events, ctx.pid(), ctx.pid(), What::Calling);
                }
                let result = call(&to, kind, ctx).await;
                tell(&self.events, ctx.pid(), ctx.pid(), What::Called(result));
            }
        }
    }
}

async fn pause(events: &Events, ctx: &Ctx<Probe>) {
    let pause = Arc::new(Notify::new());
    tell(events, ctx.pid(), ctx.pid(), What::Paused(Arc::clone(&pause)));
    pause.notified().await;
}

fn send(to: &Target, number: u32, ctx: &Ctx<Probe>) -> Result<(), CallError> {
    let (system, note) = (ctx.system(), Note { number, from: ctx.pid() });
    match to {
        Target::Pid(pid) => system.addr::<Probe>(*pid).try_cast(note),
        Target::Name(name) => system.named::<Probe>(system.node(), name).try_cast(note),
    }
}

async fn call(to: &Target, kind: Vec<String>, ctx: &Ctx<Probe>) -> String {
    let system = ctx.system();
    let limit = if kind[0] == "never" { Duration::from_millis(5) } else { FOREVER };
    let answer = match to {
        Target::Pid(pid) => system.addr::<Probe>(*pid).call(Ask(kind)).timeout(limit).await,
        Target::Name(name) => system.named::<Probe>(system.node(), name).call(Ask(kind)).timeout(limit).await,
    };
    match answer {
        Ok(()) => "ok".to_owned(),
        Err(CallError::Timeout) => "timeout".to_owned(),
        // OTP can't tell the two apart.
        Err(CallError::NoProc | CallError::Exit(ExitReason::NoProc)) => "noproc".to_owned(),
        Err(CallError::Exit(why)) => format!("ended {}", text(&why)),
        Err(error) => format!("{error:?}"),
    }
}

impl Actor for Probe {
    /// Whether it traps exits, and its label if it waits in `init`.
    type Args = (Events, bool, Option<String>);

    async fn init((events, traps, slow): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        if traps {
            ctx.trap_exit();
        }
        if let Some(label) = slow {
            tell(&events, ctx.pid(), ctx.pid(), What::Spawned(label, ctx.pid()));
            pause(&events, ctx).await;
        }
        Ok(Self { events, monitors: BTreeMap::new(), callers: Vec::new(), lingers: false })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        match info {
            Info::Down { monitor, pid, reason } => {
                let label = self.monitors.iter().find(|(_, known)| **known == monitor);
                let label = label.map_or("unknown", |(label, _)| label);
                let held: Vec<_> = NAMES.iter().filter(|name| ctx.system().whereis(name) == Some(pid)).collect();
                let reason = text(&reason);
                self.tell(pid, format!("down {label} {reason} held {held:?}"), ctx);
            }
            Info::Exit { from, reason } => self.tell(from, format!("exit {}", text(&reason)), ctx),
            other => self.tell(ctx.pid(), format!("junk {other:?}"), ctx),
        }
    }

    async fn terminate(&mut self, why: &ExitReason, ctx: &mut Ctx<Self>) {
        self.tell(ctx.pid(), format!("terminate {}", text(why)), ctx);
        // Cleaning up may wait, and what waits for the actor's end must wait with it.
        tokio::task::yield_now().await;
        if self.lingers {
            pause(&self.events, ctx).await;
        }
    }
}

impl Handler<Acts> for Probe {
    type Reply = ();

    async fn handle(&mut self, Acts(acts): Acts, ctx: &mut Ctx<Self>) {
        for act in acts {
            self.perform(act, ctx).await;
        }
    }
}

impl Handler<SpawnChild> for Probe {
    type Reply = ();

    async fn handle(&mut self, SpawnChild { label, traps, is_slow }: SpawnChild, ctx: &mut Ctx<Self>) {
        let events = Arc::clone(&self.events);
        if !is_slow {
            let child = ctx.spawn_link::<Self>((events, traps, None)).await.unwrap();
            return tell(&self.events, ctx.pid(), ctx.pid(), What::Spawned(label, child.pid()));
        }
        tell(&events, ctx.pid(), ctx.pid(), What::Calling);
        let started = ctx.spawn_link::<Self>((events, traps, Some(label))).await;
        let result = started.map_or_else(|why| format!("failed {}", text(&why)), |_| "started".to_owned());
        tell(&self.events, ctx.pid(), ctx.pid(), What::Called(result));
    }
}

impl Handler<Note> for Probe {
    type Reply = ();

    async fn handle(&mut self, Note { number, from }: Note, ctx: &mut Ctx<Self>) {
        self.tell(from, format!("message {number}"), ctx);
    }
}

impl Deferred<Ask> for Probe {
    type Reply = ();

    async fn handle_call(&mut self, Ask(kind): Ask, reply_to: ReplyTo<()>, ctx: &mut Ctx<Self>) {
        let words: Vec<_> = kind.iter().map(String::as_str).collect();
        match words[..] {
            ["reply"] => reply_to.send(()),
            ["defer" | "never"] => self.callers.push(reply_to),
            ["crash"] => self.crash(ctx),
            // Dropped without an answer while the actor is about to end: the caller hears of the end.
            ["end", why] => ctx.stop(reason(why)),
            ["keep", why] => {
                self.callers.push(reply_to);
                ctx.stop(reason(why));
            }
            ["last", why] => {
                reply_to.send(());
                ctx.stop(reason(why));
            }
            ref words => panic!("no such call: {words:?}"),
        }
    }
}
