//! How threads that have much to do share a core.
//!
//! A thread that computes keeps its core for whole ticks of the system's clock, 4 ms on most, while others wait that have
//! something for somebody. So threads that move many bytes, or look whether there is something to do, let them go first.
//!
//! A thread that gives way loses the rest of its slice, so its slices are made short first (`sched_setattr`(2), Linux 6.12);
//! where the system doesn't do that, nobody gives way: beside other work, flows went at a tenth of their rate.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For how long the system is to let a thread run before others that wait for its core. The least that Linux takes.
const SLICE_NANOS: u64 = 100_000;
/// After how many bytes it is time to give way: some tens of microseconds.
const MOVED_BYTES_MAX: usize = 24 * 1024;
/// For how long the process counts as busy after a thread has moved so many.
const BUSY_FOR: Duration = Duration::from_millis(1);

/// Until when the process counts as busy, as [`crate::now`] counts.
static BUSY_UNTIL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether the system knows that the thread wants short slices; none before it was asked.
    static IS_SHORT: Cell<Option<bool>> = const { Cell::new(None) };
    /// Bytes that the thread has moved since it was time to give way.
    static MOVED: Cell<usize> = const { Cell::new(0) };
}

/// Notes that this thread has sent or received so many bytes.
pub fn moved(bytes: usize) {
    MOVED.set(MOVED.get().saturating_add(bytes));
}

/// Lets the threads that wait for this one's core have it, if this one has [`moved`] much since it last did. To be called
/// where nothing is locked that others wait for.
pub fn give_way_if_due() {
    if MOVED.get() < MOVED_BYTES_MAX {
        return;
    }
    MOVED.set(0);
    BUSY_UNTIL.store((crate::now() + BUSY_FOR).nanos, Ordering::Relaxed);
    give_way();
}

/// Lets the threads that wait for this one's core have it, if a thread of this process has moved much a moment ago. For one
/// that looks whether there is something to do: else it keeps those from the core that know of something.
pub fn give_way_if_busy() {
    if crate::now().nanos < BUSY_UNTIL.load(Ordering::Relaxed) {
        give_way();
    }
}

/// Lets the threads that wait for this one's core have it, for a moment.
pub fn give_way() {
    let is_short = IS_SHORT.get().unwrap_or_else(|| {
        let is_short = slice::shorten(SLICE_NANOS);
        IS_SHORT.set(Some(is_short));
        is_short
    });
    if is_short {
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
mod slice {
    #![expect(unsafe_code, reason = "no library has these calls of the system")]

    use std::io;
    use std::mem::size_of;

    use libc::{SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, c_uint, sched_attr, syscall};

    /// Has the system give this thread slices of `nanos`; says whether it does. A thread with a policy of its own keeps it.
    pub(super) fn shorten(nanos: u64) -> bool {
        let Some(mut attributes) = read() else { return false };
        if attributes.sched_policy != SCHED_OTHER as u32 {
            return false;
        }
        attributes.sched_runtime = nanos;
        // SAFETY: the kernel reads `size` bytes of a structure that is as long, and changes this thread alone.
        let set = unsafe { syscall(SYS_sched_setattr, 0, &raw const attributes, 0 as c_uint) };
        if set != 0 {
            tracing::debug!(error = %io::Error::last_os_error(), "slices of this thread stay as they are");
        }
        // Older kernels take the call and leave the slice.
        set == 0 && read().is_some_and(|attributes| attributes.sched_runtime == nanos)
    }

    fn read() -> Option<sched_attr> {
        let size = u32::try_from(size_of::<sched_attr>()).ok()?;
        let mut attributes = sched_attr {
            size,
            sched_policy: 0,
            sched_flags: 0,
            sched_nice: 0,
            sched_priority: 0,
            sched_runtime: 0,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: the kernel writes at most `size` bytes to a structure that is as long.
        let got = unsafe { syscall(SYS_sched_getattr, 0, &raw mut attributes, size, 0 as c_uint) };
        (got == 0).then_some(attributes)
    }
}

#[cfg(not(target_os = "linux"))]
mod slice {
    pub(super) fn shorten(_: u64) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Fails if a flood is never interrupted, or each message is.
    #[test]
    fn it_is_due_after_much() {
        moved(MOVED_BYTES_MAX - 1);
        give_way_if_due();
        assert_eq!(MOVED.get(), MOVED_BYTES_MAX - 1, "not yet");
        moved(1);
        give_way_if_due();
        assert_eq!(MOVED.get(), 0);
        assert!(crate::now().nanos < BUSY_UNTIL.load(Ordering::Relaxed) + 60_000_000_000, "busy from now on");
        assert_ne!(BUSY_UNTIL.load(Ordering::Relaxed), 0);
    }

    /// The kernel's own word: a slice that isn't short would make giving way expensive.
    #[test]
    fn thread_gives_way_with_short_slices_or_not_at_all() {
        let told = std::thread::spawn(|| {
            give_way();
            let sched = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            let slice =
                sched.lines().find(|line| line.starts_with("se.slice")).and_then(|line| line.rsplit(' ').next());
            (IS_SHORT.get(), slice.map(str::to_owned))
        });
        match told.join().expect("the thread doesn't panic") {
            (Some(true), Some(slice)) => assert_eq!(slice, SLICE_NANOS.to_string()),
            (is_short, _) => assert!(is_short.is_some()),
        }
    }
}
