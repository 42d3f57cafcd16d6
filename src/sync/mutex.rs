//! A mutex whose waits can be cancelled.

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::{Duration, Instant};

use super::poison::{Poison, PoisonWatch};
use super::raw_mutex::RawMutex;
use super::wait::{self, Until};
use crate::scheduler::{self, Section};

/// As [`std::sync::Mutex`], for green threads and OS threads, with waits that can be cancelled.
///
/// # Fairness
///
/// A thread that finds the mutex free takes it, also if others wait; but one that was passed over
/// so, or has waited for half a millisecond, is handed the mutex when it is unlocked.
///
/// # Poisoning
///
/// As in std, a thread that panics while it has the mutex poisons it. One that is cancelled, or whose
/// time limit has passed, does not.
///
/// # Examples
///
/// ```
/// use greenrt::sync::Mutex;
///
/// static SUM: Mutex<u32> = Mutex::new(0);
///
/// greenrt::run(|| {
///     let threads: Vec<_> = (1..=10)
///         .map(|n| greenrt::spawn(move || {
///             let mut sum = SUM.lock().unwrap();
///             greenrt::yield_now(); // Others wait meanwhile, without blocking the worker.
///             *sum += n;
///         }))
///         .collect();
///     threads.into_iter().for_each(|thread| thread.join().unwrap());
///     assert_eq!(*SUM.lock().unwrap(), 55);
/// });
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: whoever has the mutex may take the value out, on any thread.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: the value is reached by whoever has locked it, one thread at a time.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// Poisoning tells of what a panic may have left half changed.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex around `value`, not locked.
    pub const fn new(value: T) -> Self {
        Mutex {
            raw: RawMutex::new(),
            poison: Poison::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// If the mutex is poisoned; the error has the value.
    pub fn into_inner(self) -> LockResult<T> {
        let value = self.value.into_inner();
        self.poison.wrap(value)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, waiting until that is possible.
    ///
    /// A lock that need not wait spends a credit, and is not a point. A cancelled green thread
    /// unwinds while it waits here, without the lock.
    ///
    /// # Errors
    ///
    /// If the mutex is poisoned; the error has the guard.
    ///
    /// # Panics
    ///
    /// Never; a thread that locks it twice waits for itself.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock(Until::Done);
        scheduler::spend_credit();
        MutexGuard::new(self)
    }

    /// Locks it if that needs no waiting. Always spends a credit.
    ///
    /// # Errors
    ///
    /// If somebody has it, or it is poisoned.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let locked = self.raw.try_lock();
        scheduler::spend_credit();
        if locked {
            Ok(MutexGuard::new(self)?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`lock`](Mutex::lock), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if the time is up, or if the mutex is poisoned.
    pub fn lock_timeout(&self, timeout: Duration) -> TryLockResult<MutexGuard<'_, T>> {
        self.lock_until(Until::After(timeout))
    }

    /// As [`lock`](Mutex::lock), waiting until `deadline` on the runtime's clock.
    ///
    /// # Errors
    ///
    /// As [`lock_timeout`](Mutex::lock_timeout).
    pub fn lock_deadline(&self, deadline: Instant) -> TryLockResult<MutexGuard<'_, T>> {
        self.lock_until(Until::instant(deadline))
    }

    fn lock_until(&self, until: Until) -> TryLockResult<MutexGuard<'_, T>> {
        if !self.raw.lock(until) {
            return Err(TryLockError::WouldBlock);
        }
        wait::end(Section::enter_green());
        Ok(MutexGuard::new(self)?)
    }

    /// Whether a thread has panicked while it had the mutex.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Says that the value is all right again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, which nobody else can reach now.
    ///
    /// # Errors
    ///
    /// If the mutex is poisoned; the error has the value.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.value.get_mut())
    }

    pub(super) fn raw(&self) -> &RawMutex {
        &self.raw
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        match self.raw.try_lock() {
            true => {
                let guard = MutexGuard::new(self).unwrap_or_else(PoisonError::into_inner);
                out.field("value", &&*guard);
            }
            false => {
                out.field("value", &format_args!("<locked>"));
            }
        }
        out.field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}

/// The right to the value of a [`Mutex`]; unlocks it when dropped.
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let mutex = greenrt::sync::Mutex::new(1);
/// send(mutex.lock().unwrap());
/// ```
#[must_use = "dropping it unlocks the mutex"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    watch: PoisonWatch,
    /// Not `Send`, as std's.
    _thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The caller has locked it.
    #[inline(always)]
    pub(super) fn new(mutex: &'a Mutex<T>) -> LockResult<Self> {
        mutex.poison.wrap(MutexGuard {
            mutex,
            watch: mutex.poison.watch(),
            _thread: PhantomData,
        })
    }

    /// What it is the guard of.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: locked when the guard was made, until it is dropped.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: locked when the guard was made, and the guard is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.poison.done(&self.watch);
        self.mutex.raw.unlock();
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
