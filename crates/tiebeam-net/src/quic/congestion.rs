//! How much may be on its way to a peer: as much as keeps the path busy, and a little more.
//!
//! A window that grows until packets are lost fills every buffer on the way, and whatever is sent next waits behind it.
//! So besides CUBIC, which answers to loss, there is a limit that answers to delay, that of FAST TCP (Jin, Wei and Low,
//! "FAST TCP: Motivation, Architecture, Algorithms, Performance", 2004): once a round trip,
//! `w = w * base / rtt + QUEUE_BYTES`, where `base` is the round trip with nothing in the way. It comes to rest where
//! `QUEUE_BYTES` of it wait in buffers, whatever the path carries.
//! While less than half as much waits, it grows by `QUEUE_BYTES` a round trip, or by a sixteenth if that is more: a long
//! path takes long enough to fill.
//!
//! A flow that fills buffers gets more of a path that both share than one that doesn't; this one still gets its
//! `QUEUE_BYTES` a round trip.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

/// Makes the controllers of an endpoint's connections.
#[derive(Debug, Default)]
pub(crate) struct Congestion {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for Congestion {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let (loss, delay) = (Arc::clone(&self.cubic).build(now, mtu), Delay::new(now));
        Box::new(Window { loss, delay, is_lifted: Arc::default() })
    }
}

/// The smaller of two windows.
struct Window {
    loss: Box<dyn Controller>,
    delay: Delay,
    /// Shared with its clones.
    is_lifted: Arc<AtomicBool>,
}

/// Has a connection's window hold nothing back any more. For one that is being closed: nothing is acknowledged from then
/// on, so behind a full window quinn would keep the word why until it has forgotten the connection.
pub(super) fn lift(controller: &dyn Controller) {
    if let Ok(window) = controller.clone_box().into_any().downcast::<Window>() {
        window.is_lifted.store(true, Ordering::Relaxed);
    }
}

impl Controller for Window {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.loss.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        // A window that isn't used must not grow: it would allow a burst that nothing has tried.
        let is_limit = self.loss.window() <= self.delay.window();
        self.loss.on_ack(now, sent, bytes, app_limited || !is_limit, rtt);
        self.delay.on_ack(now, sent, app_limited || is_limit);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.loss.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.loss.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.loss.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.is_lifted.load(Ordering::Relaxed) {
            return u64::MAX;
        }
        self.loss.window().min(self.delay.window())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.loss.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let (loss, delay) = (self.loss.clone_box(), self.delay.clone());
        Box::new(Self { loss, delay, is_lifted: Arc::clone(&self.is_lifted) })
    }

    fn initial_window(&self) -> u64 {
        self.loss.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The window that delay allows. Pure.
#[derive(Clone, Debug)]
struct Delay {
    bytes: u64,
    /// The shortest trip known, and when there was one.
    base: Duration,
    base_at: Instant,
    /// When this round began: it ends when something that was sent since is acknowledged.
    round_at: Instant,
    /// The shortest trip of this round.
    trip: Duration,
    /// Whether this round is one that lets the path run empty, so that its trips show the path's own length.
    is_probe: bool,
}

impl Delay {
    const fn new(now: Instant) -> Self {
        Self {
            bytes: QUEUE_BYTES,
            base: Duration::MAX,
            base_at: now,
            round_at: now,
            trip: Duration::MAX,
            is_probe: false,
        }
    }

    const fn window(&self) -> u64 {
        if self.is_probe { PROBE_BYTES } else { self.bytes }
    }

    /// A packet was acknowledged. `is_unused`: less was on its way than this window allows.
    fn on_ack(&mut self, now: Instant, sent: Instant, is_unused: bool) {
        let trip = now.saturating_duration_since(sent);
        self.trip = self.trip.min(trip);
        if trip <= self.base {
            (self.base, self.base_at) = (trip, now);
        }
        if sent >= self.round_at {
            self.end_round(now, is_unused);
        }
    }

    fn end_round(&mut self, now: Instant, is_unused: bool) {
        if self.is_probe {
            (self.base, self.base_at) = (self.trip, now);
            self.is_probe = false;
        } else if now.saturating_duration_since(self.base_at) > BASE_AGE_MAX {
            self.is_probe = true;
        } else if !is_unused {
            let ratio = self.base.as_secs_f64() / self.trip.as_secs_f64().max(f64::MIN_POSITIVE);
            let carried = (self.bytes as f64 * ratio) as u64;
            self.bytes = if self.bytes.saturating_sub(carried) < QUEUE_BYTES / 2 {
                self.bytes + QUEUE_BYTES.max(self.bytes / 16)
            } else {
                // Half the way at a time: the effect is seen only a round later.
                u64::midpoint(self.bytes, carried + QUEUE_BYTES)
            }
            .min(BYTES_MAX);
        }
        (self.round_at, self.trip) = (now, Duration::MAX);
    }
}

/// How much may wait in the buffers of a path.
const QUEUE_BYTES: u64 = 24 * 1024;
/// How much is sent while the path runs empty: two of the longest datagrams, as one alone is confirmed late.
const PROBE_BYTES: u64 = 20 * 1024;
/// A gigabit path around the world.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// After this long without a trip as short as the shortest the path may have become longer.
const BASE_AGE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// A path with one buffer, seen a round trip at a time by somebody who has always something to send.
    struct Path {
        length: Duration,
        bytes_per_s: u64,
        now: Instant,
    }

    impl Path {
        const fn carries(&self) -> u64 {
            self.bytes_per_s * self.length.as_millis() as u64 / 1000
        }

        /// Sends a window, and returns how much of it had to wait in the buffer.
        fn round(&mut self, delay: &mut Delay) -> u64 {
            let window = delay.window();
            let sent = self.now;
            self.now += self.length.max(Duration::from_secs_f64(window as f64 / self.bytes_per_s as f64));
            delay.on_ack(self.now, sent, false);
            window.saturating_sub(self.carries())
        }
    }

    fn path(length_ms: u64, bytes_per_s: u64) -> Path {
        Path { length: Duration::from_millis(length_ms), bytes_per_s, now: tiebeam_world::clock() }
    }

    fn near(bytes: u64, wanted: u64) -> bool {
        (wanted * 3 / 4..=wanted * 5 / 4).contains(&bytes)
    }

    /// One that only grew would fill whatever buffer there is; one that stayed where it began would leave a long path idle.
    #[test]
    fn every_path_is_filled_and_its_buffer_is_not() {
        for (length_ms, bytes_per_s) in [(1, 10_000_000), (1, 1_000_000_000), (20, 125_000_000), (100, 125_000_000)] {
            let mut path = path(length_ms, bytes_per_s);
            let mut delay = Delay::new(path.now);
            // As a handshake does.
            delay.on_ack(path.now + path.length, path.now, true);
            let rounds: Vec<_> = (0..400).map(|_| path.round(&mut delay)).collect();
            let last = *rounds.iter().rfind(|waited| **waited > 0).unwrap();
            assert!(near(last, QUEUE_BYTES), "{length_ms} ms, {bytes_per_s} B/s: {last} wait");
            let most = rounds.into_iter().max().unwrap();
            assert!(most < 2 * QUEUE_BYTES + path.carries() / 16, "{length_ms} ms, {bytes_per_s} B/s: {most} waited");
        }
    }

    /// What was learned on a shorter path would hold the window down for ever.
    #[test]
    fn a_path_that_became_longer_is_learned() {
        let mut path = path(10, 125_000_000);
        let mut delay = Delay::new(path.now);
        for _ in 0..200 {
            path.round(&mut delay);
        }
        path.length = Duration::from_millis(50);
        let until = path.now + BASE_AGE_MAX * 2;
        while path.now < until || delay.is_probe {
            path.round(&mut delay);
        }
        let waits = path.round(&mut delay);
        assert!(near(waits, QUEUE_BYTES), "{waits} wait");
    }

    /// A node that answers pings must not be allowed a burst that nothing has tried.
    #[test]
    fn a_window_that_is_not_used_stays() {
        let mut now = tiebeam_world::clock();
        let mut delay = Delay::new(now);
        for _ in 0..1000 {
            let sent = now;
            now += Duration::from_millis(1);
            delay.on_ack(now, sent, true);
        }
        assert_eq!(delay.window(), QUEUE_BYTES);
    }
}
