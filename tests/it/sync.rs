//! Locks and the like whose waits can be cancelled.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt::lowlevel::cancel;
use greenrt::sync::{
    Barrier, Condvar, Event, Mutex, MutexGuard, OneShot, Permit, RwLock, Semaphore, TryLockError,
    WaitGroup,
};
use greenrt::{Cancelled, spawn, timeout, yield_now};

use crate::support::*;

const SOON: Duration = Duration::from_millis(2);

/// Runs bodies on green threads and OS threads by turns, and waits for all.
fn on_both(n: usize, body: impl Fn(usize) + Send + Sync + 'static) {
    let body = Arc::new(body);
    let run = |number| {
        let body = Arc::clone(&body);
        move || body(number)
    };
    let green: Vec<_> = (0..n).step_by(2).map(|number| spawn(run(number))).collect();
    let os: Vec<_> = (1..n)
        .step_by(2)
        .map(|number| std::thread::spawn(run(number)))
        .collect();
    green.into_iter().for_each(|thread| thread.join().unwrap());
    wait_until(|| os.iter().all(|thread| thread.is_finished()));
    os.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_mutex_lets_in_one_at_a_time() {
    on_each_runtime_and_off(|| {
        let mutex = Arc::new(Mutex::new((0, false)));
        on_both(6, {
            let mutex = Arc::clone(&mutex);
            move |_| {
                for _ in 0..50 {
                    let mut guard = mutex.lock().unwrap();
                    assert!(!std::mem::replace(&mut guard.1, true));
                    yield_now();
                    guard.0 += 1;
                    guard.1 = false;
                }
            }
        });
        assert_eq!(mutex.lock().unwrap().0, 300);
    });
}

#[test]
fn a_mutex_is_fair_to_those_who_wait() {
    on_one_worker(|| {
        let mutex = Arc::new(Mutex::new(()));
        let counts: Arc<Vec<AtomicUsize>> =
            Arc::new((0..50).map(|_| AtomicUsize::new(0)).collect());
        let threads: Vec<_> = (0..50)
            .map(|number| {
                let (mutex, counts) = (Arc::clone(&mutex), Arc::clone(&counts));
                spawn(move || {
                    for _ in 0..40 {
                        let _guard = mutex.lock().unwrap();
                        yield_now();
                        counts[number].fetch_add(1, Relaxed);
                        let all = counts.iter().map(|count| count.load(Relaxed));
                        let (min, max) = (all.clone().min().unwrap(), all.max().unwrap());
                        assert!(max <= 2 * min + 3, "{min} and {max}");
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_panic_poisons_a_mutex_and_a_cancel_does_not() {
    on_each_runtime(|| {
        let mutex = Arc::new(Mutex::new(1));
        let cancelled = spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let _guard = mutex.lock().unwrap();
                greenrt::sleep(HOUR);
            }
        });
        wait_until(|| mutex.try_lock().is_err());
        cancel(cancelled.thread());
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert!(!mutex.is_poisoned());
        let elapsed = timeout(SOON, || {
            let _guard = mutex.lock().unwrap();
            greenrt::sleep(HOUR);
        });
        assert!(elapsed.is_err() && !mutex.is_poisoned());
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
            let _guard = mutex.lock().unwrap();
            panic!("{EXPECTED}");
        }));
        assert!(panicked.is_err());
        assert_eq!(*mutex.lock().unwrap_err().into_inner(), 1);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        mutex.clear_poison();
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}

#[test]
fn a_wait_for_a_mutex_can_end_early() {
    on_each_runtime(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        assert!(matches!(
            mutex.lock_timeout(SOON),
            Err(TryLockError::WouldBlock)
        ));
        let at = Instant::now() + SOON;
        assert!(matches!(
            mutex.lock_deadline(at),
            Err(TryLockError::WouldBlock)
        ));
        assert!(timeout(SOON, || mutex.lock().is_ok()).is_err());
        let waiting = spawn({
            let mutex = Arc::clone(&mutex);
            move || mutex.lock().is_ok()
        });
        (0..5).for_each(|_| yield_now());
        cancel(waiting.thread());
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        drop(guard);
        assert!(mutex.try_lock().is_ok());
    });
}

#[test]
fn a_condvar_wakes_one_or_all() {
    on_each_runtime_and_off(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let body = Arc::clone(&shared);
        let n_through = Arc::new(AtomicUsize::new(0));
        let through = Arc::clone(&n_through);
        let other = Arc::clone(&shared);
        let opener = spawn(move || {
            *other.0.lock().unwrap() = 1;
            other.1.notify_one();
            wait_until(|| through.load(Relaxed) == 1);
            *other.0.lock().unwrap() = 6;
            other.1.notify_all();
        });
        on_both(6, move |_| {
            let (mutex, changed) = &*body;
            let mut left = changed
                .wait_while(mutex.lock().unwrap(), |left| *left == 0)
                .unwrap();
            *left -= 1;
            n_through.fetch_add(1, Relaxed);
        });
        opener.join().unwrap();
        let (mutex, changed) = &*shared;
        let guard = mutex.lock().unwrap();
        let (guard, result) = changed.wait_timeout_while(guard, SOON, |_| true).unwrap();
        assert!(result.timed_out());
        let (_guard, result) = changed.wait_timeout(guard, SOON).unwrap();
        assert!(result.timed_out());
    });
}

#[test]
fn a_cancelled_wait_of_a_condvar_has_not_the_mutex() {
    on_each_runtime(|| {
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let waiting = spawn({
            let shared = Arc::clone(&shared);
            move || drop(shared.1.wait(shared.0.lock().unwrap()).unwrap())
        });
        (0..5).for_each(|_| yield_now());
        cancel(waiting.thread());
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert!(shared.0.try_lock().is_ok());
    });
}

#[test]
fn a_lock_has_many_readers_or_one_writer() {
    on_each_runtime_and_off(|| {
        let lock = Arc::new(RwLock::new((0, 0)));
        on_both(6, {
            let lock = Arc::clone(&lock);
            move |number| {
                for _ in 0..30 {
                    if number < 2 {
                        let mut guard = lock.write().unwrap();
                        guard.0 += 1;
                        yield_now();
                        guard.1 += 1;
                    } else {
                        let guard = lock.read().unwrap();
                        yield_now();
                        assert_eq!(guard.0, guard.1);
                    }
                }
            }
        });
        assert_eq!(*lock.read().unwrap(), (60, 60));
        let reader = lock.read().unwrap();
        assert!(lock.try_read().is_ok() && lock.try_write().is_err());
        assert!(lock.write_timeout(SOON).is_err());
        drop(reader);
        let writer = lock.write().unwrap();
        assert!(lock.try_read().is_err() && lock.read_timeout(SOON).is_err());
        drop(writer);
        assert!(lock.try_write().is_ok());
    });
}

#[test]
fn a_writer_that_gives_up_lets_readers_behind_it_pass() {
    on_each_runtime(|| {
        let lock = Arc::new(RwLock::new(()));
        let reading = lock.read().unwrap();
        let writer = spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.write().unwrap())
        });
        wait_until(|| lock.try_read().is_err());
        let reader = spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.read().unwrap())
        });
        (0..5).for_each(|_| yield_now());
        assert!(!reader.is_finished(), "it is behind the writer");
        cancel(writer.thread());
        assert!(writer.join().unwrap_err().is::<Cancelled>());
        reader.join().unwrap();
        drop(reading);
        assert!(!lock.is_poisoned() && lock.try_write().is_ok());
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.write().unwrap();
            panic!("{EXPECTED}");
        }));
        assert!(panicked.is_err() && lock.is_poisoned());
    });
}

#[test]
fn a_semaphore_serves_in_order() {
    on_one_worker(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let log = Log::new();
        let both = semaphore.acquire_many(2);
        assert!(semaphore.try_acquire().is_none());
        let threads: Vec<_> = [2, 1, 1]
            .into_iter()
            .enumerate()
            .map(|(number, n)| {
                let (semaphore, log) = (Arc::clone(&semaphore), log.clone());
                spawn(move || {
                    let permit = semaphore.acquire_many(n);
                    log.note(format!("{number}"));
                    assert_eq!(permit.len(), n);
                    yield_now();
                })
            })
            .collect();
        yield_now();
        drop(both);
        assert_eq!(
            semaphore.available(),
            0,
            "they belong to the first who waits"
        );
        assert!(semaphore.try_acquire().is_none(), "nobody comes in between");
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(log.text(), "0 1 2");
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn who_gives_up_on_a_semaphore_lets_those_behind_pass() {
    on_each_runtime(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let greedy = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.acquire_many(2))
        });
        (0..5).for_each(|_| yield_now());
        let modest = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.acquire())
        });
        (0..5).for_each(|_| yield_now());
        cancel(greedy.thread());
        assert!(greedy.join().unwrap_err().is::<Cancelled>());
        modest.join().unwrap();
        assert!(semaphore.acquire_timeout(2, SOON).is_none());
        assert!(semaphore.acquire_deadline(2, Instant::now()).is_none());
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_bounded_semaphore_panics_if_it_gets_too_many() {
    limited(|| {
        let semaphore = Semaphore::bounded(1);
        let permit = semaphore.acquire();
        semaphore.release(1);
        let text = "a semaphore has got more permits than it may have";
        assert_eq!(panic_of(|| semaphore.release(1)), text);
        permit.forget();
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn an_event_wakes_all_who_wait_and_nobody_who_comes_after_its_reset() {
    on_each_runtime_and_off(|| {
        let event = Arc::new(Event::new());
        assert!(!event.wait_timeout(SOON));
        let setter = spawn({
            let event = Arc::clone(&event);
            move || {
                greenrt::sleep(SOON);
                event.set()
            }
        });
        on_both(6, {
            let event = Arc::clone(&event);
            move |_| event.wait()
        });
        assert!(setter.join().unwrap());
        assert!(!event.set() && event.is_set());
        assert!(event.reset() && !event.reset());
        assert!(!event.wait_deadline(Instant::now()));
    });
    on_one_worker(|| {
        let event = Arc::new(Event::new());
        let waiting = spawn({
            let event = Arc::clone(&event);
            move || event.wait()
        });
        yield_now();
        event.set();
        event.reset();
        waiting.join().unwrap();
        assert!(!event.wait_timeout(SOON));
    });
}

#[test]
fn a_group_is_done_when_its_last_member_is() {
    on_each_runtime_and_off(|| {
        let n_done = Arc::new(AtomicUsize::new(0));
        let group = WaitGroup::new();
        for _ in 0..5 {
            let (member, n_done) = (group.clone(), Arc::clone(&n_done));
            spawn(move || {
                yield_now();
                n_done.fetch_add(1, Relaxed);
                drop(member);
            });
        }
        let other = group.clone();
        group.clone().wait_timeout(SOON);
        drop(other);
        group.wait();
        assert_eq!(n_done.load(Relaxed), 5);
        let group = WaitGroup::new();
        let member = group.clone();
        assert!(!group.wait_timeout(SOON));
        member.wait();
    });
}

#[test]
fn a_barrier_opens_when_all_have_come() {
    on_each_runtime_and_off(|| {
        let barrier = Arc::new(Barrier::new(4));
        let n_here = Arc::new(AtomicUsize::new(0));
        let n_leaders = Arc::new(AtomicUsize::new(0));
        on_both(4, {
            let (barrier, n_leaders) = (Arc::clone(&barrier), Arc::clone(&n_leaders));
            move |_| {
                for round in 1..=20 {
                    n_here.fetch_add(1, Relaxed);
                    let leads = barrier.wait().is_leader();
                    n_leaders.fetch_add(usize::from(leads), Relaxed);
                    assert!(n_here.load(Relaxed) >= 4 * round);
                    barrier.wait();
                }
            }
        });
        assert_eq!(n_leaders.load(Relaxed), 20);
        assert!(barrier.wait_timeout(SOON).is_none());
        // Who has left does not count.
        on_both(4, {
            let barrier = Arc::clone(&barrier);
            move |_| {
                barrier.wait();
            }
        });
        assert!(Barrier::new(1).wait().is_leader() && Barrier::new(0).wait().is_leader());
    });
}

#[test]
fn a_one_shot_is_set_once_for_all() {
    on_each_runtime_and_off(|| {
        let answer: Arc<OneShot<String, u8>> = Arc::default();
        assert!(answer.get().is_none() && answer.wait_timeout(SOON).is_none());
        let setter = spawn({
            let answer = Arc::clone(&answer);
            move || {
                greenrt::sleep(SOON);
                answer.set("42".into()).unwrap();
            }
        });
        on_both(4, {
            let answer = Arc::clone(&answer);
            move |_| assert_eq!(answer.wait().unwrap(), "42")
        });
        setter.join().unwrap();
        assert_eq!(answer.set("43".into()), Err("43".into()));
        assert_eq!(answer.fail(5), Err(5));
        assert_eq!(
            Arc::into_inner(answer).unwrap().into_inner(),
            Some(Ok("42".into()))
        );
        let failed: OneShot<u8> = OneShot::new();
        failed.fail("no answer".into()).unwrap();
        assert_eq!(failed.wait().unwrap_err().to_string(), "no answer");
    });
}

/// Cancels and deadlines at any moment; afterwards all permits are there, and nobody waits.
#[test]
fn cancel_and_deadline_racing_with_wake_ups_lose_nothing() {
    let n_seeds = if cfg!(debug_assertions) { 200 } else { 2000 };
    limited(|| {
        let runtime = runtime(2);
        with_seeds(n_seeds, |random| {
            let mut random = random.fork();
            runtime.run(move || {
                let semaphore = Arc::new(Semaphore::bounded(3));
                let mutex = Arc::new(Mutex::new(0_usize));
                let lock = Arc::new(RwLock::new(()));
                let changed = Arc::new(Condvar::new());
                let n_locked = Arc::new(AtomicUsize::new(0));
                let threads: Vec<_> = (0..10)
                    .map(|number| {
                        let mut random = random.fork();
                        let (semaphore, mutex) = (Arc::clone(&semaphore), Arc::clone(&mutex));
                        let lock = Arc::clone(&lock);
                        let (changed, n_locked) = (Arc::clone(&changed), Arc::clone(&n_locked));
                        spawn(move || {
                            for _ in 0..8 {
                                let time = Duration::from_nanos(random.below(20_000));
                                random.dawdle(200);
                                match (number % 4, random.below(2)) {
                                    (3, 0) => drop(lock.write_timeout(time)),
                                    (3, _) => {
                                        let _guard = lock.read().unwrap();
                                        yield_now();
                                    }
                                    (0, 0) => drop(semaphore.acquire_timeout(2, time)),
                                    (0, _) => drop(semaphore.acquire()),
                                    (1, n) => {
                                        let guard = match n {
                                            0 => mutex.lock().ok(),
                                            _ => mutex.lock_timeout(time).ok(),
                                        };
                                        if let Some(mut guard) = guard {
                                            yield_now();
                                            *guard += 1;
                                            n_locked.fetch_add(1, Relaxed);
                                            changed.notify_one();
                                        }
                                    }
                                    (_, _) => {
                                        let guard = mutex.lock().unwrap();
                                        drop(changed.wait_timeout(guard, time).unwrap());
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                for thread in &threads {
                    yield_now();
                    random.dawdle(1000);
                    if random.below(2) == 0 {
                        cancel(thread.thread());
                    }
                }
                for thread in threads {
                    if let Err(payload) = thread.join() {
                        assert!(payload.is::<Cancelled>());
                    }
                }
                assert_eq!(semaphore.available(), 3);
                assert!(lock.try_write().is_ok());
                assert_eq!(*mutex.try_lock().unwrap(), n_locked.load(Relaxed));
                let lock_and_unlock = || drop(mutex.lock().unwrap());
                lock_and_unlock();
                lock_and_unlock();
            });
        });
    });
}

/// The same for what threads wait for together: whoever was not cancelled goes on.
#[test]
fn cancel_and_deadline_racing_with_what_all_wait_for_keep_nobody() {
    let n_seeds = if cfg!(debug_assertions) { 200 } else { 2000 };
    limited(|| {
        let runtime = runtime(2);
        with_seeds(n_seeds, |random| {
            let mut random = random.fork();
            runtime.run(move || {
                let event = Arc::new(Event::new());
                let value = Arc::new(OneShot::<u8>::new());
                let barrier = Arc::new(Barrier::new(2));
                let group = WaitGroup::new();
                let threads: Vec<_> = (0..12)
                    .map(|number| {
                        let mut random = random.fork();
                        let (event, value) = (Arc::clone(&event), Arc::clone(&value));
                        let (barrier, group) = (Arc::clone(&barrier), group.clone());
                        spawn(move || {
                            let time = Duration::from_nanos(random.below(20_000));
                            random.dawdle(300);
                            match (number % 4, random.below(2)) {
                                (0, 0) => drop(event.wait_timeout(time)),
                                (0, _) => event.wait(),
                                (1, 0) => drop(value.wait_timeout(time)),
                                (1, _) => assert_eq!(value.wait().unwrap(), &7),
                                (2, _) => drop(group.wait_timeout(time)),
                                (_, _) => {
                                    for _ in 0..4 {
                                        _ = barrier.wait_timeout(time);
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                for (n, thread) in threads.iter().enumerate() {
                    yield_now();
                    random.dawdle(1000);
                    if random.below(3) == 0 {
                        cancel(thread.thread());
                    }
                    match n {
                        4 => drop(event.set()),
                        7 => value.set(7).unwrap(),
                        _ => {}
                    }
                }
                for thread in threads {
                    if let Err(payload) = thread.join() {
                        assert!(payload.is::<Cancelled>());
                    }
                }
                // All members are gone, so this is the last.
                group.wait();
                // Nobody is left in the barrier: two who come go on together. A thread that was
                // cancelled as it went on has gone on, and its partner too.
                let other = Arc::clone(&barrier);
                let other = spawn(move || other.wait().is_leader());
                assert_ne!(barrier.wait().is_leader(), other.join().unwrap());
            });
        });
    });
}

#[test]
fn a_token_outlives_waits() {
    on_each_runtime(|| {
        let (sender, receiver) = greenrt::sync::channel::bounded::<()>(0);
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        let waiter = {
            let mutex = Arc::clone(&mutex);
            spawn(move || {
                drop(mutex.lock().unwrap());
                receiver.recv().unwrap();
                // The token is from before both waits.
                greenrt::park();
            })
        };
        waiter.thread().unpark();
        yield_now();
        drop(guard);
        sender.send(()).unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn what_may_be_sent_and_shared() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Mutex<std::cell::Cell<u8>>>();
    sync::<Mutex<std::cell::Cell<u8>>>();
    sync::<MutexGuard<'_, u8>>();
    sync::<RwLock<u8>>();
    send::<Permit<'_>>();
    sync::<Semaphore>();
    sync::<Event>();
    send::<WaitGroup>();
    sync::<Barrier>();
    sync::<Condvar>();
    sync::<OneShot<u8>>();
}
