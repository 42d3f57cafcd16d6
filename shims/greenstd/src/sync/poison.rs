//! Whether a thread has panicked while it held a lock.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LockResult, PoisonError};
use std::thread;

use greenrt::lowlevel::unwinds_by_panic;

/// Part of a lock. Relaxed throughout: the lock itself orders who sets it and who sees it.
pub(super) struct Flag(AtomicBool);

/// Part of a lock's guard: whether its owner was unwinding already.
pub(super) struct Guard {
    was_panicking: bool,
}

impl Flag {
    pub(super) const fn new() -> Self {
        Flag(AtomicBool::new(false))
    }

    #[inline]
    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(super) fn clear(&self) {
        self.0.store(false, Relaxed);
    }

    /// What the guard of an acquired lock needs.
    #[inline]
    pub(super) fn guard(&self) -> Guard {
        Guard {
            was_panicking: thread::panicking(),
        }
    }

    /// The guard is dropped. A panic since it was made poisons the lock; cancellation does not.
    #[inline]
    pub(super) fn done(&self, guard: &Guard) {
        if !guard.was_panicking && unwinds_by_panic() {
            self.0.store(true, Relaxed);
        }
    }

    /// `value`, as the lock has it.
    #[inline]
    pub(super) fn wrap<T>(&self, value: T) -> LockResult<T> {
        if self.get() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}

/// Changes what is in a result, poisoned or not.
pub(super) fn map<T, U>(result: LockResult<T>, f: impl FnOnce(T) -> U) -> LockResult<U> {
    match result {
        Ok(value) => Ok(f(value)),
        Err(poisoned) => Err(PoisonError::new(f(poisoned.into_inner()))),
    }
}
