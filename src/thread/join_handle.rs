//! The right to wait for a green thread and to take its result.

#![expect(unsafe_code, reason = "takes a result that is stored without its type")]

use std::fmt;
use std::marker::PhantomData;

use super::{Result, Thread};
use crate::park::Ended;
use crate::record::{RecordRef, packet};

/// The one handle of a green thread. Dropping it detaches the thread.
///
/// As [`std::thread::JoinHandle`].
pub struct JoinHandle<T> {
    thread: Thread,
    result: PhantomData<fn() -> T>,
}

// SAFETY: the handle gives out the result, so it may go where the result may. The closure never
// leaves its thread, and the record is made for sharing.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared handle gives access to the `Thread` only.
unsafe impl<T> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(super) fn new(thread: Thread) -> Self {
        JoinHandle {
            thread,
            result: PhantomData,
        }
    }

    pub(crate) fn record(&self) -> &RecordRef {
        self.thread
            .record()
            .expect("greenrt: a join handle of an OS thread")
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Whether the thread has ended, so that [`join`](JoinHandle::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.record().is_done()
    }

    /// Waits until the thread has ended and returns its result.
    ///
    /// A calling green thread parks; an OS thread blocks.
    ///
    /// # Errors
    ///
    /// The payload of the panic that ended the thread, or [`Cancelled`](crate::Cancelled). If the
    /// *caller* is cancelled it unwinds from here, and the thread goes on, detached.
    #[inline]
    pub fn join(self) -> Result<T> {
        match packet::wait_end(self.record(), true, None) {
            Ended::Interrupted(interrupt) => interrupt.unwind(),
            _ => self.take(),
        }
    }

    /// As [`join`](JoinHandle::join), but cancellation waits until it has returned, as
    /// code that is sound on std expects.
    pub fn join_uncancelled(self) -> Result<T> {
        let _ended = packet::wait_end(self.record(), false, None);
        self.take()
    }

    /// The result of the thread, which has ended.
    fn take(self) -> Result<T> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: spawned with result `T`, has ended, and `self` is its only handle, which is
        // not dropped as one (the `ManuallyDrop`).
        let result = unsafe { packet::take_result(this.record()) };
        // SAFETY: not used again.
        drop(unsafe { std::ptr::read(&raw const this.thread) });
        result
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: the only handle, and the result was not taken, or `take` had forgotten us.
        unsafe { packet::detach(self.record()) };
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}
