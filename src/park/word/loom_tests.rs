//! Every order in which a wait can be ended.
//!
//! The main thread of each model is a worker with one green thread. Its run queue is a count of how
//! often the thread was pushed. A thread that nobody makes runnable is a deadlock, which the
//! checker reports.

mod join;
mod level;
mod readiness;
mod settle;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;
use crate::primitive::atomic::AtomicUsize;

const LOCK: Ends = Ends {
    by_token: false,
    by_cancel: false,
};
const PARK: Ends = Ends {
    by_token: true,
    by_cancel: false,
};
const POINT: Ends = Ends {
    by_token: false,
    by_cancel: true,
};
const BOTH: Ends = Ends {
    by_token: true,
    by_cancel: true,
};

/// A green thread.
struct Green {
    word: WaitWord,
    /// How often it was put into the run queue.
    n_pushed: Mutex<usize>,
    pushed: Condvar,
    /// How often it switched away and was resumed. Only it knows, so it is not part of the model.
    n_resumed: std::sync::atomic::AtomicUsize,
}

impl Green {
    fn new() -> Self {
        Green {
            word: WaitWord::new(),
            n_pushed: Mutex::new(0),
            pushed: Condvar::new(),
            n_resumed: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    fn make_runnable(&self) {
        *self.n_pushed.lock().unwrap() += 1;
        self.pushed.notify_one();
    }

    /// Whoever's claim has succeeded makes it runnable. Returns whether it did.
    fn wake_if(&self, claimed: bool) -> bool {
        if claimed {
            self.make_runnable();
        }
        claimed
    }

    /// Switches away, and comes back when the run queue has it.
    fn switch(&self) -> Claim {
        let n_resumed = self.n_resumed.load(Relaxed);
        let mut n_pushed = self.n_pushed.lock().unwrap();
        while *n_pushed == n_resumed {
            n_pushed = self.pushed.wait(n_pushed).unwrap();
        }
        drop(n_pushed);
        self.n_resumed.store(n_resumed + 1, Relaxed);
        self.word.outcome().expect("resumed with its episode open")
    }

    /// A whole wait.
    fn wait(&self, ends: Ends) -> Claim {
        match self.word.open(ends) {
            Ok(()) => self.switch(),
            Err(claim) => claim,
        }
    }

    /// Called in the end, when nobody else runs.
    fn check(&self) {
        assert!(!self.word.is_parked());
        let n_pushed = *self.n_pushed.lock().unwrap();
        assert_eq!(
            n_pushed,
            self.n_resumed.load(Relaxed),
            "made runnable once for each switch"
        );
    }
}

/// Runs `f` on another thread with what it shares.
fn beside<T, R>(shared: &Arc<T>, f: impl FnOnce(&T) -> R + 'static) -> thread::JoinHandle<R>
where
    T: 'static,
    R: 'static,
{
    let shared = Arc::clone(shared);
    thread::spawn(move || f(&shared))
}

/// Explores all orders with up to `n` preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn bounded(n: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(n));
    builder.check(model);
}

#[test]
fn unpark_before_while_or_after_is_never_lost() {
    loom::model(|| {
        let shared = Arc::new((Green::new(), AtomicUsize::new(0)));
        let unparker = beside(&shared, |(green, data)| {
            data.store(1, Relaxed);
            green.wake_if(green.word.unpark())
        });
        let (green, data) = &*shared;
        assert_eq!(green.wait(PARK), CLAIM_TOKEN);
        assert_eq!(data.load(Relaxed), 1, "what the unparker wrote is visible");
        unparker.join().unwrap();
        green.check();
        // It was one token: the next park would wait.
        assert_eq!(green.word.open(PARK), Ok(()));
    });
}

/// It pushes the thread to the worker that is noted in its record.
#[test]
fn a_claimer_sees_where_the_owner_runs() {
    bounded(3, || {
        let shared = Arc::new((Green::new(), AtomicUsize::new(0)));
        let end = |shared: &Arc<(Green, AtomicUsize)>, end: fn(&WaitWord) -> bool| {
            beside(shared, move |(green, worker)| {
                if green.wake_if(end(&green.word)) {
                    assert_eq!(worker.load(Relaxed), 7);
                }
            })
        };
        let unparker = end(&shared, WaitWord::unpark);
        let canceller = end(&shared, WaitWord::cancel);
        let (green, worker) = &*shared;
        worker.store(7, Relaxed);
        green.wait(BOTH);
        unparker.join().unwrap();
        canceller.join().unwrap();
        green.check();
    });
}

#[test]
fn the_last_of_two_unparks_is_seen() {
    bounded(3, || {
        let shared = Arc::new((Green::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
        let first = beside(&shared, |(green, data, _)| {
            data.store(1, Relaxed);
            green.wake_if(green.word.unpark())
        });
        let second = beside(&shared, |(green, _, data)| {
            data.store(1, Relaxed);
            green.wake_if(green.word.unpark())
        });
        let (green, a, b) = &*shared;
        assert_eq!(green.wait(PARK), CLAIM_TOKEN);
        let seen = a.load(Relaxed) + b.load(Relaxed);
        assert!(seen > 0, "what one of them wrote is visible");
        let n_claims = usize::from(first.join().unwrap()) + usize::from(second.join().unwrap());
        // One token ended the park; the other one was the same, and then its data is visible, or
        // is still there.
        match green.word.open(PARK) {
            Err(claim) => assert_eq!(claim, CLAIM_TOKEN),
            Ok(()) => {
                assert_eq!((n_claims, seen), (0, 2));
                assert!(green.word.close());
            }
        }
        green.check();
    });
}

#[test]
fn a_ball_of_tokens_is_not_lost() {
    bounded(4, || {
        let shared = Arc::new((Green::new(), Green::new()));
        let other = beside(&shared, |(left, right)| {
            for _ in 0..2 {
                assert_eq!(right.wait(PARK), CLAIM_TOKEN);
                left.wake_if(left.word.unpark());
            }
        });
        let (left, right) = &*shared;
        for _ in 0..2 {
            right.wake_if(right.word.unpark());
            assert_eq!(left.wait(PARK), CLAIM_TOKEN);
        }
        other.join().unwrap();
        left.check();
        right.check();
    });
}

#[test]
fn deadline_cancel_and_unpark_are_one_claim() {
    bounded(2, || {
        let shared = Arc::new(Green::new());
        let deadline = beside(&shared, |green| {
            green.wake_if(green.word.claim(CLAIM_DEADLINE))
        });
        let cancel = beside(&shared, |green| green.wake_if(green.word.cancel()));
        let unpark = beside(&shared, |green| green.wake_if(green.word.unpark()));
        let outcome = shared.wait(BOTH);
        let by_deadline = deadline.join().unwrap();
        let by_cancel = cancel.join().unwrap();
        let by_token = unpark.join().unwrap();
        shared.check();
        let n_claims = [by_deadline, by_cancel, by_token]
            .into_iter()
            .filter(|&by| by)
            .count();
        assert_eq!(n_claims, *shared.n_pushed.lock().unwrap());
        match outcome {
            CLAIM_DEADLINE => assert!(by_deadline),
            CLAIM_CANCEL => assert!(by_cancel || n_claims == 0),
            CLAIM_TOKEN => assert!(by_token || n_claims == 0),
            other => panic!("nobody claimed {other}"),
        }
        // Nothing else is lost: the cancel stays for ever, the token unless it ended the wait.
        assert!(shared.word.is_cancelled());
        let token = if outcome == CLAIM_TOKEN {
            Ok(())
        } else {
            Err(CLAIM_TOKEN)
        };
        assert_eq!(shared.word.open(PARK), token);
    });
}

#[test]
fn two_queues_and_a_deadline_are_one_claim() {
    bounded(3, || {
        let data = || AtomicUsize::new(0);
        let shared = Arc::new((Green::new(), [data(), data(), data()]));
        let claims = [CLAIM_DEADLINE, CLAIM_WOKEN, CLAIM_WOKEN + 1];
        // The waiters are queued before the others run, or nobody would find them.
        let (green, data) = &*shared;
        assert_eq!(green.word.open(LOCK), Ok(()));
        let wakers = claims.map(|claim| {
            beside(&shared, move |(green, data)| {
                data[claims.iter().position(|&c| c == claim).unwrap()].store(1, Relaxed);
                green.wake_if(green.word.claim(claim))
            })
        });
        let outcome = green.switch();
        let winner = claims
            .iter()
            .position(|&claim| claim == outcome)
            .expect("one of the claims");
        assert_eq!(
            data[winner].load(Relaxed),
            1,
            "what the winner wrote is visible"
        );
        let won = wakers.map(|waker| waker.join().unwrap());
        for (index, won) in won.into_iter().enumerate() {
            assert_eq!(won, index == winner);
        }
        green.check();
    });
}

/// An OS thread looks at the outcome with no queue in between.
#[test]
fn what_the_claimer_wrote_is_visible_with_the_outcome() {
    loom::model(|| {
        let shared = Arc::new((WaitWord::new(), AtomicUsize::new(0)));
        let (word, data) = &*shared;
        assert_eq!(word.open(LOCK), Ok(()));
        let waker = beside(&shared, |(word, data)| {
            data.store(1, Relaxed);
            assert!(word.claim(CLAIM_WOKEN));
            // Later changes of the word do not hide it.
            word.unpark();
        });
        while word.outcome().is_none() {
            thread::yield_now();
        }
        assert_eq!(data.load(Relaxed), 1);
        waker.join().unwrap();
    });
}

#[test]
fn a_wait_is_closed_or_claimed() {
    bounded(4, || {
        let shared = Arc::new(Green::new());
        let waker = beside(&shared, |green| {
            green.wake_if(green.word.claim(CLAIM_WOKEN))
        });
        let unparker = beside(&shared, |green| green.wake_if(green.word.unpark()));
        let mut claimed = false;
        match shared.word.open(PARK) {
            Ok(()) if shared.word.close() => {}
            Ok(()) => {
                claimed = true;
                shared.switch();
            }
            Err(claim) => assert_eq!(claim, CLAIM_TOKEN),
        }
        let (woken, unparked) = (waker.join().unwrap(), unparker.join().unwrap());
        assert_eq!(
            usize::from(woken) + usize::from(unparked),
            usize::from(claimed)
        );
        shared.check();
    });
}

#[test]
fn a_claim_of_a_closed_wait_does_not_end_the_next_one() {
    loom::model(|| {
        let shared = Arc::new(Green::new());
        let unparker = beside(&shared, |green| green.wake_if(green.word.unpark()));
        // A wait for a lock that turns out to be free.
        assert_eq!(shared.word.open(LOCK), Ok(()));
        assert!(shared.word.close(), "an unpark does not end it");
        // And then a park, which the unpark must end, however the two met.
        assert_eq!(shared.wait(PARK), CLAIM_TOKEN);
        unparker.join().unwrap();
        shared.check();
        assert_eq!(shared.word.open(PARK), Ok(()));
    });
}

#[test]
fn the_token_survives_a_wait_for_a_lock() {
    bounded(5, || {
        let shared = Arc::new((Green::new(), AtomicUsize::new(0)));
        let (green, data) = &*shared;
        assert_eq!(green.word.open(LOCK), Ok(()));
        let unlocker = beside(&shared, |(green, _)| {
            green.wake_if(green.word.claim(CLAIM_WOKEN))
        });
        let unparker = beside(&shared, |(green, data)| {
            data.store(1, Relaxed);
            green.wake_if(green.word.unpark())
        });
        assert_eq!(green.switch(), CLAIM_WOKEN);
        assert_eq!(green.wait(PARK), CLAIM_TOKEN);
        assert_eq!(data.load(Relaxed), 1, "what the unparker wrote is visible");
        assert!(unlocker.join().unwrap());
        unparker.join().unwrap();
        green.check();
    });
}

#[test]
fn cancel_is_level_triggered() {
    loom::model(|| {
        let shared = Arc::new((Green::new(), AtomicUsize::new(0)));
        let canceller = beside(&shared, |(green, data)| {
            data.store(1, Relaxed);
            green.wake_if(green.word.cancel())
        });
        let (green, data) = &*shared;
        // Whether it comes before, while or after the thread waits for something that a cancel
        // does not end, the next point meets it, and so does the one after.
        assert_eq!(green.word.open(LOCK), Ok(()));
        assert!(green.word.close());
        assert_eq!(green.wait(POINT), CLAIM_CANCEL);
        assert_eq!(data.load(Relaxed), 1, "what the canceller wrote is visible");
        assert_eq!(green.wait(POINT), CLAIM_CANCEL);
        canceller.join().unwrap();
        green.check();
    });
}

#[test]
fn two_cancels_are_one_claim() {
    bounded(4, || {
        let shared = Arc::new(Green::new());
        let cancellers =
            [(); 2].map(|()| beside(&shared, |green| green.wake_if(green.word.cancel())));
        assert_eq!(shared.wait(POINT), CLAIM_CANCEL);
        let n_claims = cancellers.map(|canceller| usize::from(canceller.join().unwrap()));
        assert!(n_claims.iter().sum::<usize>() <= 1);
        shared.check();
    });
}

#[test]
fn waits_in_a_row_keep_their_outcomes_apart() {
    bounded(4, || {
        let shared = Arc::new(Green::new());
        let unparker = beside(&shared, |green| green.wake_if(green.word.unpark()));
        let canceller = beside(&shared, |green| green.wake_if(green.word.cancel()));
        // Neither end is used up by the wait for the other.
        assert_eq!(shared.wait(POINT), CLAIM_CANCEL);
        assert_eq!(shared.wait(PARK), CLAIM_TOKEN);
        unparker.join().unwrap();
        canceller.join().unwrap();
        shared.check();
    });
}

/// How an OS thread stops, as `os_thread.rs` has it: with a lock and a condition variable.
#[test]
fn an_os_thread_does_not_sleep_through_its_claim() {
    bounded(4, || {
        let shared = Arc::new((WaitWord::new(), Mutex::new(()), Condvar::new()));
        let (word, lock, woken) = &*shared;
        assert_eq!(word.open(LOCK), Ok(()));
        let wakers = [CLAIM_WOKEN, CLAIM_WOKEN + 1].map(|claim| {
            beside(&shared, move |(word, lock, woken)| {
                let claimed = word.claim(claim);
                if claimed {
                    let _guard = lock.lock().unwrap();
                    woken.notify_one();
                }
                claimed
            })
        });
        let mut guard = lock.lock().unwrap();
        while word.outcome().is_none() {
            guard = woken.wait(guard).unwrap();
        }
        drop(guard);
        let n_claims = wakers.map(|waker| usize::from(waker.join().unwrap()));
        assert_eq!(n_claims.iter().sum::<usize>(), 1);
    });
}
