//! Agents: state that somebody keeps, changed by closures, when an actor of one's own would be too much.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::future::IntoFuture;

use tiebeam::agent::Apply;
use tiebeam::{
    Agent, CallError, ChildSpec, ExitReason, Incarnation, NodeId, Supervisor, SupervisorSpec, System, multi_call,
};

type Hits = BTreeMap<String, u64>;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // It begins with a value. The closures go to its process and run there, one at a time.
    let hits = system.spawn::<Agent<Hits>>(Hits::new()).await?;
    hits.update(|hits| *hits.entry("/".into()).or_default() = 1).await?;
    println!("hits of /: {:?}", hits.get(|hits| hits.get("/").copied()).await?);

    // Reading and changing in one go, so that two who do the same at once get two different numbers.
    let hit = |page: &'static str| {
        hits.get_and_update(move |hits| {
            let count = hits.entry(page.to_owned()).or_default();
            *count += 1;
            *count
        })
    };
    let (one, two) = futures::join!(hit("/docs").into_future(), hit("/docs").into_future());
    let both = (one?, two?);
    println!("hits of /docs: {both:?}");
    assert_eq!(both, (1, 2));

    // A cast doesn't wait until it is done; what the same sender asks afterwards comes afterwards.
    hits.cast(Apply::new(|hits: &mut Hits| hits.clear())).await;
    let left = hits.get(|hits| hits.len()).await?;
    println!("pages after a cast that clears them: {left}");
    assert_eq!(left, 0);

    // A copy that is changed and put back loses what others did meanwhile: that is what `get_and_update` is for.
    let copy = hits.get(|hits| hits.clone()).await?;
    hits.update(|hits| *hits.entry("/".into()).or_default() = 7).await?;
    hits.update(move |hits| *hits = copy).await?;
    println!("the 7 hits are lost: {:?}", hits.get(|hits| hits.get("/").copied()).await?);

    // Under a supervisor, each life begins with the value that the spec holds.
    let clicks = ChildSpec::new("clicks", |starter| starter.named("clicks").spawn::<Agent<u64>>(100));
    let root = system.spawn::<Supervisor>(SupervisorSpec::one_for_one().child(clicks)).await?;
    let first = system.whereis("clicks").ok_or("clicks runs")?;
    let clicks = system.addr::<Agent<u64>>(first);
    clicks.update(|clicks| *clicks += 1).await?;
    // A closure that panics ends the agent, not its caller.
    let ended = clicks.update(|clicks| *clicks /= clicks.saturating_sub(101)).await;
    println!("a bad closure: {ended:?}");
    assert!(matches!(ended, Err(CallError::Exit(ExitReason::Panic(_)))));
    // A name has no `get`, but takes what `get` sends.
    let clicks = system.named::<Agent<u64>>(system.node(), "clicks");
    let again = loop {
        match clicks.call(Apply::new(|clicks: &mut u64| *clicks)).await {
            Err(error) if error.is_unhandled() => tokio::task::yield_now().await,
            answer => break answer?,
        }
    };
    println!("clicks of the next life: {again}");
    assert_eq!(again, 100);
    root.stop(ExitReason::Shutdown).await?;

    // Several are asked at the same time; who doesn't answer is named.
    let (a, b) = (system.spawn::<Agent<u64>>(1).await?, system.spawn::<Agent<u64>>(2).await?);
    b.stop(ExitReason::Normal).await?;
    let asked = [("a", a.get(|n| *n)), ("b", b.get(|n| *n))];
    let answers = multi_call(asked, tiebeam::CALL_TIMEOUT).await;
    println!("{answers:?}");
    assert_eq!(answers.replies, [("a", 1)]);
    assert_eq!(answers.failures, [("b", CallError::NoProc)]);
    Ok(())
}
