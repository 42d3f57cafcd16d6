//! The list itself, and threads that wait in two lists at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use parking_lot::Mutex;

use super::*;
use crate::cancel::{self, Interrupt};
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_DEADLINE, Ends};
use crate::park::{self, Ended, Episode, OsThread};

const LOCK: Ends = Ends {
    by_token: false,
    by_cancel: false,
};
const POINT: Ends = Ends {
    by_token: false,
    by_cancel: true,
};

// The list, with the wait words of threads that are not there any more.

/// A thread that waits.
fn waiting() -> Arc<OsThread> {
    let thread = thread::spawn(OsThread::current).join().unwrap();
    assert!(thread.word().open(LOCK).is_ok());
    thread
}

fn waiter(thread: &Arc<OsThread>, tag: u32) -> Pin<Box<Waiter>> {
    Box::pin(Waiter::new(Target::Os(Arc::clone(thread)), tag))
}

fn push(list: &mut WaitList, waiter: &Pin<Box<Waiter>>) {
    // SAFETY: each test drops its list before its waiters, or empties it.
    unsafe { list.push(waiter.as_ref()) };
}

/// The number of the thread that is woken.
fn woken(list: &mut WaitList, threads: &[Arc<OsThread>]) -> Option<usize> {
    match list.wake_one()? {
        Wake::Os(woken) => threads
            .iter()
            .position(|thread| Arc::ptr_eq(thread, &woken)),
        Wake::Green(_) => panic!("no green thread waits here"),
    }
}

#[test]
fn the_first_to_come_is_the_first_woken() {
    let threads: Vec<_> = (0..5).map(|_| waiting()).collect();
    let waiters: Vec<_> = threads.iter().map(|thread| waiter(thread, 0)).collect();
    let mut list = WaitList::new();
    assert!(list.is_empty());
    waiters.iter().for_each(|waiter| push(&mut list, waiter));
    assert!(!list.is_empty());
    for number in 0..5 {
        assert_eq!(woken(&mut list, &threads), Some(number));
    }
    assert!(list.is_empty());
    assert!(list.wake_one().is_none());
}

#[test]
fn waiters_may_leave_from_anywhere() {
    // Each set of those who leave, as bits.
    for leave in 0..16_u32 {
        let threads: Vec<_> = (0..4).map(|_| waiting()).collect();
        let waiters: Vec<_> = threads.iter().map(|thread| waiter(thread, 0)).collect();
        let mut list = WaitList::new();
        waiters.iter().for_each(|waiter| push(&mut list, waiter));
        for number in (0..4).filter(|number| leave & 1 << number != 0) {
            list.remove(waiters[number].as_ref());
            list.remove(waiters[number].as_ref());
        }
        for number in (0..4).filter(|number| leave & 1 << number == 0) {
            assert_eq!(woken(&mut list, &threads), Some(number));
        }
        assert!(list.is_empty());
    }
}

#[test]
fn a_waiter_that_was_woken_may_wait_again() {
    let threads = [waiting(), waiting()];
    let waiters = [waiter(&threads[0], 0), waiter(&threads[1], 0)];
    let mut list = WaitList::new();
    waiters.iter().for_each(|waiter| push(&mut list, waiter));
    assert_eq!(woken(&mut list, &threads), Some(0));
    assert!(threads[0].word().open(LOCK).is_ok());
    push(&mut list, &waiters[0]);
    assert_eq!(woken(&mut list, &threads), Some(1));
    assert_eq!(woken(&mut list, &threads), Some(0));
}

#[test]
fn a_waiter_that_something_else_has_woken_is_passed_over() {
    let threads = [waiting(), waiting(), waiting()];
    let waiters = threads.each_ref().map(|thread| waiter(thread, 0));
    let mut list = WaitList::new();
    waiters.iter().for_each(|waiter| push(&mut list, waiter));
    assert!(threads[0].word().claim(CLAIM_DEADLINE));
    assert_eq!(woken(&mut list, &threads), Some(1));
    // It is out of the list, and may leave all the same.
    list.remove(waiters[0].as_ref());
    assert!(threads[2].word().claim(CLAIM_DEADLINE));
    assert!(list.wake_one().is_none());
    assert!(list.is_empty());
}

#[test]
fn the_tag_is_told() {
    let thread = waiting();
    let waiter = waiter(&thread, 5);
    let mut list = WaitList::new();
    push(&mut list, &waiter);
    assert!(list.wake_one().is_some());
    assert_eq!(thread.word().outcome(), Some(CLAIM_WOKEN + 5));
}

#[test]
fn a_thread_in_two_lists_is_woken_by_one() {
    let threads = [waiting(), waiting()];
    let waiters = [0, 1].map(|tag| waiter(&threads[0], tag));
    let next = waiter(&threads[1], 0);
    let mut lists = [WaitList::new(), WaitList::new()];
    push(&mut lists[0], &waiters[0]);
    push(&mut lists[1], &waiters[1]);
    push(&mut lists[1], &next);
    assert_eq!(woken(&mut lists[0], &threads), Some(0));
    assert_eq!(threads[0].word().outcome(), Some(CLAIM_WOKEN));
    // The other list's wake is not spent on it, but goes to whoever is next.
    assert_eq!(woken(&mut lists[1], &threads), Some(1));
    assert_eq!(threads[0].word().outcome(), Some(CLAIM_WOKEN));
}

// Threads that really wait.

/// A wait list behind its lock.
#[derive(Default)]
struct Queue {
    list: Mutex<WaitList>,
}

impl Queue {
    /// Whether somebody was woken.
    fn wake_one(&self) -> bool {
        let wake = self.list.lock().wake_one();
        let Some(wake) = wake else { return false };
        wake.wake();
        true
    }

    fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }
}

/// A waiter in a queue; leaves it when dropped.
struct Queued<'a> {
    queue: &'a Queue,
    waiter: Pin<&'a Waiter>,
}

impl<'a> Queued<'a> {
    fn new(queue: &'a Queue, waiter: Pin<&'a Waiter>) -> Self {
        // SAFETY: `drop` removes it, under the same lock.
        unsafe { queue.list.lock().push(waiter) };
        Queued { queue, waiter }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.queue.list.lock().remove(self.waiter);
    }
}

/// Waits in both queues; the tag of a waiter is the number of its queue.
fn wait_in_both(queues: &[Queue; 2], ends: Ends, deadline: Option<u64>) -> Ended {
    let episode = match Episode::open(Reason::PARK, ends) {
        Ok(episode) => episode,
        Err(ended) => return ended,
    };
    let first = pin!(Waiter::new(episode.target(), 0));
    let second = pin!(Waiter::new(episode.target(), 1));
    let _first = Queued::new(&queues[0], first.as_ref());
    let _second = Queued::new(&queues[1], second.as_ref());
    episode.park(deadline)
}

/// Two queues, two threads that wake from them, and what became of it.
#[derive(Default)]
struct Arena {
    queues: [Queue; 2],
    /// How often a waker of each queue has woken somebody.
    n_wakes: [AtomicUsize; 2],
    /// How often a wait was ended by a waiter in each queue.
    n_woken: [AtomicUsize; 2],
    n_deadlines: AtomicUsize,
    n_cancels: AtomicUsize,
    over: AtomicBool,
}

impl Arena {
    fn wait(&self, ends: Ends, deadline: Option<u64>) {
        match wait_in_both(&self.queues, ends, deadline) {
            Ended::Woken(tag) => &self.n_woken[tag as usize],
            Ended::Deadline => &self.n_deadlines,
            Ended::Interrupted(Interrupt::Cancelled) => &self.n_cancels,
            other => panic!("ended by {other:?}"),
        }
        .fetch_add(1, Relaxed);
    }

    /// Wakes from one queue until all is over.
    fn keep_waking(&self, which: usize) {
        while !self.over.load(Acquire) {
            if self.queues[which].wake_one() {
                self.n_wakes[which].fetch_add(1, Relaxed);
            }
            crate::yield_now();
        }
    }

    /// Called when nobody waits any more.
    fn check(&self, n_waits: usize) {
        let [first, second] = self.n_woken.each_ref().map(|n| n.load(Relaxed));
        assert_eq!(
            self.n_wakes.each_ref().map(|n| n.load(Relaxed)),
            [first, second]
        );
        let n_others = self.n_deadlines.load(Relaxed) + self.n_cancels.load(Relaxed);
        assert_eq!(first + second + n_others, n_waits);
        assert!(
            self.queues.iter().all(Queue::is_empty),
            "waiters leave all their queues"
        );
    }
}

const N_ROUNDS: usize = if cfg!(debug_assertions) {
    2_000
} else {
    20_000
};

/// A deadline between now and a few microseconds later.
fn soon(round: usize) -> Option<u64> {
    Some(park::now() + (round as u64).wrapping_mul(0x9e37_79b9) % 30_000)
}

/// Waits on OS threads and green ones, woken by both.
fn on_all_threads(deadline: fn(usize) -> Option<u64>) {
    let wait = move |arena: &Arena| {
        (0..N_ROUNDS).for_each(|round| arena.wait(LOCK, deadline(round)));
    };
    let arena = Arc::new(Arena::default());
    let runtime = crate::Runtime::builder().workers(2).build().unwrap();
    let wakers = [0, 1].map(|which| {
        let arena = Arc::clone(&arena);
        let green = crate::Builder::new().worker(which);
        green
            .spawn_on(&runtime, move || arena.keep_waking(which))
            .unwrap()
    });
    thread::scope(|scope| {
        let os_waker = scope.spawn(|| arena.keep_waking(0));
        let os_waiter = scope.spawn(|| wait(&arena));
        let waiters = [0, 1].map(|which| {
            let arena = Arc::clone(&arena);
            let green = crate::Builder::new().worker(which);
            green.spawn_on(&runtime, move || wait(&arena)).unwrap()
        });
        for waiter in waiters {
            waiter.join().unwrap();
        }
        os_waiter.join().unwrap();
        arena.over.store(true, Release);
        os_waker.join().unwrap();
    });
    for waker in wakers {
        waker.join().unwrap();
    }
    arena.check(3 * N_ROUNDS);
}

#[test]
fn of_two_queues_exactly_one_wakes() {
    on_all_threads(|_| None);
}

#[test]
fn a_deadline_that_races_with_two_queues_is_one_of_three() {
    on_all_threads(soon);
}

#[test]
fn a_cancel_that_races_with_two_queues_is_one_of_three() {
    let runtime = crate::Runtime::builder().workers(2).build().unwrap();
    let arena = Arc::new(Arena::default());
    let wakers = [0, 1].map(|which| {
        let arena = Arc::clone(&arena);
        let green = crate::Builder::new().worker(which);
        green
            .spawn_on(&runtime, move || arena.keep_waking(which))
            .unwrap()
    });
    let n_waits = Arc::new(AtomicUsize::new(0));
    for round in 0..N_ROUNDS / 4 {
        let (its_arena, n) = (Arc::clone(&arena), Arc::clone(&n_waits));
        let green = crate::Builder::new().worker(round % 2);
        let waiter = green.spawn_on(&runtime, move || {
            // Until it was cancelled, which is level-triggered.
            while its_arena.n_cancels.load(Relaxed) <= round {
                n.fetch_add(1, Relaxed);
                its_arena.wait(POINT, soon(round));
            }
        });
        let waiter = waiter.unwrap();
        for _ in 0..round % 50 {
            std::hint::spin_loop();
        }
        cancel::cancel(waiter.thread());
        // One that was cancelled before it began does not run.
        if waiter.join_uncancelled().is_err() {
            arena.n_cancels.fetch_add(1, Relaxed);
            n_waits.fetch_add(1, Relaxed);
        }
    }
    arena.over.store(true, Release);
    for waker in wakers {
        waker.join().unwrap();
    }
    arena.check(n_waits.load(Relaxed));
}

#[test]
fn the_same_on_one_worker() {
    crate::run(|| {
        let arena = Arc::new(Arena::default());
        let spawn = |f: fn(&Arena)| {
            let arena = Arc::clone(&arena);
            crate::spawn(move || f(&arena))
        };
        let waiters =
            [(); 3].map(|()| spawn(|arena| (0..100).for_each(|_| arena.wait(POINT, None))));
        let wakers = [
            spawn(|arena| arena.keep_waking(0)),
            spawn(|arena| arena.keep_waking(1)),
        ];
        for waiter in waiters {
            waiter.join().unwrap();
        }
        arena.over.store(true, Release);
        for waker in wakers {
            waker.join().unwrap();
        }
        arena.check(300);
        assert!(
            arena.n_woken.iter().all(|n| n.load(Relaxed) > 0),
            "each queue had its turn"
        );
    });
}

#[test]
fn a_wait_that_is_given_up_leaves_both_queues() {
    crate::run(|| {
        let queues = [Queue::default(), Queue::default()];
        let past = Some(park::now());
        assert!(matches!(wait_in_both(&queues, LOCK, past), Ended::Deadline));
        assert!(queues.iter().all(Queue::is_empty));
        assert!(!queues[0].wake_one());
    });
}
