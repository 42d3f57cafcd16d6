//! The short lock, the mutex and the lock for readers.

use loom::cell::{Cell, UnsafeCell};
use loom::sync::Arc;

use super::{beside, bounded, unless_cancelled};
use crate::park::Thread;
use crate::park::reason::Reason;
use crate::sync::lock::Flag;
use crate::sync::raw_mutex::RawMutex;
use crate::sync::rwlock::RwLock;
use crate::sync::wait::{NOT_A_POINT, Until};

#[test]
fn a_short_lock_lets_in_one_at_a_time() {
    bounded(3, || {
        let lock = Arc::new((Flag::new(), UnsafeCell::new(0)));
        #[expect(unsafe_code, reason = "what a lock guards")]
        let add = |(lock, count): &(Flag, UnsafeCell<i32>)| {
            lock.acquire();
            // SAFETY: acquired, or the checker says so.
            let count = count.with_mut(|count| unsafe {
                *count += 1;
                *count
            });
            // SAFETY: acquired above.
            unsafe { lock.release() };
            count
        };
        let other = beside(&lock, add);
        let mine = add(&lock);
        assert_eq!(mine + other.join().unwrap(), 3);
    });
}

/// A mutex and what it guards.
struct Guarded {
    raw: RawMutex,
    count: Cell<i32>,
}

// Only whoever has locked it looks at the cell, or the checker says so.
#[expect(unsafe_code, reason = "what a mutex guards")]
// SAFETY: see above.
unsafe impl Sync for Guarded {}
#[expect(unsafe_code, reason = "what a mutex guards")]
// SAFETY: see above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Guarded {
            raw: RawMutex::new(),
            count: Cell::new(0),
        })
    }

    /// Whether it was locked, and the count increased.
    fn add(&self, until: Until) -> bool {
        let locked = self.raw.lock(until);
        if locked {
            self.count.set(self.count.get() + 1);
            self.raw.unlock();
        }
        locked
    }

    fn check(&self, count: i32) {
        assert!(self.raw.try_lock_fast(), "somebody has it, or waits");
        assert_eq!(self.count.get(), count);
    }
}

fn add(guarded: &Guarded) {
    assert!(guarded.add(Until::Done));
}

#[test]
fn a_mutex_is_locked_by_one_at_a_time_and_forgets_nobody() {
    bounded(2, || {
        let guarded = Guarded::new();
        let others = [beside(&guarded, add), beside(&guarded, add)];
        add(&guarded);
        others.into_iter().for_each(|other| other.join().unwrap());
        guarded.check(3);
    });
}

/// Somebody who is passed over is handed the mutex.
#[test]
fn a_mutex_that_is_taken_again_and_again() {
    bounded(3, || {
        let guarded = Guarded::new();
        let other = beside(&guarded, add);
        (0..3).for_each(|_| add(&guarded));
        other.join().unwrap();
        guarded.check(4);
    });
}

#[test]
fn a_deadline_leaves_no_waiter_behind_a_mutex() {
    bounded(2, || {
        let guarded = Guarded::new();
        let late = beside(&guarded, |guarded| guarded.add(Until::At(1)));
        let other = beside(&guarded, add);
        add(&guarded);
        other.join().unwrap();
        let late = i32::from(late.join().unwrap());
        guarded.check(2 + late);
    });
}

#[test]
fn a_cancelled_waiter_does_not_keep_a_mutex() {
    bounded(2, || {
        let guarded = Guarded::new();
        assert!(guarded.raw.try_lock());
        let (tell, told) = loom::sync::mpsc::channel();
        let victim = beside(&guarded, move |guarded| {
            tell.send(Thread::current()).unwrap();
            unless_cancelled(|| guarded.add(Until::Done)).is_some()
        });
        let victims = told.recv().unwrap();
        let canceller = loom::thread::spawn(move || victims.cancel());
        guarded.raw.unlock();
        add(&guarded);
        canceller.join().unwrap();
        let n = i32::from(victim.join().unwrap());
        guarded.check(1 + n);
    });
}

/// As a condition variable does: the mutex is taken back whatever comes.
#[test]
fn a_mutex_is_taken_back_by_one_who_was_cancelled() {
    bounded(2, || {
        let guarded = Guarded::new();
        let other = beside(&guarded, add);
        let how = (Reason::RELOCK, NOT_A_POINT);
        Thread::current().cancel();
        if !guarded.raw.try_lock_fast() {
            assert!(guarded.raw.lock_slow(Until::Done, how));
        }
        guarded.count.set(guarded.count.get() + 1);
        guarded.raw.unlock();
        other.join().unwrap();
        guarded.check(2);
    });
}

#[test]
fn a_lock_has_readers_or_a_writer_and_forgets_nobody() {
    bounded(2, || {
        let write = |lock: &RwLock<Cell<i32>>| {
            let count = lock.write().unwrap();
            count.set(count.get() + 1);
        };
        let lock = Arc::new(Shared(RwLock::new(Cell::new(0))));
        let writer = beside(&lock, move |lock| write(&lock.0));
        let reader = beside(&lock, |lock| lock.0.read().unwrap().get());
        write(&lock.0);
        writer.join().unwrap();
        assert!((0..=2).contains(&reader.join().unwrap()));
        let last = lock.0.try_write().unwrap().get();
        assert_eq!(last, 2);
    });
}

#[test]
fn a_writer_that_gives_up_lets_readers_pass() {
    bounded(2, || {
        let lock = Arc::new(Shared(RwLock::new(Cell::new(0))));
        let first = lock.0.read().unwrap();
        let late = beside(&lock, |lock| {
            lock.0.write_timeout(std::time::Duration::ZERO).is_ok()
        });
        let reader = beside(&lock, |lock| drop(lock.0.read().unwrap()));
        // While it reads: the writer cannot have it, and the reader must in the end.
        reader.join().unwrap();
        drop(first);
        late.join().unwrap();
        assert!(lock.0.try_write().is_ok());
    });
}

/// The checker finds those who use the cell at once.
struct Shared(RwLock<Cell<i32>>);

#[expect(unsafe_code, reason = "what a lock guards")]
// SAFETY: see above.
unsafe impl Sync for Shared {}
#[expect(unsafe_code, reason = "what a lock guards")]
// SAFETY: see above.
unsafe impl Send for Shared {}
