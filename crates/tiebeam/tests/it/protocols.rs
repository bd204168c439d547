use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiebeam::{Addr, AddrOf, BoxCall, BoxCast, CallError, Ctx, ExitReason, Handler, ReplyTo};

use crate::system;

mod teller {
    /// What a bank is asked for, known to whoever asks and to no bank.
    #[tiebeam::protocol]
    pub(crate) trait Ledger {
        /// Says how much is on an account.
        #[call]
        fn balance(&self, account: u64) -> Result<u64, String>;

        /// Waits for the auditor.
        #[call]
        fn audit(&self, year: u32, strict: bool) -> String;

        /// Writes something down.
        #[cast]
        fn note(&self, text: String);
    }
}

// The trait is all that is imported: its messages are found through it.
use teller::Ledger;

#[derive(Default)]
struct Bank {
    notes: Vec<String>,
    auditor: Option<ReplyTo<String>>,
}

#[tiebeam::actor]
impl Bank {
    fn init() -> Self {
        Self::default()
    }

    #[call]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    #[cast]
    fn audited(&mut self, result: String) {
        if let Some(reply_to) = self.auditor.take() {
            reply_to.send(result);
        }
    }
}

#[tiebeam::protocol]
impl Ledger for Bank {
    #[call]
    fn balance(&self, account: u64) -> Result<u64, String> {
        account.checked_sub(1).ok_or_else(|| "no account 0".into())
    }

    #[call(deferred)]
    fn audit(&mut self, _year: u32, _: bool, reply_to: ReplyTo<String>) {
        self.auditor = Some(reply_to);
    }

    #[cast]
    async fn note(&mut self, text: String, ctx: &mut Ctx<Self>) {
        self.notes.push(format!("{text} of {}", ctx.pid().serial));
    }
}

/// Holds an address without knowing the type of the actor.
struct Customer {
    ledger: AddrOf<dyn Ledger>,
}

#[tiebeam::actor]
impl Customer {
    fn init(ledger: AddrOf<dyn Ledger>) -> Self {
        Self { ledger }
    }

    #[call]
    async fn is_rich(&self) -> Result<bool, CallError> {
        Ok(self.ledger.balance(101).await?.is_ok_and(|balance| balance >= 100))
    }
}

async fn bank() -> (Addr<Bank>, AddrOf<dyn Ledger>) {
    let bank = system(1).spawn::<Bank>(()).await.unwrap();
    (bank.clone(), bank.into())
}

#[tokio::test(start_paused = true)]
async fn actor_serves_a_protocol() {
    let (bank, ledger) = bank().await;
    assert_eq!(ledger.balance(2).await, Ok(Ok(1)));
    assert_eq!(ledger.balance(0).await, Ok(Err("no account 0".into())));
    ledger.note("a".into()).await;
    ledger.try_note("b".into()).unwrap();
    assert_eq!(bank.notes().await, Ok(vec!["a of 1".into(), "b of 1".into()]));
    assert_eq!(ledger.pid(), Some(bank.pid()));
    // An address of the actor itself has the protocol's methods too.
    assert_eq!(bank.balance(2).await, Ok(Ok(1)));
}

#[tokio::test(start_paused = true)]
async fn serving_actor_may_answer_later() {
    let (bank, ledger) = bank().await;
    assert_eq!(ledger.audit(2024, true).timeout(Duration::from_secs(1)).await, Err(CallError::Timeout));
    let (audit, ()) = futures::join!(ledger.audit(2024, true).into_future(), async {
        tiebeam_world::sleep(Duration::from_secs(1)).await;
        bank.audited("fine".into()).await;
    });
    assert_eq!(audit, Ok("fine".into()));
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_a_call() {
    let (bank, ledger) = bank().await;
    bank.stop(ExitReason::Normal).await.unwrap();
    assert_eq!(ledger.balance(2).await, Err(CallError::NoProc));
    assert_eq!(ledger.try_note("late".into()), Err(CallError::NoProc));
}

#[tokio::test(start_paused = true)]
async fn name_serves_a_protocol() {
    let system = system(1);
    let ledger = AddrOf::<dyn Ledger>::from(system.named::<Bank>(system.node(), "bank"));
    assert_eq!(ledger.balance(2).await, Err(CallError::NoProc));
    system.starter().named("bank").spawn::<Bank>(()).await.unwrap();
    assert_eq!(ledger.clone().balance(2).await, Ok(Ok(1)));
    assert_eq!(ledger.pid(), None);
}

/// A stand-in without an actor: it implements the trait as addresses do.
struct Fixed {
    balance: u64,
    notes: Mutex<Vec<String>>,
}

impl Ledger for Fixed {
    fn balance(&self, _: u64) -> BoxCall<Result<u64, String>> {
        BoxCall::ready(Ok(Ok(self.balance)))
    }

    fn audit(&self, _: u32, _: bool) -> BoxCall<String> {
        BoxCall::new(|timeout| async move {
            tiebeam_world::sleep(timeout).await;
            Err(CallError::Timeout)
        })
    }

    fn note(&self, text: String) -> BoxCast<'_> {
        if text.is_empty() {
            return Box::pin(std::future::pending());
        }
        self.notes.lock().unwrap().push(text);
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn stand_in_serves_a_protocol() {
    let fixed = Arc::new(Fixed { balance: 100, notes: Mutex::default() });
    let customer = system(1).spawn::<Customer>(AddrOf::new(Arc::<Fixed>::clone(&fixed))).await.unwrap();
    assert_eq!(customer.is_rich().await, Ok(Ok(true)));
    let ledger = AddrOf::<dyn Ledger>::new(Arc::<Fixed>::clone(&fixed));
    assert_eq!(ledger.audit(2024, true).timeout(Duration::from_secs(1)).await, Err(CallError::Timeout));
    ledger.note("a".into()).await;
    // A stand-in need not say how to try: what isn't ready at once is refused.
    assert_eq!((ledger.try_note("b".into()), ledger.try_note(String::new())), (Ok(()), Err(CallError::Overloaded)));
    assert_eq!(*fixed.notes.lock().unwrap(), ["a", "b"]);
}

/// The other way to a double: an actor written for the test, by hand as by macro.
struct Poor;

#[tiebeam::actor]
impl Poor {
    fn init() -> Self {
        Self
    }
}

#[tiebeam::protocol]
impl Ledger for Poor {
    #[call]
    fn balance(&self, _: u64) -> Result<u64, String> {
        Ok(0)
    }

    #[call]
    fn audit(&self, _: u32, _: bool) -> String {
        "nothing to audit".into()
    }
}

impl Handler<teller::LedgerNote> for Poor {
    type Reply = ();

    async fn handle(&mut self, _: teller::LedgerNote, _: &mut Ctx<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn another_actor_serves_a_protocol() {
    let system = system(1);
    let poor = system.spawn::<Poor>(()).await.unwrap();
    let customer = system.spawn::<Customer>(poor.clone().into()).await.unwrap();
    assert_eq!(customer.is_rich().await, Ok(Ok(false)));
    assert_eq!(poor.audit(2024, false).await, Ok("nothing to audit".into()));
}
