//! Where greenstd's locks and channels are more than std's: fairness, threads of both kinds at once,
//! cancellation, credits, tokens of `unpark`.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use greenrt::lowlevel::{cancel, on_green_thread};
use greenrt::{Cancelled, Thread, spawn, timeout, yield_now};
use greenstd::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use greenstd::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};

use crate::support::{
    HOUR, limited, on_each_runtime, on_manual_clock, on_one_worker, panic_of, runtime, spawn_at,
    wait_until, with_seeds,
};

const MS: Duration = Duration::from_millis(1);

/// Whether a thread waits for a lock, a condition or a channel.
fn waits(thread: &Thread) -> bool {
    let dump = greenrt::debug::dump();
    let mut threads = dump.threads.iter();
    threads.any(|info| info.id == thread.id() && info.waits_for.contains("not cancellable"))
}

// Fairness.

/// Who got the lock first, of `n` threads that take it again and again: the first `n_first`.
fn first_owners(n: usize, n_first: usize, hold: fn()) -> Vec<usize> {
    let owners = Arc::new(Mutex::new(Vec::new()));
    let n_come = Arc::new(AtomicUsize::new(0));
    let before = owners.lock().unwrap();
    let threads: Vec<_> = (0..n)
        .map(|who| {
            let (owners, n_come) = (Arc::clone(&owners), Arc::clone(&n_come));
            spawn(move || {
                n_come.fetch_add(1, Relaxed);
                loop {
                    let mut owners = owners.lock().unwrap();
                    if owners.len() >= n_first {
                        return;
                    }
                    owners.push(who);
                    hold();
                }
            })
        })
        .collect();
    // They begin together.
    wait_until(|| n_come.load(Relaxed) == n && threads.iter().all(|t| waits(t.thread())));
    drop(before);
    for thread in threads {
        thread.join().unwrap();
    }
    Arc::into_inner(owners).unwrap().into_inner().unwrap()
}

#[test]
fn a_mutex_goes_round() {
    on_each_runtime(|| {
        let mut first = first_owners(100, 20, yield_now);
        first.sort_unstable();
        first.dedup();
        assert!(first.len() >= 10, "{first:?}");
    });
}

#[test]
fn all_get_a_mutex_about_as_often() {
    on_one_worker(|| {
        let all = first_owners(50, 50 * 40, yield_now);
        // At any moment, once all have had it. In each round a thread has it once, if it was handed
        // over, or twice, if it came back before the one who was woken; and one may be a round ahead.
        let mut counts = [0_usize; 50];
        for (n, who) in all.into_iter().enumerate() {
            counts[who] += 1;
            if n >= 200 {
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(*most <= 2 * (least + 1), "after {n}: {counts:?}");
            }
        }
    });
}

/// Runs `n` threads that do nothing but `busy`, and waits for `other` beside them.
fn beside(n: usize, busy: impl Fn() + Send + Sync + 'static, other: impl FnOnce()) {
    let (over, busy) = (Arc::new(AtomicBool::new(false)), Arc::new(busy));
    let threads: Vec<_> = (0..n)
        .map(|_| {
            let (over, busy) = (Arc::clone(&over), Arc::clone(&busy));
            spawn(move || {
                while !over.load(Relaxed) {
                    busy();
                }
            })
        })
        .collect();
    yield_now();
    other();
    over.store(true, Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn readers_do_not_starve_a_writer() {
    on_each_runtime(|| {
        let lock = Arc::new(RwLock::new(0));
        let reads = {
            let lock = Arc::clone(&lock);
            move || {
                let _guard = lock.read().unwrap();
                // Somebody else reads whenever this one does not.
                yield_now();
            }
        };
        beside(8, reads, || {
            (0..50).for_each(|_| *lock.write().unwrap() += 1);
        });
        assert_eq!(*lock.read().unwrap(), 50);
    });
}

#[test]
fn writers_do_not_starve_a_reader() {
    on_each_runtime(|| {
        let lock = Arc::new(RwLock::new(0));
        let writes = {
            let lock = Arc::clone(&lock);
            move || {
                *lock.write().unwrap() += 1;
                let mut guard = lock.write().unwrap();
                *guard += 1;
                yield_now();
            }
        };
        beside(8, writes, || {
            for _ in 0..50 {
                let guard = lock.read().unwrap();
                let before = *guard;
                yield_now();
                assert_eq!(*guard, before);
            }
        });
    });
}

#[test]
fn writers_take_turns() {
    on_each_runtime(|| {
        let n_writes = Arc::new(RwLock::new([0_usize; 8]));
        let threads: Vec<_> = (0..8)
            .map(|who| {
                let n_writes = Arc::clone(&n_writes);
                spawn(move || {
                    for n in 1..=50 {
                        let mut all = n_writes.write().unwrap();
                        all[who] += 1;
                        assert_eq!(all[who], n);
                        yield_now();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*n_writes.read().unwrap(), [50; 8]);
    });
}

/// Locks that are always free, channels that are never empty: siblings run all the same.
#[test]
fn what_never_waits_spends_credits() {
    on_one_worker(|| {
        let mutex = Mutex::new(());
        let lock = RwLock::new(());
        let (sender, receiver) = channel();
        let (sync_sender, sync_receiver) = sync_channel(1);
        let barrier = Barrier::new(1);
        let empty = channel::<()>();
        let acts: [&dyn Fn(); 9] = [
            &|| drop(mutex.lock()),
            &|| drop(lock.read()),
            &|| drop(lock.write()),
            &|| {
                sender.send(1).unwrap();
                receiver.recv().unwrap();
            },
            &|| {
                sync_sender.send(1).unwrap();
                sync_receiver.try_recv().unwrap();
            },
            &|| _ = barrier.wait(),
            &|| _ = empty.1.try_recv(),
            &|| _ = sync_sender.try_send(1),
            &|| {
                let _guard = mutex.lock();
                assert!(mutex.try_lock().is_err());
            },
        ];
        for (which, act) in acts.into_iter().enumerate() {
            let done = Arc::new(AtomicBool::new(false));
            let sibling = {
                let done = Arc::clone(&done);
                spawn(move || done.store(true, Relaxed))
            };
            let mut n = 0;
            while !done.load(Relaxed) {
                act();
                n += 1;
                assert!(n <= 129, "act {which}");
            }
            sibling.join().unwrap();
        }
    });
}

// Both kinds of threads.

/// Runs `act` in green threads and OS threads at once, and says to each which one it is.
fn mixed(n: usize, act: impl Fn(usize) + Send + Sync) {
    std::thread::scope(|s| {
        for who in 0..n {
            let act = &act;
            s.spawn(move || {
                assert!(!on_green_thread());
                act(who);
            });
        }
        greenstd::thread::scope(|s| {
            for who in n..2 * n {
                let act = &act;
                s.spawn(move || {
                    assert!(on_green_thread());
                    act(who);
                });
            }
        });
    });
}

#[test]
fn locks_between_both_kinds() {
    limited(|| {
        let (mutex, lock) = (Mutex::new(0), RwLock::new((0, 0)));
        mixed(3, |_| {
            for n in 0..300 {
                *mutex.lock().unwrap() += 1;
                let mut both = lock.write().unwrap();
                both.0 += 1;
                if n % 10 == 0 {
                    greenstd::thread::yield_now();
                }
                both.1 += 1;
                drop(both);
                let both = lock.read().unwrap();
                assert_eq!(both.0, both.1);
            }
        });
        assert_eq!(*mutex.lock().unwrap(), 1800);
        assert_eq!(*lock.read().unwrap(), (1800, 1800));
    });
}

#[test]
fn conditions_and_barriers_between_both_kinds() {
    limited(|| {
        let (turn, changed, all) = (Mutex::new(0), Condvar::new(), Barrier::new(6));
        let n_leaders = AtomicUsize::new(0);
        mixed(3, |who| {
            for _ in 0..50 {
                let turn = turn.lock().unwrap();
                let mut turn = changed.wait_while(turn, |turn| *turn % 6 != who).unwrap();
                *turn += 1;
                changed.notify_all();
            }
            for _ in 0..50 {
                if all.wait().is_leader() {
                    n_leaders.fetch_add(1, Relaxed);
                }
            }
        });
        assert_eq!(*turn.lock().unwrap(), 300);
        assert_eq!(n_leaders.into_inner(), 50);
    });
}

#[test]
fn cells_between_both_kinds() {
    limited(|| {
        for _ in 0..30 {
            let (once, cell) = (Once::new(), OnceLock::new());
            let lazy = LazyLock::new(|| {
                greenstd::thread::yield_now();
                7
            });
            let n = AtomicUsize::new(0);
            mixed(3, |who| {
                once.call_once(|| {
                    greenstd::thread::yield_now();
                    n.fetch_add(1, Relaxed);
                });
                assert_eq!(n.load(Relaxed), 1);
                assert_eq!(cell.get_or_init(|| who), cell.wait());
                assert_eq!(*lazy, 7);
            });
        }
    });
}

#[test]
fn channels_between_both_kinds() {
    limited(|| {
        for bound in [0, 1, 5] {
            let (sender, receiver) = sync_channel(bound);
            let received = std::thread::spawn(move || receiver.into_iter().count());
            mixed(3, |_| (0..200).for_each(|n| sender.send(n).unwrap()));
            drop(sender);
            assert_eq!(received.join().unwrap(), 1200);
            let (sender, receiver) = sync_channel(bound);
            let received = greenstd::thread::spawn(move || receiver.into_iter().count());
            mixed(3, |_| (0..200).for_each(|n| sender.send(n).unwrap()));
            drop(sender);
            assert_eq!(received.join().unwrap(), 1200);
        }
    });
}

#[test]
fn a_panic_poisons_for_both_kinds() {
    limited(|| {
        let mutex = Arc::new(Mutex::new(0));
        for green in [false, true] {
            let panics = {
                let mutex = Arc::clone(&mutex);
                move || {
                    let _guard = mutex.lock().unwrap();
                    std::panic::resume_unwind(Box::new(()));
                }
            };
            let looks = {
                let mutex = Arc::clone(&mutex);
                move || mutex.lock().is_err()
            };
            let seen = if green {
                spawn(panics).join().unwrap_err();
                std::thread::spawn(looks).join().unwrap()
            } else {
                std::thread::spawn(panics).join().unwrap_err();
                spawn(looks).join().unwrap()
            };
            assert!(seen);
            mutex.clear_poison();
        }
    });
}

// Cancellation.

#[test]
fn cancellation_does_not_poison() {
    on_each_runtime(|| {
        let (mutex, lock, once) = (Mutex::new(0), RwLock::new(0), Once::new());
        let shared = Arc::new((mutex, lock, once));
        let sleeper = {
            let shared = Arc::clone(&shared);
            spawn(move || {
                let (mutex, lock, once) = &*shared;
                let _one = mutex.lock().unwrap();
                let _other = lock.write().unwrap();
                once.call_once(|| greenrt::sleep(HOUR));
            })
        };
        wait_until(|| shared.0.try_lock().is_err() && shared.1.try_read().is_err());
        cancel(sleeper.thread());
        assert!(sleeper.join().unwrap_err().is::<Cancelled>());
        let (mutex, lock, once) = &*shared;
        assert_eq!((*mutex.lock().unwrap(), *lock.read().unwrap()), (0, 0));
        assert!(!once.is_completed());
        once.call_once(|| ());
    });
}

#[test]
fn a_time_limit_does_not_poison() {
    on_each_runtime(|| {
        let mutex = Mutex::new(());
        let elapsed = timeout(MS, || {
            let _guard = mutex.lock().unwrap();
            greenrt::sleep(HOUR);
        });
        assert!(elapsed.is_err() && !mutex.is_poisoned());
        // A panic afterwards does.
        let text = panic_of(|| {
            let _guard = mutex.lock().unwrap();
            panic!("expected panic");
        });
        assert!(text.contains("expected") && mutex.is_poisoned());
    });
}

/// What was interrupted is forgotten when its payload is, and not before.
#[test]
fn a_panic_after_a_swallowed_cancel_poisons() {
    on_each_runtime(|| {
        let (before, after) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let thread = {
            let (before, after) = (Arc::clone(&before), Arc::clone(&after));
            spawn(move || {
                let _before = before.lock().unwrap();
                let swallowed = catch_unwind(|| greenrt::sleep(HOUR));
                assert!(swallowed.unwrap_err().is::<Cancelled>());
                let _after = after.lock().unwrap();
                panic!("expected panic");
            })
        };
        wait_until(|| before.try_lock().is_err());
        cancel(thread.thread());
        assert!(!thread.join().unwrap_err().is::<Cancelled>());
        assert!(before.is_poisoned() && after.is_poisoned());
    });
}

#[test]
fn a_cancel_that_is_caught_and_resumed_does_not_poison() {
    on_each_runtime(|| {
        let mutex = Arc::new(Mutex::new(()));
        let thread = {
            let mutex = Arc::clone(&mutex);
            spawn(move || {
                let _guard = mutex.lock().unwrap();
                let result = catch_unwind(|| greenrt::sleep(HOUR));
                drop(Mutex::new(()).lock());
                let payload = result.unwrap_err();
                std::panic::resume_unwind(payload);
            })
        };
        wait_until(|| mutex.try_lock().is_err());
        cancel(thread.thread());
        assert!(thread.join().unwrap_err().is::<Cancelled>());
        assert!(!mutex.is_poisoned());
    });
}

#[test]
fn a_cell_whose_maker_was_cancelled_is_made_by_the_next() {
    on_each_runtime(|| {
        let cell = Arc::new(OnceLock::new());
        let begun = Arc::new(AtomicBool::new(false));
        let maker = {
            let (cell, begun) = (Arc::clone(&cell), Arc::clone(&begun));
            spawn(move || {
                cell.get_or_init(|| {
                    begun.store(true, Relaxed);
                    greenrt::sleep(HOUR);
                    1
                });
            })
        };
        wait_until(|| begun.load(Relaxed));
        let next = {
            let cell = Arc::clone(&cell);
            spawn(move || *cell.get_or_init(|| 2))
        };
        wait_until(|| waits(next.thread()));
        cancel(maker.thread());
        assert_eq!(next.join().unwrap(), 2);
        assert!(maker.join().unwrap_err().is::<Cancelled>());
        // The closure of a lazy value is gone with its maker.
        begun.store(false, Relaxed);
        let has_begun = Arc::clone(&begun);
        let make: Box<dyn FnOnce() + Send> = Box::new(move || {
            begun.store(true, Relaxed);
            greenrt::sleep(HOUR);
        });
        let lazy = Arc::new(LazyLock::new(make));
        let maker = {
            let lazy = Arc::clone(&lazy);
            spawn(move || **lazy)
        };
        wait_until(|| has_begun.load(Relaxed));
        let next = {
            let lazy = Arc::clone(&lazy);
            spawn(move || panic_of(|| **lazy))
        };
        wait_until(|| waits(next.thread()));
        cancel(maker.thread());
        let text = next.join().unwrap();
        assert_eq!(text, "LazyLock instance has previously been poisoned");
        assert!(maker.join().unwrap_err().is::<Cancelled>());
    });
}

/// Each of these waits goes on although its thread was cancelled, and ends as on std.
#[test]
fn no_wait_is_a_point() {
    type Case = (Box<dyn FnOnce() + Send>, Box<dyn FnOnce() + Send>);
    fn case(wait: impl FnOnce() + Send + 'static, end: impl FnOnce() + Send + 'static) -> Case {
        (Box::new(wait), Box::new(end))
    }
    on_each_runtime(|| {
        // Guards stay with their thread: each lock is held by a third one until it is told.
        fn held<G>(lock: impl FnOnce() -> G + Send + 'static) -> impl FnOnce() + Send {
            let (let_go, wait) = channel::<()>();
            let holder = spawn(move || {
                let _guard = lock();
                let _ = wait.recv();
            });
            wait_until(|| waits(holder.thread()));
            move || drop(let_go)
        }
        macro_rules! both {
            ($name:ident, $one:ident => $wait:expr) => {
                move || {
                    let $one = $name;
                    $wait
                }
            };
        }
        let mutex: &'static Mutex<i32> = Box::leak(Box::default());
        let lock: &'static RwLock<i32> = Box::leak(Box::default());
        let pair: &'static (Mutex<bool>, Condvar) = Box::leak(Box::default());
        let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
        let cell: &'static OnceLock<i32> = Box::leak(Box::default());
        let once: &'static Once = Box::leak(Box::new(Once::new()));
        let (sender, receiver) = channel();
        let (full, drained) = sync_channel(1);
        full.send(1).unwrap();
        let (offers, taken) = sync_channel(0);
        let cases = [
            case(
                both!(mutex, m => drop(m.lock().unwrap())),
                held(|| mutex.lock().unwrap()),
            ),
            case(
                both!(lock, l => drop(l.read().unwrap())),
                held(|| lock.write().unwrap()),
            ),
            case(
                move || {
                    let ready = pair.1.wait_while(pair.0.lock().unwrap(), |ready| !*ready);
                    assert!(*ready.unwrap());
                },
                move || {
                    *pair.0.lock().unwrap() = true;
                    pair.1.notify_all();
                },
            ),
            case(move || _ = barrier.wait(), move || _ = barrier.wait()),
            case(
                move || assert_eq!(*cell.wait(), 3),
                move || cell.set(3).unwrap(),
            ),
            case(move || once.wait(), move || once.call_once(|| ())),
            case(
                move || assert_eq!(receiver.recv(), Ok(5)),
                move || sender.send(5).unwrap(),
            ),
            case(
                move || full.send(2).unwrap(),
                move || assert_eq!(drained.iter().collect::<Vec<_>>(), [1, 2]),
            ),
            case(
                move || offers.send(6).unwrap(),
                move || assert_eq!(taken.recv(), Ok(6)),
            ),
        ];
        for (which, (wait, end)) in cases.into_iter().enumerate() {
            let went_on = Arc::new(AtomicBool::new(false));
            let waiter = {
                let went_on = Arc::clone(&went_on);
                spawn(move || {
                    wait();
                    went_on.store(true, Relaxed);
                    greenrt::sleep(HOUR);
                })
            };
            wait_until(|| waits(waiter.thread()));
            cancel(waiter.thread());
            (0..3).for_each(|_| yield_now());
            assert!(waits(waiter.thread()), "case {which}");
            end();
            assert!(waiter.join().unwrap_err().is::<Cancelled>(), "case {which}");
            assert!(went_on.load(Relaxed), "case {which}");
        }
    });
}

/// Cancels racing with everything: no lock stays locked, no message is lost, nobody waits for ever.
#[test]
fn cancels_at_any_moment_leave_no_waiter_behind() {
    limited(|| {
        for n_workers in [1, 2] {
            let runtime = runtime(n_workers);
            with_seeds(20, |random| {
                let mut random = random.fork();
                runtime.run(move || {
                    let mutex = Arc::new(Mutex::new(0_u64));
                    let lock = Arc::new(RwLock::new(0_u64));
                    let (sender, receiver) = sync_channel(random.below(3) as usize);
                    let n_sent = Arc::new(AtomicUsize::new(0));
                    let threads: Vec<_> = (0..30)
                        .map(|_| {
                            let (mutex, lock) = (Arc::clone(&mutex), Arc::clone(&lock));
                            let (sender, n_sent) = (sender.clone(), Arc::clone(&n_sent));
                            let mut random = random.fork();
                            spawn(move || {
                                loop {
                                    match random.below(6) {
                                        0 => *mutex.lock().unwrap() += 1,
                                        1 => {
                                            let _guard = mutex.lock().unwrap();
                                            greenrt::sleep(Duration::from_micros(random.below(50)));
                                        }
                                        2 => *lock.write().unwrap() += 1,
                                        3 => {
                                            let _guard = lock.read().unwrap();
                                            greenrt::sleep(Duration::from_micros(random.below(50)));
                                        }
                                        4 => {
                                            sender.send(()).unwrap();
                                            n_sent.fetch_add(1, Relaxed);
                                        }
                                        _ => {
                                            let limit = Duration::from_micros(random.below(30));
                                            let _ = timeout(limit, || {
                                                let _guard = lock.write().unwrap();
                                                greenrt::sleep(HOUR);
                                            });
                                        }
                                    }
                                }
                            })
                        })
                        .collect();
                    drop(sender);
                    let received = spawn(move || receiver.into_iter().count());
                    for thread in &threads {
                        greenrt::sleep(Duration::from_micros(random.below(100)));
                        cancel(thread.thread());
                    }
                    for thread in threads {
                        assert!(thread.join().unwrap_err().is::<Cancelled>());
                    }
                    assert_eq!(received.join().unwrap(), n_sent.load(Relaxed));
                    assert!(mutex.try_lock().is_ok() && lock.try_write().is_ok());
                });
            });
        }
    });
}

// Tokens.

#[test]
fn a_token_outlives_waits_for_locks_and_channels() {
    on_each_runtime(|| {
        let mutex = Arc::new(Mutex::new(()));
        let (sender, receiver) = channel();
        let guard = mutex.lock().unwrap();
        let parked = Arc::new(AtomicBool::new(false));
        let thread = {
            let (mutex, parked) = (Arc::clone(&mutex), Arc::clone(&parked));
            spawn(move || {
                drop(mutex.lock().unwrap());
                // Were it eaten this would wait for ever.
                greenstd::thread::park();
                parked.store(true, Relaxed);
                receiver.recv().unwrap();
                greenstd::thread::park();
            })
        };
        wait_until(|| waits(thread.thread()));
        thread.thread().unpark();
        (0..3).for_each(|_| yield_now());
        assert!(waits(thread.thread()));
        drop(guard);
        wait_until(|| parked.load(Relaxed) && waits(thread.thread()));
        thread.thread().unpark();
        sender.send(()).unwrap();
        thread.join().unwrap();
    });
}

// Time.

#[test]
fn limits_are_those_of_the_runtimes_clock() {
    limited(|| {
        on_manual_clock(1, |clock| {
            let (mutex, never) = (Mutex::new(()), Condvar::new());
            let start = clock.now();
            let guard = mutex.lock().unwrap();
            let waited = never.wait_timeout_while(guard, HOUR, |()| true);
            assert!(waited.unwrap().1.timed_out());
            assert_eq!(clock.now() - start, HOUR);
            let (_sender, receiver) = channel::<()>();
            assert_eq!(receiver.recv_timeout(HOUR), Err(RecvTimeoutError::Timeout));
            assert_eq!(clock.now() - start, 2 * HOUR);
        });
    });
}

/// The word of a mutex and its waiters on both workers and off them, with seeds.
#[test]
fn a_mutex_under_random_load() {
    limited(|| {
        let runtime = runtime(2);
        with_seeds(20, |random| {
            let mutex = Arc::new(Mutex::new(0_u64));
            let n_each = 200;
            let work = |mut random: crate::support::Random, mutex: Arc<Mutex<u64>>| {
                move || {
                    for _ in 0..n_each {
                        let mut n = mutex.lock().unwrap();
                        let before = *n;
                        match random.below(8) {
                            0 => greenstd::thread::yield_now(),
                            1 => random.dawdle(300),
                            _ => {}
                        }
                        *n = before + 1;
                        drop(n);
                        if random.below(4) == 0 {
                            greenstd::thread::yield_now();
                        }
                    }
                }
            };
            let os: Vec<_> = (0..2)
                .map(|_| std::thread::spawn(work(random.fork(), Arc::clone(&mutex))))
                .collect();
            let works: Vec<_> = (0..6)
                .map(|_| work(random.fork(), Arc::clone(&mutex)))
                .collect();
            runtime.run(move || {
                let threads: Vec<_> = works
                    .into_iter()
                    .enumerate()
                    .map(|(n, work)| spawn_at(n % 2, work))
                    .collect();
                for thread in threads {
                    thread.join().unwrap();
                }
            });
            for thread in os {
                thread.join().unwrap();
            }
            assert_eq!(*mutex.lock().unwrap(), 8 * n_each);
        });
    });
}
