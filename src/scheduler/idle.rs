//! Which workers sleep, and who wakes them.
//!
//! There are two reasons to wake a worker, and each has its own rule.
//!
//! # Something for this worker
//!
//! A parked green thread can run only on its own worker, so whoever makes it runnable pushes it to
//! that worker's inbox and then looks whether the worker sleeps. The worker says that it is about
//! to sleep, and then looks at its inbox. Both put a sequentially consistent step between their
//! write and their read, so at least one sees the other. One system call per sleeping worker, none
//! for one that is awake: the waker that moves `SLEEPING` to `NOTIFIED` makes it, nobody else.
//!
//! # Something for any worker
//!
//! A spawned and not yet started closure may run anywhere, but waking a worker for each spawn
//! would wake far too many, and would tear apart a spawner and its child that are about to talk.
//! So a spawn wakes a worker only if none is searching, and a searching worker takes only what has
//! *aged*: what was there one nap ago. The last worker to stop searching looks once more at every
//! queue *after* it has said so. Either it sees the new closure, or the one who pushed it sees
//! that nobody searches. Both put a `SeqCst` fence between their two steps.
//!
//! # Considered and left out
//!
//! - Waking on each spawn: a spawn and join in a row cost a system call and a trip between cores.
//! - Searching by spinning: a nap of some microseconds finds the same, and costs no core.

use crate::primitive::atomic::Ordering::{Relaxed, SeqCst};
use crate::primitive::atomic::{AtomicU32, AtomicUsize, fence};

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// Whether one worker sleeps.
///
/// | value    | meaning                                            | left by                |
/// |----------|----------------------------------------------------|------------------------|
/// | AWAKE    | runs green threads, or looks for some              | `prepare`              |
/// | SLEEPING | in the system call that waits, or about to be      | `notify`, `awake`      |
/// | NOTIFIED | somebody has made, or is about to make, the wake-up | `awake`                |
pub(crate) struct Sleeper(AtomicU32);

impl Sleeper {
    pub(crate) fn new() -> Self {
        Sleeper(AtomicU32::new(AWAKE))
    }

    /// The worker says that it is about to sleep. It must now look once more at everything that
    /// others push to, and sleep only if all of it is empty.
    #[inline]
    pub(crate) fn prepare(&self) {
        self.0.store(SLEEPING, Relaxed);
        // Pairs with the fence in `notify`: either we see the push, or the pusher sees SLEEPING.
        fence(SeqCst);
    }

    /// The worker does not sleep any more.
    #[inline]
    pub(crate) fn awake(&self) {
        self.0.store(AWAKE, Relaxed);
    }

    /// Called after a push. `true`: the caller must make the system call that wakes the worker.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        // Pairs with the fence in `prepare`.
        fence(SeqCst);
        self.0.load(Relaxed) == SLEEPING
            && self
                .0
                .compare_exchange(SLEEPING, NOTIFIED, SeqCst, Relaxed)
                .is_ok()
    }

    /// Whether the worker sleeps and nobody is waking it.
    #[inline]
    pub(crate) fn is_sleeping(&self) -> bool {
        self.0.load(Relaxed) == SLEEPING
    }
}

/// How many workers search, and how many sleep.
pub(crate) struct Search {
    searching: AtomicUsize,
    sleeping: AtomicUsize,
}

impl Search {
    pub(crate) fn new() -> Self {
        Search {
            searching: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
        }
    }

    /// A worker without work begins to search.
    pub(crate) fn begin(&self) {
        self.searching.fetch_add(1, SeqCst);
    }

    /// A searching worker has found something. `true`: it was the last one, and should wake
    /// another if there is more.
    pub(crate) fn found(&self) -> bool {
        self.searching.fetch_sub(1, SeqCst) == 1
    }

    /// A searching worker gives up. It must now look once more at every queue; if one is not
    /// empty it calls `resume`, otherwise it sleeps.
    pub(crate) fn give_up(&self) {
        self.sleeping.fetch_add(1, SeqCst);
        self.searching.fetch_sub(1, SeqCst);
        // Pairs with the fence in `wants_wake`: either we see the closure, or its spawner sees
        // that nobody searches.
        fence(SeqCst);
    }

    /// A worker that gave up, or slept, searches again.
    pub(crate) fn resume(&self) {
        self.searching.fetch_add(1, SeqCst);
        self.sleeping.fetch_sub(1, SeqCst);
    }

    /// A worker that slept was woken for something of its own.
    pub(crate) fn woken(&self) {
        self.sleeping.fetch_sub(1, SeqCst);
    }

    /// Called after a spawn. Whether one of the sleeping workers should be woken to search.
    #[inline]
    pub(crate) fn wants_wake(&self) -> bool {
        // Pairs with the fence in `give_up`.
        fence(SeqCst);
        self.searching.load(Relaxed) == 0 && self.sleeping.load(Relaxed) > 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
