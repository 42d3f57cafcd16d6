//! Memory for records, which never becomes anything else.
//!
//! Blocks of 32 to 1024 bytes by steps of 32, carved from chunks of 64 KiB. A worker keeps free
//! ones of each size in a cache of its own and trades with the depot by the batch; other threads
//! go to the depot. Chunks are never freed: a program that once had a million green threads keeps
//! the memory for a million records (128 bytes each if their closures are small), and the next
//! million use it again. In return a spawn costs a pop from a list, and the registry costs nothing
//! (see `record/mod.rs`).

#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::{Record, RecordRef};
use crate::scheduler;

const STEP: usize = 32;
const CLASSES: usize = 33;
const CHUNK_BYTES: usize = 64 * 1024;
/// How many records move between a worker's cache and the depot at a time.
const BATCH: u32 = 128;
/// What a worker keeps of one size.
const CACHE_MAX: u32 = 4 * BATCH;

/// The largest block.
pub(super) const BYTES_MAX: usize = STEP * (CLASSES - 1);
/// The alignment of every block.
pub(super) const ALIGN: usize = STEP;

pub(super) const fn class_for(bytes: usize) -> u8 {
    bytes.div_ceil(STEP) as u8
}

/// A stack of free records, linked through themselves.
struct FreeList {
    head: Cell<*mut Record>,
    len: Cell<u32>,
}

impl FreeList {
    const fn new() -> Self {
        FreeList { head: Cell::new(ptr::null_mut()), len: Cell::new(0) }
    }

    #[inline]
    fn push(&self, record: NonNull<Record>) {
        // SAFETY: arena memory always holds a record; this one is free and thus ours.
        unsafe { record.as_ref() }.link.store(self.head.get(), Relaxed);
        self.head.set(record.as_ptr());
        self.len.set(self.len.get() + 1);
    }

    #[inline]
    fn pop(&self) -> Option<NonNull<Record>> {
        let record = NonNull::new(self.head.get())?;
        // SAFETY: what is in the list is a free record.
        self.head.set(unsafe { record.as_ref() }.link.load(Relaxed));
        self.len.set(self.len.get() - 1);
        Some(record)
    }

    fn move_to(&self, other: &FreeList, n: u32) {
        for _ in 0..n {
            let Some(record) = self.pop() else { break };
            other.push(record);
        }
    }
}

/// The free records that a worker keeps.
pub(crate) struct Cache {
    lists: [FreeList; CLASSES],
}

impl Cache {
    pub(crate) const fn new() -> Self {
        Cache { lists: [const { FreeList::new() }; CLASSES] }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let depot = DEPOT.lock();
        for (mine, shared) in self.lists.iter().zip(&depot.lists) {
            mine.move_to(shared, u32::MAX);
        }
    }
}

struct Chunk {
    at: NonNull<u8>,
    class: u8,
}

struct Depot {
    lists: [FreeList; CLASSES],
    chunks: Vec<Chunk>,
}

// SAFETY: only ever touched under the lock of `DEPOT`.
unsafe impl Send for Depot {}

static DEPOT: Mutex<Depot> =
    Mutex::new(Depot { lists: [const { FreeList::new() }; CLASSES], chunks: Vec::new() });

impl Depot {
    /// Moves up to `n` free records of a size to `list`; at least one.
    fn refill(&mut self, class: u8, list: &FreeList, n: u32) {
        let shared = &self.lists[class as usize];
        if shared.head.get().is_null() {
            let layout =
                Layout::from_size_align(CHUNK_BYTES, 4096).expect("a constant and valid layout");
            // SAFETY: the layout is not empty.
            let at = unsafe { alloc_zeroed(layout) };
            let Some(at) = NonNull::new(at) else { handle_alloc_error(layout) };
            let bytes = class as usize * STEP;
            for index in (0..CHUNK_BYTES / bytes).rev() {
                // SAFETY: within the chunk. All zeros is a free record: no references.
                shared.push(unsafe { at.add(index * bytes) }.cast());
            }
            self.chunks.push(Chunk { at, class });
        }
        shared.move_to(list, n);
    }
}

/// Takes memory for a record of a class.
#[inline]
pub(super) fn take(class: u8) -> NonNull<Record> {
    let cached = scheduler::with_local(|local| {
        let list = &local.records().lists[class as usize];
        list.pop().unwrap_or_else(|| refill(class, list))
    });
    cached.unwrap_or_else(|| {
        let list = FreeList::new();
        DEPOT.lock().refill(class, &list, 1);
        list.pop().expect("the depot gives at least one")
    })
}

#[cold]
fn refill(class: u8, list: &FreeList) -> NonNull<Record> {
    DEPOT.lock().refill(class, list, BATCH);
    list.pop().expect("the depot gives at least one")
}

/// Gives memory of a record back.
///
/// # Safety
///
/// `record` was taken for this class, and nobody has a reference to it.
#[inline]
pub(super) unsafe fn give_back(record: NonNull<Record>, class: u8) {
    let cached = scheduler::with_local(|local| {
        let list = &local.records().lists[class as usize];
        list.push(record);
        if list.len.get() > CACHE_MAX {
            spill(class, list);
        }
    });
    if cached.is_none() {
        DEPOT.lock().lists[class as usize].push(record);
    }
}

#[cold]
fn spill(class: u8, list: &FreeList) {
    list.move_to(&DEPOT.lock().lists[class as usize], BATCH);
}

/// A reference to every live record, oldest chunk first.
pub(crate) fn live() -> Vec<RecordRef> {
    let chunks: Vec<(NonNull<u8>, usize)> =
        DEPOT.lock().chunks.iter().map(|c| (c.at, c.class as usize * STEP)).collect();
    let mut found = Vec::new();
    for (at, bytes) in chunks {
        for index in 0..CHUNK_BYTES / bytes {
            // SAFETY: within a chunk, which is never freed and holds records of this size.
            let record = unsafe { at.add(index * bytes) }.cast();
            // SAFETY: arena memory.
            found.extend(unsafe { RecordRef::try_ref(record) });
        }
    }
    found
}
