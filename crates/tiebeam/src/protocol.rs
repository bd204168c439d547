//! What stands between a protocol and whoever serves it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tiebeam_actor::{Actor, Addr, CALL_TIMEOUT, CallError, Named, Pid, Table};

/// A cast under way to whoever serves a protocol; ready when there was room in the mailbox.
pub type BoxCast<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

type Answering<R> = Pin<Box<dyn Future<Output = Result<R, CallError>> + Send>>;

type Start<R> = Box<dyn FnOnce(Duration) -> Answering<R> + Send>;

/// The address of whoever serves a protocol: an actor of whichever type, or a stand-in in a test.
///
/// As in `AddrOf<dyn Ledger>`, with a trait marked [`#[protocol]`](macro@crate::protocol). A cheap value: it is made from an
/// [`Addr`] or a [`Named`] by [`From`], cloned and sent around, and derefs to the trait.
pub struct AddrOf<P: ?Sized> {
    server: Arc<P>,
    pid: Option<Pid>,
}

impl<P: ?Sized> AddrOf<P> {
    /// Makes the address of anything that implements the trait; for tests, mostly.
    #[must_use]
    pub const fn new(server: Arc<P>) -> Self {
        Self { server, pid: None }
    }

    /// Returns the actor's pid, for links and monitors; none if this is the address of a name or of a stand-in.
    #[must_use]
    pub const fn pid(&self) -> Option<Pid> {
        self.pid
    }
}

impl<P: ?Sized> Clone for AddrOf<P> {
    fn clone(&self) -> Self {
        Self { server: Arc::clone(&self.server), pid: self.pid }
    }
}

impl<P: ?Sized> Deref for AddrOf<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.server
    }
}

impl<P: ?Sized> fmt::Debug for AddrOf<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("AddrOf");
        debug.field("protocol", &std::any::type_name::<P>()).field("pid", &self.pid).finish()
    }
}

impl<A: Actor, P: ?Sized> From<Addr<A>> for AddrOf<P>
where
    Addr<A>: Serves<P>,
{
    fn from(addr: Addr<A>) -> Self {
        let pid = Some(addr.pid());
        Self { server: addr.serve(), pid }
    }
}

impl<A: Actor, P: ?Sized> From<Named<A>> for AddrOf<P>
where
    Named<A>: Serves<P>,
{
    fn from(named: Named<A>) -> Self {
        Self::new(named.serve())
    }
}

/// A call to whoever serves a protocol, made when it is awaited.
///
/// As a [`Call`](crate::Call), with the type of the actor forgotten, which costs a box, and without borrowing the address.
pub struct BoxCall<R> {
    start: Start<R>,
    timeout: Duration,
}

impl<R: Send + 'static> BoxCall<R> {
    /// Makes a call of whatever answers within the time that it is given.
    pub fn new<F>(start: impl FnOnce(Duration) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<R, CallError>> + Send + 'static,
    {
        Self { start: Box::new(|timeout| Box::pin(start(timeout))), timeout: CALL_TIMEOUT }
    }

    /// Makes a call that is answered already; for stand-ins.
    pub fn ready(answer: Result<R, CallError>) -> Self {
        Self::new(|_| std::future::ready(answer))
    }

    /// Waits at most this long, for room in the mailbox and for the answer together; 5 s unless told otherwise.
    #[must_use = "a call does nothing until it is awaited"]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<R: Send + 'static> IntoFuture for BoxCall<R> {
    type Output = Result<R, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        (self.start)(self.timeout)
    }
}

impl<R> fmt::Debug for BoxCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxCall").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Addresses behind which protocol `P` is served.
#[diagnostic::on_unimplemented(
    message = "the actor of `{Self}` does not serve `{P}`",
    note = "write `#[tiebeam::protocol] impl .. for ..` with all of the protocol's methods"
)]
pub trait Serves<P: ?Sized>: Sized {
    /// Forgets the type of the actor.
    fn serve(self) -> Arc<P>;
}

/// The message of the method of a protocol whose name has the hash `METHOD`.
///
/// Whoever serves a protocol knows only its trait by name; this leads from there to its messages, wherever they are.
#[diagnostic::on_unimplemented(message = "`{Self}` has no such method", label = "not in the protocol")]
pub trait MessageOf<const METHOD: u64> {
    /// The message.
    type Message: Send + 'static;
}

/// The tagged messages of a protocol, for the table of an actor that serves it.
#[diagnostic::on_unimplemented(message = "actor `{A}` does not serve `{Self}`")]
pub trait Entries<A: Actor> {
    /// Adds them.
    fn add_to(table: Table<A>) -> Table<A>;
}

/// Tries a cast that can only wait: what is not ready at once is given up.
///
/// # Errors
/// [`CallError::Overloaded`] if it would have waited.
pub fn try_now(mut cast: BoxCast<'_>) -> Result<(), CallError> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match cast.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(()) => Ok(()),
        std::task::Poll::Pending => Err(CallError::Overloaded),
    }
}
