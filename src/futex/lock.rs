//! A lock for a few instructions, of the table's own.
//!
//! The table is what stands behind everybody's locks, parking_lot's and std's included, so it must
//! not wait by way of them: this one goes to the kernel itself. A thread that holds it calls nothing
//! of the user's, does not switch and does not allocate. A signal may come all the same; so the
//! thread is marked, and a handler that wakes somebody does not wait for the lock that it has
//! interrupted ([`is_held`]).

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

use crate::primitive::atomic::AtomicU32;
use crate::primitive::atomic::Ordering::{Acquire, Relaxed, Release};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody waits for it in the kernel.
const CONTENDED: u32 = 2;

/// How often to look before going to the kernel. A holder needs some tens of nanoseconds.
#[cfg(not(loom))]
const SPINS: u32 = 60;

/// See the module's documentation.
pub(crate) struct Lock<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `acquire` only, by one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: T) -> Self {
        Lock {
            word: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new(value: T) -> Self {
        Lock {
            word: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.acquire();
        Guard(self)
    }

    /// Takes the lock without a guard; `release` gives it back.
    #[inline]
    pub(crate) fn acquire(&self) {
        mark::enter();
        if self
            .word
            .compare_exchange(FREE, HELD, Acquire, Relaxed)
            .is_err()
        {
            self.acquire_slow();
        }
    }

    #[cold]
    #[cfg(not(loom))]
    fn acquire_slow(&self) {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.word.load(Relaxed) == FREE
                && self
                    .word
                    .compare_exchange(FREE, HELD, Acquire, Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        // Acquire: pairs with the release in `release`.
        while self.word.swap(CONTENDED, Acquire) != FREE {
            greenrt_arch::futex::wait(&self.word, CONTENDED);
        }
    }

    #[cfg(loom)]
    fn acquire_slow(&self) {
        while self
            .word
            .compare_exchange(FREE, HELD, Acquire, Relaxed)
            .is_err()
        {
            loom::thread::yield_now();
        }
    }

    /// # Safety
    ///
    /// The caller has acquired it, and uses the value no more.
    #[inline]
    pub(crate) unsafe fn release(&self) {
        if self.word.swap(FREE, Release) == CONTENDED {
            #[cfg(not(loom))]
            greenrt_arch::futex::wake(&self.word);
        }
        mark::leave();
    }

    /// The value, for whoever has acquired the lock.
    #[inline]
    pub(crate) fn value(&self) -> *mut T {
        self.value.get()
    }
}

/// Gives the lock back when dropped.
pub(crate) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: acquired when the guard was made.
        unsafe { &*self.0.value() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: acquired when the guard was made, and the guard is borrowed mutably.
        unsafe { &mut *self.0.value() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: acquired when the guard was made, which ends here.
        unsafe { self.0.release() };
    }
}

#[cfg(not(loom))]
pub(crate) use mark::is_held;

#[cfg(not(loom))]
mod mark {
    use std::cell::Cell;

    thread_local! {
        /// How many of these locks the calling thread holds. No destructor and nothing lazy, so
        /// that a signal handler may look.
        static N_HELD: Cell<u32> = const { Cell::new(0) };
    }

    #[inline]
    pub(super) fn enter() {
        N_HELD.set(N_HELD.get() + 1);
    }

    #[inline]
    pub(super) fn leave() {
        N_HELD.set(N_HELD.get() - 1);
    }

    /// Whether the calling thread holds one: it does so for some instructions, so the caller has
    /// come in between by a signal.
    #[inline]
    pub(crate) fn is_held() -> bool {
        N_HELD.get() > 0
    }
}

#[cfg(loom)]
mod mark {
    pub(super) fn enter() {}
    pub(super) fn leave() {}
}
