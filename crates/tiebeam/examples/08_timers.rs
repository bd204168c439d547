//! Timers: messages to oneself, in time.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use tiebeam::{Ctx, ExitReason, Incarnation, Info, NodeId, ReplyTo, System, TimerId};

/// Keeps values for a while, and says every now and then how many.
struct Cache {
    entries: Vec<(u64, String, TimerId)>,
    entries_made: u64,
    ticks: u64,
    waiting: Option<ReplyTo<u64>>,
}

const LIFE: Duration = Duration::from_millis(30);
const TICK: Duration = Duration::from_millis(10);
/// The tag of the tick; other tags are entries.
const TICK_TAG: u64 = 0;

#[tiebeam::actor]
impl Cache {
    fn init(ctx: &mut Ctx<Self>) -> Self {
        ctx.send_after(TICK, TICK_TAG);
        Self { entries: Vec::new(), entries_made: 0, ticks: 0, waiting: None }
    }

    #[call]
    fn put(&mut self, value: String, ctx: &mut Ctx<Self>) -> u64 {
        self.entries_made += 1;
        let timer = ctx.send_after(LIFE, self.entries_made);
        self.entries.push((self.entries_made, value, timer));
        self.entries_made
    }

    #[call]
    fn take(&mut self, key: u64, ctx: &mut Ctx<Self>) -> Option<String> {
        let at = self.entries.iter().position(|(entry, ..)| *entry == key)?;
        let (_, value, timer) = self.entries.swap_remove(at);
        // A cancelled timer is never told, not even if it went off already and waits in the mailbox.
        println!("cancelled in time: {}", ctx.cancel_timer(timer));
        Some(value)
    }

    /// Answers when nothing is left; returns how often the clock ticked until then.
    #[call(deferred)]
    fn emptied(&mut self, reply_to: ReplyTo<u64>) {
        self.waiting = Some(reply_to);
    }

    #[info]
    fn hear(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        match info {
            Info::Timer(TICK_TAG) => {
                self.ticks += 1;
                println!("tick {}: {} entries", self.ticks, self.entries.len());
                // A timer goes off once; what shall repeat is set again.
                ctx.send_after(TICK, TICK_TAG);
            }
            Info::Timer(key) => {
                println!("entry {key} is too old");
                self.entries.retain(|(entry, ..)| *entry != key);
            }
            _ => {}
        }
        if self.entries.is_empty()
            && let Some(reply_to) = self.waiting.take()
        {
            reply_to.send(self.ticks);
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let cache = system.spawn::<Cache>(()).await?;
    let (apple, pear) = (cache.put("apple".into()).await?, cache.put("pear".into()).await?);
    println!("entries {apple} and {pear}");
    println!("took {:?}", cache.take(apple).await?);
    let ticks = cache.emptied().await?;
    println!("empty after {ticks} ticks, {pear} is gone: {:?}", cache.take(pear).await?);
    // Timers end with their actor.
    cache.stop(ExitReason::Normal).await?;
    Ok(())
}
