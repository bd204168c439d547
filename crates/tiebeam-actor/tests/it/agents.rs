use std::time::Duration;

use tiebeam_actor::agent::Apply;
use tiebeam_actor::{Agent, CallError, ChildSpec, ExitReason, Supervisor, SupervisorSpec};
use tiebeam_wire::NodeId;

use crate::probe::{settle, system};

/// Fails if a change is lost, or if what one sender sends is run in another order.
#[tokio::test(start_paused = true)]
async fn closures_read_and_change_the_state_in_order() {
    let agent = system(1).spawn::<Agent<Vec<u32>>>(vec![1]).await.unwrap();
    agent.update(|list| list.push(2)).await.unwrap();
    agent.cast(Apply::new(|list: &mut Vec<u32>| list.push(3))).await;
    assert_eq!(agent.get(|list| list.len()).await, Ok(3));
    assert_eq!(agent.get_and_update(std::mem::take).await, Ok(vec![1, 2, 3]));
    assert_eq!(agent.get(Vec::clone).timeout(Duration::from_secs(1)).await, Ok(vec![]));
}

#[tokio::test(start_paused = true)]
async fn closure_that_panics_ends_the_agent() {
    let agent = system(1).spawn::<Agent<u32>>(1).await.unwrap();
    let crashed = agent.update(|_| std::panic::resume_unwind(Box::new("no"))).await;
    assert_eq!(crashed, Err(CallError::Exit(ExitReason::Panic("no".into()))));
    assert_eq!(agent.get(|n| *n).await, Err(CallError::NoProc));
}

#[tokio::test(start_paused = true)]
async fn supervised_agent_begins_anew_under_its_name() {
    let system = system(1);
    let child = ChildSpec::new("hits", |starter| starter.named("hits").spawn::<Agent<u32>>(7));
    system.spawn::<Supervisor>(SupervisorSpec::one_for_one().child(child)).await.unwrap();
    let hits = system.named::<Agent<u32>>(NodeId(1), "hits");
    assert_eq!(hits.call(Apply::new(|n: &mut u32| std::mem::replace(n, 8))).await, Ok(7));
    system.exit(system.whereis("hits").unwrap(), ExitReason::Kill);
    settle().await;
    assert_eq!(hits.call(Apply::new(|n: &mut u32| *n)).await, Ok(7));
}
