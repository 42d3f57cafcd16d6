//! A lock and a condition on which OS threads wait, whatever is forked meanwhile.
//!
//! parking_lot notes everybody who waits in a table of the process, at an address in the waiter's
//! thread-locals. The child of a fork has the notes of the parent's threads, and its own threads get
//! the same addresses again: then the table is in disorder, and somebody is never woken. What waits
//! on std's is known to the kernel alone.

use std::sync::{self, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As std's, without poison.
#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As std's. Whoever waits stops its OS thread.
#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

#[expect(clippy::disallowed_methods, reason = "it is OS threads that wait")]
impl Condvar {
    pub(crate) const fn new() -> Condvar {
        Condvar(sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Waits for a notification, or for no reason.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`wait`](Condvar::wait), at most so long. `true`: the time is up.
    pub(crate) fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let waited = self.0.wait_timeout(guard, time);
        let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (guard, result.timed_out())
    }

    /// As [`wait_for`](Condvar::wait_for), until then.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        at: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_for(guard, at.saturating_duration_since(Instant::now()))
    }
}
