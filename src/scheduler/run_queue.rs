//! Runnable green threads of one worker, first in, first out.
//!
//! Only the worker touches it: no atomics. Besides green threads it holds *markers*: each stands
//! for one closure in the worker's `fresh` queue, where thieves may take it. Popping a marker runs
//! the oldest closure there, or nothing if it was stolen. So the order on one worker is first in,
//! first out across both queues.
//!
//! An entry is one word: the address of a record, or a number of markers in a row, which is how
//! a burst of spawns takes one entry.

use std::collections::VecDeque;
use std::ptr::NonNull;

use crate::record::Record;

/// Records are aligned, so their addresses leave the lowest bit free for the tag.
const MARKERS: usize = 1;

/// A queue that has grown beyond this is given back when it is empty.
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
    entries: VecDeque<usize>,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue { entries: VecDeque::with_capacity(64) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a green thread.
    #[inline]
    pub(crate) fn push(&mut self, thread: NonNull<Record>) {
        self.entries.push_back(thread.as_ptr().expose_provenance());
    }

    /// Adds a marker.
    #[inline]
    pub(crate) fn push_marker(&mut self) {
        match self.entries.back_mut() {
            Some(last) if *last & MARKERS != 0 => *last += 2,
            _ => self.entries.push_back(2 | MARKERS),
        }
    }

    /// Takes the oldest entry.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Next> {
        let first = self.entries.front_mut()?;
        if *first & MARKERS != 0 {
            *first -= 2;
            if *first == MARKERS {
                self.entries.pop_front();
            }
            return Some(Next::Fresh);
        }
        let thread = std::ptr::with_exposed_provenance_mut(*first);
        self.entries.pop_front();
        if self.entries.is_empty() && self.entries.capacity() > KEEP_CAPACITY {
            self.entries = VecDeque::with_capacity(64);
        }
        NonNull::new(thread).map(Next::Thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(n: usize) -> NonNull<Record> {
        NonNull::new(std::ptr::without_provenance_mut(n * 32)).unwrap()
    }

    #[test]
    fn markers_and_threads_keep_their_order() {
        let mut queue = RunQueue::new();
        queue.push_marker();
        queue.push_marker();
        queue.push(thread(1));
        queue.push_marker();
        queue.push(thread(2));
        let order: Vec<Next> = std::iter::from_fn(|| queue.pop()).collect();
        let expected =
            [Next::Fresh, Next::Fresh, Next::Thread(thread(1)), Next::Fresh, Next::Thread(thread(2))];
        assert_eq!(order, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_burst_of_markers_takes_one_entry() {
        let mut queue = RunQueue::new();
        for _ in 0..1_000_000 {
            queue.push_marker();
        }
        assert_eq!(queue.entries.len(), 1);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 1_000_000);
    }
}
