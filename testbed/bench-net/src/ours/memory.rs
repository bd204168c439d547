use std::time::Duration;

use super::watcher::{Tie, Watchers};
use super::{Pair, SECOND};
use crate::watch::resident_bytes;

/// Counts what this node grows by for each connection. The nodes at the other ends also connect to each other, in a
/// process of their own.
pub(super) async fn of_connections(pair: &Pair, count: u64) -> anyhow::Result<f64> {
    settle().await;
    let before = resident_bytes(std::process::id())?;
    let _others = pair.first.join(SECOND + 1..=SECOND + count).await?;
    settle().await;
    let after = resident_bytes(std::process::id())?;
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

pub(super) async fn of_monitors(pair: &Pair, count: u64) -> anyhow::Result<f64> {
    of_ties(pair, Tie::Monitor, count).await
}

pub(super) async fn of_links(pair: &Pair, count: u64) -> anyhow::Result<f64> {
    of_ties(pair, Tie::Link, count).await
}

async fn of_ties(pair: &Pair, tie: Tie, count: u64) -> anyhow::Result<f64> {
    let watchers = Watchers::start(pair, count).await?;
    // The same traffic as with ties, so that what it needs is there before.
    watchers.tie(Tie::None).await?;
    let before = resident_of_both(pair)?;
    watchers.tie(tie).await?;
    Ok(resident_of_both(pair)?.saturating_sub(before) as f64 / count as f64)
}

fn resident_of_both(pair: &Pair) -> anyhow::Result<u64> {
    Ok(resident_bytes(std::process::id())? + resident_bytes(pair.second.process())?)
}

/// Lets gossip find everybody and buffers of the handshakes be freed.
async fn settle() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark runs on real time")]
    tokio::time::sleep(Duration::from_secs(2)).await;
}
