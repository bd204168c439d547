use std::time::Duration;
use tiebeam::{Ctx, ExitReason, Incarnation, Info, NodeId, ReplyTo, System};

#[derive(Debug)]
struct Counter {
    n: u64,
}

#[tiebeam::actor]
impl Counter {
    async fn init(n: u64, _ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { n })
    }
    #[call]
    fn add(&mut self, by: u64) -> u64 {
        self.n += by;
        self.n
    }
    #[cast]
    async fn log(&mut self, line: String, ctx: &mut Ctx<Self>) {
        println!("{line} {}", ctx.pid())
    }
    #[call(deferred)]
    fn later(&mut self, key: String, reply_to: ReplyTo<u64>) {
        reply_to.send(key.len() as u64)
    }
    #[call(tag = 7)]
    fn get(&self) -> u64 {
        self.n
    }
    #[info]
    fn down(&mut self, info: Info) {
        println!("{info:?}")
    }
    fn terminate(&mut self, reason: &ExitReason) {
        println!("{reason}")
    }
}

#[tokio::test(start_paused = true)]
async fn counts() {
    let system = System::new(NodeId(1), Incarnation(1));
    let counter = system.spawn::<Counter>(0).await.unwrap();
    assert_eq!(counter.add(2).timeout(Duration::from_secs(1)).await, Ok(2));
    counter.log("hi".into()).await;
    assert_eq!(counter.later("abc".into()).await, Ok(3));
    assert_eq!(counter.get().await, Ok(2));
    counter.try_log("hi".into()).unwrap();
}
