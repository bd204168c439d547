use std::time::Duration;

use bytes::Bytes;

use super::call::{TimedCalls, caller};
use super::{Pair, WORK_TIMEOUT, cast};
use crate::shape::FLOOD_LEAD_MS;
use crate::watch::p99_us;

pub(super) async fn idle(pair: &Pair, count: u64) -> anyhow::Result<f64> {
    let caller = caller(pair).await?;
    Ok(p99_us(caller.call(TimedCalls(count)).timeout(WORK_TIMEOUT).await??))
}

pub(super) async fn in_flood(pair: &Pair, body: Bytes, count: u64) -> anyhow::Result<f64> {
    let caller = caller(pair).await?;
    let (sender, flood) = cast::flow(pair, body, ENDLESS).await?;
    sender.cast(flood).await;
    #[expect(clippy::disallowed_methods, reason = "a benchmark runs on real time")]
    tokio::time::sleep(Duration::from_millis(FLOOD_LEAD_MS)).await;
    Ok(p99_us(caller.call(TimedCalls(count)).timeout(WORK_TIMEOUT).await??))
}

/// Messages of a flood: more than can be sent while it is measured.
const ENDLESS: u64 = 1_000_000_000;
