//! Mutual exclusion.

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, TryLockError, TryLockResult};

use greenrt::lowlevel::{Poison, PoisonWatch};

use super::raw_mutex::RawMutex;

/// A lock around a value, which one thread at a time may use.
///
/// As [`std::sync::Mutex`], for threads of both kinds; fair, and not poisoned by cancellation (see
/// [the module](super)).
///
/// # Examples
///
/// ```
/// use greenstd::sync::Mutex;
///
/// static LAST: Mutex<Option<u32>> = Mutex::new(None);
/// *LAST.lock().unwrap() = Some(7);
/// assert_eq!(LAST.lock().unwrap().take(), Some(7));
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: a mutex is where its value is.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: the value is reached by whoever has acquired the lock, one thread at a time.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// The right to use the value of a [`Mutex`]. Dropping it gives the lock back.
///
/// As [`std::sync::MutexGuard`].
#[must_use = "if unused the Mutex will immediately unlock"]
#[clippy::has_significant_drop]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    poison: PoisonWatch,
    /// Not `Send`.
    thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    /// A mutex that nobody has, as [`std::sync::Mutex::new`].
    #[inline]
    pub const fn new(t: T) -> Mutex<T> {
        Mutex {
            raw: RawMutex::new(),
            poison: Poison::new(),
            value: UnsafeCell::new(t),
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the lock is free and takes it, as [`std::sync::Mutex::lock`].
    ///
    /// A calling green thread parks. Not a point of cancellation. A thread that has the lock
    /// already waits for ever.
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it had the lock.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock();
        self.guard()
    }

    /// Takes the lock if it is free, as [`std::sync::Mutex::try_lock`].
    ///
    /// # Errors
    ///
    /// If it is not free, or if a thread has panicked while it had the lock.
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() {
            Ok(self.guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// The guard of whoever has acquired the lock just now.
    #[inline]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        let poison = self.poison.watch();
        self.poison.wrap(MutexGuard {
            mutex: self,
            poison,
            thread: PhantomData,
        })
    }

    /// Whether a thread has panicked while it had the lock, as [`std::sync::Mutex::is_poisoned`].
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Forgets that a thread has panicked, as [`std::sync::Mutex::clear_poison`].
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, as [`std::sync::Mutex::into_inner`].
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it had the lock.
    pub fn into_inner(self) -> LockResult<T>
    where
        T: Sized,
    {
        let value = self.value.into_inner();
        self.poison.wrap(value)
    }

    /// The value of a mutex that nobody else can have, as [`std::sync::Mutex::get_mut`].
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it had the lock.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.value.get_mut())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(t: T) -> Self {
        Mutex::new(t)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => debug.field("data", &&*guard),
            Err(TryLockError::Poisoned(poisoned)) => debug.field("data", &&**poisoned.get_ref()),
            Err(TryLockError::WouldBlock) => debug.field("data", &"<locked>"),
        };
        debug.field("poisoned", &self.is_poisoned());
        debug.finish_non_exhaustive()
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Gives the lock back while `wait` runs, and takes it again.
    pub(super) fn unlocked<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        struct Again<'a>(&'a RawMutex);
        impl Drop for Again<'_> {
            fn drop(&mut self) {
                self.0.acquire();
            }
        }
        self.mutex.raw.release();
        let _again = Again(&self.mutex.raw);
        wait()
    }

    /// The guard as a result that says whether the mutex is poisoned.
    pub(super) fn checked(self) -> LockResult<MutexGuard<'a, T>> {
        self.mutex.poison.wrap(self)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: whoever has a guard has the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: whoever has the guard has the lock, and the guard is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.done(&self.poison);
        self.mutex.raw.release();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
