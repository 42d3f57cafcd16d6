//! All pending deadlines of one worker, the nearest first.
//!
//! A heap with four children to a node: entries of 16 bytes, four of them to a cache line. Each
//! timer knows where its entry is, so it can be taken out in the middle: a read timeout costs an
//! entry at the end of the heap and its removal, usually without moving anything else, and no
//! system call. The nearest deadline is always exact, so an idle worker sleeps just that long.
//! Equal deadlines fire in the order in which they were set.
//!
//! The type of heap is the one that Go uses for its timers.
//!
//! # Considered and left out
//!
//! - A hierarchical wheel: cheaper to insert by a little, but it must wake up to move entries
//!   down, or look at them all, to know how long it may sleep.

#![expect(unsafe_code, reason = "the heap points to timers in the frames of green threads")]

use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;

use crate::record::Record;

const CHILDREN: usize = 4;
const NOT_SET: u32 = u32::MAX;

/// The deadline of one green thread's wait.
pub(crate) struct Timer {
    record: NonNull<Record>,
    /// Where its entry is in the heap.
    position: Cell<u32>,
    /// Tells equal deadlines apart.
    number: Cell<u32>,
}

impl Timer {
    pub(crate) fn new(record: NonNull<Record>) -> Self {
        Timer { record, position: Cell::new(NOT_SET), number: Cell::new(0) }
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.position.get() != NOT_SET
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("set", &self.is_set()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    timer: NonNull<Timer>,
}

impl Entry {
    fn timer(&self) -> &Timer {
        // SAFETY: a timer that is set takes itself out before it goes away (`Timers::insert`).
        unsafe { self.timer.as_ref() }
    }

    #[inline]
    fn is_before(&self, other: &Entry) -> bool {
        self.deadline < other.deadline
            || self.deadline == other.deadline
                // Numbers wrap around; those of entries that live at once are close together.
                && (self.timer().number.get().wrapping_sub(other.timer().number.get()) as i32) < 0
    }
}

/// See the module's documentation.
pub(crate) struct Timers {
    heap: Vec<Entry>,
    next_number: u32,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Timers { heap: Vec::new(), next_number: 0 }
    }

    /// The nearest deadline.
    #[inline]
    pub(crate) fn nearest(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// Sets `timer`.
    ///
    /// # Safety
    ///
    /// `timer` is not set, and stays where it is until it has fired or was removed.
    pub(crate) unsafe fn insert(&mut self, timer: &Timer, deadline: u64) {
        debug_assert!(!timer.is_set(), "greenrt: timer set twice");
        timer.number.set(self.next_number);
        self.next_number = self.next_number.wrapping_add(1);
        let at = self.heap.len();
        assert!(at < NOT_SET as usize, "greenrt: too many timers");
        let entry = Entry { deadline, timer: NonNull::from(timer) };
        self.heap.push(entry);
        self.sift_up(at, entry);
    }

    /// Takes `timer` out, if it is set.
    #[inline]
    pub(crate) fn remove(&mut self, timer: &Timer) {
        if timer.is_set() {
            self.remove_at(timer.position.get() as usize);
        }
    }

    /// Takes out the nearest timer if it is due.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<NonNull<Record>> {
        let first = *self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        self.remove_at(0);
        Some(first.timer().record)
    }

    fn remove_at(&mut self, at: usize) {
        self.heap[at].timer().position.set(NOT_SET);
        let last = self.heap.pop().expect("greenrt: timer outside the heap");
        if at < self.heap.len() {
            let parent = at.wrapping_sub(1) / CHILDREN;
            if at > 0 && last.is_before(&self.heap[parent]) {
                self.sift_up(at, last);
            } else {
                self.sift_down(at, last);
            }
        }
    }

    #[inline]
    fn place(&mut self, at: usize, entry: Entry) {
        self.heap[at] = entry;
        entry.timer().position.set(at as u32);
    }

    fn sift_up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if !entry.is_before(&self.heap[parent]) {
                break;
            }
            self.place(at, self.heap[parent]);
            at = parent;
        }
        self.place(at, entry);
    }

    fn sift_down(&mut self, mut at: usize, entry: Entry) {
        loop {
            let first = at * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let least = children.reduce(|a, b| if self.heap[b].is_before(&self.heap[a]) { b } else { a });
            match least {
                Some(least) if self.heap[least].is_before(&entry) => {
                    self.place(at, self.heap[least]);
                    at = least;
                }
                _ => break,
            }
        }
        self.place(at, entry);
    }
}

#[cfg(test)]
mod tests;
