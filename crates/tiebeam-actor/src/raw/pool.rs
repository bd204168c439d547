//! Memory for what lives shortly: messages, the futures of handlers, the slots of answers.
//!
//! Each thread keeps two chains of free blocks per size, and takes and gives without asking anybody. A chain that is full
//! goes to a depot from which threads that ran out take: who sends and who handles may be different threads, and then
//! blocks come back by the chain (Bonwick and Adams, "Magazines and Vmem", 2001). What fits nowhere comes from the
//! allocator; so nothing here grows without bound.

use std::alloc::{Layout, alloc as allocate, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

/// The sizes of blocks, in bytes. What is larger comes from the allocator.
const SIZES: [usize; 5] = [32, 64, 128, 256, 512];
const ALIGN: usize = 16;

/// How much one chain holds, in bytes; a thread keeps at most two for each size.
const CHAIN_BYTES: usize = 16 * 1024;

/// How many chains of one size the depot keeps.
const DEPOT_CHAINS_MAX: usize = 64;

struct Free {
    next: *mut Self,
}

struct Chain {
    first: *mut Free,
    len: usize,
}

// SAFETY: a chain owns its blocks alone.
unsafe impl Send for Chain {}

/// One size's blocks of one thread.
struct Rack {
    chain: Chain,
    spare: Chain,
}

struct Racks([Rack; SIZES.len()]);

thread_local! {
    static RACKS: UnsafeCell<Racks> = const { UnsafeCell::new(Racks([const { Rack::new() }; SIZES.len()])) };
}

static DEPOT: [Mutex<Vec<Chain>>; SIZES.len()] = [const { Mutex::new(Vec::new()) }; SIZES.len()];

/// Returns memory for `layout`; [`give`] takes it back.
#[inline]
pub(crate) fn take(layout: Layout) -> NonNull<u8> {
    let Some(class) = class_of(layout) else { return fresh(layout) };
    // SAFETY: the thread's own, and nothing that is called meanwhile comes here again.
    let block = RACKS.try_with(|racks| unsafe { &mut *racks.get() }.0[class].take(class)).ok().flatten();
    block.map_or_else(|| fresh(block_layout(class)), NonNull::cast)
}

/// Takes memory back.
///
/// # Safety
/// It came from [`take`] with the same layout and is used no more.
#[inline]
pub(crate) unsafe fn give(memory: NonNull<u8>, layout: Layout) {
    let Some(class) = class_of(layout) else {
        // SAFETY: as promised, and large layouts are passed on as they are.
        return unsafe { dealloc(memory.as_ptr(), layout) };
    };
    // SAFETY: as in `take`.
    let kept = RACKS.try_with(|racks| unsafe { &mut *racks.get() }.0[class].give(class, memory.cast()));
    if kept.is_err() {
        // SAFETY: blocks of a class are allocated with its layout.
        unsafe { dealloc(memory.as_ptr(), block_layout(class)) };
    }
}

/// One block kept for the next of the same size, by whoever needs one after the other.
#[derive(Default)]
pub(crate) struct Scratch(Option<(NonNull<u8>, usize)>);

impl Scratch {
    /// As [`take`].
    #[inline]
    pub(crate) fn take(&mut self, layout: Layout) -> NonNull<u8> {
        match self.0 {
            Some((memory, class)) if Some(class) == class_of(layout) => {
                self.0 = None;
                memory
            }
            _ => take(layout),
        }
    }

    /// As [`give`].
    ///
    /// # Safety
    /// As [`give`].
    #[inline]
    pub(crate) unsafe fn give(&mut self, memory: NonNull<u8>, layout: Layout) {
        match class_of(layout) {
            Some(class) if self.0.is_none() => self.0 = Some((memory, class)),
            // SAFETY: as promised.
            _ => unsafe { give(memory, layout) },
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some((memory, class)) = self.0 {
            // SAFETY: a block of this class, which nobody uses.
            unsafe { give(memory, block_layout(class)) };
        }
    }
}

/// Sanitizers see each block's life only if it isn't recycled here.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    if cfg!(tiebeam_no_pool) || layout.align() > ALIGN {
        return None;
    }
    // Known at compile time wherever the layout is.
    match layout.size() {
        0..=32 => Some(0),
        33..=64 => Some(1),
        65..=128 => Some(2),
        129..=256 => Some(3),
        257..=512 => Some(4),
        _ => None,
    }
}

const fn block_layout(class: usize) -> Layout {
    match Layout::from_size_align(SIZES[class], ALIGN) {
        Ok(layout) => layout,
        Err(_) => panic!("sizes and alignment are constants that fit"),
    }
}

fn fresh(layout: Layout) -> NonNull<u8> {
    // The allocator refuses a size of zero.
    let layout = if layout.size() == 0 { block_layout(0) } else { layout };
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { allocate(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Chain {
    const fn new() -> Self {
        Self { first: ptr::null_mut(), len: 0 }
    }

    const fn push(&mut self, block: NonNull<Free>) {
        // SAFETY: the block is free and large enough for a pointer; only this chain knows of it.
        unsafe { block.write(Free { next: self.first }) };
        self.first = block.as_ptr();
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<Free>> {
        let block = NonNull::new(self.first)?;
        // SAFETY: written by `push`, and owned by this chain since.
        self.first = unsafe { block.read() }.next;
        self.len -= 1;
        Some(block)
    }

    fn free(mut self, class: usize) {
        while let Some(block) = self.pop() {
            // SAFETY: blocks of a class are allocated with its layout.
            unsafe { dealloc(block.as_ptr().cast(), block_layout(class)) };
        }
    }
}

impl Rack {
    const fn new() -> Self {
        Self { chain: Chain::new(), spare: Chain::new() }
    }

    #[inline]
    fn take(&mut self, class: usize) -> Option<NonNull<Free>> {
        if self.chain.first.is_null() {
            self.refill(class);
        }
        self.chain.pop()
    }

    #[inline]
    fn give(&mut self, class: usize, block: NonNull<Free>) {
        if self.chain.len >= CHAIN_BYTES / SIZES[class] {
            self.hand_over(class);
        }
        self.chain.push(block);
    }

    #[cold]
    fn refill(&mut self, class: usize) {
        std::mem::swap(&mut self.chain, &mut self.spare);
        if self.chain.first.is_null()
            && let Some(chain) = depot(class).pop()
        {
            self.chain = chain;
        }
    }

    #[cold]
    fn hand_over(&mut self, class: usize) {
        let full = std::mem::replace(&mut self.chain, Chain::new());
        let former = std::mem::replace(&mut self.spare, full);
        if former.first.is_null() {
            return;
        }
        let mut depot = depot(class);
        if depot.len() < DEPOT_CHAINS_MAX {
            depot.push(former);
        } else {
            drop(depot);
            former.free(class);
        }
    }
}

impl Drop for Racks {
    fn drop(&mut self) {
        for (class, rack) in self.0.iter_mut().enumerate() {
            std::mem::replace(&mut rack.chain, Chain::new()).free(class);
            std::mem::replace(&mut rack.spare, Chain::new()).free(class);
        }
    }
}

fn depot(class: usize) -> std::sync::MutexGuard<'static, Vec<Chain>> {
    DEPOT[class].lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails, or is reported by a sanitizer, if two owners are given one block.
    #[test]
    fn blocks_come_back_and_belong_to_one_owner() {
        for size in [0, 1, 32, 33, 64, 65, 512, 513, 4096] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let taken: Vec<_> = (0..2000).map(|_| take(layout)).collect();
            let mut sorted = taken.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), taken.len(), "{size}");
            // SAFETY: each was taken with this layout and is given once.
            taken.into_iter().for_each(|memory| unsafe { give(memory, layout) });
        }
    }

    /// Fails, or is reported by a sanitizer, if a chain that changes threads loses or doubles a block.
    #[test]
    fn one_thread_takes_and_another_gives() {
        let layout = Layout::new::<[u64; 8]>();
        let (to, from) = std::sync::mpsc::sync_channel::<usize>(1024);
        let giver = std::thread::spawn(move || {
            for address in from {
                let memory = NonNull::new(ptr::with_exposed_provenance_mut::<u64>(address)).unwrap();
                // SAFETY: the taker wrote the address there and handed the block over.
                assert_eq!(unsafe { memory.read() }, address as u64);
                // SAFETY: as above; it was taken with this layout.
                unsafe { give(memory.cast(), layout) };
            }
        });
        for _ in 0..100_000 {
            let memory = take(layout).cast::<u64>();
            let address = memory.as_ptr().expose_provenance();
            // SAFETY: the block is large enough and nobody else's.
            unsafe { memory.write(address as u64) };
            to.send(address).unwrap();
        }
        drop(to);
        giver.join().unwrap();
    }
}
