//! A condition variable whose waits can be cancelled.

use std::cell::Cell;
use std::fmt;
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use super::lock::Lock;
use super::mutex::MutexGuard;
use super::wait::{self, NOT_A_POINT, POINT, Until, Waited};
use crate::park::reason::Reason;
use crate::scheduler::Section;
use crate::wait_queue::WaitList;

/// As [`std::sync::Condvar`], for [`Mutex`](super::Mutex), with waits that can be cancelled.
///
/// Those who wait are woken in the order in which they came. It may be used with several mutexes.
///
/// # Cancellation
///
/// A cancelled green thread unwinds from its wait without the mutex, and without having used a
/// notification. One that was notified first gets the mutex and returns.
///
/// # Examples
///
/// ```
/// use greenrt::sync::{Condvar, Mutex};
///
/// static READY: Mutex<bool> = Mutex::new(false);
/// static CHANGED: Condvar = Condvar::new();
///
/// greenrt::run(|| {
///     let waiter = greenrt::spawn(|| {
///         let ready = CHANGED.wait_while(READY.lock().unwrap(), |ready| !*ready).unwrap();
///         assert!(*ready);
///     });
///     greenrt::yield_now();
///     *READY.lock().unwrap() = true;
///     CHANGED.notify_one();
///     waiter.join().unwrap();
/// });
/// ```
pub struct Condvar {
    state: Lock<State>,
}

struct State {
    /// How often all were notified.
    round: u64,
    /// Each with its round.
    waiters: WaitList<u64>,
}

/// Whether a wait with a timeout has ended by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was up.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Nobody waits.
    pub const fn new() -> Self {
        Condvar {
            state: Lock::new(State {
                round: 0,
                waiters: WaitList::new(),
            }),
        }
    }

    /// Unlocks the mutex, waits to be notified, and locks it again. May return without having been.
    ///
    /// # Errors
    ///
    /// If the mutex is poisoned; the error has the guard.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, Until::Done).0
    }

    /// As [`wait`](Condvar::wait), again and again while `condition` holds.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Condvar::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (guard, timed_out) = self.wait_until(guard, Until::After(timeout));
        let timed_out = WaitTimeoutResult(timed_out);
        match guard {
            Ok(guard) => Ok((guard, timed_out)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), timed_out))),
        }
    }

    /// As [`wait_while`](Condvar::wait_while), for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// As [`wait`](Condvar::wait).
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mut until = Until::After(timeout);
        until.deadline();
        let mut timed_out = false;
        while condition(&mut *guard) {
            if timed_out {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            let again;
            (again, timed_out) = self.wait_until(guard, until);
            guard = match again {
                Ok(guard) => guard,
                Err(poisoned) => {
                    let guard = poisoned.into_inner();
                    return Err(PoisonError::new((guard, WaitTimeoutResult(timed_out))));
                }
            };
        }
        Ok((guard, WaitTimeoutResult(false)))
    }

    /// Wakes the first one who waits, if anybody does.
    pub fn notify_one(&self) {
        let _section = Section::enter_green();
        let woken = self.state.lock().waiters.wake_one();
        wait::wake(woken);
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        let _section = Section::enter_green();
        let round = {
            let mut state = self.state.lock();
            state.round += 1;
            state.round
        };
        loop {
            let mut state = self.state.lock();
            let woken = state.waiters.wake_one_if(|&of| (of < round).then_some(()));
            drop(state);
            match woken {
                Some((wake, ())) => wake.wake(),
                None => return,
            }
        }
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        until: Until,
    ) -> (LockResult<MutexGuard<'a, T>>, bool) {
        let mutex = guard.mutex();
        let guard = Cell::new(Some(guard));
        let waited = wait::in_list(
            &self.state,
            |state| &mut state.waiters,
            (Reason::CONDVAR, POINT),
            until,
            |state| match guard.take() {
                // Unlocked under the lock of the list: whoever notifies from now on finds us there.
                Some(guard) => {
                    drop(guard);
                    Err(state.round)
                }
                // To begin anew would miss what came in between.
                None => Ok(()),
            },
            |_, _| false,
        );
        // A notification that was used is not lost by a cancel.
        if !mutex.raw().try_lock_fast() {
            mutex
                .raw()
                .lock_slow(Until::Done, (Reason::RELOCK, NOT_A_POINT));
        }
        (MutexGuard::new(mutex), matches!(waited, Waited::TimedOut))
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
