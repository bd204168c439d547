use std::sync::Arc;

use tiebeam::{AddrOf, BoxCall, BoxCast, Ctx, Incarnation, NodeId, ReplyTo, System};

#[tiebeam::protocol]
trait Ledger {
    #[call(tag = 1000)]
    fn balance(&self, account: u64) -> u64;
    #[call]
    fn audit(&self) -> String;
    #[cast]
    fn note(&self, text: String);
}

struct Bank {
    notes: Vec<String>,
}

#[tiebeam::actor(protocols(Ledger))]
impl Bank {
    fn init() -> Self {
        Self { notes: Vec::new() }
    }
    #[call]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

#[tiebeam::protocol]
impl Ledger for Bank {
    #[call]
    fn balance(&mut self, account: u64, _ctx: &mut Ctx<Self>) -> u64 {
        account + 1
    }
    #[call(deferred)]
    async fn audit(&mut self, reply_to: ReplyTo<String>) {
        reply_to.send("fine".into())
    }
    #[cast]
    async fn note(&mut self, text: String) {
        self.notes.push(text)
    }
}

struct Fixed(u64);
impl Ledger for Fixed {
    fn balance(&self, _: u64) -> BoxCall<u64> {
        BoxCall::ready(Ok(self.0))
    }
    fn audit(&self) -> BoxCall<String> {
        BoxCall::ready(Err(tiebeam::CallError::NoProc))
    }
    fn note(&self, _: String) -> BoxCast<'_> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn serves() {
    let system = System::new(NodeId(1), Incarnation(1));
    let bank = system.spawn::<Bank>(()).await.unwrap();
    let ledger: AddrOf<dyn Ledger> = bank.clone().into();
    assert_eq!(ledger.balance(2).await, Ok(3));
    assert_eq!(ledger.audit().await, Ok("fine".into()));
    ledger.note("a".into()).await;
    ledger.try_note("b".into()).unwrap();
    assert_eq!(bank.notes().await.unwrap(), ["a", "b"]);
    assert_eq!(bank.balance(2).await, Ok(3));
    let double = AddrOf::<dyn Ledger>::new(Arc::new(Fixed(7)));
    assert_eq!(double.balance(2).await, Ok(7));
}
