//! The shapes on bare tokio: a task per actor, an unbounded channel as mailbox, a oneshot for each reply.

use anyhow::{Context, ensure};
use tokio::sync::{mpsc, oneshot};

use crate::shape::Shape;
use crate::watch::{Watch, ns_each};

pub(crate) async fn measure(shape: Shape, count: u64) -> anyhow::Result<f64> {
    match shape {
        Shape::CallRtt => call_rtt(count).await,
        Shape::Cast1to1 | Shape::Cast8to1 => cast_to_one(shape.senders(), count).await,
        _ => anyhow::bail!("no equivalent"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the peer is tokio as its users write it")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

enum Request {
    Get(oneshot::Sender<u64>),
    Inc,
    Done(oneshot::Sender<u64>),
}

fn server(mut state: u64) -> mpsc::UnboundedSender<Request> {
    let (mailbox, mut requests) = mpsc::unbounded_channel();
    spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Get(reply_to) | Request::Done(reply_to) => drop(reply_to.send(state)),
                Request::Inc => state += 1,
            }
        }
    });
    mailbox
}

async fn call_rtt(count: u64) -> anyhow::Result<f64> {
    let server = server(7);
    let watch = Watch::start();
    for _ in 0..count {
        let (reply_to, reply) = oneshot::channel();
        server.send(Request::Get(reply_to))?;
        ensure!(reply.await? == 7, "the server answered with another state");
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
    let (reply_to, reply) = oneshot::channel();
    server.send(Request::Done(reply_to))?;
    let counted = reply.await?;
    ensure!(counted == each * senders, "{counted} of {count} messages were counted");
    Ok(ns_each(watch.elapsed(), counted))
}
