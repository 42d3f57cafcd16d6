//! A place where one thread waits, without the table of the futex: for channels and the like, which
//! know who waits.

use std::fmt;
use std::time::Instant;

use parking_lot::Mutex;

use crate::clock;
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{Ended, Episode, Target};
use crate::scheduler::Section;

/// A place where one thread at a time, of either kind, waits until another one wakes it.
///
/// Cheaper than [`futex_wait`](crate::lowlevel::futex_wait) and
/// [`futex_wake`](crate::lowlevel::futex_wake), which are for any number of threads. Not a point of
/// cancellation, and not ended by limits or [`unpark`](crate::Thread::unpark).
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering::{Acquire, Release}};
/// use greenrt::lowlevel::WaitCell;
///
/// static READY: AtomicBool = AtomicBool::new(false);
/// static CELL: WaitCell = WaitCell::new();
/// greenrt::run(|| {
///     greenrt::spawn(|| {
///         READY.store(true, Release);
///         CELL.wake();
///     });
///     while !READY.load(Acquire) {
///         CELL.wait(|| !READY.load(Acquire), None);
///     }
/// });
/// ```
pub struct WaitCell {
    /// Whoever leaves the wait takes this out first, so a target that is here is valid.
    waiter: Mutex<Option<Target>>,
}

impl WaitCell {
    /// A cell in which nobody waits.
    pub const fn new() -> Self {
        WaitCell {
            waiter: Mutex::new(None),
        }
    }

    /// Waits until [`wake`](WaitCell::wake) is called, if `must_wait`, or until the deadline, which
    /// is one of the runtime's clock; whether the deadline has ended it.
    ///
    /// A wake that comes after what `must_wait` looks at has changed is not lost. `must_wait` is
    /// called under a lock: it looks at atomics, and no more. May return for no reason.
    ///
    /// # Panics
    ///
    /// If another thread waits here.
    pub fn wait(&self, must_wait: impl FnOnce() -> bool, deadline: Option<Instant>) -> bool {
        // A deadline too late to be told is none.
        let deadline = deadline.and_then(clock::from_instant);
        let Ok(episode) = Episode::open(Reason::FUTEX, Ends::default()) else {
            // Nothing but a token or a cancel can end it before it begins, and it takes neither.
            return false;
        };
        {
            let mut waiter = self.waiter.lock();
            assert!(waiter.is_none(), "two threads wait in one cell");
            if !must_wait() {
                return false;
            }
            *waiter = Some(episode.target());
        }
        match episode.park(deadline) {
            Ended::Woken(_) => false,
            ended => {
                let _section = Section::enter_green();
                *self.waiter.lock() = None;
                matches!(ended, Ended::Deadline)
            }
        }
    }

    /// Lets the thread that waits here go on, if there is one.
    ///
    /// What the caller has written before is visible to it.
    pub fn wake(&self) {
        let _section = Section::enter_green();
        let wake = {
            let mut waiter = self.waiter.lock();
            let wake = waiter.as_ref().and_then(|waiter| waiter.claim(CLAIM_WOKEN));
            if wake.is_some() {
                *waiter = None;
            }
            wake
        };
        if let Some(wake) = wake {
            wake.wake();
        }
    }
}

impl Default for WaitCell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitCell").finish_non_exhaustive()
    }
}
