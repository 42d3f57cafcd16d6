//! Numbers for threads, never used twice.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A worker takes this many numbers at a time, so that a spawn touches no shared counter.
const BLOCK: u64 = 1024;

thread_local! {
    /// The next number of this OS thread's block, and where the block ends.
    static BLOCK_LEFT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// The number of this OS thread itself.
    static OWN: Cell<u64> = const { Cell::new(0) };
}

/// A number that no other green thread or OS thread has or had.
#[inline]
pub(crate) fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (mut next, mut end) = BLOCK_LEFT.get();
    if next == end {
        next = NEXT.fetch_add(BLOCK, Relaxed);
        end = next + BLOCK;
    }
    BLOCK_LEFT.set((next + 1, end));
    next
}

/// The number of the calling OS thread.
pub(crate) fn of_os_thread() -> u64 {
    if OWN.get() == 0 {
        OWN.set(next());
    }
    OWN.get()
}

/// What tells one thread from every other, green or not, in the life of the process.
///
/// As [`std::thread::ThreadId`], which it is not: std numbers its own threads only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadId(NonZeroU64);

impl ThreadId {
    pub(crate) fn new(number: u64) -> Self {
        ThreadId(NonZeroU64::new(number).expect("greenrt: thread number zero"))
    }

    /// The number, as the dump and the panic message print it.
    pub fn as_u64(self) -> NonZeroU64 {
        self.0
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThreadId({})", self.0)
    }
}
