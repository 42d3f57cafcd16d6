//! Runnable green threads of one worker, first in, first out.
//!
//! Only the worker touches it: no atomics. Besides green threads it holds *markers*: each stands
//! for one closure in the worker's `fresh` queue, where thieves may take it. Popping a marker runs
//! the oldest closure there, or nothing if it was stolen. So the order on one worker is first in,
//! first out across both queues.
//!
//! A ring of words: the address of a record, or a number of markers in a row, which is how a burst
//! of spawns takes one entry.

use std::ptr::NonNull;

use crate::record::Record;

/// Records are aligned, so their addresses leave the lowest bit free for the tag.
const MARKERS: usize = 1;

const FIRST_CAPACITY: usize = 64;
/// A ring that has grown beyond this is given back when it is empty.
const KEEP_CAPACITY: usize = 1 << 16;

/// What to run next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This green thread.
    Thread(NonNull<Record>),
    /// The oldest closure of the fresh queue, if it is still there.
    Fresh,
}

/// See the module's documentation.
pub(crate) struct RunQueue {
    /// The length is a power of two.
    ring: Box<[usize]>,
    /// Numbers of the oldest entry and of the next one; the ring's index is the number modulo its
    /// length.
    head: usize,
    tail: usize,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue {
            ring: vec![0; FIRST_CAPACITY].into_boxed_slice(),
            head: 0,
            tail: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    fn index(&self, number: usize) -> usize {
        number & (self.ring.len() - 1)
    }

    /// Whether a green thread can be added without more memory.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.tail.wrapping_sub(self.head) < self.ring.len()
    }

    /// Adds a green thread.
    #[inline]
    pub(crate) fn push(&mut self, thread: NonNull<Record>) {
        self.push_entry(thread.as_ptr().expose_provenance());
    }

    #[inline]
    fn push_entry(&mut self, entry: usize) {
        if self.len() == self.ring.len() {
            self.grow();
        }
        let index = self.index(self.tail);
        self.ring[index] = entry;
        self.tail = self.tail.wrapping_add(1);
    }

    #[cold]
    fn grow(&mut self) {
        let n = self.ring.len();
        let mut ring = Vec::with_capacity(2 * n);
        ring.extend((0..n).map(|i| self.ring[self.index(self.head.wrapping_add(i))]));
        ring.resize(2 * n, 0);
        self.ring = ring.into_boxed_slice();
        self.head = 0;
        self.tail = n;
    }

    /// Adds a marker.
    #[inline]
    pub(crate) fn push_marker(&mut self) {
        let last = self.index(self.tail.wrapping_sub(1));
        if !self.is_empty() && self.ring[last] & MARKERS != 0 {
            self.ring[last] += 2;
        } else {
            self.push_entry(2 | MARKERS);
        }
    }

    /// Takes the oldest entry.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Next> {
        if self.is_empty() {
            return None;
        }
        let index = self.index(self.head);
        let first = self.ring[index];
        if first & MARKERS != 0 {
            self.ring[index] = first - 2;
            if first - 2 == MARKERS {
                self.head = self.head.wrapping_add(1);
            }
            return Some(Next::Fresh);
        }
        self.head = self.head.wrapping_add(1);
        NonNull::new(std::ptr::with_exposed_provenance_mut(first)).map(Next::Thread)
    }

    /// Gives back the memory of a burst that is over.
    #[inline]
    pub(crate) fn shrink(&mut self) {
        if self.ring.len() > KEEP_CAPACITY && self.is_empty() {
            *self = Self::new();
        }
    }

    /// The green thread `ahead` places behind the next, so that its memory can be fetched.
    #[inline]
    pub(crate) fn peek(&self, ahead: usize) -> Option<NonNull<Record>> {
        if ahead >= self.len() {
            return None;
        }
        let entry = self.ring[self.index(self.head.wrapping_add(ahead))];
        if entry & MARKERS != 0 {
            return None;
        }
        NonNull::new(std::ptr::with_exposed_provenance_mut(entry))
    }
}

#[cfg(test)]
mod tests;
