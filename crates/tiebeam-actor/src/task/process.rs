use std::fmt;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::select;
use tokio::sync::oneshot;

use crate::cell::BoxFuture;
use crate::{Actor, Ctx, ExitReason, Handler, Pid};

/// The process of a [`Task`](crate::Task): runs its [`Work`] and ends.
#[derive(Debug)]
pub struct TaskProcess(());

/// What one task is to do. It runs once; a process that is started with it again fails.
#[derive(Clone)]
pub struct Work(Arc<Mutex<Option<Run>>>);

struct Run {
    work: BoxFuture<'static, ()>,
    process: oneshot::Sender<(Pid, Ended)>,
    given_up: oneshot::Receiver<()>,
}

type Ended = BoxFuture<'static, ExitReason>;

/// The waiter's end of a task.
pub(super) struct Handle<T> {
    /// Filled when the process has started.
    pub(super) process: oneshot::Receiver<(Pid, Ended)>,
    pub(super) result: oneshot::Receiver<T>,
    pub(super) give_up: GiveUp,
}

/// Ends a task whose result nobody waits for any more. Dropping it doesn't.
pub(super) struct GiveUp(Option<oneshot::Sender<()>>);

impl GiveUp {
    pub(super) fn now(&mut self) {
        if let Some(give_up) = self.0.take() {
            let _ = give_up.send(());
        }
    }
}

impl Work {
    pub(super) fn new<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> (Self, Handle<T>) {
        let (process_tx, process) = oneshot::channel();
        let (result_tx, result) = oneshot::channel();
        let (give_up, given_up) = oneshot::channel();
        let work = Box::pin(async move {
            let result = work.await;
            let _ = result_tx.send(result);
        });
        let run = Run { work, process: process_tx, given_up };
        (Self(Arc::new(Mutex::new(Some(run)))), Handle { process, result, give_up: GiveUp(Some(give_up)) })
    }
}

impl Actor for TaskProcess {
    type Args = Work;

    async fn init(Work(run): Work, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        let run = run.lock().unwrap_or_else(PoisonError::into_inner).take();
        let run = run.ok_or_else(|| ExitReason::Other("a task's work runs once".to_owned()))?;
        // Before the work begins: whoever asks a process that has ended hears that there is none, and not why.
        let ended: Ended = Box::pin(ctx.system().wait(ctx.pid()));
        let Run { work, process, given_up } = run;
        let _ = process.send((ctx.pid(), ended));
        ctx.addr().cast(Begin { work, given_up }).await;
        Ok(Self(()))
    }
}

struct Begin {
    work: BoxFuture<'static, ()>,
    given_up: oneshot::Receiver<()>,
}

impl Handler<Begin> for TaskProcess {
    type Reply = ();

    async fn handle(&mut self, Begin { work, given_up }: Begin, ctx: &mut Ctx<Self>) {
        let given_up = pin!(async {
            if given_up.await.is_err() {
                pending::<()>().await;
            }
        });
        select(given_up, work).await;
        // Also if it was given up: who did that knows, and its link is not to end it.
        ctx.stop(ExitReason::Normal);
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}
