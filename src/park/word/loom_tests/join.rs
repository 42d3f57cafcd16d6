//! The join word against its waiters: who reads the waiter, and who drops the result.
//!
//! Mirrors `run`, `wait_end`, `wait_while_busy` and `detach` of `record/packet.rs`; the original
//! needs stacks and an arena. Whoever changes one changes both.

use loom::sync::Arc;
use loom::thread;

use super::{Green, LOCK, POINT, beside, bounded};
use crate::park::word::{CLAIM_CANCEL, CLAIM_DEADLINE, CLAIM_WOKEN, Claim, Ends};
use crate::primitive::atomic::AtomicUsize;
use crate::primitive::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const EMPTY: usize = 0;
const DONE: usize = 1;
const BUSY: usize = 2;
const DETACHED: usize = 3;
/// The address of the waiter.
const WAITER: usize = 64;

/// What the joiner's frame holds while the waiter is in it.
const TARGET: usize = 7;
const RESULT: usize = 42;

/// A thread that ends, and the one that has its handle.
struct Pair {
    join: AtomicUsize,
    result: AtomicUsize,
    /// How often the result was taken or dropped.
    n_gone: AtomicUsize,
    joiner: Green,
    /// The place of the waiter in the joiner's frame.
    frame: AtomicUsize,
}

impl Pair {
    fn new() -> Arc<Pair> {
        Arc::new(Pair {
            join: AtomicUsize::new(EMPTY),
            result: AtomicUsize::new(0),
            n_gone: AtomicUsize::new(0),
            joiner: Green::new(),
            frame: AtomicUsize::new(0),
        })
    }

    fn finish(&self) {
        self.result.store(RESULT, Relaxed);
        match self.join.swap(BUSY, AcqRel) {
            EMPTY => self.join.store(DONE, Release),
            DETACHED => {
                self.join.store(DETACHED, Relaxed);
                self.consume();
                self.join.store(DONE, Release);
            }
            waiter => {
                assert_eq!(waiter, WAITER);
                assert_eq!(self.frame.load(Relaxed), TARGET);
                let claimed = self.joiner.word.claim(CLAIM_WOKEN);
                assert_eq!(self.frame.load(Relaxed), TARGET, "the waiter went away");
                self.join.store(DONE, Release);
                self.joiner.wake_if(claimed);
            }
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.join.load(Acquire), DONE | BUSY)
    }

    fn wait_end(&self, ends: Ends) -> Claim {
        if self.join.load(Acquire) == DONE {
            return CLAIM_WOKEN;
        }
        while !self.is_done() {
            if let Err(over) = self.joiner.word.open(ends) {
                return over;
            }
            self.frame.store(TARGET, Relaxed);
            let queued = self
                .join
                .compare_exchange(EMPTY, WAITER, AcqRel, Relaxed)
                .is_ok();
            let ended = if queued {
                let ended = self.joiner.switch();
                if self.join.load(Relaxed) != WAITER
                    || self
                        .join
                        .compare_exchange(WAITER, EMPTY, AcqRel, Relaxed)
                        .is_err()
                {
                    self.wait_while_busy();
                }
                ended
            } else {
                if !self.joiner.word.close() {
                    self.joiner.switch();
                }
                self.wait_while_busy();
                CLAIM_WOKEN
            };
            // The frame is used for something else.
            self.frame.store(0, Relaxed);
            if queued && ended != CLAIM_WOKEN {
                return ended;
            }
        }
        self.wait_while_busy();
        CLAIM_WOKEN
    }

    fn wait_while_busy(&self) {
        while self.join.load(Acquire) == BUSY {
            thread::yield_now();
        }
    }

    /// Takes or drops the result.
    fn consume(&self) {
        assert_eq!(self.result.load(Relaxed), RESULT, "the result is visible");
        self.n_gone.fetch_add(1, Relaxed);
    }

    fn detach(&self) {
        if self
            .join
            .compare_exchange(EMPTY, DETACHED, AcqRel, Acquire)
            .is_err()
        {
            self.consume();
        }
    }

    /// Called in the end, when nobody else runs.
    fn check(&self) {
        assert_eq!(self.join.load(Relaxed), DONE);
        assert_eq!(
            self.n_gone.load(Relaxed),
            1,
            "the result is taken or dropped once"
        );
        self.joiner.check();
    }
}

#[test]
fn a_joiner_gets_the_result() {
    loom::model(|| {
        let pair = Pair::new();
        let finisher = beside(&pair, Pair::finish);
        assert_eq!(pair.wait_end(LOCK), CLAIM_WOKEN);
        pair.consume();
        finisher.join().unwrap();
        pair.check();
    });
}

#[test]
fn a_cancelled_joiner_leaves_the_result_to_whoever_is_last() {
    bounded(3, || {
        let pair = Pair::new();
        let finisher = beside(&pair, Pair::finish);
        let canceller = beside(&pair, |pair| pair.joiner.wake_if(pair.joiner.word.cancel()));
        match pair.wait_end(POINT) {
            CLAIM_CANCEL => pair.detach(),
            claim => {
                assert_eq!(claim, CLAIM_WOKEN);
                pair.consume();
            }
        }
        finisher.join().unwrap();
        canceller.join().unwrap();
        pair.check();
    });
}

#[test]
fn a_joiner_whose_deadline_passed_may_join_again() {
    bounded(3, || {
        let pair = Pair::new();
        let finisher = beside(&pair, Pair::finish);
        let timer = beside(&pair, |pair| {
            pair.joiner.wake_if(pair.joiner.word.claim(CLAIM_DEADLINE))
        });
        if pair.wait_end(LOCK) == CLAIM_DEADLINE {
            timer.join().unwrap();
            assert_eq!(pair.wait_end(LOCK), CLAIM_WOKEN);
        } else {
            timer.join().unwrap();
        }
        pair.consume();
        finisher.join().unwrap();
        pair.check();
    });
}

#[test]
fn a_dropped_handle_leaves_the_result_to_whoever_is_last() {
    loom::model(|| {
        let pair = Pair::new();
        let finisher = beside(&pair, Pair::finish);
        pair.detach();
        finisher.join().unwrap();
        pair.check();
    });
}

#[test]
fn a_thread_that_looks_ended_can_be_joined_at_once() {
    loom::model(|| {
        let pair = Pair::new();
        let finisher = beside(&pair, Pair::finish);
        if pair.is_done() {
            pair.consume();
        } else {
            pair.detach();
        }
        finisher.join().unwrap();
        pair.check();
    });
}
