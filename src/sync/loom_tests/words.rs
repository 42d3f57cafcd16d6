//! The words under greenstd's locks, on the real table of the futex.

#[path = "../../../shims/greenstd/src/sync/lock.rs"]
mod lock;
#[path = "../../../shims/greenstd/src/sync/raw_mutex.rs"]
mod raw_mutex;
#[path = "../../../shims/greenstd/src/sync/raw_rwlock.rs"]
mod raw_rwlock;

use loom::cell::Cell;
use loom::sync::Arc;

use self::lock::Lock;
use self::raw_rwlock::RawRwLock;
use super::{beside, bounded};
use crate::primitive::atomic;

fn add(lock: &Lock<Cell<i32>>) {
    let count = lock.lock();
    count.set(count.get() + 1);
}

#[test]
fn a_mutex_is_locked_by_one_at_a_time_and_forgets_nobody() {
    bounded(2, || {
        let lock = Arc::new(Lock::new(Cell::new(0)));
        let others = [beside(&lock, add), beside(&lock, add)];
        add(&lock);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(lock.lock().get(), 3);
    });
}

#[test]
fn a_mutex_that_is_taken_again_and_again() {
    bounded(3, || {
        let lock = Arc::new(Lock::new(Cell::new(0)));
        let other = beside(&lock, add);
        (0..3).for_each(|_| add(&lock));
        other.join().unwrap();
        assert_eq!(lock.lock().get(), 4);
    });
}

/// What a lock for readers guards.
struct Guarded {
    raw: RawRwLock,
    count: loom::cell::UnsafeCell<i32>,
}

// SAFETY: only whoever has the lock looks at the cell, or the checker says so.
#[expect(unsafe_code, reason = "what a lock guards")]
unsafe impl Sync for Guarded {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "what a lock guards")]
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Guarded {
            raw: RawRwLock::new(),
            count: loom::cell::UnsafeCell::new(0),
        })
    }

    #[expect(unsafe_code, reason = "what a lock guards")]
    fn look(&self) -> i32 {
        // SAFETY: called by whoever reads.
        self.count.with(|count| unsafe { *count })
    }

    fn read(&self) -> i32 {
        self.raw.read();
        let count = self.look();
        self.raw.release_read();
        count
    }

    #[expect(unsafe_code, reason = "what a lock guards")]
    fn add(&self) {
        // SAFETY: called by whoever writes.
        self.count.with_mut(|count| unsafe { *count += 1 });
    }

    fn write(&self) {
        self.raw.write();
        self.add();
        self.raw.release_write();
    }

    fn check(&self, count: i32) {
        assert!(self.raw.try_write(), "somebody has it, or waits");
        assert_eq!(self.look(), count);
    }
}

#[test]
fn readers_and_writers_are_not_forgotten() {
    bounded(2, || {
        let guarded = Guarded::new();
        let writer = beside(&guarded, Guarded::write);
        let reader = beside(&guarded, Guarded::read);
        guarded.write();
        writer.join().unwrap();
        assert!((0..=2).contains(&reader.join().unwrap()));
        guarded.check(2);
    });
}

#[test]
fn a_writer_among_readers() {
    bounded(2, || {
        let guarded = Guarded::new();
        let readers = [(); 2].map(|()| beside(&guarded, Guarded::read));
        guarded.write();
        for reader in readers {
            assert!((0..=1).contains(&reader.join().unwrap()));
        }
        guarded.check(1);
    });
}

#[test]
fn a_downgrade_lets_readers_in_and_forgets_no_writer() {
    bounded(2, || {
        let guarded = Guarded::new();
        let writer = beside(&guarded, Guarded::write);
        let reader = beside(&guarded, Guarded::read);
        guarded.raw.write();
        guarded.add();
        guarded.raw.downgrade();
        guarded.look();
        guarded.raw.release_read();
        writer.join().unwrap();
        reader.join().unwrap();
        guarded.check(2);
    });
}
