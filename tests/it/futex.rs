//! Std's locks, and what others build on them, on green threads: they park and do not stop the worker.
//!
//! What is marked with [`thread_locals_are_private`] holds only where each green thread has
//! thread-locals of its own; what it would do otherwise is what is tested then.

#![expect(
    clippy::disallowed_methods,
    reason = "what blocks on std is what it is about"
)]
#![expect(unsafe_code, reason = "asks the kernel by libc's `syscall`")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use greenrt::lowlevel::{
    FutexHandOver, FutexWait, futex_hand_over, futex_wait, futex_wait_again, futex_wake,
};
use greenrt::{JoinHandle, spawn, yield_now};

use super::support::{
    HOUR, Random, limited, on_each_runtime, on_manual_clock, on_one_worker, on_os_thread, os_sleep,
    runtime, spawn_at, wait_until, with_seeds,
};

/// Whether green threads of one worker have each their own thread-locals.
fn thread_locals_are_private() -> bool {
    thread_local!(static HERE: Cell<u8> = const { Cell::new(0) });
    let here = || HERE.with(|here| (&raw const *here).addr());
    static PRIVATE: OnceLock<bool> = OnceLock::new();
    *PRIVATE.get_or_init(|| {
        on_os_thread(move || {
            greenrt::run(|| {
                let other = spawn(here);
                here() != other.join().unwrap()
            })
        })
    })
}

fn join_all<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|t| t.join().unwrap()).collect()
}

#[test]
fn a_std_mutex_held_across_a_switch_stops_nobody() {
    on_each_runtime(|| {
        let count = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let count = Arc::clone(&count);
                spawn(move || {
                    for _ in 0..5 {
                        let mut count = count.lock().unwrap();
                        let seen = *count;
                        yield_now();
                        *count = seen + 1;
                    }
                })
            })
            .collect();
        join_all(threads);
        assert_eq!(*count.lock().unwrap(), 100);
    });
}

#[test]
fn what_waits_for_a_std_lock_is_told_by_the_dump() {
    on_one_worker(|| {
        let lock = Arc::new(Mutex::new(()));
        let guard = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let waits = greenrt::Builder::new()
            .name("waits for a lock".into())
            .spawn(move || drop(theirs.lock()))
            .unwrap();
        yield_now();
        let dump = greenrt::debug::dump();
        let waiter = dump
            .threads
            .iter()
            .find(|thread| thread.name.as_deref() == Some("waits for a lock"))
            .unwrap();
        assert!(waiter.waits_for.contains("futex"), "{waiter}");
        assert!(waiter.waits_for.contains("not cancellable"), "{waiter}");
        // Neither ends it.
        waits.thread().unpark();
        greenrt::lowlevel::cancel(waits.thread());
        yield_now();
        assert!(!waits.is_finished());
        drop(guard);
        waits.join().unwrap();
    });
}

#[test]
fn condvars_wait_and_are_notified() {
    on_each_runtime(|| {
        let pair = Arc::new((Mutex::new(VecDeque::new()), Condvar::new()));
        let takers: Vec<_> = (0..5)
            .map(|_| {
                let pair = Arc::clone(&pair);
                spawn(move || {
                    let (queue, filled) = &*pair;
                    let mut sum = 0;
                    loop {
                        let queue = queue.lock().unwrap();
                        let mut queue = filled.wait_while(queue, |q| q.is_empty()).unwrap();
                        match queue.pop_front().unwrap() {
                            0 => return sum,
                            n => sum += n,
                        }
                    }
                })
            })
            .collect();
        let (queue, filled) = &*pair;
        for n in 1..=100 {
            queue.lock().unwrap().push_back(n);
            filled.notify_one();
            if n % 7 == 0 {
                yield_now();
            }
        }
        queue.lock().unwrap().extend([0; 5]);
        filled.notify_all();
        assert_eq!(join_all(takers).iter().sum::<u32>(), 5050);
    });
}

#[test]
fn timed_waits_are_never_early() {
    on_each_runtime(|| {
        let threads: Vec<_> = (0..10)
            .map(|n| {
                spawn(move || {
                    let (lock, never) = (Mutex::new(()), Condvar::new());
                    let time = Duration::from_micros(n * 300);
                    let began = Instant::now();
                    let (_guard, result) = never
                        .wait_timeout_while(lock.lock().unwrap(), time, |()| true)
                        .unwrap();
                    assert!(result.timed_out());
                    assert!(began.elapsed() >= time);
                    let word = AtomicU32::new(7);
                    let deadline = Instant::now() + time;
                    let ended = futex_wait(&word, 7, Some(deadline));
                    assert_eq!(ended, FutexWait::TimedOut);
                    assert!(Instant::now() >= deadline);
                })
            })
            .collect();
        join_all(threads);
    });
}

#[test]
fn timed_waits_follow_a_manual_clock() {
    limited(|| {
        on_manual_clock(2, |clock| {
            let before = clock.now();
            let began = Instant::now();
            let (lock, never) = (Mutex::new(()), Condvar::new());
            // Not `wait_timeout_while`, which looks at the real time and waits again.
            let waited = never.wait_timeout(lock.lock().unwrap(), HOUR).unwrap();
            assert!(waited.1.timed_out());
            let passed = clock.now() - before;
            assert!(passed + Duration::from_secs(60) > HOUR, "{passed:?}");
            assert!(passed <= HOUR + Duration::from_secs(60), "{passed:?}");
            assert!(began.elapsed() < HOUR);
        });
    });
}

#[test]
fn rw_locks_let_readers_in_together() {
    on_each_runtime(|| {
        let value = Arc::new(RwLock::new(0));
        let n_inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let (value, n_inside) = (Arc::clone(&value), Arc::clone(&n_inside));
                spawn(move || {
                    for _ in 0..10 {
                        if n % 4 == 0 {
                            let mut value = value.write().unwrap();
                            assert_eq!(n_inside.fetch_add(1, SeqCst), 0);
                            yield_now();
                            *value += 1;
                            n_inside.fetch_sub(1, SeqCst);
                        } else {
                            let value = value.read().unwrap();
                            let before = *value;
                            n_inside.fetch_add(1, SeqCst);
                            yield_now();
                            n_inside.fetch_sub(1, SeqCst);
                            assert_eq!(*value, before);
                        }
                    }
                })
            })
            .collect();
        join_all(threads);
        assert_eq!(*value.read().unwrap(), 50);
    });
}

#[test]
fn once_runs_once_and_the_others_wait() {
    on_each_runtime(|| {
        let once = Arc::new((Once::new(), OnceLock::new(), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let once = Arc::clone(&once);
                spawn(move || {
                    let (first, second, n_runs) = &*once;
                    first.call_once(|| {
                        yield_now();
                        n_runs.fetch_add(1, Relaxed);
                    });
                    assert_eq!(n_runs.load(Relaxed), 1);
                    *second.get_or_init(|| {
                        yield_now();
                        n
                    })
                })
            })
            .collect();
        let seen = join_all(threads);
        assert!(seen.iter().all(|&n| n == seen[0]));
    });
}

#[test]
fn barriers_let_all_through_at_once() {
    on_each_runtime(|| {
        let barrier = Arc::new((Barrier::new(10), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                spawn(move || {
                    let (barrier, n_came) = &*barrier;
                    let mut n_led = 0;
                    for round in 1..=5 {
                        n_came.fetch_add(1, SeqCst);
                        n_led += usize::from(barrier.wait().is_leader());
                        assert!(n_came.load(SeqCst) >= round * 10);
                        barrier.wait();
                    }
                    n_led
                })
            })
            .collect();
        assert_eq!(join_all(threads).iter().sum::<usize>(), 5);
    });
}
