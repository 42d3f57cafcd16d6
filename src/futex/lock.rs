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

#[cfg(loom)]
use model::Word;
#[cfg(not(loom))]
use word::Word;

/// See the module's documentation.
pub(crate) struct Lock<T> {
    word: Word,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by whoever has acquired the lock, one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: T) -> Self {
        Lock {
            word: Word::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new(value: T) -> Self {
        Lock {
            word: Word::new(),
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
        self.word.acquire();
    }

    /// # Safety
    ///
    /// The caller has acquired it, and uses the value no more.
    #[inline]
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.word.release() };
    }

    /// Makes it as new.
    ///
    /// # Safety
    ///
    /// There is no other thread, and the caller neither holds the lock nor uses the value.
    #[cfg(not(loom))]
    pub(crate) unsafe fn renew(&self, value: T) {
        self.word.renew();
        // SAFETY: nobody else uses the value. What it was is left as it is: it may be half-way
        // through some change.
        unsafe { self.value.get().write(value) };
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
pub(crate) use word::is_held;

#[cfg(not(loom))]
mod word {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

    use greenrt_arch::futex;

    const FREE: u32 = 0;
    const HELD: u32 = 1;
    /// Held, and somebody may wait for it in the kernel.
    const CONTENDED: u32 = 2;

    /// How often to look before going to the kernel. A holder needs some tens of nanoseconds.
    const SPINS: u32 = 60;

    thread_local! {
        /// How many of these locks the calling thread holds. No destructor and nothing lazy, so
        /// that a signal handler may look.
        static N_HELD: Cell<u32> = const { Cell::new(0) };
    }

    /// Whether the calling thread holds one: it does so for some instructions, so the caller has
    /// come in between by a signal.
    #[inline]
    pub(crate) fn is_held() -> bool {
        N_HELD.get() > 0
    }

    pub(super) struct Word(AtomicU32);

    impl Word {
        pub(super) const fn new() -> Self {
            Word(AtomicU32::new(FREE))
        }

        pub(super) fn renew(&self) {
            self.0.store(FREE, Relaxed);
        }

        #[inline]
        fn try_acquire(&self) -> bool {
            // Acquire: pairs with the release in `release`.
            let taken = self.0.compare_exchange(FREE, HELD, Acquire, Relaxed);
            taken.is_ok()
        }

        #[inline]
        pub(super) fn acquire(&self) {
            // Before the lock is ours, so that no handler waits for it.
            N_HELD.set(N_HELD.get() + 1);
            if !self.try_acquire() {
                self.acquire_slow();
            }
        }

        #[cold]
        fn acquire_slow(&self) {
            for _ in 0..SPINS {
                std::hint::spin_loop();
                if self.0.load(Relaxed) == FREE && self.try_acquire() {
                    return;
                }
            }
            // Acquire: as above.
            while self.0.swap(CONTENDED, Acquire) != FREE {
                futex::wait(&self.0, CONTENDED);
            }
        }

        /// # Safety
        ///
        /// The caller has acquired it.
        #[inline]
        pub(super) unsafe fn release(&self) {
            if self.0.swap(FREE, Release) == CONTENDED {
                futex::wake(&self.0);
            }
            N_HELD.set(N_HELD.get() - 1);
        }
    }
}

/// The model checker's own lock, whose guard is kept beside it.
#[cfg(loom)]
pub(crate) mod model {
    use std::cell::UnsafeCell;
    use std::mem;

    use loom::sync::{Mutex, MutexGuard};

    pub(crate) struct Word {
        mutex: Mutex<()>,
        guard: UnsafeCell<Option<MutexGuard<'static, ()>>>,
    }

    impl Word {
        pub(crate) fn new() -> Self {
            Word {
                mutex: Mutex::new(()),
                guard: UnsafeCell::new(None),
            }
        }

        pub(crate) fn acquire(&self) {
            let guard = self.mutex.lock().unwrap();
            // SAFETY: the guard does not outlive the lock: models release what they acquire.
            let guard =
                unsafe { mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) };
            // SAFETY: only who has acquired the lock touches this.
            unsafe { *self.guard.get() = Some(guard) };
        }

        /// # Safety
        ///
        /// The caller has acquired it.
        pub(crate) unsafe fn release(&self) {
            // SAFETY: only who has acquired the lock touches this.
            let guard = unsafe { (*self.guard.get()).take() };
            drop(guard);
        }
    }
}
