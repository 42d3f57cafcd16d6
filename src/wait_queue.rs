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

/// One who waits, with what it tells those who look for somebody to wake. Pinned in its frame while
/// it is linked.
#[derive(Debug)]
pub(crate) struct Waiter<D = ()> {
    target: Target,
    /// Told to the thread when this waiter is the one that was woken.
    tag: u32,
    data: D,
    next: Cell<Option<NonNull<Waiter<D>>>>,
    previous: Cell<Option<NonNull<Waiter<D>>>>,
    linked: Cell<bool>,
    _pinned: PhantomPinned,
}

impl Waiter {
    pub(crate) fn new(target: Target, tag: u32) -> Self {
        Waiter::with(target, tag, ())
    }
}

impl<D> Waiter<D> {
    #[inline]
    pub(crate) fn with(target: Target, tag: u32, data: D) -> Self {
        Waiter {
            target,
            tag,
            data,
            next: Cell::new(None),
            previous: Cell::new(None),
            linked: Cell::new(false),
            _pinned: PhantomPinned,
        }
    }

    /// For its owner, who looks while it is not linked; others do under the lock.
    #[inline]
    pub(crate) fn data(&self) -> &D {
        &self.data
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct WaitList<D = ()> {
    first: Option<NonNull<Waiter<D>>>,
    last: Option<NonNull<Waiter<D>>>,
}

// SAFETY: the waiters are touched only under the lock that the list lies behind, whoever holds
// it; their targets are made to be used from any thread, and their data may go there.
unsafe impl<D: Send> Send for WaitList<D> {}

impl<D> Default for WaitList<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D> WaitList<D> {
    pub(crate) const fn new() -> Self {
        WaitList {
            first: None,
            last: None,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds `waiter` at the end.
    ///
    /// # Safety
    ///
    /// The caller removes it from this list, under the same lock, before it goes away.
    #[inline]
    pub(crate) unsafe fn push(&mut self, waiter: Pin<&Waiter<D>>) {
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

    /// Adds `waiter` in front.
    ///
    /// # Safety
    ///
    /// As [`push`](WaitList::push).
    pub(crate) unsafe fn push_front(&mut self, waiter: Pin<&Waiter<D>>) {
        debug_assert!(!waiter.linked.get(), "greenrt: waiter queued twice");
        let at = NonNull::from(waiter.get_ref());
        waiter.previous.set(None);
        waiter.next.set(self.first);
        waiter.linked.set(true);
        match self.first {
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            Some(first) => unsafe { first.as_ref() }.previous.set(Some(at)),
            None => self.last = Some(at),
        }
        self.first = Some(at);
    }

    /// Takes `waiter` out, if it is still in.
    #[inline]
    pub(crate) fn remove(&mut self, waiter: Pin<&Waiter<D>>) {
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

    /// Whether another thread than `target` waits.
    pub(crate) fn has_other_than(&self, target: &Target) -> bool {
        let mut at = self.first;
        while let Some(waiter) = at {
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            let waiter = unsafe { waiter.as_ref() };
            if !waiter.target.is(target) {
                return true;
            }
            at = waiter.next.get();
        }
        false
    }

    /// Takes the first waiter out whose thread nothing else has woken; the caller wakes it when
    /// it has let go of the lock.
    #[inline]
    pub(crate) fn wake_one(&mut self) -> Option<Wake> {
        self.wake_one_with((), |_, ()| (), |_, ()| ())
            .ok()
            .map(|(wake, ())| wake)
    }

    /// As `wake_one`, as long as `admit` says of the first waiter that it is its turn, and what to
    /// tell the caller if it is woken.
    pub(crate) fn wake_one_if<R>(
        &mut self,
        mut admit: impl FnMut(&D) -> Option<R>,
    ) -> Option<(Wake, R)> {
        while let Some(first) = self.first {
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            let waiter = unsafe { first.as_ref() };
            let admitted = admit(&waiter.data)?;
            // SAFETY: a waiter is pinned while it is linked.
            self.remove(unsafe { Pin::new_unchecked(waiter) });
            // Once it is claimed it may go away.
            if let Some(wake) = waiter.target.claim(CLAIM_WOKEN + waiter.tag) {
                return Some((wake, admitted));
            }
        }
        None
    }

    /// As `wake_one`, with something to hand to the thread, or to take from it: `exchange` does it,
    /// before the thread can go on, and `undo` takes it back if something else has woken that one.
    /// `Err`: nobody waits.
    #[inline]
    pub(crate) fn wake_one_with<A, B>(
        &mut self,
        mut given: A,
        mut exchange: impl FnMut(&D, A) -> B,
        mut undo: impl FnMut(&D, B) -> A,
    ) -> Result<(Wake, B), A> {
        while let Some(first) = self.first {
            // SAFETY: what is linked is still there (`push`), and the lock is held.
            let waiter = unsafe { first.as_ref() };
            // SAFETY: a waiter is pinned while it is linked.
            self.remove(unsafe { Pin::new_unchecked(waiter) });
            let taken = exchange(&waiter.data, given);
            // Once it is claimed it may go away.
            match waiter.target.claim(CLAIM_WOKEN + waiter.tag) {
                Some(wake) => return Ok((wake, taken)),
                None => given = undo(&waiter.data, taken),
            }
        }
        Err(given)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
