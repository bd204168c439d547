//! Reaches the outside through one seam: spawn, sleep, now and randomness.
//!
//! Everything above floor 1 that waits, asks the time, starts a task or draws a number does it here, and clippy bans
//! the other ways. A test that pauses tokio's clock and calls [`seed`] runs on virtual time with repeatable draws.
//!
//! This is the one crate below the engines that knows tokio: `actor`, `net` and `storage` are strangers to each other
//! and all need the seam, so it must lie beneath them (ADR 0018).

mod give_way;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use tiebeam_wire::Instant;
use tokio::task::{AbortHandle, JoinHandle};

pub use self::give_way::{give_way, give_way_if_busy, give_way_if_due, moved};

/// Returns the monotonic time since the process first asked.
#[must_use]
pub fn now() -> Instant {
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    let start = *START.get_or_init(tokio::time::Instant::now);
    let nanos = u64::try_from(tokio::time::Instant::now().saturating_duration_since(start).as_nanos());
    Instant { nanos: nanos.unwrap_or(u64::MAX) }
}

/// Returns the moment as libraries want it that take the standard library's instants.
#[must_use]
pub fn clock() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the wall clock, in milliseconds since 1970. For people and for timestamps in records only: it decides nothing.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn wall_clock_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Waits for `duration`.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `moment`; returns at once if it is past.
pub async fn sleep_until(moment: Instant) {
    sleep(moment.since(now())).await;
}

/// A future did not finish in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// Waits for `future`, at most for `duration`.
///
/// # Errors
/// [`Elapsed`]: the future was dropped before it finished.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await.map_err(|_| Elapsed)
}

/// Waits for `future`, at most until `moment` of [`clock`].
///
/// # Errors
/// [`Elapsed`]: the future was dropped before it finished.
pub async fn timeout_at<F: Future>(moment: std::time::Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout_at(moment.into(), future).await.map_err(|_| Elapsed)
}

/// A task that was spawned. Dropping it leaves the task running; [`Task::into_guard`] ties the two together.
pub struct Task<T> {
    handle: JoinHandle<T>,
}

impl<T> Task<T> {
    /// Asks the task to stop at its next await; its future is dropped.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Says whether the task has ended, in whichever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Returns a guard that aborts the task when it is dropped.
    #[must_use]
    pub fn into_guard(self) -> TaskGuard {
        TaskGuard(self.handle.abort_handle())
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("finished", &self.is_finished()).finish()
    }
}

/// How a task ended without a value.
#[derive(Debug)]
pub enum TaskError {
    /// It was aborted.
    Aborted,
    /// It panicked with this message.
    Panicked(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("task was aborted"),
            Self::Panicked(message) => write!(f, "task panicked: {message}"),
        }
    }
}

impl std::error::Error for TaskError {}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx).map_err(|e| match e.try_into_panic() {
            Ok(panic) => TaskError::Panicked(panic_message(&*panic)),
            Err(_) => TaskError::Aborted,
        })
    }
}

/// Aborts its task when dropped.
#[derive(Debug)]
pub struct TaskGuard(AbortHandle);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts `future` as a task of the current runtime; `name` is static and dotted, as in `net.accept`.
///
/// A panic in a task whose handle nobody awaits would vanish; it is reported as an error event with the task's name.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let watched = async move {
        match futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(future)).await {
            Ok(value) => value,
            Err(panic) => {
                tracing::error!(task = name, panic = panic_message(&*panic), "task panicked");
                std::panic::resume_unwind(panic)
            }
        }
    };
    Task { handle: tokio::spawn(watched) }
}

/// Runs `work`, which may block, on a thread kept for such work, and waits for it.
///
/// # Errors
/// [`TaskError::Panicked`] if it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TaskError> {
    Task { handle: tokio::task::spawn_blocking(work) }.await
}

/// Returns the text of a panic; a placeholder if it carries none.
#[must_use]
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

thread_local! {
    static RNG: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::new());
}

/// Makes this thread's draws a function of `seed`.
pub fn seed(seed: u64) {
    RNG.with(|rng| *rng.borrow_mut() = fastrand::Rng::with_seed(seed));
}

/// Draws 64 random bits. Not for secrets.
#[must_use]
pub fn random() -> u64 {
    RNG.with(|rng| rng.borrow_mut().u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would fail if a draw came from anywhere but the seeded generator.
    #[test]
    fn same_seed_draws_the_same() {
        seed(7);
        let first = [random(), random(), random()];
        seed(7);
        assert_eq!(first, [random(), random(), random()]);
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_virtual_when_paused() {
        let before = now();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(now().since(before).as_secs(), 3600);
    }

    #[tokio::test]
    async fn panic_of_a_task_is_an_error() {
        let task = spawn("test.panic", async { panic!("boom") });
        assert!(matches!(task.await, Err(TaskError::Panicked(m)) if m == "boom"));
    }

    #[tokio::test(start_paused = true)]
    async fn guard_aborts_its_task() {
        let (tx, rx) = tokio::sync::oneshot::channel::<()>();
        let guard = spawn("test.guard", async move {
            let _held = tx;
            std::future::pending::<()>().await;
        })
        .into_guard();
        drop(guard);
        assert!(rx.await.is_err());
    }
}
