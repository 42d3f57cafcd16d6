//! A lock for a few instructions.
//!
//! Whoever holds it calls nothing of the user's, does not switch, does not wait, and makes no system
//! call but those of the allocator; so it is held for some tens of nanoseconds, unless the system
//! stops its holder in the middle. Who waits spins, then gives way to other OS threads, then sleeps,
//! so that a holder of low priority gets on.
//!
//! # Considered and left out
//!
//! - `parking_lot`: letting go is an atomic exchange there, because somebody may sleep; here it is a
//!   store. A round trip through two channels takes four of each: 80 ns with both switches, instead of
//!   120 (`channel/ping_pong_bounded_1` in `benches/micro`).

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::park;
use crate::primitive::atomic::AtomicBool;
use crate::primitive::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::hint;

/// How often to look before others get the processor.
const SPINS: u32 = 60;
/// And how often to look and give way before sleeping.
const YIELDS_END: u32 = SPINS + 20;
const NAP: Duration = Duration::from_micros(100);

/// See the module's documentation.
pub(super) struct Lock<T> {
    word: Word,
    value: UnsafeCell<T>,
}

/// The checker's own: what is built on the lock would have too many orders with the real one.
#[cfg(loom)]
use crate::futex::lock::model::Word;
#[cfg(not(loom))]
use Flag as Word;

// SAFETY: the value is reached by whoever has acquired the lock, one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    #[cfg(not(loom))]
    pub(super) const fn new(value: T) -> Self {
        Lock {
            word: Word::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[cfg(loom)]
    pub(super) fn new(value: T) -> Self {
        Lock {
            word: Word::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[inline(always)]
    pub(super) fn lock(&self) -> Guard<'_, T> {
        self.word.acquire();
        Guard(self)
    }
}

/// Whether somebody has the lock.
pub(super) struct Flag(AtomicBool);

impl Flag {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Flag(AtomicBool::new(false))
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Flag(AtomicBool::new(false))
    }

    #[inline(always)]
    pub(super) fn acquire(&self) {
        // Acquire: pairs with the release in `release`.
        if self
            .0
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_err()
        {
            self.wait();
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) {
        let mut n = 0;
        loop {
            // Acquire: as above.
            if !self.0.load(Relaxed) && !self.0.swap(true, Acquire) {
                return;
            }
            n += 1;
            match n {
                0..SPINS => hint::spin_loop(),
                SPINS..YIELDS_END => park::os_yield(),
                _ => park::os_sleep(NAP),
            }
        }
    }

    /// # Safety
    ///
    /// The caller has acquired it.
    #[inline(always)]
    pub(super) unsafe fn release(&self) {
        // Release: pairs with the acquire in `acquire`.
        self.0.store(false, Release);
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

/// Gives the lock back when dropped.
pub(super) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: acquired when the guard was made.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: acquired when the guard was made, and the guard is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: acquired when the guard was made, which ends here.
        unsafe { self.0.word.release() };
    }
}
