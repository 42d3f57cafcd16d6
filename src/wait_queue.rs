//! Threads that wait for the same thing, in the order in which they came.
//!
//! A waiter is a link in its own frame: queueing allocates nothing. A [`WaitList`] has no lock of
//! its own; it lies behind the lock of whatever is waited for, and every method is called under
//! that lock.

#![expect(
    unsafe_code,
    reason = "waiters are linked through the frames of those who wait"
)]

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;

use crate::park::word::CLAIM_WOKEN;
use crate::park::{Target, Wake};

/// One who waits. Pinned in its frame while it is linked.
#[derive(Debug)]
pub(crate) struct Waiter {
    target: Target,
    /// Told to the thread when this waiter is the one that was woken.
    tag: u32,
    next: Cell<Option<NonNull<Waiter>>>,
    previous: Cell<Option<NonNull<Waiter>>>,
    linked: Cell<bool>,
    _pinned: PhantomPinned,
}

impl Waiter {
    pub(crate) fn new(target: Target, tag: u32) -> Self {
        Waiter {
            target,
            tag,
            next: Cell::new(None),
            previous: Cell::new(None),
            linked: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    first: Option<NonNull<Waiter>>,
    last: Option<NonNull<Waiter>>,
}

// SAFETY: the waiters are touched only under the lock that the list lies behind, whoever holds
// it; their targets are made to be used from any thread.
unsafe impl Send for WaitList {}

impl WaitList {
    pub(crate) const fn new() -> Self {
        WaitList {
            first: None,
            last: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds `waiter` at the end.
    ///
    /// # Safety
    ///
    /// The caller removes it from this list, under the same lock, before it goes away.
    pub(crate) unsafe fn push(&mut self, waiter: Pin<&Waiter>) {
        debug_assert!(!waiter.linked.get(), "greenrt: waiter queued twice");
        let at = NonNull::from(waiter.get_ref());
        waiter.previous.set(self.last);
        waiter.next.set(None);
        waiter.linked.set(true);
        match self.last {
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            Some(last) => unsafe { last.as_ref() }.next.set(Some(at)),
            None => self.first = Some(at),
        }
        self.last = Some(at);
    }

    /// Takes `waiter` out, if it is still in.
    pub(crate) fn remove(&mut self, waiter: Pin<&Waiter>) {
        if !waiter.linked.replace(false) {
            return;
        }
        match waiter.previous.get() {
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            Some(previous) => unsafe { previous.as_ref() }.next.set(waiter.next.get()),
            None => self.first = waiter.next.get(),
        }
        match waiter.next.get() {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(waiter.previous.get()),
            None => self.last = waiter.previous.get(),
        }
    }

    /// Takes the first waiter out whose thread nothing else has woken; the caller wakes it when
    /// it has let go of the lock.
    pub(crate) fn wake_one(&mut self) -> Option<Wake> {
        loop {
            let first = self.first?;
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            let waiter = unsafe { first.as_ref() };
            // SAFETY: a waiter is pinned while it is linked.
            self.remove(unsafe { Pin::new_unchecked(waiter) });
            if let Some(wake) = waiter.target.claim(CLAIM_WOKEN + waiter.tag) {
                return Some(wake);
            }
        }
    }
}

#[cfg(test)]
mod tests;
