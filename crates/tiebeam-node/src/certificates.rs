//! Keeps a running node's certificate good: reads its files again when they change, and warns ahead of the end.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tiebeam_cluster::Cluster;
use tiebeam_net::{Cookie, Credentials, Denied, DenyList, Service, Validity};
use tiebeam_wire::{Instant, NodeId};

use crate::config::{Config, TlsSection};
use crate::error::ReloadError;
use crate::node::{credentials, expected};

/// How often the files are looked at. Changed ones are read when they haven't changed since the look before: who
/// replaces three files can't do it at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Warned of is the last quarter of a certificate's life, but no more than this.
const WARN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest life with which a certificate counts as short; those of desks have at most a week.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 3600);
/// How long after a failure a certificate is asked for again.
const TRY_AGAIN: Duration = Duration::from_secs(300);
/// How long one core node may take to issue a certificate.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Puts into effect what a running node can change: certificate, key, authority, cookies and who is revoked. Nothing of
/// it is in effect if any of it is bad.
pub(crate) async fn apply(config: &Config, cluster: &Cluster) -> Result<Credentials, ReloadError> {
    let (current, previous) = cookies(config)?;
    let denied = denied(config)?;
    let credentials = load(config).await?;
    cluster.rotate(credentials.clone())?;
    cluster.set_cookies(current, previous)?;
    cluster.deny(denied);
    Ok(credentials)
}

async fn load(config: &Config) -> Result<Credentials, ReloadError> {
    let config = config.clone();
    let loaded = tiebeam_world::blocking(move || credentials(&config)).await;
    Ok(loaded.map_err(|_| ReloadError::Interrupted)??)
}

pub(crate) fn cookies(config: &Config) -> Result<(Cookie, Option<Cookie>), tiebeam_net::CookieTooShort> {
    let previous = config.cluster.cookie_previous.as_ref();
    let previous = previous.map(|cookie| Cookie::new(cookie.as_bytes())).transpose()?;
    Ok((Cookie::new(config.cluster.cookie.as_bytes())?, previous))
}

pub(crate) fn denied(config: &Config) -> Result<DenyList, ReloadError> {
    let mut list = DenyList::default();
    for node in &config.cluster.revoked_nodes {
        list.insert(Denied::Node(NodeId(*node)))?;
    }
    for serial in &config.cluster.revoked_serials {
        list.insert(Denied::Serial(serial.parse()?))?;
    }
    Ok(list)
}

/// Looks at the files and at the clock, for ever.
pub(crate) async fn watch(mut config: tokio::sync::watch::Receiver<Config>, cluster: Cluster, mut shown: Validity) {
    let mut files = Files::default();
    let mut expiry = Expiry::default();
    let mut renewal = Renewal::default();
    let now = config.borrow().tls.clone();
    files.look(stamps(&now).await);
    loop {
        if expiry.is_due(tiebeam_world::now(), shown, tiebeam_world::wall_clock_ms()) {
            warn(shown.left(tiebeam_world::wall_clock_ms()));
        }
        tiebeam_world::sleep(LOOK_INTERVAL).await;
        let latest = config.borrow_and_update().clone();
        if renewal.is_due(tiebeam_world::now(), shown, tiebeam_world::wall_clock_ms()) {
            match renew(&latest, &cluster).await {
                Ok(credentials) => {
                    shown = credentials.validity();
                    let left = days(shown.left(tiebeam_world::wall_clock_ms()));
                    tracing::info!(serial = %credentials.serial(), left, "certificate was issued again and is in use");
                }
                Err(error) => {
                    let error = &error as &(dyn std::error::Error + 'static);
                    tracing::warn!(error, "certificate was not issued again, trying later");
                }
            }
        }
        if !files.look(stamps(&latest.tls).await) {
            continue;
        }
        match use_files(&latest, &cluster).await {
            Ok(credentials) => {
                shown = credentials.validity();
                let left = days(shown.left(tiebeam_world::wall_clock_ms()));
                tracing::info!(serial = %credentials.serial(), left, "certificate files changed and are in use");
            }
            Err(error) => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::error!(error, "certificate files changed and can't be used; the ones before stay in use");
            }
        }
    }
}

async fn use_files(config: &Config, cluster: &Cluster) -> Result<Credentials, ReloadError> {
    let credentials = load(config).await?;
    cluster.rotate(credentials.clone())?;
    Ok(credentials)
}

/// Has the certificate issued again by whichever core node keeps the authority, for the key that the node has: only one
/// file changes, so a crash leaves a pair that fits.
async fn renew(config: &Config, cluster: &Cluster) -> Result<Credentials, ReloadError> {
    let key = std::fs::read_to_string(&config.tls.key);
    let key = key.map_err(|error| ReloadError::Issued(format!("{}: {error}", config.tls.key.display())))?;
    let request = tiebeam_net::ca::request_for(&key).map_err(|error| ReloadError::Issued(error.to_string()))?;
    let mut last = "there is no core node to ask".to_owned();
    for node in config.cores().into_keys() {
        let answer = cluster.request(node, Service::CERTIFICATE, request.clone().into(), ASK_TIMEOUT).await;
        match answer {
            Ok(certificate) => return use_certificate(config, cluster, &certificate).await,
            Err(error) => last = error.to_string(),
        }
    }
    Err(ReloadError::Issued(last))
}

async fn use_certificate(config: &Config, cluster: &Cluster, pem: &[u8]) -> Result<Credentials, ReloadError> {
    let bad = |error: String| ReloadError::Issued(error);
    let (config, pem) = (config.clone(), pem.to_vec());
    let written = tiebeam_world::blocking(move || {
        let read = |path: &std::path::Path| std::fs::read(path).map_err(|error| error.to_string());
        let (authority, key) = (read(&config.tls.ca)?, read(&config.tls.key)?);
        let credentials = Credentials::from_pem(&authority, &pem, &key).map_err(|error| error.to_string())?;
        if *credentials.identity() != expected(&config) {
            return Err(format!("it is for {}", credentials.identity()));
        }
        // Before it is shown: what peers have seen must not be lost by a crash.
        let pem = String::from_utf8(pem).map_err(|error| error.to_string())?;
        tiebeam_net::ca::write_certificate(&config.tls.cert, &pem).map_err(|error| error.to_string())?;
        Ok(credentials)
    });
    let credentials = written.await.map_err(|_| ReloadError::Interrupted)?.map_err(bad)?;
    cluster.rotate(credentials.clone())?;
    Ok(credentials)
}

fn warn(left: Duration) {
    if left.is_zero() {
        tracing::error!("certificate has expired: peers refuse this node; replace it, no restart is needed");
    } else {
        tracing::warn!(left = %days(left), "certificate ends soon; replace it, no restart is needed");
    }
}

fn days(left: Duration) -> String {
    match (left.as_secs() / DAY.as_secs(), left.as_secs() / 3600) {
        (0, hours) => format!("{hours} h"),
        (days, _) => format!("{days} d"),
    }
}

/// What tells one state of the files from another: of each its time of change, its size and its number; none if absent.
type Stamps = [Option<(i64, i64, u64, u64)>; 3];

async fn stamps(tls: &TlsSection) -> Stamps {
    let paths = [&tls.ca, &tls.cert, &tls.key].map(Clone::clone);
    let read = tiebeam_world::blocking(move || {
        paths.map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
        })
    });
    read.await.unwrap_or_default()
}

/// Notices when files have changed and are quiet again. Pure.
#[derive(Default)]
struct Files {
    used: Option<Stamps>,
    last: Option<Stamps>,
}

impl Files {
    /// Takes in a look; says whether the files are to be read.
    fn look(&mut self, stamps: Stamps) -> bool {
        let quiet = self.last.replace(stamps) == Some(stamps);
        let used = *self.used.get_or_insert(stamps);
        let changed = quiet && used != stamps;
        if changed {
            self.used = Some(stamps);
        }
        changed
    }
}

/// Decides when to warn of a certificate's end. Pure.
#[derive(Default)]
struct Expiry {
    warned: Option<Instant>,
}

impl Expiry {
    /// Says whether to warn now: once a day in the last quarter of its life, once an hour in the last day.
    fn is_due(&mut self, now: Instant, validity: Validity, wall_ms: i64) -> bool {
        let left = validity.left(wall_ms);
        if left >= WARN_MAX.min(validity.span() / 4) {
            self.warned = None;
            return false;
        }
        let pause = if left < DAY { DAY / 24 } else { DAY };
        let due = self.warned.is_none_or(|warned| now.since(warned) >= pause);
        if due {
            self.warned = Some(now);
        }
        due
    }
}

/// Decides when to have a certificate issued again. Pure.
#[derive(Default)]
struct Renewal {
    tried: Option<Instant>,
}

impl Renewal {
    /// Says whether to try now: once two thirds of a short life are over, every five minutes until it succeeds. A
    /// certificate with a long life was issued by hand, and is replaced by hand.
    fn is_due(&mut self, now: Instant, validity: Validity, wall_ms: i64) -> bool {
        let due = validity.span() <= SHORT_LIFE && validity.left(wall_ms) < validity.span() / 3;
        let due = due && self.tried.is_none_or(|tried| now.since(tried) >= TRY_AGAIN);
        if due {
            self.tried = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(n: u64) -> Stamps {
        [Some((0, 0, 0, n)); 3]
    }

    #[test]
    fn files_are_read_once_when_they_are_quiet_again() {
        let mut files = Files::default();
        let looks = [1, 1, 2, 3, 3, 3, 1, 1].map(|n| files.look(stamp(n)));
        assert_eq!(looks, [false, false, false, false, true, false, false, true]);
    }

    /// Hours of a year's certificate at which it is warned of.
    fn warnings(span_days: u64, from_hour: u64, to_hour: u64) -> Vec<u64> {
        let hour_ms = 3_600_000;
        let validity = Validity { from_ms: 0, until_ms: i64::try_from(span_days).unwrap() * 24 * hour_ms };
        let mut expiry = Expiry::default();
        let at = |hour: u64| Instant { nanos: hour * 3_600_000_000_000 };
        (from_hour..to_hour)
            .filter(|hour| expiry.is_due(at(*hour), validity, i64::try_from(*hour).unwrap() * hour_ms))
            .collect()
    }

    #[test]
    fn year_is_warned_of_a_month_ahead_once_a_day() {
        let day = 24;
        assert_eq!(warnings(365, 330 * day, 338 * day), [335 * day + 1, 336 * day + 1, 337 * day + 1]);
    }

    #[test]
    fn week_is_warned_of_in_its_last_quarter_and_hourly_in_its_last_day() {
        let warned = warnings(7, 0, 7 * 24 + 3);
        assert_eq!(warned[0], 127, "42 h are a quarter");
        assert_eq!(warned[1..5], [145, 146, 147, 148], "hourly once less than a day is left");
        assert_eq!(warned.last(), Some(&170), "also when it is over");
    }

    #[test]
    fn week_is_renewed_after_two_thirds_and_a_year_by_hand() {
        let hours = |hours: i64| hours * 3_600_000;
        let due = |span: i64, at: i64| {
            let validity = Validity { from_ms: 0, until_ms: hours(span) };
            Renewal::default().is_due(Instant { nanos: 0 }, validity, hours(at))
        };
        assert_eq!([due(168, 0), due(168, 112), due(168, 113), due(168, 500)], [false, false, true, true]);
        assert!(!due(365 * 24, 365 * 24 - 1));
        let (mut renewal, validity) = (Renewal::default(), Validity { from_ms: 0, until_ms: hours(24) });
        let tries = [0, 1, 299, 300, 301, 600]
            .map(|seconds: u64| renewal.is_due(Instant { nanos: seconds * 1_000_000_000 }, validity, hours(23)));
        assert_eq!(tries, [true, false, false, true, false, true]);
    }

    #[test]
    fn new_certificate_silences_the_warning() {
        let mut expiry = Expiry::default();
        let at = Instant { nanos: 0 };
        let old = Validity { from_ms: 0, until_ms: 1000 };
        assert!(expiry.is_due(at, old, 900));
        assert!(!expiry.is_due(at, Validity { from_ms: 0, until_ms: 100_000 }, 900));
        assert!(expiry.is_due(at, old, 900), "and the next one is warned of at once");
    }
}
