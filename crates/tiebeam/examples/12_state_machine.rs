//! State machines: what an event does depends on the state, and what doesn't fit now waits.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::future::IntoFuture;
use std::time::Duration;

use tiebeam::state_machine::{Entry, Event, Timeout, Transition};
use tiebeam::{Ctx, ExitReason, Incarnation, Machine, NodeId, StateMachine, System};

/// A telephone line that dials when somebody has something to say. What all states share is in here.
struct Line {
    patience: Duration,
    said: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Down,
    Dialling,
    Up,
    /// Nobody answered, so that it says no for a while.
    Resting,
}

enum Message {
    Say(&'static str),
    Answered,
}

type Said = Result<String, &'static str>;

impl StateMachine for Line {
    type Args = Duration;
    type State = State;
    type Message = Message;
    type Reply = Said;
    /// Names timeouts that outlive a state; there are none.
    type Timer = ();

    async fn init(patience: Duration, _: &mut Ctx<Machine<Self>>) -> Result<(Self, State), ExitReason> {
        Ok((Self { patience, said: 0 }, State::Down))
    }

    /// Runs whenever the state becomes another one, so what belongs to a state stands in one place.
    async fn enter(&mut self, old: &State, new: &State, _: &mut Ctx<Machine<Self>>) -> Entry<Self> {
        println!("  {old:?} -> {new:?}");
        match new {
            // Ends by itself when the state does.
            State::Dialling | State::Resting => Entry::new().timeout(Timeout::State, self.patience),
            State::Down | State::Up => Entry::new(),
        }
    }

    async fn handle(&mut self, state: &State, event: Event<Self>, _: &mut Ctx<Machine<Self>>) -> Transition<Self> {
        match (state, event) {
            // Postponed events come again, the oldest first, when the state has changed.
            (State::Down, event @ Event::Message(Message::Say(_), _)) => {
                Transition::next_state(State::Dialling).postpone(event)
            }
            (State::Dialling, event @ Event::Message(Message::Say(_), _)) => Transition::keep_state().postpone(event),
            (State::Dialling, Event::Message(Message::Answered, _)) => Transition::next_state(State::Up),
            (State::Dialling, Event::Timeout(Timeout::State)) => Transition::next_state(State::Resting),
            (State::Up, Event::Message(Message::Say(words), reply_to)) => {
                self.said += 1;
                Transition::keep_state().reply(reply_to, Ok(format!("{words} ({})", self.said)))
            }
            (State::Resting, Event::Message(Message::Say(_), reply_to)) => {
                Transition::keep_state().reply(reply_to, Err("nobody answers"))
            }
            (State::Resting, Event::Timeout(Timeout::State)) => Transition::next_state(State::Down),
            (_, Event::Message(Message::Answered, _) | Event::Timeout(_) | Event::Internal(_) | Event::Info(_)) => {
                Transition::keep_state()
            }
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // A machine is an actor: it is spawned, called, cast and supervised like any other.
    let line = system.spawn::<Machine<Line>>(Duration::from_secs(5)).await?;
    let answer = async {
        // Looking at a machine is no event: no timeout ends by it.
        while line.status().await?.postponed < 2 {
            tokio::task::yield_now().await;
        }
        println!("dialling: {:?}", line.status().await?);
        line.cast(Message::Answered).await;
        Ok::<_, Box<dyn Error>>(())
    };
    let (hello, world, answered) = futures::join!(
        line.call(Message::Say("hello")).into_future(),
        line.call(Message::Say("world")).into_future(),
        answer,
    );
    answered?;
    let said = (hello??, world??);
    println!("both waited for the line, and kept their order: {said:?}");
    assert_eq!(said, ("hello (1)".to_owned(), "world (2)".to_owned()));

    // Nobody answers this one. Its timeout changes the state, and what was postponed is refused there.
    let line = system.spawn::<Machine<Line>>(Duration::from_millis(10)).await?;
    let refused = line.call(Message::Say("anybody?")).await?;
    println!("on a dead line: {refused:?}");
    assert_eq!(refused, Err("nobody answers"));
    line.stop(ExitReason::Normal).await?;
    Ok(())
}
