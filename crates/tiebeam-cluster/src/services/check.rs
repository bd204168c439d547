//! What is looked at, how often, and what it takes to change one's mind.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_actor::{Addr, Handler};
use tokio::net::TcpStream;

use super::health::Finding;
use super::http;

/// Looks at an instance again and again, from the node that the instance is on.
///
/// Made by [`Check::actor`], [`Check::tcp`], [`Check::http`] or [`Check::by`].
#[derive(Clone)]
pub struct Check {
    interval: Duration,
    timeout: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
    probe: Probe,
}

/// Asks an actor how it is.
///
/// It waits in the mailbox like any call, so an actor that is stuck or far behind is found so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping;

#[derive(Clone)]
enum Probe {
    Tcp(SocketAddr),
    Http { address: SocketAddr, host: String, path: String, status: u16 },
    By(Arc<dyn Fn() -> BoxFuture<'static, Finding> + Send + Sync>),
}

impl Check {
    /// Calls an actor of this node with [`Ping`]: no answer in time is critical. A ping that isn't answered stays the only one:
    /// later looks wait for its answer, so that they don't pile up before an actor that is stuck.
    #[must_use]
    pub fn actor<A: Handler<Ping, Reply = Finding>>(actor: &Addr<A>) -> Self {
        let actor = actor.clone();
        let asked = Arc::new(tokio::sync::Mutex::new(None::<BoxFuture<'static, Finding>>));
        Self::by(move || {
            let (actor, asked) = (actor.clone(), Arc::clone(&asked));
            async move {
                let mut asked = asked.lock().await;
                let asking = asked.get_or_insert_with(|| ask(actor).boxed());
                let finding = asking.await;
                *asked = None;
                finding
            }
        })
    }

    /// Connects over TCP and hangs up.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(Probe::Tcp(address))
    }

    /// Asks for `path` by HTTP/1.1 GET and expects `status`. Status 429, too many requests, is a warning; every other one is
    /// critical. The host that is named is the address, unless [`Check::host`] says another.
    #[must_use]
    pub fn http(address: SocketAddr, path: impl Into<String>, status: u16) -> Self {
        Self::new(Probe::Http { address, host: address.to_string(), path: path.into(), status })
    }

    /// Runs a function. A panic of it is a critical finding.
    #[must_use]
    pub fn by<F>(look: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Finding> + Send + 'static,
    {
        Self::new(Probe::By(Arc::new(move || look().boxed())))
    }

    /// Names another host in HTTP requests.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        if let Probe::Http { host, .. } = &mut self.probe {
            *host = name.into();
        }
        self
    }

    /// Looks every `interval`, give or take a tenth by chance, so that the checks of many instances don't fall together. At
    /// least 10 ms; default 5 s. The first look is at once.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Gives each look at most so much time; beyond it the finding is critical. Default 1 s.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Says how many good findings in a row make an unwell instance pass, and how many bad ones a passing one unwell. At
    /// least 1 each; default 1 and 2.
    #[must_use]
    pub fn thresholds(self, rise: u32, fall: u32) -> Self {
        Self { rise, fall, ..self }
    }

    const fn new(probe: Probe) -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(1), rise: 1, fall: 2, probe }
    }

    /// Says what of this can't be used.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match &self.probe {
            Probe::Http { host, path, .. }
                if !(http::is_plain(host) && path.starts_with('/') && http::is_plain(path)) =>
            {
                Some(
                    "host and path of an HTTP check are printable ASCII without spaces, and a path begins with a slash",
                )
            }
            _ if self.interval < INTERVAL_MIN => Some("checks are at least 10 ms apart"),
            _ => None,
        }
    }

    /// Looks once.
    pub(super) async fn look(&self) -> Finding {
        let look = async {
            match &self.probe {
                Probe::Tcp(address) => match TcpStream::connect(address).await {
                    Ok(_) => Finding::Passing,
                    Err(error) => Finding::Critical(format!("{address}: {error}")),
                },
                Probe::Http { address, host, path, status } => match http::status(*address, host, path).await {
                    Ok(found) if found == *status => Finding::Passing,
                    Ok(429) => Finding::Warning("status 429, too many requests".to_owned()),
                    Ok(found) => Finding::Critical(format!("status {found}, expected {status}")),
                    Err(error) => Finding::Critical(format!("{address}: {error}")),
                },
                Probe::By(look) => look().await,
            }
        };
        let looked = tiebeam_world::timeout(self.timeout, AssertUnwindSafe(look).catch_unwind()).await;
        match looked {
            Ok(Ok(finding)) => finding,
            Ok(Err(panic)) => Finding::Critical(format!("check panicked: {}", tiebeam_world::panic_message(&*panic))),
            Err(_) => Finding::Critical(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    /// How long to wait until the next look.
    pub(super) fn pause(&self, random: u64) -> Duration {
        // Nine to eleven tenths.
        let tenth = self.interval / 10;
        let jitter = tenth.mul_f64(2.0 * (random >> 11) as f64 / (1_u64 << 53) as f64);
        self.interval - tenth + jitter
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.probe {
            Probe::Tcp(address) => format!("tcp {address}"),
            Probe::Http { address, path, status, .. } => format!("http {address}{path} {status}"),
            Probe::By(_) => "function".to_owned(),
        };
        f.debug_struct("Check").field("what", &what).field("interval", &self.interval).finish_non_exhaustive()
    }
}

async fn ask<A: Handler<Ping, Reply = Finding>>(actor: Addr<A>) -> Finding {
    let answer = actor.call(Ping).timeout(CALL_MAX).await;
    answer.unwrap_or_else(|error| Finding::Critical(error.to_string()))
}

/// How long one ping waits over all looks.
const CALL_MAX: Duration = Duration::from_hours(1);
/// A check that looks more often would be a load.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_spread_around_the_interval() {
        let check = Check::tcp("127.0.0.1:1".parse().unwrap()).every(Duration::from_secs(10));
        let pauses = [0, 1 << 63, u64::MAX].map(|random| check.pause(random).as_millis());
        assert_eq!(pauses, [9_000, 10_000, 11_000]);
    }

    #[test]
    fn what_can_not_be_asked_is_refused() {
        let at = "127.0.0.1:80".parse().unwrap();
        assert_eq!(Check::http(at, "/health", 200).fault(), None);
        assert!(Check::http(at, "health", 200).fault().is_some());
        assert!(Check::http(at, "/", 200).host("a\r\nb").fault().is_some());
        assert!(Check::tcp(at).every(Duration::ZERO).fault().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_panics_are_critical() {
        let silent = Check::by(std::future::pending).look().await;
        assert_eq!(silent, Finding::Critical("no answer within 1000 ms".to_owned()));
        let panics = Check::by(|| async { panic!("broken") }).look().await;
        assert_eq!(panics, Finding::Critical("check panicked: broken".to_owned()));
        let early = Check::by(|| -> std::future::Ready<Finding> { panic!("early") }).look().await;
        assert_eq!(early, Finding::Critical("check panicked: early".to_owned()));
    }
}
