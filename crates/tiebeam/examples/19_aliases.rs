//! Aliases: addresses that an actor can take back, and one whose messages go first.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::future::IntoFuture;

use tiebeam::{Alias, CallError, Ctx, Incarnation, NodeId, ReplyTo, System};

/// Offers a job to many, and takes the first bid.
#[derive(Default)]
struct Broker {
    bids: Vec<String>,
    auction: Option<(Alias<Self>, ReplyTo<String>)>,
}

#[tiebeam::actor]
impl Broker {
    fn init() -> Self {
        Self::default()
    }

    /// Returns the address that bids go to, as long as they are wanted.
    #[call]
    fn open(&self, ctx: &mut Ctx<Self>) -> Alias<Self> {
        ctx.alias()
    }

    #[call(deferred)]
    fn first(&mut self, alias: Alias<Self>, reply_to: ReplyTo<String>) {
        self.auction = Some((alias, reply_to));
    }

    #[cast]
    fn bid(&mut self, who: String) {
        self.bids.push(who.clone());
        if let Some((alias, reply_to)) = self.auction.take() {
            // From here on no bid is handled, not even one that waits already: there is nothing to check in this handler.
            alias.deactivate();
            reply_to.send(who);
        }
    }

    #[call]
    fn bids(&self) -> Vec<String> {
        self.bids.clone()
    }

    /// Returns an address that goes before all others. For those who say little, and whose word can't wait.
    #[call]
    fn hotline(&self, ctx: &mut Ctx<Self>) -> Alias<Self> {
        ctx.priority_alias()
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));
    let broker = system.spawn::<Broker>(()).await?;

    // The first bid counts. The others are in the mailbox by then, and are dropped there.
    let bids = broker.open().await?;
    let (first, sent) = futures::join!(broker.first(bids.clone()).into_future(), async {
        // Held meanwhile, so that all three wait when it goes on.
        system.suspend(broker.pid()).await?;
        ["Joe", "Mike", "Robert"].into_iter().try_for_each(|who| bids.try_cast(BrokerBid(who.into())))?;
        system.resume(broker.pid()).await
    });
    sent?;
    println!("first: {}", first?);
    let handled = broker.bids().await?;
    println!("handled: {handled:?}, dropped: {:?}", system.process_info(broker.pid()).map(|info| info.dropped));
    assert_eq!(handled, ["Joe"]);

    // Who comes later is told, as if the actor were gone. All clones of the alias are taken back with it.
    let late = bids.try_cast(BrokerBid("Bjarne".into()));
    println!("late: {late:?}, active: {}", bids.is_active());
    assert_eq!(late, Err(CallError::NoProc));
    // The actor itself is there, under its address.
    broker.bid("Ada".into()).await;
    assert_eq!(broker.bids().await?, ["Joe", "Ada"]);

    // Messages by way of a priority alias pass those that wait, and keep their own order.
    let hotline = broker.hotline().await?;
    system.suspend(broker.pid()).await?;
    broker.try_bid("patient".into())?;
    hotline.try_cast(BrokerBid("fire".into()))?;
    broker.try_bid("patient too".into())?;
    hotline.try_cast(BrokerBid("flood".into()))?;
    system.resume(broker.pid()).await?;
    let order = broker.bids().await?.split_off(2);
    println!("in this order: {order:?}");
    assert_eq!(order, ["fire", "flood", "patient", "patient too"]);
    Ok(())
}
