//! Answers the system calls by which a thread would learn the time or draw entropy, so that both are functions of a seed.
//!
//! Four symbols of libc are defined here, and so are found before libc's: `clock_gettime`, `getrandom`, `getentropy` and
//! `syscall`. On a thread that called [`begin`] they answer from what it was told; on all others they pass on to the kernel.
//! `syscall` is needed twice: older versions of the crate `getrandom`, of which ring draws, name the call by its number;
//! and std waits by `futex`. A runtime of tokio that has nothing to do waits there until its next timer is due: on a
//! simulated thread it doesn't wait, but the moment is noted, and [`take_idle`] returns it. That is how the simulation
//! knows until when a node has nothing to do.
//!
//! Invariants: only the wait of a runtime that parks is answered ([`parks`]); a wait for another thread is a real one.
//! Nothing here allocates or locks. What is answered never fails.
//!
//! Further reading: ADR 0027; the crate `mad-turmoil`, which does the same for clocks and entropy.
#![expect(unsafe_code, reason = "symbols of libc can be defined in no other way; ADR 0027")]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a simulated thread is told.
#[derive(Clone, Copy)]
struct World {
    /// Nanoseconds of the monotonic clock.
    monotonic: u64,
    /// Nanoseconds of the wall clock since 1970.
    wall: u64,
    /// State of the generator (SplitMix64).
    entropy: u64,
}

thread_local! {
    /// None on threads that don't simulate.
    static WORLD: Cell<Option<World>> = const { Cell::new(None) };
    /// Whether a runtime is about to park.
    static PARKS: Cell<bool> = const { Cell::new(false) };
    /// The moment until which the runtime that parked would have waited.
    static IDLE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes this thread a simulated one: from here on its clocks stand still and its entropy follows from `seed`.
pub fn begin(seed: u64) {
    WORLD.set(Some(World { monotonic: 0, wall: 0, entropy: seed }));
}

/// Gives this thread its real clocks and entropy back.
pub fn end() {
    WORLD.set(None);
}

/// Sets the clocks of this simulated thread, in nanoseconds.
pub fn set_clocks(monotonic: u64, wall: u64) {
    WORLD.with(|world| world.set(world.get().map(|w| World { monotonic, wall, ..w })));
}

/// Says that the runtime of this thread is about to wait.
pub fn parks() {
    PARKS.set(true);
}

/// Says that it no longer waits.
pub fn unparked() {
    PARKS.set(false);
}

/// Returns until when the runtime that parked would have waited, in nanoseconds of its monotonic clock; none if it found
/// something to do instead.
pub fn take_idle() -> Option<u64> {
    IDLE.take()
}

/// Says whether a runtime parked since the last [`take_idle`].
#[must_use]
pub fn is_idle() -> bool {
    IDLE.get().is_some()
}

/// Draws from the thread's generator, as the interposed calls do; none if the thread is not simulated.
fn fill(buffer: &mut [u8]) -> bool {
    let Some(mut world) = WORLD.get() else { return false };
    for chunk in buffer.chunks_mut(8) {
        world.entropy = world.entropy.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = world.entropy;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bytes = (z ^ (z >> 31)).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    WORLD.set(Some(world));
    true
}

/// Fills what a caller of libc gave.
///
/// # Safety
/// `buffer` must be writable for `len` bytes, or `len` 0.
unsafe fn fill_raw(buffer: *mut c_void, len: usize) -> bool {
    if len == 0 || buffer.is_null() {
        return WORLD.get().is_some();
    }
    // SAFETY: the caller of libc's function gave a buffer that is writable for so long; bytes have no invalid values, and
    // they are written before they are read, if at all.
    fill(unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), len) })
}

/// Stands for libc's.
///
/// # Safety
/// As libc's: `buffer` is writable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    // SAFETY: as the caller of libc's function promised.
    if unsafe { fill_raw(buffer, len) } {
        return isize::try_from(len).unwrap_or(isize::MAX);
    }
    // SAFETY: the kernel checks its arguments; these are the caller's.
    unsafe { pass_on(libc::SYS_getrandom, [buffer as c_long, len as c_long, c_long::from(flags), 0, 0, 0]) as isize }
}

/// Stands for libc's.
///
/// # Safety
/// As libc's: `buffer` is writable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, len: usize) -> c_int {
    // SAFETY: as the caller of libc's function promised; a short answer can't be: the kernel gives 256 bytes whole.
    let got = unsafe { getrandom(buffer, len.min(256), 0) };
    if len <= 256 && usize::try_from(got) == Ok(len) { 0 } else { -1 }
}

/// Stands for libc's.
///
/// # Safety
/// As libc's: `time` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let Some(world) = WORLD.get() else {
        let next = next(c"clock_gettime".as_ptr(), &REAL_CLOCK);
        // SAFETY: the symbol behind ours is libc's function of this name and has its signature.
        let real: unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int =
            unsafe { std::mem::transmute(next) };
        // SAFETY: the arguments are the caller's.
        return unsafe { real(clock, time) };
    };
    let nanos = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => world.wall,
        _ => world.monotonic,
    };
    let tv_sec = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    let tv_nsec = i64::try_from(nanos % 1_000_000_000).unwrap_or(0);
    // SAFETY: the caller of libc's function gave a place that can be written.
    unsafe { time.write(libc::timespec { tv_sec, tv_nsec }) };
    0
}

/// Stands for libc's, which takes as many arguments as the call needs: those that weren't given are whatever lies there,
/// and nobody looks at them.
///
/// # Safety
/// As libc's: the arguments are those of the call `number`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    match number {
        // SAFETY: the arguments of this call are a buffer and its length.
        libc::SYS_getrandom if unsafe { fill_raw(a as *mut c_void, b as usize) } => b,
        // SAFETY: the fourth argument of a wait is null or a time; see `answers`.
        libc::SYS_futex if PARKS.get() && unsafe { answers_wait(b, d as *const libc::timespec) } => {
            // SAFETY: the place of this thread's error number.
            unsafe { *libc::__errno_location() = libc::ETIMEDOUT };
            -1
        }
        // SAFETY: the arguments are the caller's.
        _ => unsafe { pass_on(number, [a, b, c, d, e, f]) },
    }
}

/// Notes the deadline of a runtime that waits for its next timer; says whether it is that.
///
/// # Safety
/// `until` must be what the caller of `futex` gave: null, or readable.
unsafe fn answers_wait(operation: c_long, until: *const libc::timespec) -> bool {
    let operation = c_int::try_from(operation).unwrap_or(0) & libc::FUTEX_CMD_MASK;
    if operation != libc::FUTEX_WAIT_BITSET || until.is_null() || WORLD.get().is_none() {
        return false;
    }
    // SAFETY: not null, so the caller gave a time.
    let until = unsafe { until.read() };
    let nanos = u64::try_from(until.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    IDLE.set(Some(nanos.saturating_add(u64::try_from(until.tv_nsec).unwrap_or(0))));
    true
}

/// Asks the kernel, through libc.
///
/// # Safety
/// As libc's `syscall`.
unsafe fn pass_on(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let next = next(c"syscall".as_ptr(), &REAL_SYSCALL);
    // SAFETY: the symbol behind ours is libc's function of this name and has its signature.
    let real: unsafe extern "C" fn(c_long, ...) -> c_long = unsafe { std::mem::transmute(next) };
    // SAFETY: the arguments are the caller's.
    unsafe { real(number, a, b, c, d, e, f) }
}

static REAL_CLOCK: AtomicUsize = AtomicUsize::new(0);
static REAL_SYSCALL: AtomicUsize = AtomicUsize::new(0);

/// Returns libc's own function of this name, which ours hides.
fn next(name: *const std::ffi::c_char, found: &AtomicUsize) -> *mut c_void {
    let known = found.load(Ordering::Relaxed);
    if known != 0 {
        return known as *mut c_void;
    }
    // SAFETY: the name is a string of C.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name) };
    if address.is_null() {
        // Not a panic, which would ask for the time or wait, and so come here again.
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
    found.store(address as usize, Ordering::Relaxed);
    address
}
