//! The words under [`RwLock`](super::RwLock): many readers or one writer, in turns.
//!
//! While nobody waits a lock is taken and given back by one change of `state`:
//!
//! | value         | meaning                                                           |
//! |---------------|-------------------------------------------------------------------|
//! | 0             | free                                                              |
//! | 1..=MAX       | so many have it for reading                                       |
//! | WRITING       | one has it for writing                                            |
//! | .. + QUEUED   | the same, and others wait: only who has `queue` may add to it     |
//!
//! Whoever cannot have it sets QUEUED, and counts itself, under the lock `queue`. From then on
//! nobody comes in from outside. The last to leave *grants*, under the same lock: it makes the
//! state what it is to be, and then lets those in whom it has counted.
//!
//! # Turns
//!
//! After a writer all readers that wait get the lock, after readers a writer. So neither starves
//! the other: a writer waits for those readers who were there before it, and a reader for one
//! writer. Among writers the order is that of the futex, and fair as with a mutex.
//!
//! # Considered and left out
//!
//! - Letting those who come along take it before those who wait, as std does: readers keep writers
//!   out, or writers readers, for as long as they come. Where it is contended this costs a switch
//!   for each turn, which a green thread has cheap.

use greenrt::lowlevel::{
    FutexWait, futex_hand_over, futex_wait, futex_wait_again, futex_wake, spend_credit,
};

use super::atomic::AtomicU32;
use super::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::lock::{Held, Lock};

const QUEUED: u32 = 1 << 30;
const WRITING: u32 = QUEUED - 1;
const READERS_MAX: u32 = WRITING - 1;

pub(super) struct RawRwLock {
    state: AtomicU32,
    /// Changes whenever readers that wait are let in.
    reader_turn: AtomicU32,
    /// 1 if a writer that waits has the lock and does not know it yet.
    writer_turn: AtomicU32,
    queue: Lock<Queue>,
}

/// How many wait and were not granted the lock.
struct Queue {
    n_readers: u32,
    n_writers: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Reader,
    Writer,
}

/// Whether somebody who comes along may have it for reading.
#[inline]
fn is_readable(state: u32) -> bool {
    // Neither being written nor QUEUED.
    state < READERS_MAX
}

impl RawRwLock {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        RawRwLock {
            state: AtomicU32::new(0),
            reader_turn: AtomicU32::new(0),
            writer_turn: AtomicU32::new(0),
            queue: Lock::new(Queue {
                n_readers: 0,
                n_writers: 0,
            }),
        }
    }

    /// In a model (greenrt's `sync/loom_tests`).
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        RawRwLock {
            state: AtomicU32::new(0),
            reader_turn: AtomicU32::new(0),
            writer_turn: AtomicU32::new(0),
            queue: Lock::new(Queue {
                n_readers: 0,
                n_writers: 0,
            }),
        }
    }

    #[inline]
    fn try_acquire_read(&self) -> bool {
        let mut state = self.state.load(Relaxed);
        while is_readable(state) {
            // Acquire: pairs with the release of the writer who had it last.
            let taken = self
                .state
                .compare_exchange_weak(state, state + 1, Acquire, Relaxed);
            match taken {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[inline]
    fn try_acquire_write(&self) -> bool {
        // Acquire: pairs with the release of all who had it.
        let taken = self.state.compare_exchange(0, WRITING, Acquire, Relaxed);
        taken.is_ok()
    }

    #[inline]
    pub(super) fn try_read(&self) -> bool {
        let taken = self.try_acquire_read();
        if !taken {
            spend_credit();
        }
        taken
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        let taken = self.try_acquire_write();
        if !taken {
            spend_credit();
        }
        taken
    }

    #[inline]
    pub(super) fn read(&self) {
        // Before the lock is ours, so that nobody waits for one who has yielded.
        spend_credit();
        if !self.try_acquire_read() {
            self.read_contended();
        }
    }

    #[inline]
    pub(super) fn write(&self) {
        spend_credit();
        if !self.try_acquire_write() {
            self.write_contended();
        }
    }

    /// Gets into the queue, unless `free` says that the lock can be had and it was taken.
    fn enqueue(
        &self,
        free: impl Fn(u32) -> bool,
        taken: impl Fn(u32) -> u32,
    ) -> Option<Held<'_, Queue>> {
        let queue = self.queue.lock();
        let mut state = self.state.load(Relaxed);
        loop {
            let new = if free(state) {
                taken(state)
            } else {
                state | QUEUED
            };
            // Acquire: as in the `try_` functions.
            match self
                .state
                .compare_exchange_weak(state, new, Acquire, Relaxed)
            {
                Ok(_) if free(state) => return None,
                Ok(_) => return Some(queue),
                Err(now) => state = now,
            }
        }
    }

    #[cold]
    fn read_contended(&self) {
        assert!(
            self.state.load(Relaxed) & !QUEUED != READERS_MAX,
            "too many active read locks on RwLock"
        );
        let Some(mut queue) = self.enqueue(is_readable, |state| state + 1) else {
            return;
        };
        queue.n_readers += 1;
        let turn = self.reader_turn.load(Relaxed);
        drop(queue);
        // Acquire: pairs with the release in `grant`. All readers that are counted are let in at
        // once, so any change means us too.
        while self.reader_turn.load(Acquire) == turn {
            futex_wait(&self.reader_turn, turn, None);
        }
    }

    #[cold]
    fn write_contended(&self) {
        let Some(mut queue) = self.enqueue(|state| state == 0, |_| WRITING) else {
            return;
        };
        queue.n_writers += 1;
        drop(queue);
        let mut wait: fn(&_, _, _) -> FutexWait = futex_wait;
        loop {
            match wait(&self.writer_turn, 0, None) {
                FutexWait::HandedOver => return,
                FutexWait::Woken => wait = futex_wait_again,
                _ => {}
            }
            // Acquire: pairs with the release in `grant`, by way of the futex.
            let turn = self.writer_turn.compare_exchange(1, 0, Acquire, Relaxed);
            if turn.is_ok() {
                return;
            }
        }
    }

    /// Called by whoever has it for reading.
    #[inline]
    pub(super) fn release_read(&self) {
        // Release: pairs with the acquire of the next writer.
        if self.state.fetch_sub(1, Release) == QUEUED + 1 {
            self.leave(Left::Reader);
        }
    }

    /// Called by whoever has it for writing.
    #[inline]
    pub(super) fn release_write(&self) {
        // Release: pairs with the acquire of the next owner.
        let released = self.state.compare_exchange(WRITING, 0, Release, Relaxed);
        if released.is_err() {
            self.leave(Left::Writer);
        }
    }

    /// The last one has left, and others wait.
    #[cold]
    fn leave(&self, left: Left) {
        let queue = self.queue.lock();
        self.grant(queue, left, 0);
    }

    /// Called by whoever has it for writing: has it for reading from here on, with all readers that
    /// wait.
    pub(super) fn downgrade(&self) {
        // Release: pairs with the acquire of readers.
        let changed = self.state.compare_exchange(WRITING, 1, Release, Relaxed);
        if changed.is_err() {
            let queue = self.queue.lock();
            if queue.n_readers == 0 {
                // Release: as above. QUEUED, so it is ours and those who wait stay.
                self.state.store(QUEUED + 1, Release);
            } else {
                self.grant(queue, Left::Writer, 1);
            }
        }
    }

    /// Gives the lock, which is QUEUED and which only `n_stay` readers have, to those whose turn it
    /// is.
    fn grant(&self, mut queue: Held<'_, Queue>, left: Left, n_stay: u32) {
        let readers_first = left == Left::Writer || queue.n_writers == 0;
        if readers_first && queue.n_readers > 0 {
            let n_readers = std::mem::take(&mut queue.n_readers) + n_stay;
            let queued = if queue.n_writers > 0 { QUEUED } else { 0 };
            // Acquire and release: what those who had it did is seen by those who get it, and by
            // those who come along if nobody waits any more.
            self.state.swap(n_readers | queued, AcqRel);
            self.reader_turn.fetch_add(1, Release);
            drop(queue);
            futex_wake(&self.reader_turn, usize::MAX);
        } else {
            queue.n_writers -= 1;
            let is_last = queue.n_readers + queue.n_writers == 0;
            let queued = if is_last { 0 } else { QUEUED };
            // Acquire and release: as above.
            self.state.swap(WRITING | queued, AcqRel);
            drop(queue);
            futex_hand_over(&self.writer_turn, 1);
        }
    }
}
