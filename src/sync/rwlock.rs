//! A lock for many readers or one writer, whose waits can be cancelled.

#![expect(unsafe_code, reason = "a lock around a value")]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use super::lock::Lock;
use super::poison::{Poison, PoisonWatch};
use super::wait::{self, POINT, Until, Waited};
use crate::park::Wake;
use crate::park::reason::Reason;
use crate::scheduler::Section;
use crate::wait_queue::WaitList;

/// As [`std::sync::RwLock`], for green threads and OS threads, with waits that can be cancelled.
///
/// # Fairness
///
/// Who waits is handed the lock in the order of coming, and who comes when somebody waits, waits
/// behind. So neither readers nor writers starve; and a thread that reads must not begin to read
/// once more while a writer may be waiting, for both would wait for ever.
///
/// # Poisoning
///
/// As in std, a thread that panics while it writes poisons the lock. One that is cancelled, or whose
/// time limit has passed, does not.
///
/// # Examples
///
/// ```
/// use greenrt::sync::RwLock;
///
/// let lock = RwLock::new(5);
/// {
///     let (one, other) = (lock.read().unwrap(), lock.read().unwrap());
///     assert_eq!(*one + *other, 10);
///     assert!(lock.try_write().is_err());
/// }
/// *lock.write().unwrap() += 1;
/// assert_eq!(*lock.read().unwrap(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    state: Lock<State>,
    poison: Poison,
    value: UnsafeCell<T>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

struct State {
    n_readers: usize,
    has_writer: bool,
    waiters: WaitList<Kind>,
}

impl State {
    const FREE: State = State {
        n_readers: 0,
        has_writer: false,
        waiters: WaitList::new(),
    };

    fn is_free_for(&self, kind: Kind) -> bool {
        !self.has_writer && (kind == Kind::Read || self.n_readers == 0)
    }

    fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Read => self.n_readers += 1,
            Kind::Write => self.has_writer = true,
        }
    }

    /// Takes it, if nobody was here before.
    #[inline(always)]
    fn take(&mut self, kind: Kind) -> bool {
        let can = self.is_free_for(kind) && self.waiters.is_empty();
        if can {
            self.note(kind);
        }
        can
    }

    #[inline(always)]
    fn give_back(&mut self, kind: Kind) {
        match kind {
            Kind::Read => self.n_readers -= 1,
            Kind::Write => self.has_writer = false,
        }
    }

    /// Hands it to the first one who waits, if it is free for that one.
    fn serve(&mut self) -> Option<Wake> {
        let (has_writer, n_readers) = (self.has_writer, self.n_readers);
        let served = self.waiters.wake_one_if(|&kind| {
            let free = !has_writer && (kind == Kind::Read || n_readers == 0);
            free.then_some(kind)
        });
        let (wake, kind) = served?;
        // Whoever was woken looks at this only under the lock.
        self.note(kind);
        Some(wake)
    }
}

// SAFETY: whoever has the lock may take the value out, on any thread.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: the value is reached by one writer, or by readers of any threads, who share it.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// Poisoning tells of what a panic may have left half changed.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    /// A lock around `value`, which nobody has.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        RwLock {
            state: Lock::new(State::FREE),
            poison: Poison::new(),
            value: UnsafeCell::new(value),
        }
    }

    #[cfg(loom)]
    pub(super) fn new(value: T) -> Self {
        RwLock {
            state: Lock::new(State::FREE),
            poison: Poison::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// If the lock is poisoned; the error has the value.
    pub fn into_inner(self) -> LockResult<T> {
        let value = self.value.into_inner();
        self.poison.wrap(value)
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes, and shares the value.
    ///
    /// If that needs no waiting it spends a credit. A cancelled green thread unwinds from here,
    /// without the lock.
    ///
    /// # Errors
    ///
    /// If the lock is poisoned; the error has the guard.
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.lock(Kind::Read, Until::Done);
        self.read_guard()
    }

    /// Waits until nobody reads or writes, and has the value alone. Otherwise as
    /// [`read`](RwLock::read).
    ///
    /// # Errors
    ///
    /// If the lock is poisoned; the error has the guard.
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.lock(Kind::Write, Until::Done);
        self.write_guard()
    }

    /// As [`read`](RwLock::read), if that needs no waiting. Always spends a credit.
    ///
    /// # Errors
    ///
    /// If somebody writes or waits, or the lock is poisoned.
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.try_lock(Kind::Read) {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`write`](RwLock::write), if that needs no waiting. Always spends a credit.
    ///
    /// # Errors
    ///
    /// If somebody reads, writes or waits, or the lock is poisoned.
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.try_lock(Kind::Write) {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`read`](RwLock::read), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if the time is up, or if the lock is poisoned.
    pub fn read_timeout(&self, timeout: Duration) -> TryLockResult<RwLockReadGuard<'_, T>> {
        if self.lock(Kind::Read, Until::After(timeout)) {
            Ok(self.read_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// As [`write`](RwLock::write), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if the time is up, or if the lock is poisoned.
    pub fn write_timeout(&self, timeout: Duration) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.lock(Kind::Write, Until::After(timeout)) {
            Ok(self.write_guard()?)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Whether a thread has panicked while it wrote.
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
    /// If the lock is poisoned; the error has the value.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.value.get_mut())
    }

    /// `false`: the time is up.
    #[inline(always)]
    fn lock(&self, kind: Kind, until: Until) -> bool {
        let reason = match kind {
            Kind::Read => Reason::READ_LOCK,
            Kind::Write => Reason::WRITE_LOCK,
        };
        let waited = wait::in_list(
            &self.state,
            |state| &mut state.waiters,
            (reason, POINT),
            until,
            |state| if state.take(kind) { Ok(()) } else { Err(kind) },
            // It may have kept those behind it waiting, who want to read.
            |state, _| {
                drop(state);
                self.serve();
                false
            },
        );
        !matches!(waited, Waited::TimedOut)
    }

    fn try_lock(&self, kind: Kind) -> bool {
        let section = Section::enter_green();
        let taken = self.state.lock().take(kind);
        wait::end(section);
        taken
    }

    #[inline(always)]
    fn unlock(&self, kind: Kind) {
        let _section = Section::enter_green();
        let mut state = self.state.lock();
        state.give_back(kind);
        let nobody_waits = state.waiters.is_empty();
        drop(state);
        if !nobody_waits {
            self.serve();
        }
    }

    /// Hands it to all who may have it now.
    fn serve(&self) {
        loop {
            let wake = self.state.lock().serve();
            match wake {
                Some(wake) => wake.wake(),
                None => return,
            }
        }
    }

    /// The caller has locked it.
    #[inline(always)]
    fn read_guard(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.poison.wrap(RwLockReadGuard {
            lock: self,
            _thread: PhantomData,
        })
    }

    /// The caller has locked it.
    #[inline(always)]
    fn write_guard(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.poison.wrap(RwLockWriteGuard {
            lock: self,
            watch: self.poison.watch(),
            _thread: PhantomData,
        })
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        if self.try_lock(Kind::Read) {
            let guard = self.read_guard().unwrap_or_else(PoisonError::into_inner);
            out.field("value", &&*guard);
        } else {
            out.field("value", &format_args!("<locked>"));
        }
        out.field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}

/// The right to read the value of a [`RwLock`]. It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let lock = greenrt::sync::RwLock::new(1);
/// send(lock.read().unwrap());
/// ```
#[must_use = "dropping it unlocks the lock"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// Not `Send`, as std's.
    _thread: PhantomData<*const ()>,
}

/// The right to write the value of a [`RwLock`]. It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let lock = greenrt::sync::RwLock::new(1);
/// send(lock.write().unwrap());
/// ```
#[must_use = "dropping it unlocks the lock"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    watch: PoisonWatch,
    /// Not `Send`, as std's.
    _thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: locked to read when the guard was made, until it is dropped.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: locked to write when the guard was made, until it is dropped.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.unlock(Kind::Read);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.done(&self.watch);
        self.lock.unlock(Kind::Write);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
