//! Memory for records, which never becomes anything else.
//!
//! Blocks of 128 to 1024 bytes by steps of 64, which is a cache line, carved from chunks of 256 KiB
//! as they are needed. A worker keeps free
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

use parking_lot::{Mutex, MutexGuard};

use super::{Record, RecordRef};
use crate::scheduler;

const STEP: usize = 64;
const CLASSES: usize = 17;
const CHUNK_BYTES: usize = 256 * 1024;
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
        FreeList {
            head: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
        }
    }

    #[inline]
    fn push(&self, record: NonNull<Record>) {
        // SAFETY: arena memory always holds a record; this one is free and thus ours.
        unsafe { record.as_ref() }
            .link
            .store(self.head.get(), Relaxed);
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
        Cache {
            lists: [const { FreeList::new() }; CLASSES],
        }
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
    /// How many records were handed out of it at least once. The others are all zeros.
    n_carved: usize,
}

impl Chunk {
    fn bytes(&self) -> usize {
        self.class as usize * STEP
    }

    /// The record with this index, carved or not.
    fn record(&self, index: usize) -> NonNull<Record> {
        debug_assert!(index < self.n_records());
        // SAFETY: within the chunk.
        unsafe { self.at.add(index * self.bytes()) }.cast()
    }

    fn n_records(&self) -> usize {
        (CHUNK_BYTES - ALIGN) / self.bytes()
    }
}

pub(crate) struct Depot {
    lists: [FreeList; CLASSES],
    chunks: Vec<Chunk>,
    /// The chunk of each size that is being carved.
    open: [Option<usize>; CLASSES],
}

// SAFETY: only ever touched under the lock of `DEPOT`.
unsafe impl Send for Depot {}

static DEPOT: Mutex<Depot> = Mutex::new(Depot {
    lists: [const { FreeList::new() }; CLASSES],
    chunks: Vec::new(),
    open: [None; CLASSES],
});

impl Depot {
    /// Moves up to `n` free records of a size to `list`; at least one.
    fn refill(&mut self, class: u8, list: &FreeList, n: u32) {
        self.lists[class as usize].move_to(list, n);
        if list.len.get() > 0 {
            return;
        }
        let index = self.open[class as usize].unwrap_or_else(|| self.open_chunk(class));
        let chunk = &mut self.chunks[index];
        for _ in 0..n {
            list.push(chunk.record(chunk.n_carved));
            chunk.n_carved += 1;
            if chunk.n_carved == chunk.n_records() {
                self.open[class as usize] = None;
                break;
            }
        }
    }

    fn open_chunk(&mut self, class: u8) -> usize {
        // An alignment that `calloc` keeps by itself, so that fresh memory is not zeroed by hand.
        let layout = Layout::from_size_align(CHUNK_BYTES, 16).expect("a constant, valid layout");
        // SAFETY: the layout is not empty.
        let at = unsafe { alloc_zeroed(layout) };
        let Some(at) = NonNull::new(at) else {
            handle_alloc_error(layout)
        };
        // SAFETY: less than `ALIGN` bytes on, and `n_records` leaves that many out.
        let at = unsafe { at.add(at.as_ptr().align_offset(ALIGN)) };
        // All zeros is a free record: no references.
        self.chunks.push(Chunk {
            at,
            class,
            n_carved: 0,
        });
        let index = self.chunks.len() - 1;
        self.open[class as usize] = Some(index);
        index
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

/// The depot's lock, for a thread that forks.
pub(crate) struct Held(MutexGuard<'static, Depot>);

/// Takes the depot's lock.
pub(crate) fn hold() -> Held {
    Held(DEPOT.lock())
}

impl Held {
    /// Calls `f` with every live record; for the child of a fork, where nobody else takes or gives
    /// back any.
    pub(crate) fn for_each_live(&self, f: impl Fn(&Record)) {
        for chunk in &self.0.chunks {
            for index in 0..chunk.n_carved {
                // SAFETY: arena memory always holds a record.
                let record = unsafe { chunk.record(index).as_ref() };
                if record.refs.load(Relaxed) > 0 {
                    f(record);
                }
            }
        }
    }
}

/// A reference to every live record, oldest chunk first.
pub(crate) fn live() -> Vec<RecordRef> {
    let _section = scheduler::Section::enter_green();
    // Copied, so that the lock is not held while references are taken, and perhaps dropped.
    let carved: Vec<Chunk> = {
        let depot = DEPOT.lock();
        depot
            .chunks
            .iter()
            .map(|c| Chunk {
                at: c.at,
                class: c.class,
                n_carved: c.n_carved,
            })
            .collect()
    };
    let records = carved
        .iter()
        .flat_map(|chunk| (0..chunk.n_carved).map(|i| chunk.record(i)));
    // SAFETY: arena memory, which is never freed.
    records
        .filter_map(|record| unsafe { RecordRef::try_ref(record) })
        .collect()
}
