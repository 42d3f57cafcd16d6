//! A value behind a [`RawMutex`], without poison: for the state of what is built here.

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::raw_mutex::RawMutex;

pub(super) struct Lock<T> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by whoever has acquired the lock, one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}
impl<T> UnwindSafe for Lock<T> {}
impl<T> RefUnwindSafe for Lock<T> {}

impl<T> Lock<T> {
    #[cfg(not(loom))]
    pub(super) const fn new(value: T) -> Self {
        Lock {
            raw: RawMutex::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// In a model (greenrt's `sync/loom_tests`).
    #[cfg(loom)]
    pub(super) fn new(value: T) -> Self {
        Lock {
            raw: RawMutex::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> Held<'_, T> {
        self.raw.acquire();
        Held(self)
    }
}

/// Gives the lock back when dropped. Kept for some instructions only, never while its owner waits.
pub(super) struct Held<'a, T>(&'a Lock<T>);

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: acquired when this was made.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: acquired when this was made, and this is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.raw.release();
    }
}
