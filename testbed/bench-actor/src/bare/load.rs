use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use super::{sleep, spawn};
use crate::shape::{FLOOD_MESSAGES, FLOODERS, next_seed};
use crate::watch::{Ticks, bytes_each, resident_bytes};

pub(super) async fn idle_bytes(count: u64) -> anyhow::Result<f64> {
    let (driver, mut inbox) = mpsc::unbounded_channel();
    let before = resident_bytes()?;
    let mut mailboxes = Vec::with_capacity(count as usize);
    for state in 0..count {
        let (mailbox, mut messages) = mpsc::unbounded_channel::<u64>();
        let driver = driver.clone();
        spawn(async move {
            let mut state = state;
            let _ = driver.send(());
            drop(driver);
            while let Some(message) = messages.recv().await {
                state = message;
            }
            std::hint::black_box(state);
        });
        inbox.recv().await.context("a task is gone")?;
        mailboxes.push(mailbox);
    }
    bytes_each(before, count, size_of::<mpsc::UnboundedSender<u64>>())
}

pub(super) async fn ticker(count: u64) -> anyhow::Result<f64> {
    let channels = || mpsc::unbounded_channel::<u64>();
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..FLOODERS).map(|_| channels()).unzip();
    let mailboxes: Arc<[_]> = mailboxes.into();
    for mut messages in inboxes {
        let others = Arc::clone(&mailboxes);
        spawn(async move {
            while let Some(seed) = messages.recv().await {
                let seed = next_seed(seed);
                let _ = others[(seed % FLOODERS) as usize].send(seed);
            }
        });
    }
    for (seed, mailbox) in (1..).zip(mailboxes.iter()) {
        for message in 0..FLOOD_MESSAGES {
            mailbox.send(seed * FLOOD_MESSAGES + message)?;
        }
    }
    let mut ticks = Ticks::new(count);
    loop {
        sleep(ticks.delay()).await;
        if ticks.tick() {
            return Ok(ticks.p99_us());
        }
    }
}
