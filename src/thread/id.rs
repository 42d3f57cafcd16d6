//! Numbers for threads, never used twice.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::scheduler::with_local;

/// A worker takes this many numbers at a time, so that a spawn touches no shared counter.
const BLOCK: u64 = 1024;

thread_local! {
    /// Of OS threads that are no workers.
    static BLOCK_LEFT: IdBlock = const { IdBlock::new() };
    /// The number of this OS thread itself.
    static OWN: Cell<u64> = const { Cell::new(0) };
}

/// Numbers that one worker, or another OS thread, gives out.
pub(crate) struct IdBlock {
    /// The next one, and where they end.
    left: Cell<(u64, u64)>,
}

impl IdBlock {
    pub(crate) const fn new() -> Self {
        IdBlock {
            left: Cell::new((0, 0)),
        }
    }

    #[inline]
    fn next(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (mut next, mut end) = self.left.get();
        if next == end {
            next = NEXT.fetch_add(BLOCK, Relaxed);
            end = next + BLOCK;
        }
        self.left.set((next + 1, end));
        next
    }
}

/// A number that no other green thread or OS thread has or had.
#[inline]
pub(crate) fn next() -> u64 {
    with_local(|local| local.ids().next()).unwrap_or_else(|| BLOCK_LEFT.with(IdBlock::next))
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
