//! Tags: what another node may send.

use std::sync::Arc;

use tiebeam::{Addr, AddrOf, CallError, NoConnection, NodeId, RemoteSignal, ReplyTo, Room, Router, System};

use crate::system;

/// One way of a connection that never fails.
struct Way {
    from: NodeId,
    to: System,
}

impl Router for Way {
    fn route(&self, _: NodeId, signal: RemoteSignal) -> Result<Option<Room>, NoConnection> {
        self.to.deliver(self.from, signal);
        Ok(None)
    }
}

#[derive(Default)]
struct Shop {
    sold: Vec<String>,
}

#[tiebeam::actor(protocols(Stock))]
impl Shop {
    fn init() -> Self {
        Self::default()
    }

    #[call(tag = 1)]
    fn sell(&mut self, article: String, count: u64) -> Result<usize, String> {
        if count == 0 {
            return Err(format!("no {article}"));
        }
        self.sold.push(article);
        Ok(self.sold.len())
    }

    #[cast(tag = 2)]
    fn forget(&mut self) {
        self.sold.clear();
    }

    #[call(deferred, tag = 3)]
    fn count(&self, reply_to: ReplyTo<usize>) {
        reply_to.send(self.sold.len());
    }

    #[call]
    fn local(&self) -> usize {
        self.sold.len()
    }
}

#[tiebeam::protocol]
trait Stock {
    #[call(tag = 1000)]
    fn left(&self, article: String) -> u64;
    #[cast(tag = 1001)]
    fn order(&self, article: String);
    #[call]
    fn audit(&self) -> bool;
}

#[tiebeam::protocol]
impl Stock for Shop {
    #[call]
    fn left(&self, article: String) -> u64 {
        self.sold.iter().filter(|sold| **sold == article).count() as u64
    }

    #[cast]
    fn order(&mut self, article: String) {
        self.sold.push(article);
    }

    #[call]
    fn audit(&self) -> bool {
        true
    }
}

/// Starts a shop on one node and returns its address as another node has it.
async fn shop() -> Addr<Shop> {
    let (near, far) = (system(1), system(2));
    near.install_router(Arc::new(Way { from: near.node(), to: far.clone() }));
    far.install_router(Arc::new(Way { from: far.node(), to: near.clone() }));
    let shop = far.spawn::<Shop>(()).await.unwrap();
    let addr = near.addr(shop.pid());
    assert!(!addr.is_local());
    addr
}

#[tokio::test(start_paused = true)]
async fn tagged_messages_reach_other_nodes() {
    let shop = shop().await;
    assert_eq!(shop.sell("pen".into(), 1).await, Ok(Ok(1)));
    assert_eq!(shop.sell("ink".into(), 0).await, Ok(Err("no ink".into())));
    assert_eq!(shop.count().await, Ok(1));
    shop.forget().await;
    assert_eq!(shop.count().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn message_without_a_tag_stays_on_its_node() {
    let shop = shop().await;
    assert_eq!(shop.local().await, Err(CallError::Incompatible));
    assert_eq!(shop.audit().await, Err(CallError::Incompatible));
}

#[tokio::test(start_paused = true)]
async fn protocol_reaches_other_nodes() {
    let stock: AddrOf<dyn Stock> = shop().await.into();
    stock.order("pen".into()).await;
    stock.try_order("pen".into()).unwrap();
    assert_eq!(stock.left("pen".into()).await, Ok(2));
}
