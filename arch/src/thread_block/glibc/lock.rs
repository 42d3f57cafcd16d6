//! A lock whose waiters stop their OS thread.
//!
//! A green thread that waits for one of std's may park (`futex/hook.rs`). Here it must not: it may
//! hold libc's lock of modules, or ours around it, for which its siblings stop the OS thread.

#![expect(unsafe_code, reason = "locks libc's mutex")]

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

/// Mutual exclusion by libc's mutex, which enters the kernel by itself.
pub(super) struct Lock<T> {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    value: UnsafeCell<T>,
}

// SAFETY: a mutex is made to be used by several threads, and whoever has it has the value alone.
unsafe impl<T: Send> Sync for Lock<T> {}

pub(super) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Lock<T> {
        Lock {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for it. The caller must not park while it has the guard.
    pub(super) fn lock(&'static self) -> Guard<'static, T> {
        // SAFETY: initialised, and never moved or destroyed.
        unsafe { libc::pthread_mutex_lock(self.mutex.get()) };
        Guard(self)
    }

    /// Gives it back without its guard.
    ///
    /// # Safety
    ///
    /// The calling thread has locked it, and forgotten the guard.
    pub(super) unsafe fn unlock(&'static self) {
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.mutex.get()) };
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: whoever has the guard has the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0.mutex.get()) };
    }
}
