use std::time::Duration;

use tiebeam_actor::{Agent, CallError, ExitReason, MultiCall, multi_call};
use tiebeam_world::now;

use crate::probe::{Note, probe, system};

/// Fails if one that doesn't answer spoils the answers of others, or if calls are made one after the other.
#[tokio::test(start_paused = true)]
async fn answers_and_failures_come_apart() {
    let system = system(1);
    let (quick, slow, slower, dead) =
        (probe(&system).await, probe(&system).await, probe(&system).await, probe(&system).await);
    let (_never, _ever) = (slow.block().await, slower.block().await);
    dead.addr.stop(ExitReason::Normal).await.unwrap();
    let began = now();
    let asked = [&slow, &quick, &dead, &slower].map(|ear| (ear.addr.pid(), ear.addr.call(Note(1))));
    let MultiCall { replies, failures } = multi_call(asked, Duration::from_secs(2)).await;
    assert_eq!(replies, [(quick.addr.pid(), ())]);
    let late = CallError::Timeout;
    let (slow, slower) = ((slow.addr.pid(), late.clone()), (slower.addr.pid(), late));
    assert_eq!(failures, [slow, (dead.addr.pid(), CallError::NoProc), slower]);
    assert_eq!(now().since(began).as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn hundreds_answer_in_the_order_of_the_calls() {
    let system = system(1);
    let mut agents = Vec::new();
    for number in 0..300_u32 {
        agents.push(system.spawn::<Agent<u32>>(number).await.unwrap());
    }
    let asked = agents.iter().enumerate().map(|(index, agent)| (index, agent.get(|number| *number)));
    let answers = multi_call(asked, Duration::from_secs(1)).await;
    let expected: Vec<_> = (0..300_u32).map(|number| (number as usize, number)).collect();
    assert_eq!(answers, MultiCall { replies: expected, failures: Vec::new() });
}
