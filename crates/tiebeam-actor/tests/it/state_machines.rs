use std::time::Duration;

use tiebeam_actor::state_machine::{Entry, Event, Timeout, Transition};
use tiebeam_actor::{Addr, CallError, Ctx, ExitReason, Info, Machine, Pid, StateMachine, System};
use tiebeam_world::{now, sleep};
use tokio::sync::mpsc;

use crate::probe::{probe, settle, system};

const SECOND: Duration = Duration::from_secs(1);

/// A door with a code, which locks itself, and before which people queue.
struct Door {
    typed: Vec<u32>,
    wrong: u32,
    heard: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Locked,
    Open,
    Barred,
}

enum Message {
    Digit(u32),
    /// Answered when the door is open, with how often it was tried in vain.
    Enter,
    Heard,
    Watch(Pid),
    Break,
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Entered(u32),
    Heard(Vec<&'static str>),
}

impl StateMachine for Door {
    type Args = ();
    type State = State;
    type Message = Message;
    type Reply = Reply;
    type Timer = &'static str;

    const EVENTS_MAX: u32 = 4;

    async fn init((): (), _: &mut Ctx<Machine<Self>>) -> Result<(Self, State), ExitReason> {
        Ok((Self { typed: Vec::new(), wrong: 0, heard: Vec::new() }, State::Locked))
    }

    async fn enter(&mut self, _: &State, new: &State, _: &mut Ctx<Machine<Self>>) -> Entry<Self> {
        self.typed.clear();
        match new {
            State::Open => Entry::new().timeout(Timeout::State, 10 * SECOND),
            State::Barred => Entry::new().timeout(Timeout::Named("unbar"), 60 * SECOND),
            State::Locked => Entry::new(),
        }
    }

    async fn handle(&mut self, state: &State, event: Event<Self>, ctx: &mut Ctx<Machine<Self>>) -> Transition<Self> {
        match (state, event) {
            (_, Event::Message(Message::Heard, reply_to)) => {
                let heard = std::mem::take(&mut self.heard);
                Transition::keep_state().reply(reply_to, Reply::Heard(heard))
            }
            (_, Event::Message(Message::Break, _)) => Transition::stop(ExitReason::Other("broken".into())),
            (_, Event::Message(Message::Watch(pid), _)) => {
                ctx.monitor(pid);
                ctx.send_after(SECOND, 7);
                Transition::keep_state()
            }
            (_, Event::Info(info)) => {
                self.heard.push(if matches!(info, Info::Timer(7)) { "timer" } else { "down" });
                Transition::keep_state()
            }
            (State::Locked, Event::Message(Message::Digit(digit), _)) => {
                self.typed.push(digit);
                let typing = Transition::keep_state().timeout(Timeout::Event, 3 * SECOND);
                if self.typed.len() == 2 { typing.next_event(Event::Internal(Message::Digit(0))) } else { typing }
            }
            (State::Locked, Event::Internal(_)) if self.typed == [4, 2] => Transition::next_state(State::Open),
            (State::Locked, Event::Internal(_)) => {
                self.wrong += 1;
                if self.wrong == 2 { Transition::next_state(State::Barred) } else { Transition::repeat_state() }
            }
            (State::Locked, Event::Timeout(Timeout::Event)) => {
                self.heard.push("too slow");
                Transition::repeat_state()
            }
            (State::Open, Event::Message(Message::Enter, reply_to)) => {
                Transition::keep_state().reply(reply_to, Reply::Entered(self.wrong))
            }
            (State::Locked, event @ Event::Message(Message::Enter, _)) => Transition::keep_state().postpone(event),
            (State::Open, Event::Timeout(Timeout::State)) | (_, Event::Timeout(Timeout::Named("unbar"))) => {
                Transition::next_state(State::Locked)
            }
            (_, _) => Transition::keep_state(),
        }
    }
}

async fn door() -> (System, Addr<Machine<Door>>) {
    let system = system(1);
    let door = system.spawn::<Machine<Door>>(()).await.unwrap();
    (system, door)
}

async fn heard(door: &Addr<Machine<Door>>) -> Vec<&'static str> {
    match door.call(Message::Heard).await.unwrap() {
        Reply::Heard(heard) => heard,
        Reply::Entered(_) => panic!("nobody entered"),
    }
}

/// Fails if a postponed call is lost, or answered before the state has changed.
#[tokio::test(start_paused = true)]
async fn postponed_calls_are_answered_when_the_state_has_changed() {
    let (system, door) = door().await;
    let (first, second, ()) =
        futures::join!(door.call(Message::Enter).into_future(), door.call(Message::Enter).into_future(), async {
            settle().await;
            assert_eq!(door.status().await.unwrap().postponed, 2);
            let seen = system.status_text(door.pid()).await.unwrap().unwrap();
            assert!(seen.contains("Locked") && seen.contains("postponed: 2"), "{seen}");
            for digit in [1, 2, 4, 2] {
                door.cast(Message::Digit(digit)).await;
            }
        });
    assert_eq!((first, second), (Ok(Reply::Entered(1)), Ok(Reply::Entered(1))));
    let status = door.status().await.unwrap();
    assert_eq!((status.state, status.postponed, status.timeouts), (State::Open, 0, vec![Timeout::State]));
}

/// Fails if a timeout of the state comes in another state, or if one of the event survives an event.
#[tokio::test(start_paused = true)]
async fn timeouts_end_with_what_they_belong_to() {
    let (_system, door) = door().await;
    door.cast(Message::Digit(4)).await;
    sleep(2 * SECOND).await;
    door.cast(Message::Digit(2)).await;
    settle().await;
    let status = door.status().await.unwrap();
    assert_eq!((status.state, status.timeouts), (State::Open, vec![Timeout::State]));
    sleep(10 * SECOND).await;
    assert_eq!(door.status().await.unwrap().state, State::Locked);
    assert_eq!(heard(&door).await, [] as [&str; 0]);

    door.cast(Message::Digit(4)).await;
    sleep(4 * SECOND).await;
    assert_eq!(heard(&door).await, ["too slow"]);
}

#[tokio::test(start_paused = true)]
async fn named_timeout_outlives_events() {
    let (_system, door) = door().await;
    let began = now();
    for digit in [1, 1, 1, 1] {
        door.cast(Message::Digit(digit)).await;
    }
    settle().await;
    assert_eq!(door.status().await.unwrap().timeouts, [Timeout::Named("unbar")]);
    while door.status().await.unwrap().state == State::Barred {
        door.cast(Message::Digit(9)).await;
        sleep(SECOND).await;
    }
    assert_eq!(now().since(began).as_secs(), 60);
    assert_eq!(door.status().await.unwrap().timeouts, []);
}

#[tokio::test(start_paused = true)]
async fn machine_hears_of_deaths_and_of_timers_that_are_not_its_own() {
    let (system, door) = door().await;
    let watched = probe(&system).await;
    door.cast(Message::Watch(watched.addr.pid())).await;
    system.exit(watched.addr.pid(), ExitReason::Kill);
    sleep(2 * SECOND).await;
    assert_eq!(heard(&door).await, ["down", "timer"]);
}

/// Fails if a caller whose event is postponed waits for ever, or hears of a timeout instead of the reason.
#[tokio::test(start_paused = true)]
async fn callers_hear_why_the_machine_stopped() {
    let (system, door) = door().await;
    let (postponed, stopping) =
        futures::join!(door.call(Message::Enter).into_future(), door.call(Message::Break).into_future(),);
    let broken = CallError::Exit(ExitReason::Other("broken".into()));
    assert_eq!(postponed, Err(broken));
    assert!(stopping.is_err());
    assert!(!system.is_alive(door.pid()));
}

/// Says that it begins, then inserts an event for each that it handles, for ever.
struct Restless(mpsc::UnboundedSender<()>);

impl StateMachine for Restless {
    type Args = mpsc::UnboundedSender<()>;
    type State = ();
    type Message = ();
    type Reply = ();
    type Timer = ();

    async fn init(begins: Self::Args, _: &mut Ctx<Machine<Self>>) -> Result<(Self, ()), ExitReason> {
        Ok((Self(begins), ()))
    }

    async fn handle(&mut self, (): &(), event: Event<Self>, _: &mut Ctx<Machine<Self>>) -> Transition<Self> {
        if matches!(event, Event::Message(..)) {
            let _ = self.0.send(());
        }
        Transition::keep_state().next_event(Event::Internal(()))
    }
}

/// Would never end if the machine kept its thread for itself.
#[tokio::test(start_paused = true)]
async fn machine_that_never_rests_can_be_killed() {
    let system = system(1);
    let (begins, mut begun) = mpsc::unbounded_channel();
    let restless = system.spawn::<Machine<Restless>>(begins).await.unwrap();
    let ended = system.wait(restless.pid());
    restless.cast(()).await;
    begun.recv().await.unwrap();
    system.exit(restless.pid(), ExitReason::Kill);
    assert_eq!(ended.await, ExitReason::Killed);
}

#[tokio::test(start_paused = true)]
async fn machine_that_postpones_too_much_crashes() {
    let (system, door) = door().await;
    let ended = system.wait(door.pid());
    for _ in 0..5 {
        door.cast(Message::Enter).await;
    }
    assert!(matches!(ended.await, ExitReason::Panic(text) if text.contains("5 events") && text.contains('4')));
}
