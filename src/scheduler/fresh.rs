//! Spawned and not yet started: the worker pushes, everybody takes, oldest first.
//!
//! A ring of pointers. Only the worker writes entries and moves `tail`; whoever wants entries,
//! the worker included, moves `head` past them with one compare-and-swap after reading them.
//!
//! # Rule
//!
//! An entry is read *before* `head` moves past it, and counts only if the move succeeds. `head`
//! never goes back, and the worker overwrites the slot of entry `i` only for entry `i + capacity`,
//! which it pushes only after it has seen `head > i`. So a thief that read a torn or newer value
//! fails its move.
//!
//! When the ring is full the worker copies the entries to one of twice the size. Thieves may
//! still read the old one: its entries between `head` and `tail` stay as they were. It is freed
//! with the queue, so all rings together are at most twice the largest.
//!
//! # Considered and left out
//!
//! - A lock: two more atomic operations on each spawn and each start.
//! - Chase-Lev: its owner takes the newest, and order on one worker must be first in, first out.

#![expect(unsafe_code, reason = "thieves read a ring that its owner may replace")]

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};

use crate::primitive::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::primitive::atomic::{AtomicPtr, AtomicUsize};

const FIRST_CAPACITY: usize = if cfg!(loom) { 2 } else { 256 };

struct Ring<T> {
    slots: Box<[AtomicPtr<T>]>,
}

impl<T> Ring<T> {
    fn new(capacity: usize) -> Self {
        let slots = (0..capacity)
            .map(|_| AtomicPtr::new(ptr::null_mut()))
            .collect();
        Ring { slots }
    }

    #[inline]
    fn slot(&self, index: usize) -> &AtomicPtr<T> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

/// See the module's documentation.
pub(crate) struct Fresh<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    ring: AtomicPtr<Ring<T>>,
    /// Every ring ever in use, the current one last. Touched by the worker only, and by `drop`.
    rings: UnsafeCell<Vec<NonNull<Ring<T>>>>,
}

// SAFETY: the entries are pointers that `push` and `take` move between threads; what they point
// to is the business of the callers, who deal in records, which are meant for every thread.
unsafe impl<T: Send> Send for Fresh<T> {}
// SAFETY: `rings` is touched only by `push`, whose contract says that one thread calls it, and by
// `drop`; all else is atomic.
unsafe impl<T: Send> Sync for Fresh<T> {}

impl<T> Fresh<T> {
    pub(crate) fn new() -> Self {
        let ring = NonNull::from(Box::leak(Box::new(Ring::new(FIRST_CAPACITY))));
        Fresh {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            ring: AtomicPtr::new(ring.as_ptr()),
            rings: UnsafeCell::new(vec![ring]),
        }
    }

    /// Adds an entry at the end.
    ///
    /// # Safety
    ///
    /// Only one thread ever calls this on one queue: its worker.
    pub(crate) unsafe fn push(&self, item: NonNull<T>) {
        let tail = self.tail.load(Relaxed);
        // Acquire: pairs with the release of the moves of `head`, so that those who moved it have
        // finished reading the slots that are written next.
        let head = self.head.load(Acquire);
        // SAFETY: `ring` always points into `rings`, which are freed only in `drop`.
        let mut ring = unsafe { &*self.ring.load(Relaxed) };
        if tail.wrapping_sub(head) == ring.slots.len() {
            ring = self.grow(ring, head, tail);
        }
        ring.slot(tail).store(item.as_ptr(), Relaxed);
        // Release: pairs with the acquire in `take`; the entry is visible before the new tail.
        self.tail.store(tail.wrapping_add(1), Release);
    }

    #[cold]
    fn grow(&self, old: &Ring<T>, head: usize, tail: usize) -> &Ring<T> {
        let new = Ring::new(old.slots.len() * 2);
        let mut index = head;
        while index != tail {
            new.slot(index)
                .store(old.slot(index).load(Relaxed), Relaxed);
            index = index.wrapping_add(1);
        }
        let new = NonNull::from(Box::leak(Box::new(new)));
        // SAFETY: only `push` comes here, and its contract says that one thread calls it.
        let rings = unsafe { &mut *self.rings.get() };
        rings.push(new);
        // Release: pairs with the acquire in `take`.
        self.ring.store(new.as_ptr(), Release);
        // SAFETY: rings are freed only in `drop`.
        unsafe { new.as_ref() }
    }

    /// Takes the oldest entry.
    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<T>> {
        loop {
            // Acquire, both: `tail` no older than `head`, and entries no older than `tail`.
            let head = self.head.load(Acquire);
            let tail = self.tail.load(Acquire);
            if tail.wrapping_sub(head) as isize <= 0 {
                return None;
            }
            // SAFETY: rings are freed only in `drop`.
            let ring = unsafe { &*self.ring.load(Acquire) };
            let item = ring.slot(head).load(Relaxed);
            // Release: pairs with the acquire in `push`; we have read the slot.
            if self
                .head
                .compare_exchange(head, head.wrapping_add(1), AcqRel, Relaxed)
                .is_ok()
            {
                return NonNull::new(item);
            }
        }
    }

    /// The number of the oldest entry and of the next one to be pushed: what has waited since an
    /// earlier look is what lies between `head` now and `tail` then.
    #[inline]
    pub(crate) fn span(&self) -> (usize, usize) {
        let head = self.head.load(Relaxed);
        (head, self.tail.load(Relaxed))
    }

    /// Whether there was nothing to take a moment ago.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let (head, tail) = self.span();
        tail.wrapping_sub(head) as isize <= 0
    }
}

impl<T> Drop for Fresh<T> {
    fn drop(&mut self) {
        for ring in self.rings.get_mut().drain(..) {
            // SAFETY: each was leaked from a box by `new` or `grow`, and nobody else is here.
            drop(unsafe { Box::from_raw(ring.as_ptr()) });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
