//! All pending deadlines of one worker, the nearest first.
//!
//! A heap with four children to a node: entries of 16 bytes, four of them to a cache line. A timer
//! is known by its key, and a table by key says where its entry is, so it can be taken out in the
//! middle: a read timeout costs an entry at the end of the heap and its removal, usually without
//! moving anything else, and no system call. The nearest deadline is always exact, so an idle
//! worker sleeps just that long. Equal deadlines fire in the order in which they were set.
//!
//! The type of heap is the one that Go uses for its timers.
//!
//! # Considered and left out
//!
//! - A hierarchical wheel: cheaper to insert by a little, but it must wake up to move entries
//!   down, or look at them all, to know how long it may sleep.
//! - The place of an entry kept in the frame of its thread: each step of a sift is then a miss in
//!   the memory of some parked thread; with 100,000 timers that is a fifth of all time.

use std::ptr::NonNull;

use crate::record::Record;

const CHILDREN: usize = 4;

/// A timer that is set, until it has fired or was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    key: Key,
    /// Tells equal deadlines apart.
    number: u32,
}

impl Entry {
    #[inline]
    fn is_before(&self, other: &Entry) -> bool {
        self.deadline < other.deadline
            || self.deadline == other.deadline
                // Numbers wrap around; those of entries that live at once are close together.
                && (self.number.wrapping_sub(other.number) as i32) < 0
    }
}

/// What belongs to a key.
#[derive(Clone, Copy)]
enum Slot {
    /// Set: whose timer it is.
    Set(NonNull<Record>),
    /// Free: the next free one.
    Free(Option<Key>),
}

/// See the module's documentation.
pub(crate) struct Timers {
    heap: Vec<Entry>,
    /// By key: where its entry is in the heap.
    positions: Vec<u32>,
    slots: Vec<Slot>,
    free: Option<Key>,
    next_number: u32,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Timers {
            heap: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            free: None,
            next_number: 0,
        }
    }

    /// The nearest deadline.
    #[inline]
    pub(crate) fn nearest(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// Sets the timer of a thread, which has none.
    pub(crate) fn insert(&mut self, record: NonNull<Record>, deadline: u64) -> Key {
        let key = match self.free {
            Some(key) => {
                if let Slot::Free(next) = self.slots[key.0 as usize] {
                    self.free = next;
                }
                self.slots[key.0 as usize] = Slot::Set(record);
                key
            }
            None => {
                let key = Key(u32::try_from(self.slots.len()).expect("greenrt: too many timers"));
                self.slots.push(Slot::Set(record));
                self.positions.push(0);
                key
            }
        };
        let entry = Entry {
            deadline,
            key,
            number: self.next_number,
        };
        self.next_number = self.next_number.wrapping_add(1);
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
        key
    }

    /// Takes out a timer, unless it has fired. Its key may then belong to another thread's, and
    /// not to a new one of the same thread: a thread has one at a time.
    #[inline]
    pub(crate) fn remove(&mut self, key: Key, record: NonNull<Record>) {
        if matches!(self.slots[key.0 as usize], Slot::Set(owner) if owner == record) {
            self.remove_at(self.positions[key.0 as usize] as usize);
        }
    }

    /// Takes out the nearest timer if it is due.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<NonNull<Record>> {
        let first = *self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        self.remove_at(0)
    }

    fn remove_at(&mut self, at: usize) -> Option<NonNull<Record>> {
        let Key(key) = self.heap[at].key;
        let slot = std::mem::replace(&mut self.slots[key as usize], Slot::Free(self.free));
        self.free = Some(Key(key));
        let last = self.heap.pop()?;
        if at < self.heap.len() {
            if at > 0 && last.is_before(&self.heap[(at - 1) / CHILDREN]) {
                self.sift_up(at, last);
            } else {
                self.sift_down(at, last);
            }
        }
        match slot {
            Slot::Set(record) => Some(record),
            Slot::Free(_) => None,
        }
    }

    #[inline]
    fn place(&mut self, at: usize, entry: Entry) {
        self.heap[at] = entry;
        self.positions[entry.key.0 as usize] = at as u32;
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
            let least = children.reduce(|a, b| {
                if self.heap[b].is_before(&self.heap[a]) {
                    b
                } else {
                    a
                }
            });
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
