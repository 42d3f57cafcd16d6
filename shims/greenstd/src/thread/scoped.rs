//! Threads that borrow from the frame that spawned them.

#![expect(
    unsafe_code,
    reason = "a reference to greenrt's scope becomes one to ours"
)]

use std::fmt;
use std::panic::RefUnwindSafe;
use std::ptr;

use super::{Builder, Result, Thread};

/// A scope to spawn threads in; see [`scope`].
///
/// As [`std::thread::Scope`].
#[repr(transparent)]
pub struct Scope<'scope, 'env>(greenrt::Scope<'scope, 'env>);

/// The handle of a thread in a scope.
///
/// As [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T>(pub(super) greenrt::ScopedJoinHandle<'scope, T>);

/// Runs `f` with a scope in which threads may borrow what outlives the scope.
///
/// As [`std::thread::scope`]: all its threads have ended when this returns.
///
/// The end of a scope is not a point of cancellation. If the owner is cancelled while it waits
/// there, or a time limit of its passes, its threads are cancelled first; see [`greenrt::scope`].
///
/// # Panics
///
/// With whatever `f` panics with; or if a thread panicked that was not joined.
///
/// # Examples
///
/// ```
/// use greenstd::thread;
///
/// let words = ["sow", "reap"];
/// let n_letters = thread::scope(|s| {
///     let counts = words.map(|word| s.spawn(move || word.len()));
///     counts.into_iter().map(|count| count.join().unwrap()).sum::<usize>()
/// });
/// assert_eq!(n_letters, 7);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    greenrt::scope(|scope| f(Scope::from_green(scope)))
}

impl<'scope, 'env> Scope<'scope, 'env> {
    fn from_green(scope: &'scope greenrt::Scope<'scope, 'env>) -> &'scope Self {
        let scope: *const Self = ptr::from_ref(scope).cast();
        // SAFETY: it was a reference of the same lifetime, and `Self` is transparent.
        unsafe { &*scope }
    }

    pub(super) fn green(&'scope self) -> &'scope greenrt::Scope<'scope, 'env> {
        &self.0
    }

    /// Spawns a thread in the scope, as [`std::thread::Scope::spawn`].
    ///
    /// # Panics
    ///
    /// If no stack can be had; use [`Builder::spawn_scoped`] to recover from that.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new()
            .spawn_scoped(self, f)
            .expect("failed to spawn thread")
    }
}

// As std's: it is made for sharing, and what it counts is right whoever panics.
impl RefUnwindSafe for Scope<'_, '_> {}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// The thread, as [`std::thread::ScopedJoinHandle::thread`].
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }

    /// Waits until the thread has ended and returns its result, as
    /// [`std::thread::ScopedJoinHandle::join`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`](super::JoinHandle::join).
    pub fn join(self) -> Result<T> {
        greenrt::shield(|| self.0.join())
    }

    /// Whether the thread has ended, as [`std::thread::ScopedJoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
