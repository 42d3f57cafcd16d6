//! Waiting until all have come.

use std::fmt;
use std::panic::RefUnwindSafe;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use greenrt::lowlevel::{futex_wait, futex_wake, spend_credit};

use super::lock::Lock;

/// A place where threads wait until so many of them have come.
///
/// As [`std::sync::Barrier`], for threads of both kinds.
///
/// # Examples
///
/// ```
/// use greenstd::sync::Barrier;
/// use greenstd::thread;
///
/// let barrier = Barrier::new(3);
/// let n_leaders = thread::scope(|s| {
///     let threads = [(); 3].map(|()| s.spawn(|| barrier.wait().is_leader()));
///     threads.map(|thread| thread.join().unwrap()).into_iter().filter(|&leads| leads).count()
/// });
/// assert_eq!(n_leaders, 1);
/// ```
pub struct Barrier {
    n_threads: usize,
    n_come: Lock<usize>,
    /// How often all have come. Changed by whoever has `n_come`.
    round: AtomicU32,
}

/// Whether a thread was the last to come; as [`std::sync::BarrierWaitResult`].
pub struct BarrierWaitResult(bool);

impl RefUnwindSafe for Barrier {}

impl Barrier {
    /// A barrier for `n` threads, as [`std::sync::Barrier::new`].
    #[must_use]
    #[inline]
    pub const fn new(n: usize) -> Barrier {
        Barrier {
            n_threads: n,
            n_come: Lock::new(0),
            round: AtomicU32::new(0),
        }
    }

    /// Waits until all have come, as [`std::sync::Barrier::wait`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    pub fn wait(&self) -> BarrierWaitResult {
        let mut n_come = self.n_come.lock();
        *n_come += 1;
        if *n_come < self.n_threads {
            let round = self.round.load(Relaxed);
            drop(n_come);
            // Acquire: pairs with the release of the last to come.
            while self.round.load(Acquire) == round {
                futex_wait(&self.round, round, None);
            }
            return BarrierWaitResult(false);
        }
        *n_come = 0;
        // Release: what all have done before is visible to all, by way of the lock and of this.
        self.round.fetch_add(1, Release);
        drop(n_come);
        futex_wake(&self.round, usize::MAX);
        spend_credit();
        BarrierWaitResult(true)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl BarrierWaitResult {
    /// Whether this thread was the last to come, as [`std::sync::BarrierWaitResult::is_leader`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}
