//! Event managers: one process tells events to handlers that come and go.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use futures::channel::oneshot;
use tiebeam::event_manager::{EventHandler, HandlerCall, HandlerExit, Next, Removal};
use tiebeam::{Addr, Ctx, EventManager, ExitReason, Handler, Incarnation, NodeId, System};

struct Alarm {
    place: &'static str,
    degrees: i32,
}

type Alarms = Addr<EventManager<Alarm>>;

/// Keeps the highest temperature.
struct Highest(i32);

impl EventHandler<Alarm> for Highest {
    async fn handle_event(&mut self, alarm: &Alarm) -> Next {
        self.0 = self.0.max(alarm.degrees);
        Next::Keep
    }
}

/// What it can be asked for, and by whom it is answered: the handler, between two events.
struct Read;

impl HandlerCall<Alarm, Read> for Highest {
    type Reply = i32;

    async fn handle_call(&mut self, _: Read) -> i32 {
        self.0
    }
}

/// Prints so many lines and no more.
struct Printer {
    lines_left: u64,
}

impl EventHandler<Alarm> for Printer {
    async fn handle_event(&mut self, alarm: &Alarm) -> Next {
        println!("  {}: {} degrees", alarm.place, alarm.degrees);
        self.lines_left -= 1;
        if self.lines_left == 0 { Next::Remove } else { Next::Keep }
    }
}

/// Can't imagine a frost.
struct Naive;

impl EventHandler<Alarm> for Naive {
    async fn handle_event(&mut self, alarm: &Alarm) -> Next {
        assert!(alarm.degrees >= 0, "it never freezes in {}", alarm.place);
        Next::Keep
    }
}

/// Owns a handler, and says when that is gone.
struct Guard {
    tell: Option<oneshot::Sender<HandlerExit>>,
}

#[tiebeam::actor]
impl Guard {
    async fn init(args: (Alarms, oneshot::Sender<HandlerExit>), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let (alarms, tell) = args;
        let added = alarms.add_sup_handler(&ctx.addr(), "naive", Naive).await;
        added.map(|()| Self { tell: Some(tell) }).map_err(|error| ExitReason::Other(error.to_string()))
    }
}

/// A message whose type is given is handled beside the block.
impl Handler<HandlerExit> for Guard {
    type Reply = ();

    async fn handle(&mut self, exit: HandlerExit, _: &mut Ctx<Self>) {
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(exit);
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let alarms: Alarms = system.spawn::<EventManager<Alarm>>(()).await?;
    alarms.add_handler("highest", Highest(i32::MIN)).await?;
    alarms.add_handler("printer", Printer { lines_left: 2 }).await?;
    let (tell, told) = oneshot::channel();
    system.spawn::<Guard>((alarms.clone(), tell)).await?;
    // Who came last hears first.
    println!("handlers: {:?}", alarms.which_handlers().await?);

    // `notify` doesn't wait for the handlers; a handler that is asked afterwards has heard it.
    alarms.notify(Alarm { place: "boiler", degrees: 90 }).await;
    let highest = alarms.call_handler::<Highest, _>("highest", Read).await?;
    println!("highest: {highest}");
    assert_eq!(highest, 90);

    // `sync_notify` waits until all have heard. One panics, and only that one is gone; another has had enough.
    alarms.sync_notify(Alarm { place: "cellar", degrees: -4 }).await?;
    println!("handlers: {:?}", alarms.which_handlers().await?);
    let exit = told.await?;
    println!("guard lost {:?}: {:?}", exit.id, exit.reason);
    assert!(matches!(exit.reason, Removal::Crashed(ExitReason::Panic(_))));

    // A handler makes way for another, without an event between the two; and hands its state over when it goes.
    alarms.swap_handler("highest", "since noon", |old: Option<Highest>| old.unwrap_or(Highest(0))).await?;
    alarms.notify(Alarm { place: "oven", degrees: 220 }).await;
    let Highest(degrees) = alarms.delete_handler("since noon").await?;
    println!("highest since noon: {degrees}, left: {:?}", alarms.which_handlers().await?);
    assert_eq!(degrees, 220);
    Ok(())
}
