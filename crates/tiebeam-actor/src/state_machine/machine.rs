use std::collections::BTreeMap;
use std::fmt;

use super::engine::{Change, Engine, Step};
use super::transition::{Entry, Next, Timeout, Transition};
use super::{Event, StateMachine};
use crate::scheduler::yield_now;
use crate::{Actor, Addr, CallError, Ctx, Deferred, ExitReason, Handler, Info, ReplyTo, TimerId};

/// The actor that runs a [`StateMachine`]. Messages of the machine's type can be called and cast.
///
/// A machine that is to end returns [`Transition::stop`]; after [`Ctx::stop`] it would first handle what it inserted and
/// what is due again. Tags of [`Ctx::send_after`] above [`i64::MAX`] are the machine's own.
pub struct Machine<M: StateMachine> {
    data: M,
    engine: Engine<M::State, Event<M>, M::Timer>,
    timers: Timers<M::Timer>,
}

/// What can be seen of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineStatus<S, T> {
    /// Its state.
    pub state: S,
    /// How many events are postponed.
    pub postponed: u64,
    /// The timeouts that run, in order.
    pub timeouts: Vec<Timeout<T>>,
}

struct Status;

impl<M: StateMachine> Addr<Machine<M>> {
    /// Looks at the machine, between two events. It is no event: no timeout ends by it.
    ///
    /// # Errors
    /// As a call.
    pub async fn status(&self) -> Result<MachineStatus<M::State, M::Timer>, CallError> {
        self.call(Status).await
    }
}

/// Timers of the actor, by their timeouts.
struct Timers<T> {
    running: BTreeMap<Timeout<T>, (TimerId, u64)>,
    tags: BTreeMap<u64, Timeout<T>>,
    tag: u64,
}

/// Tags of machines begin above those that people choose.
const TAG_MIN: u64 = 1 << 63;

/// How many events of its own a machine handles before others get their turn.
const SLICE_MAX: u32 = 64;

impl<T: Ord + Clone> Timers<T> {
    const fn new() -> Self {
        Self { running: BTreeMap::new(), tags: BTreeMap::new(), tag: TAG_MIN }
    }

    fn apply<M: StateMachine<Timer = T>>(&mut self, change: Change<T>, ctx: &mut Ctx<Machine<M>>) {
        let (timeout, after) = match change {
            Change::Start(timeout, after) => (timeout, Some(after)),
            Change::Cancel(timeout) => (timeout, None),
        };
        if let Some((timer, tag)) = self.running.remove(&timeout) {
            ctx.cancel_timer(timer);
            self.tags.remove(&tag);
        }
        if let Some(after) = after {
            self.tag += 1;
            let timer = ctx.send_after(after, self.tag);
            self.tags.insert(self.tag, timeout.clone());
            self.running.insert(timeout, (timer, self.tag));
        }
    }

    /// Returns which timeout came with this tag; none if it is nobody's.
    fn fired(&mut self, tag: u64) -> Option<Timeout<T>> {
        let timeout = self.tags.remove(&tag)?;
        self.running.remove(&timeout);
        Some(timeout)
    }
}

impl<M: StateMachine> Machine<M> {
    /// Handles an event, and all that are due before the next that arrives.
    async fn run(&mut self, event: Event<M>, ctx: &mut Ctx<Self>) {
        let mut next = Some(event);
        let mut handled = 0;
        while let Some(event) = next {
            let transition = self.data.handle(self.engine.state(), event, ctx).await;
            if let Err(reason) = self.transit(transition, ctx).await {
                return ctx.stop(reason);
            }
            next = self.engine.next();
            handled += 1;
            // A machine that always inserts another event would never hear of an exit.
            if handled >= SLICE_MAX {
                handled = 0;
                yield_now().await;
            }
        }
    }

    /// # Errors
    /// The reason to stop.
    async fn transit(&mut self, transition: Transition<M>, ctx: &mut Ctx<Self>) -> Result<(), ExitReason> {
        let Transition { next, postponed, inserted, mut timeouts } = transition;
        let (next, is_entered) = match next {
            Next::Keep => (None, false),
            Next::Repeat => (None, true),
            Next::State(state) => {
                let changes = state != *self.engine.state();
                (Some(state), changes)
            }
            Next::Stop(reason) => return Err(reason),
        };
        if is_entered {
            let old = self.engine.state();
            let entry = self.data.enter(old, next.as_ref().unwrap_or(old), ctx).await;
            timeouts.extend(entered(entry)?);
        }
        self.step(Step { next, postponed, inserted, timeouts }, ctx);
        Ok(())
    }

    fn step(&mut self, step: Step<M::State, Event<M>, M::Timer>, ctx: &mut Ctx<Self>) {
        for change in self.engine.step(step) {
            self.timers.apply(change, ctx);
        }
    }
}

/// # Errors
/// The reason to stop.
fn entered<M: StateMachine>(entry: Entry<M>) -> Result<super::transition::Timeouts<M::Timer>, ExitReason> {
    match entry.stop {
        Some(reason) => Err(reason),
        None => Ok(entry.timeouts),
    }
}

impl<M: StateMachine> Actor for Machine<M> {
    type Args = M::Args;

    async fn init(args: M::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let (data, state) = M::init(args, ctx).await?;
        let mut machine = Self { data, engine: Engine::new(state, M::EVENTS_MAX as usize), timers: Timers::new() };
        let state = machine.engine.state();
        let timeouts = entered(machine.data.enter(state, state, ctx).await)?;
        machine.step(Step { next: None, postponed: None, inserted: Vec::new(), timeouts }, ctx);
        if let Some(event) = machine.engine.next() {
            machine.run(event, ctx).await;
        }
        Ok(machine)
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        let timeout = match info {
            Info::Timer(tag) => self.timers.fired(tag),
            _ => None,
        };
        let event = match timeout {
            Some(timeout) => {
                self.engine.fired(&timeout);
                Event::Timeout(timeout)
            }
            None => Event::Info(info),
        };
        self.run(event, ctx).await;
    }

    async fn terminate(&mut self, reason: &ExitReason, ctx: &mut Ctx<Self>) {
        self.data.terminate(reason, self.engine.state(), ctx).await;
    }

    fn format_status(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl<M: StateMachine> Deferred<M::Message> for Machine<M> {
    type Reply = M::Reply;

    async fn handle_call(&mut self, message: M::Message, reply_to: ReplyTo<M::Reply>, ctx: &mut Ctx<Self>) {
        self.run(Event::Message(message, reply_to), ctx).await;
    }
}

impl<M: StateMachine> Handler<Status> for Machine<M> {
    type Reply = MachineStatus<M::State, M::Timer>;

    async fn handle(&mut self, _: Status, _: &mut Ctx<Self>) -> Self::Reply {
        let (state, postponed) = (self.engine.state().clone(), self.engine.postponed() as u64);
        MachineStatus { state, postponed, timeouts: self.engine.running().iter().cloned().collect() }
    }
}

impl<M: StateMachine> fmt::Debug for Machine<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, postponed) = (self.engine.state(), self.engine.postponed());
        f.debug_struct("Machine").field("state", state).field("postponed", &postponed).finish_non_exhaustive()
    }
}
