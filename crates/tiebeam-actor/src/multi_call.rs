use std::time::Duration;

use futures::future::join_all;

use crate::actor::Dispatch;
use crate::{Call, CallError};

/// What came of many calls, in the order in which they were given; each call is in one of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiCall<K, R> {
    /// Who answered, and what.
    pub replies: Vec<(K, R)>,
    /// Who didn't, and why.
    pub failures: Vec<(K, CallError)>,
}

/// Makes all of `calls` at the same time and waits until each is answered or has failed, at most for `timeout` together.
///
/// Each call comes with whatever its result is to be known by. There are as many calls under way as are given, and each
/// takes a place in its callee's mailbox. Dropping the future gives all of them up. Callees hear in no order.
///
/// ```
/// # use std::time::Duration;
/// # use tiebeam_actor::{Addr, Agent, MultiCall, multi_call};
/// # async fn example(agents: &[Addr<Agent<u64>>]) {
/// let asked = agents.iter().map(|agent| (agent.pid(), agent.get(|state| *state)));
/// let MultiCall { replies, failures } = multi_call(asked, Duration::from_secs(1)).await;
/// # }
/// ```
///
/// Further reading: `gen_server:multi_call/4` of OTP.
pub async fn multi_call<'a, K, A, M, Mode>(
    calls: impl IntoIterator<Item = (K, Call<'a, A, M, Mode>)>,
    timeout: Duration,
) -> MultiCall<K, A::Answer>
where
    A: Dispatch<M, Mode>,
    M: Send + 'static,
    Mode: 'static,
{
    let asked = calls.into_iter().map(|(key, call)| async { (key, call.timeout(timeout).await) });
    let mut gathered = MultiCall { replies: Vec::new(), failures: Vec::new() };
    for (key, result) in join_all(asked).await {
        match result {
            Ok(reply) => gathered.replies.push((key, reply)),
            Err(error) => gathered.failures.push((key, error)),
        }
    }
    gathered
}
