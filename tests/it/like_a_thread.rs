//! A green thread is a thread to its code: what std, libc and others keep for each thread.

#![expect(
    clippy::disallowed_methods,
    reason = "what belongs to std's threads is what it is about"
)]

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};
use std::thread::{current, panicking};

use greenrt::{ThreadLocals, sleep, spawn, spawn_local, yield_now};
use rand::Rng;

use super::support::{
    Child, EXPECTED, Log, OnDrop, in_both_modes, join_all, limited, on_os_thread, panic_text,
    runtime_with, spawn_at, thread_locals_are_private, with_private_thread_locals,
};

const MILLI: std::time::Duration = std::time::Duration::from_millis(1);

thread_local! {
    static LAZY: RefCell<Vec<usize>> = RefCell::new(vec![7]);
    static CONST: Cell<usize> = const { Cell::new(3) };
    static ONCE: OnceCell<usize> = const { OnceCell::new() };
}

#[test]
fn thread_locals_are_fresh_and_stay() {
    with_private_thread_locals(|| {
        let threads: Vec<_> = (0..50)
            .map(|n| {
                spawn(move || {
                    assert_eq!((CONST.get(), LAZY.take()), (3, vec![7]));
                    CONST.set(n);
                    ONCE.with(|once| once.set(n).unwrap());
                    for round in 0..10 {
                        LAZY.with_borrow_mut(|all| all.push(n + round));
                        if round % 3 == 0 {
                            sleep(MILLI / 100);
                        } else {
                            yield_now();
                        }
                    }
                    assert_eq!(CONST.get(), n);
                    assert_eq!(ONCE.with(|once| *once.get().unwrap()), n);
                    assert_eq!(LAZY.take(), (n..n + 10).collect::<Vec<_>>());
                })
            })
            .collect();
        join_all(threads);
    });
}

#[test]
fn a_borrow_of_a_thread_local_over_a_switch_is_nobody_elses() {
    with_private_thread_locals(|| {
        let threads: Vec<_> = (0..20)
            .map(|n| {
                spawn(move || {
                    LAZY.with_borrow_mut(|all| {
                        all.clear();
                        for _ in 0..5 {
                            all.push(n);
                            yield_now();
                        }
                        assert_eq!(*all, [n; 5]);
                    });
                })
            })
            .collect();
        join_all(threads);
    });
}

#[test]
fn each_thread_has_an_id_and_a_handle_of_std() {
    with_private_thread_locals(|| {
        let me = current().id();
        let threads: Vec<_> = (0..100)
            .map(|_| {
                spawn(|| {
                    let before = current().id();
                    yield_now();
                    assert_eq!(current().id(), before);
                    before
                })
            })
            .collect();
        let ids: HashSet<_> = join_all(threads).into_iter().collect();
        assert_eq!(ids.len(), 100);
        assert!(!ids.contains(&me));
        assert_eq!(current().id(), me);
    });
}

#[test]
fn only_who_unwinds_is_panicking() {
    with_private_thread_locals(|| {
        let stop = Arc::new(AtomicUsize::new(0));
        let unwinds = {
            let stop = Arc::clone(&stop);
            spawn_at(0, move || {
                let _waits = OnDrop(|| {
                    stop.store(1, Relaxed);
                    while stop.load(Relaxed) < 2 {
                        yield_now();
                        assert!(panicking());
                    }
                });
                panic!("{EXPECTED}");
            })
        };
        let looks = {
            let stop = Arc::clone(&stop);
            spawn_at(0, move || {
                while stop.load(Relaxed) == 0 {
                    yield_now();
                }
                for _ in 0..10 {
                    assert!(!panicking());
                    // A panic of its own is its first, and ends where it is caught.
                    let caught = catch_unwind(|| panic!("{EXPECTED} too"));
                    assert!(panic_text(&*caught.unwrap_err()).ends_with("too"));
                    yield_now();
                }
                // A lock is poisoned by who panics only.
                let lock = std::sync::Mutex::new(());
                drop(lock.lock());
                assert!(!lock.is_poisoned());
                stop.store(2, Relaxed);
            })
        };
        looks.join().unwrap();
        assert!(unwinds.join().is_err());
        assert!(!panicking());
    });
}

#[test]
fn destructors_that_park_while_many_unwind() {
    in_both_modes(|| {
        let threads: Vec<_> = (0..50)
            .map(|n| {
                spawn(move || {
                    let _first = OnDrop(|| sleep(MILLI / 10));
                    let _second = OnDrop(|| {
                        assert!(panicking());
                        yield_now();
                    });
                    panic!("{EXPECTED} {n}");
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            let payload = thread.join().unwrap_err();
            assert_eq!(panic_text(&*payload), format!("{EXPECTED} {n}"));
        }
        assert!(!panicking());
    });
}

#[test]
fn panics_are_caught_where_they_were_thrown() {
    in_both_modes(|| {
        let threads: Vec<_> = (0..30)
            .map(|n| {
                spawn(move || {
                    for round in 0..5 {
                        let caught = catch_unwind(AssertUnwindSafe(|| {
                            yield_now();
                            let _parks = OnDrop(|| {
                                yield_now();
                                // A panic inside, while the outer one goes on.
                                let inner = catch_unwind(|| {
                                    yield_now();
                                    panic!("{EXPECTED} inside")
                                });
                                assert!(inner.is_err());
                            });
                            panic!("{EXPECTED} {n} {round}");
                        }));
                        yield_now();
                        let text = format!("{EXPECTED} {n} {round}");
                        assert_eq!(panic_text(&*caught.unwrap_err()), text);
                    }
                })
            })
            .collect();
        join_all(threads);
    });
}

#[test]
fn a_payload_travels_on_after_a_switch() {
    in_both_modes(|| {
        let threads: Vec<greenrt::JoinHandle<()>> = (0..20_usize)
            .map(|n| {
                spawn(move || {
                    let thrown = catch_unwind(|| panic::resume_unwind(Box::new(n)));
                    yield_now();
                    thrown.unwrap_or_else(|payload| panic::resume_unwind(payload));
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap_err().downcast_ref(), Some(&n));
        }
    });
}

// Destructors.

/// Uses, and so makes anew, a thread-local that may be gone already.
struct Reviver(Log, usize);

thread_local! {
    static REVIVER: RefCell<Option<Reviver>> = const { RefCell::new(None) };
    static OTHER: RefCell<Option<Reviver>> = const { RefCell::new(None) };
    static PLAIN: Cell<usize> = const { Cell::new(5) };
}

impl Drop for Reviver {
    fn drop(&mut self) {
        let Reviver(log, depth) = self;
        PLAIN.set(PLAIN.get() + 1);
        yield_now();
        log.note(format!("{depth}:{}", PLAIN.get()));
        if *depth > 0 {
            let next = Reviver(log.clone(), *depth - 1);
            // Gone if it is the one that is being destroyed; then it is dropped here.
            let _ = OTHER.try_with(|other| other.replace(Some(next)));
            sleep(MILLI / 100);
        }
    }
}

#[test]
fn destructors_use_other_thread_locals_and_park() {
    with_private_thread_locals(|| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let log = Log::new();
                let theirs = log.clone();
                let thread = spawn(move || {
                    REVIVER.set(Some(Reviver(theirs, 2)));
                    yield_now();
                });
                (thread, log)
            })
            .collect();
        for (thread, log) in threads {
            thread.join().unwrap();
            assert_eq!(log.text(), "2:6 1:7 0:8");
        }
    });
}

#[test]
fn destructors_run_after_a_panic_and_after_a_cancel() {
    with_private_thread_locals(|| {
        let log = Log::new();
        let theirs = log.clone();
        let panics = spawn(move || {
            REVIVER.set(Some(Reviver(theirs, 0)));
            panic!("{EXPECTED}");
        });
        assert!(panics.join().is_err());
        assert_eq!(log.text(), "0:6");

        let theirs = log.clone();
        let cancelled = spawn(move || {
            REVIVER.set(Some(Reviver(theirs, 1)));
            greenrt::sleep(super::support::HOUR);
        });
        super::support::wait_until(|| cancelled.thread().id() != greenrt::current().id());
        yield_now();
        greenrt::lowlevel::cancel(cancelled.thread());
        let ended = cancelled.join();
        assert!(ended.unwrap_err().is::<greenrt::Cancelled>());
        // If it was cancelled before it began there is nothing to destroy.
        assert!(["0:6", "0:6 1:6 0:7"].contains(&&*log.text()));
    });
}

#[test]
fn a_panic_in_the_destructor_of_a_thread_local_aborts() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("from a destructor");
        }
    }
    thread_local!(static PANICS: RefCell<Option<Panics>> = const { RefCell::new(None) });

    for green in [false, true] {
        let name = "like_a_thread::a_panic_in_the_destructor_of_a_thread_local_aborts";
        let died = Child::new(name)
            .env("GREENRT_TEST_GREEN", &green.to_string())
            .shell("ulimit -c 0;")
            .run(|| {
                let body = || PANICS.set(Some(Panics));
                if std::env::var("GREENRT_TEST_GREEN").is_ok_and(|green| green == "true") {
                    runtime_with(ThreadLocals::Private, 1).run(move || spawn(body).join().unwrap());
                } else {
                    std::thread::spawn(body).join().unwrap();
                }
            });
        assert_eq!(died.code, None, "{died:#?}");
        assert!(died.stderr.contains("from a destructor"), "{died:#?}");
        assert!(
            died.stderr.contains("thread local panicked on drop"),
            "{died:#?}"
        );
    }
}

// Output.

#[test]
fn the_lock_of_stdout_is_held_over_switches() {
    for (mode, n_workers) in [("shared", 1), ("private", 1), ("private", 2)] {
        let name = "like_a_thread::the_lock_of_stdout_is_held_over_switches";
        let died = Child::new(name)
            .env("GREENRT_THREAD_LOCALS", mode)
            .env("GREENRT_WORKERS", &n_workers.to_string())
            .run(|| {
                println!();
                let private = thread_locals_are_private();
                let threads: Vec<_> = (0..20)
                    .map(|n| {
                        spawn(move || {
                            let mut out = std::io::stdout().lock();
                            // With shared ones the lock is the worker's, and excludes nobody there.
                            if private {
                                write!(out, "<{n}").unwrap();
                                yield_now();
                                sleep(MILLI / 10);
                                write!(out, ":").unwrap();
                                yield_now();
                                writeln!(out, "{n}>").unwrap();
                            } else {
                                yield_now();
                                writeln!(out, "<{n}:{n}>").unwrap();
                            }
                            drop(out);
                            println!("<{n}:{n}>");
                        })
                    })
                    .collect();
                join_all(threads);
            });
        died.expect_success();
        for n in 0..20 {
            let line = format!("<{n}:{n}>\n");
            assert_eq!(died.stdout.matches(&line).count(), 2, "{died:#?}");
        }
    }
}

/// A pipe with room for 4 KiB, whose reader begins late.
#[test]
fn a_thousand_threads_print_into_a_full_pipe() {
    for (mode, n_workers) in [("shared", 1), ("shared", 2), ("private", 1), ("private", 2)] {
        let name = "like_a_thread::a_thousand_threads_print_into_a_full_pipe";
        let died = Child::new(name)
            .env("GREENRT_THREAD_LOCALS", mode)
            .env("GREENRT_WORKERS", &n_workers.to_string())
            .shell(
                "if [ -z \"$PIPED\" ]; then export PIPED=1; \"$@\" | (sleep 0.2; cat); exit; fi;",
            )
            .run(|| {
                println!();
                let threads: Vec<_> = (0..1000)
                    .map(|n| {
                        spawn(move || {
                            println!("{n:-<200}|");
                            yield_now();
                            println!("{n:+<200}|");
                        })
                    })
                    .collect();
                join_all(threads);
            });
        died.expect_success();
        let whole = |line: &&str| line.len() == 201 && line.ends_with('|');
        assert_eq!(died.stdout.lines().filter(whole).count(), 2000, "{mode}");
    }
}

// Others' thread-locals.

#[test]
fn the_generator_of_rand_is_used_over_switches() {
    in_both_modes(|| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                spawn(|| {
                    let mut random = rand::thread_rng();
                    let numbers = [(); 10].map(|()| {
                        yield_now();
                        random.r#gen::<u64>() ^ rand::thread_rng().r#gen::<u64>()
                    });
                    numbers.to_vec()
                })
            })
            .collect();
        let numbers: HashSet<_> = join_all(threads).into_iter().flatten().collect();
        assert_eq!(numbers.len(), 200);
    });
}

#[test]
fn generators_of_rand_are_seeded_apart() {
    with_private_thread_locals(|| {
        let first = || rand::thread_rng().r#gen::<u64>();
        let numbers: HashSet<_> = join_all((0..100).map(|_| spawn(first)))
            .into_iter()
            .collect();
        assert_eq!(numbers.len(), 100);
    });
}

/// The stacks of spans of two threads do not mix, though each is inside one when it waits.
#[test]
fn spans_of_tracing_belong_to_their_thread() {
    with_private_thread_locals(|| {
        let dispatch = tracing::Dispatch::new(tracing_subscriber::registry());
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let dispatch = dispatch.clone();
                spawn(move || {
                    tracing::dispatcher::with_default(&dispatch, || {
                        let outer = tracing::info_span!("outer", n);
                        let outer = outer.entered();
                        for _ in 0..5 {
                            yield_now();
                            assert_eq!(tracing::Span::current().id(), outer.id());
                            let inner = tracing::info_span!("inner", n).entered();
                            sleep(MILLI / 100);
                            assert_eq!(tracing::Span::current().id(), inner.id());
                        }
                        yield_now();
                        assert_eq!(tracing::Span::current().id(), outer.id());
                    });
                    assert_eq!(tracing::Span::current().id(), None);
                })
            })
            .collect();
        join_all(threads);
    });
}

#[test]
fn locks_of_parking_lot_park() {
    use parking_lot::{Condvar, Mutex, ReentrantMutex, RwLock};
    with_private_thread_locals(|| {
        let shared = Arc::new((Mutex::new(0), RwLock::new(0), Condvar::new()));
        let again = Arc::new(ReentrantMutex::new(Cell::new(0)));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let (shared, again) = (Arc::clone(&shared), Arc::clone(&again));
                spawn(move || {
                    let (count, table, changed) = &*shared;
                    for _ in 0..5 {
                        let mut guard = count.lock();
                        let seen = *guard;
                        yield_now();
                        *guard = seen + 1;
                        drop(guard);
                        changed.notify_all();

                        let mut writer = table.write();
                        let seen = *writer;
                        sleep(MILLI / 100);
                        *writer = seen + 1;
                        drop(writer);

                        let outer = again.lock();
                        let seen = outer.get();
                        yield_now();
                        again.lock().set(seen + 1);
                        drop(outer);
                    }
                })
            })
            .collect();
        let (count, table, changed) = &*shared;
        let mut guard = count.lock();
        while *guard < 100 {
            changed.wait(&mut guard);
        }
        drop(guard);
        join_all(threads);
        assert_eq!((*table.read(), again.lock().get()), (100, 100));
    });
}

#[test]
fn a_reentrant_lock_is_the_threads() {
    with_private_thread_locals(|| {
        // Std's own reentrant lock is that of stdout; the owner is a thread's id.
        let locks = Arc::new(parking_lot::ReentrantMutex::new(()));
        let guard = locks.lock();
        let other = Arc::clone(&locks);
        let taken = spawn_at(0, move || other.try_lock().is_some());
        assert!(!taken.join().unwrap());
        let other = Arc::clone(&locks);
        assert!(
            spawn_local(move || other.try_lock().is_some())
                .join()
                .unwrap()
        );
        drop(guard);
    });
}

// What the OS thread has is its own again.

#[test]
fn the_callers_thread_is_the_same_after_run() {
    limited(|| {
        for mode in [ThreadLocals::Shared, ThreadLocals::Private] {
            let (id, place) = (current().id(), CONST.with(Cell::as_ptr).addr());
            CONST.set(77);
            greenrt::run(|| {
                assert_eq!(current().id(), id);
                spawn(|| CONST.set(1)).join().unwrap();
                CONST.set(78);
            });
            runtime_with(mode, 2).run(|| CONST.set(2));
            assert_eq!(current().id(), id);
            assert_eq!(CONST.with(Cell::as_ptr).addr(), place);
            assert_eq!(current().name(), std::thread::current().name());
            assert_eq!(CONST.get(), 78);
        }
    });
}

#[test]
fn os_threads_run_one_after_another_and_at_once() {
    limited(|| {
        let together = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let together = Arc::clone(&together);
                std::thread::spawn(move || {
                    CONST.set(n);
                    let id = current().id();
                    together.wait();
                    for _ in 0..250 {
                        greenrt::run(|| {
                            let threads = (0..5).map(|k| {
                                spawn(move || {
                                    CONST.set(k);
                                    yield_now();
                                    current().id()
                                })
                            });
                            join_all(threads.collect::<Vec<_>>());
                            assert_eq!(current().id(), id);
                            CONST.set(n);
                        });
                        assert_eq!((current().id(), CONST.get()), (id, n));
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
fn a_runtime_may_run_inside_another_ones_caller() {
    with_private_thread_locals(|| {
        let id = current().id();
        let inner = runtime_with(ThreadLocals::Shared, 2);
        let shared_id = inner.run(|| current().id());
        assert_ne!(shared_id, id);
        // From the outer runtime's threads into the inner one, and back.
        let threads: Vec<_> = (0..10)
            .map(|n| {
                let theirs = inner.spawn(move || {
                    yield_now();
                    CONST.set(n);
                    n
                });
                spawn(move || {
                    let before = CONST.get();
                    let n = theirs.join().unwrap();
                    assert_eq!((before, CONST.get()), (3, 3));
                    n
                })
            })
            .collect();
        assert_eq!(join_all(threads), (0..10).collect::<Vec<_>>());
        // And an OS thread that runs a runtime of its own.
        on_os_thread(move || {
            let own = current().id();
            greenrt::run(|| assert_ne!(spawn(|| current().id()).join().unwrap(), id));
            assert_eq!(current().id(), own);
        });
        drop(inner);
        assert_eq!(current().id(), id);
    });
}
