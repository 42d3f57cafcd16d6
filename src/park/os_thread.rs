//! An OS thread that waits in greenrt: a wait word and a condition variable.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::word::{CLAIM_DEADLINE, WaitWord};
use crate::cancel::Limits;
use crate::clock;
use crate::os_condvar::{Condvar, Mutex};

thread_local! {
    static CURRENT: RefCell<Option<Arc<OsThread>>> = const { RefCell::new(None) };
}

/// See the module's documentation.
pub(crate) struct OsThread {
    word: WaitWord,
    limits: Limits,
    lock: Mutex<()>,
    woken: Condvar,
}

impl OsThread {
    /// The calling OS thread's; `None` when its thread-locals are gone already.
    pub(crate) fn known() -> Option<Arc<OsThread>> {
        let known = CURRENT.try_with(|current| {
            Arc::clone(
                current
                    .borrow_mut()
                    .get_or_insert_with(|| Arc::new(OsThread::new())),
            )
        });
        known.ok()
    }

    /// Whether anything limits or shields the calling OS thread.
    pub(crate) fn has_limits() -> bool {
        let known = CURRENT.try_with(|current| {
            current
                .borrow()
                .as_ref()
                .is_some_and(|thread| thread.limits.any())
        });
        known.unwrap_or(true)
    }

    /// The calling OS thread's. Made anew when its thread-locals are gone already.
    pub(crate) fn current() -> Arc<OsThread> {
        Self::known().unwrap_or_else(|| Arc::new(OsThread::new()))
    }

    fn new() -> Self {
        OsThread {
            word: WaitWord::new(),
            limits: Limits::default(),
            lock: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    pub(crate) fn word(&self) -> &WaitWord {
        &self.word
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Stops the calling thread, whose own this is, until its episode has ended.
    pub(crate) fn park(&self, deadline: Option<u64>) {
        let deadline = deadline.and_then(|at| {
            let left = Duration::from_nanos(at.saturating_sub(clock::monotonic()));
            Instant::now().checked_add(left)
        });
        let mut guard = self.lock.lock();
        while self.word.outcome().is_none() {
            match deadline {
                None => guard = self.woken.wait(guard),
                Some(at) => {
                    let timed_out;
                    (guard, timed_out) = self.woken.wait_until(guard, at);
                    if timed_out {
                        self.word.claim(CLAIM_DEADLINE);
                    }
                }
            }
        }
    }

    /// Called by whoever has claimed its episode.
    pub(crate) fn wake(&self) {
        // Under the lock: the sleeper looks at its word and begins to wait in one step.
        let _guard = self.lock.lock();
        self.woken.notify_one();
    }
}

impl fmt::Debug for OsThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsThread")
            .field("word", &self.word)
            .finish_non_exhaustive()
    }
}

/// Lets other OS threads run, in the middle of a few instructions that another one must finish.
#[expect(
    clippy::disallowed_methods,
    reason = "the OS thread itself must give way"
)]
pub(crate) fn os_yield() {
    std::thread::yield_now();
}

/// Stops the OS thread for a moment, for the same.
#[expect(
    clippy::disallowed_methods,
    reason = "the OS thread itself must give way"
)]
pub(crate) fn os_sleep(time: Duration) {
    std::thread::sleep(time);
}
