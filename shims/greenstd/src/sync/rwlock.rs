//! Many readers or one writer.

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

use greenrt::lowlevel::{Poison, PoisonWatch};

use super::raw_rwlock::RawRwLock;

/// A lock around a value, which many threads may read or one may write.
///
/// As [`std::sync::RwLock`], for threads of both kinds. Readers and writers take turns: a reader
/// that comes while a writer waits waits behind it, also if it is reading already and asks a second
/// time, which then never ends; std says of its own that it may do the same.
///
/// # Examples
///
/// ```
/// use greenstd::sync::RwLock;
///
/// static WORDS: RwLock<Vec<&str>> = RwLock::new(Vec::new());
/// WORDS.write().unwrap().push("sow");
/// let (one, other) = (WORDS.read().unwrap(), WORDS.read().unwrap());
/// assert_eq!(*one, *other);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Poison,
    value: UnsafeCell<T>,
}

// SAFETY: a lock is where its value is.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: the value is reached by several readers, for which it is `Sync`, or by one writer.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// The right to read the value of a [`RwLock`]. Dropping it gives the lock back.
///
/// As [`std::sync::RwLockReadGuard`].
#[must_use = "if unused the RwLock will immediately unlock"]
#[clippy::has_significant_drop]
pub struct RwLockReadGuard<'rwlock, T: ?Sized + 'rwlock> {
    /// A pointer, because the value may be written as soon as the lock is given back, which happens
    /// before a reference in an argument ends. Not `Send` by it.
    value: NonNull<T>,
    raw: &'rwlock RawRwLock,
}

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

/// The right to write the value of a [`RwLock`]. Dropping it gives the lock back.
///
/// As [`std::sync::RwLockWriteGuard`].
#[must_use = "if unused the RwLock will immediately unlock"]
#[clippy::has_significant_drop]
pub struct RwLockWriteGuard<'rwlock, T: ?Sized> {
    lock: &'rwlock RwLock<T>,
    poison: PoisonWatch,
    /// Not `Send`.
    thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    /// A lock that nobody has, as [`std::sync::RwLock::new`].
    #[inline]
    pub const fn new(t: T) -> RwLock<T> {
        RwLock {
            raw: RawRwLock::new(),
            poison: Poison::new(),
            value: UnsafeCell::new(t),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes or waits to write, and takes the lock for reading, as
    /// [`std::sync::RwLock::read`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it was writing.
    ///
    /// # Panics
    ///
    /// If there are 2^30 - 2 guards for reading already.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.read();
        self.read_guard()
    }

    /// Takes the lock for reading if nobody writes or waits, as [`std::sync::RwLock::try_read`].
    ///
    /// # Errors
    ///
    /// If it cannot be had now, or if a thread has panicked while it was writing.
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.raw.try_read() {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Waits until nobody reads or writes, and takes the lock for writing, as
    /// [`std::sync::RwLock::write`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it was writing.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.write();
        self.write_guard()
    }

    /// Takes the lock for writing if nobody has it, as [`std::sync::RwLock::try_write`].
    ///
    /// # Errors
    ///
    /// If it cannot be had now, or if a thread has panicked while it was writing.
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.raw.try_write() {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// The guard of whoever has acquired the lock for reading just now.
    #[inline]
    fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        // SAFETY: a cell is not at address zero.
        let value = unsafe { NonNull::new_unchecked(self.value.get()) };
        let raw = &self.raw;
        self.poison.wrap(RwLockReadGuard { value, raw })
    }

    /// The guard of whoever has acquired the lock for writing just now.
    #[inline]
    fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let poison = self.poison.watch();
        self.poison.wrap(RwLockWriteGuard {
            lock: self,
            poison,
            thread: PhantomData,
        })
    }

    /// Whether a thread has panicked while it was writing, as [`std::sync::RwLock::is_poisoned`].
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Forgets that a thread has panicked, as [`std::sync::RwLock::clear_poison`].
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The value, as [`std::sync::RwLock::into_inner`].
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it was writing.
    pub fn into_inner(self) -> LockResult<T>
    where
        T: Sized,
    {
        let value = self.value.into_inner();
        self.poison.wrap(value)
    }

    /// The value of a lock that nobody else can have, as [`std::sync::RwLock::get_mut`].
    ///
    /// # Errors
    ///
    /// If a thread has panicked while it was writing.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.value.get_mut())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(t: T) -> Self {
        RwLock::new(t)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        match self.try_read() {
            Ok(guard) => debug.field("data", &&*guard),
            Err(TryLockError::Poisoned(poisoned)) => debug.field("data", &&**poisoned.get_ref()),
            Err(TryLockError::WouldBlock) => debug.field("data", &format_args!("<locked>")),
        };
        debug.field("poisoned", &self.is_poisoned());
        debug.finish_non_exhaustive()
    }
}

impl<'rwlock, T: ?Sized> RwLockWriteGuard<'rwlock, T> {
    /// Keeps the lock for reading only, and lets readers that wait in, as
    /// [`std::sync::RwLockWriteGuard::downgrade`].
    pub fn downgrade(s: Self) -> RwLockReadGuard<'rwlock, T> {
        let lock = s.lock;
        mem::forget(s);
        lock.raw.downgrade();
        lock.read_guard().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: whoever has a guard has the lock for reading.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: whoever has the guard has the lock for writing.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: whoever has the guard has the lock for writing, and it is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.raw.release_read();
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.done(&self.poison);
        self.lock.raw.release_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
