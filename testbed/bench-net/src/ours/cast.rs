//! One sender, one receiver. What is on its way beyond twice what a mailbox holds is refused, and a lane that is full ends the
//! connection; so the sender goes on only as the receiver acknowledges.

use anyhow::Context;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Addr, Ctx, Deferred, ExitReason, Handler, Pid, ReplyTo, Table};

use super::stage::Act;
use super::{Pair, WORK_TIMEOUT, start};
use crate::watch::{self, Watch};

/// Sends batch after batch.
pub(super) struct Sender(Option<Run>);

struct Run {
    receiver: Addr<Receiver>,
    body: Bytes,
    batch: u64,
    count: u64,
    sent: u64,
    reply_to: ReplyTo<()>,
}

/// Answered when the receiver has confirmed all.
pub(super) struct Burst {
    receiver: Addr<Receiver>,
    body: Bytes,
    batch: u64,
    count: u64,
}

/// How many messages the receiver has got.
#[derive(Debug, Serialize, Deserialize)]
struct Got(u64);

/// Counts what it gets.
pub(super) struct Receiver {
    sender: Addr<Sender>,
    batch: u64,
    got: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Load {
    body: Bytes,
}

pub(super) async fn us_each(pair: &Pair, body: Bytes, count: u64) -> anyhow::Result<f64> {
    let (sender, burst) = flow(pair, body, count).await?;
    let watch = Watch::start();
    sender.call(burst).timeout(WORK_TIMEOUT).await?;
    Ok(watch::us_each(watch.elapsed(), count))
}

pub(super) async fn megabytes_per_s(pair: &Pair, body: Bytes, count: u64) -> anyhow::Result<f64> {
    let bytes = body.len() as f64;
    Ok(bytes / us_each(pair, body, count).await?)
}

/// Starts a sender and its receiver; returns what makes the sender send.
pub(super) async fn flow(pair: &Pair, body: Bytes, count: u64) -> anyhow::Result<(Addr<Sender>, Burst)> {
    let batch = if body.len() < LARGE_BYTES { SMALL_BATCH } else { LARGE_BATCH };
    anyhow::ensure!(count.is_multiple_of(batch), "{count} messages are not whole batches of {batch}");
    let sender = start::<Sender>(pair.system(), ()).await?;
    let mailbox_messages_max = u32::try_from(batch * BATCHES)?;
    let pids = pair.act(Act::Receiver { sender: sender.pid(), batch, mailbox_messages_max }).await?;
    let receiver = pair.system().addr(*pids.first().context("no receiver was started")?);
    Ok((sender, Burst { receiver, body, batch, count }))
}

impl Run {
    async fn send_batch(&mut self) {
        let batch = self.batch.min(self.count - self.sent);
        for _ in 0..batch {
            self.receiver.cast(Load { body: self.body.clone() }).await;
        }
        self.sent += batch;
    }
}

impl Actor for Sender {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(None))
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Got>(1)
    }
}

impl Deferred<Burst> for Sender {
    type Reply = ();

    async fn handle_call(&mut self, burst: Burst, reply_to: ReplyTo<()>, _: &mut Ctx<Self>) {
        let Burst { receiver, body, batch, count } = burst;
        let run = self.0.insert(Run { receiver, body, batch, count, sent: 0, reply_to });
        for _ in 0..BATCHES {
            run.send_batch().await;
        }
    }
}

impl Handler<Got> for Sender {
    type Reply = ();

    async fn handle(&mut self, Got(count): Got, _: &mut Ctx<Self>) {
        let Some(mut run) = self.0.take() else { return };
        if count == run.count {
            return run.reply_to.send(());
        }
        run.send_batch().await;
        self.0 = Some(run);
    }
}

impl Actor for Receiver {
    type Args = (Pid, u64);

    async fn init((sender, batch): (Pid, u64), ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { sender: ctx.system().addr(sender), batch, got: 0 })
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Load>(1)
    }
}

impl Handler<Load> for Receiver {
    type Reply = ();

    async fn handle(&mut self, load: Load, _: &mut Ctx<Self>) {
        assert!(!load.body.is_empty(), "a message arrived without its body");
        self.got += 1;
        if self.got.is_multiple_of(self.batch) {
            self.sender.cast(Got(self.got)).await;
        }
    }
}

/// Batches that may be unacknowledged.
const BATCHES: u64 = 8;
const SMALL_BATCH: u64 = 1_000;
const LARGE_BATCH: u64 = 20;
const LARGE_BYTES: usize = 4096;
