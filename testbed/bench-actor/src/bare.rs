//! The shapes on bare tokio: a task per actor, an unbounded channel as mailbox, a oneshot for each reply.

mod load;

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::{mpsc, oneshot};

use crate::shape::{RING, Shape};
use crate::watch::{Watch, ns_each};

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    match shape {
        Shape::CallRtt => call_rtt(count).await,
        Shape::Cast1to1 | Shape::Cast8to1 => cast_to_one(shape.senders(), count).await,
        Shape::Pairs100 => pairs(shape.senders(), count).await,
        Shape::SpawnStop => spawn_and_stop(count).await,
        Shape::Ring1000 => ring(count).await,
        Shape::Skynet1m => skynet(count).await,
        Shape::IdleBytes => load::idle_bytes(count).await,
        Shape::TickerP99 => load::ticker(count).await,
        Shape::Restart => anyhow::bail!("tokio restarts nothing"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the peer is tokio as its users write it")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

#[expect(clippy::disallowed_methods, reason = "the peer is tokio as its users write it")]
async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

enum Request {
    Get(oneshot::Sender<u64>),
    Inc,
}

fn server(mut state: u64) -> mpsc::UnboundedSender<Request> {
    let (mailbox, mut requests) = mpsc::unbounded_channel();
    spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Get(reply_to) => drop(reply_to.send(state)),
                Request::Inc => state += 1,
            }
        }
    });
    mailbox
}

async fn get(server: &mpsc::UnboundedSender<Request>) -> anyhow::Result<u64> {
    let (reply_to, reply) = oneshot::channel();
    server.send(Request::Get(reply_to))?;
    Ok(reply.await?)
}

async fn call_rtt(count: u64) -> anyhow::Result<f64> {
    let server = server(7);
    let watch = Watch::start();
    for _ in 0..count {
        ensure!(get(&server).await? == 7, "the server answered with another state");
    }
    Ok(ns_each(watch.elapsed(), count))
}

async fn cast_to_one(senders: u64, count: u64) -> anyhow::Result<f64> {
    let (server, each) = (server(0), count / senders);
    let (driver, mut inbox) = mpsc::unbounded_channel();
    let watch = Watch::start();
    for _ in 0..senders {
        let (server, driver) = (server.clone(), driver.clone());
        spawn(async move {
            for _ in 0..each {
                let _ = server.send(Request::Inc);
            }
            let _ = driver.send(());
        });
    }
    for _ in 0..senders {
        inbox.recv().await.context("a sender is gone")?;
    }
    let counted = get(&server).await?;
    ensure!(counted == each * senders, "{counted} of {count} messages were counted");
    Ok(ns_each(watch.elapsed(), counted))
}

async fn pairs(pairs: u64, count: u64) -> anyhow::Result<f64> {
    let each = count / pairs;
    let (driver, mut inbox) = mpsc::unbounded_channel();
    let watch = Watch::start();
    let mut mailboxes = Vec::new();
    for _ in 0..pairs {
        let (mailbox, mut items) = mpsc::unbounded_channel::<u64>();
        let driver = driver.clone();
        spawn(async move {
            for _ in 0..each {
                let _ = items.recv().await;
            }
            let _ = driver.send(());
        });
        mailboxes.push(mailbox);
    }
    for mailbox in mailboxes {
        spawn(async move {
            for _ in 0..each {
                let _ = mailbox.send(1);
            }
        });
    }
    for _ in 0..pairs {
        inbox.recv().await.context("a receiver is gone")?;
    }
    Ok(ns_each(watch.elapsed(), each * pairs))
}

async fn spawn_and_stop(count: u64) -> anyhow::Result<f64> {
    let (parent, mut inbox) = mpsc::unbounded_channel();
    let watch = Watch::start();
    for _ in 0..count {
        // It has a mailbox as any actor, though nobody writes to it.
        let (mailbox, messages) = mpsc::unbounded_channel::<u64>();
        let parent = parent.clone();
        spawn(async move {
            let _messages = messages;
            let _ = parent.send(());
        });
        inbox.recv().await.context("it said nothing")?;
        drop(mailbox);
    }
    Ok(ns_each(watch.elapsed(), count))
}

async fn ring(hops: u64) -> anyhow::Result<f64> {
    let (head, mut inbox) = mpsc::unbounded_channel::<i64>();
    let mut next = head;
    for _ in 0..RING {
        let (mailbox, mut tokens) = mpsc::unbounded_channel::<i64>();
        spawn(async move {
            while let Some(left) = tokens.recv().await {
                let _ = next.send(left - 1);
            }
        });
        next = mailbox;
    }
    let watch = Watch::start();
    next.send(hops.cast_signed())?;
    loop {
        let left = inbox.recv().await.context("the ring is broken")?;
        if left <= 0 {
            return Ok(ns_each(watch.elapsed(), hops));
        }
        next.send(left - 1)?;
    }
}

async fn skynet(leaves: u64) -> anyhow::Result<f64> {
    let (root, mut inbox) = mpsc::unbounded_channel();
    let watch = Watch::start();
    spawn(node(0, leaves, root));
    let sum = inbox.recv().await.context("the tree is broken")?;
    ensure!(sum == leaves * (leaves - 1) / 2, "the leaves add up to {sum}");
    Ok(watch.elapsed().as_secs_f64() * 1e3)
}

/// Sends up its number, if it is a leaf, or else the sum of its ten children.
async fn node(first: u64, leaves: u64, parent: mpsc::UnboundedSender<u64>) {
    const CHILDREN: u64 = 10;
    let (mailbox, mut sums) = mpsc::unbounded_channel();
    if leaves == 1 {
        let _ = parent.send(first);
        return;
    }
    let each = leaves / CHILDREN;
    for child in 0..CHILDREN {
        spawn(boxed_node(first + child * each, each, mailbox.clone()));
    }
    let mut sum = 0;
    for _ in 0..CHILDREN {
        sum += sums.recv().await.unwrap_or_default();
    }
    let _ = parent.send(sum);
}

/// A future can't hold itself.
fn boxed_node(
    first: u64,
    leaves: u64,
    parent: mpsc::UnboundedSender<u64>,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(node(first, leaves, parent))
}
