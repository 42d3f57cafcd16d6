//! The right to wait for a thread and to take its result.

#![expect(unsafe_code, reason = "a handle may go where std's may")]

use std::fmt;

use super::{Result, Thread};

/// The one handle of a thread. Dropping it detaches the thread.
///
/// As [`std::thread::JoinHandle`].
pub struct JoinHandle<T>(pub(super) greenrt::JoinHandle<T>);

// SAFETY: whoever makes one asks for a result that is `Send`.
unsafe impl<T> Send for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// The thread, as [`std::thread::JoinHandle::thread`].
    #[must_use]
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }

    /// Waits until the thread has ended and returns its result.
    ///
    /// As [`std::thread::JoinHandle::join`]. A calling green thread parks. Not a point of
    /// cancellation, unlike [`greenrt::JoinHandle::join`]: code that is sound on std relies on
    /// getting here the result of a thread that has ended.
    ///
    /// # Errors
    ///
    /// The payload of the panic that ended the thread; [`greenrt::Cancelled`] if it was cancelled.
    pub fn join(self) -> Result<T> {
        self.0.join_uncancelled()
    }

    /// Whether the thread has ended, as [`std::thread::JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}
