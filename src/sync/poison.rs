//! Whether a thread has panicked while it had a lock.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LockResult, PoisonError};
use std::thread;

use crate::cancel;

/// Part of a lock: whether a thread has panicked while it had the lock.
///
/// Not so if it unwound because it was cancelled, or because a time limit of its has passed (see
/// [`unwinds_by_panic`](crate::lowlevel::unwinds_by_panic)).
///
/// # Examples
///
/// ```
/// use greenrt::lowlevel::Poison;
///
/// let poison = Poison::new();
/// let watch = poison.watch(); // The lock was taken.
/// poison.done(&watch); // It is given back.
/// assert!(poison.wrap(()).is_ok());
/// ```
// Relaxed throughout: the lock itself orders who sets it and who sees it.
#[derive(Debug, Default)]
pub struct Poison(AtomicBool);

/// Part of a lock's guard; see [`Poison::watch`].
#[derive(Debug)]
pub struct PoisonWatch {
    was_panicking: bool,
}

impl Poison {
    /// Of a lock that is all right.
    #[inline]
    pub const fn new() -> Self {
        Poison(AtomicBool::new(false))
    }

    /// Whether somebody has panicked.
    #[inline]
    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Forgets it.
    #[inline]
    pub fn clear(&self) {
        self.0.store(false, Relaxed);
    }

    /// The calling thread has taken the lock: what its guard keeps.
    #[inline(always)]
    pub fn watch(&self) -> PoisonWatch {
        PoisonWatch {
            was_panicking: thread::panicking(),
        }
    }

    /// The guard is dropped. A panic since it was made poisons the lock.
    #[inline(always)]
    pub fn done(&self, watch: &PoisonWatch) {
        if !watch.was_panicking && thread::panicking() && !cancel::unwinds_by_interrupt() {
            self.0.store(true, Relaxed);
        }
    }

    /// `value`, in an error if somebody has panicked.
    ///
    /// # Errors
    ///
    /// If so.
    #[inline]
    pub fn wrap<T>(&self, value: T) -> LockResult<T> {
        if self.get() {
            Err(PoisonError::new(value))
        } else {
            Ok(value)
        }
    }
}
