//! Waiting for a condition on what a mutex guards.
//!
//! The word counts notifications. Whoever waits reads it while it has the mutex, so a notification
//! by somebody who has had the mutex since has changed it.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

use greenrt::lowlevel::{FutexWait, deadline_after, futex_wait, futex_wake};

use super::MutexGuard;

/// A place to wait until something about the value of a [`Mutex`](super::Mutex) is true.
///
/// As [`std::sync::Condvar`], for threads of both kinds. A wait may end for no reason.
///
/// # Examples
///
/// ```
/// use greenstd::sync::{Condvar, Mutex};
/// use greenstd::thread;
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// thread::scope(|s| {
///     s.spawn(|| {
///         *ready.lock().unwrap() = true;
///         changed.notify_one();
///     });
///     let ready = changed.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap();
///     assert!(*ready);
/// });
/// ```
pub struct Condvar {
    n_notified: AtomicU32,
}

/// Whether a wait with a time limit has ended by it.
///
/// As [`std::sync::WaitTimeoutResult`], which only std can make.
#[derive(Debug, PartialEq, Eq, Copy, Clone)]
pub struct WaitTimeoutResult(bool);

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

impl WaitTimeoutResult {
    /// Whether the time was up, as [`std::sync::WaitTimeoutResult::timed_out`].
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition that nobody waits for, as [`std::sync::Condvar::new`].
    #[must_use]
    #[inline]
    pub const fn new() -> Condvar {
        Condvar {
            n_notified: AtomicU32::new(0),
        }
    }

    /// Gives the mutex back, waits to be notified and takes it again, as
    /// [`std::sync::Condvar::wait`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it had the mutex.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(&mut guard, None);
        guard.checked()
    }

    /// As [`wait`](Condvar::wait), as long as `condition` is true; as
    /// [`std::sync::Condvar::wait_while`].
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait_timeout`](Condvar::wait_timeout), in milliseconds, and `true` if it was notified;
    /// as `std::sync::Condvar::wait_timeout_ms`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    #[deprecated(
        since = "0.1.0",
        note = "replaced by `greenstd::sync::Condvar::wait_timeout`"
    )]
    pub fn wait_timeout_ms<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        ms: u32,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let result = self.wait_timeout(guard, Duration::from_millis(ms.into()));
        map(result, |(guard, result)| (guard, !result.timed_out()))
    }

    /// As [`wait`](Condvar::wait), for at most `dur`; as [`std::sync::Condvar::wait_timeout`].
    ///
    /// The time is that of the runtime's clock.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    pub fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        dur: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let timed_out = self.wait_until(&mut guard, deadline_after(dur));
        let result = WaitTimeoutResult(timed_out);
        map(guard.checked(), |guard| (guard, result))
    }

    /// As [`wait_timeout`](Condvar::wait_timeout), as long as `condition` is true; as
    /// [`std::sync::Condvar::wait_timeout_while`].
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        dur: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = deadline_after(dur);
        let mut timed_out = false;
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            timed_out = self.wait_until(&mut guard, deadline);
            let result = WaitTimeoutResult(timed_out);
            guard = map(guard.checked(), |guard| (guard, result))?.0;
        }
    }

    /// Waits once; whether the deadline has ended it.
    fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) -> bool {
        let seen = self.n_notified.load(Relaxed);
        let ended = guard.unlocked(|| futex_wait(&self.n_notified, seen, deadline));
        ended == FutexWait::TimedOut
    }

    /// Lets one that waits go on, as [`std::sync::Condvar::notify_one`].
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Lets all that wait go on, as [`std::sync::Condvar::notify_all`].
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn notify(&self, n: usize) {
        self.n_notified.fetch_add(1, Relaxed);
        futex_wake(&self.n_notified, n);
    }
}

/// Changes what is in a result, poisoned or not.
fn map<T, U>(result: LockResult<T>, f: impl FnOnce(T) -> U) -> LockResult<U> {
    match result {
        Ok(value) => Ok(f(value)),
        Err(poisoned) => Err(PoisonError::new(f(poisoned.into_inner()))),
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}
