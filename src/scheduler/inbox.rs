//! What other threads make runnable: many push, the worker takes all.
//!
//! A stack of records, linked through the records themselves, so that a wake-up allocates
//! nothing. The worker swaps the whole stack out and reverses it: first in, first out.
//!
//! A record is in at most one inbox, because it comes here either once when it is spawned, or
//! from the one thread that claimed its open episode (`park/word.rs`).

use std::ptr;

use crate::primitive::atomic::AtomicPtr;
use crate::primitive::atomic::Ordering::{Acquire, Relaxed, SeqCst};

/// Something that can be in an inbox.
pub(crate) trait Linked: Sized {
    /// The link to the next one, which the inbox owns while the item is inside.
    fn link(&self) -> &AtomicPtr<Self>;
}

/// See the module's documentation.
pub(crate) struct Inbox<T> {
    head: AtomicPtr<T>,
}

impl<T: Linked> Inbox<T> {
    pub(crate) fn new() -> Self {
        Inbox {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds `item`.
    ///
    /// # Safety
    ///
    /// `item` stays valid until it is taken, and is in no other inbox.
    #[expect(unsafe_code, reason = "the items are linked through themselves")]
    pub(crate) unsafe fn push(&self, item: *mut T) {
        let mut head = self.head.load(Relaxed);
        loop {
            // SAFETY: the caller keeps `item` valid, and nobody else has it yet.
            unsafe { &*item }.link().store(head, Relaxed);
            // SeqCst: with the fence in `Sleeper::prepare`, either the worker sees this item
            // before it sleeps, or the pusher sees that it sleeps. The success also releases
            // the link and whatever the pusher wrote before.
            match self.head.compare_exchange_weak(head, item, SeqCst, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is something to take.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Relaxed).is_null()
    }

    /// Takes everything, oldest first.
    #[expect(unsafe_code, reason = "the items are linked through themselves")]
    pub(crate) fn take(&self) -> Taken<T> {
        // Acquire: pairs with the release of every push on the way down.
        let mut newest = self.head.swap(ptr::null_mut(), Acquire);
        let mut oldest: *mut T = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: whoever pushed it keeps it valid until we hand it out.
            let link = unsafe { &*newest }.link();
            let next = link.load(Relaxed);
            link.store(oldest, Relaxed);
            oldest = newest;
            newest = next;
        }
        Taken { head: oldest }
    }
}

/// What was in the inbox, oldest first.
pub(crate) struct Taken<T> {
    head: *mut T,
}

impl<T: Linked> Iterator for Taken<T> {
    type Item = *mut T;

    #[expect(unsafe_code, reason = "the items are linked through themselves")]
    fn next(&mut self) -> Option<*mut T> {
        if self.head.is_null() {
            return None;
        }
        let item = self.head;
        // SAFETY: whoever pushed it keeps it valid until we hand it out, which is now.
        self.head = unsafe { &*item }.link().load(Relaxed);
        Some(item)
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
