//! Scopes: threads that borrow have ended before what they borrow goes away, whatever happens.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use greenrt::lowlevel::cancel;
use greenrt::{
    Builder, Cancelled, Thread, current, park, scope, shield, sleep, spawn, timeout, yield_now,
};

use super::support::{
    Child, EXPECTED, HOUR, Log, OnDrop, limited, on_each_runtime, on_each_runtime_and_off,
    on_manual_clock, on_manual_clocks, panic_of, runtime, until_it_waits, wait_until, with_seeds,
};

#[test]
fn threads_of_a_scope_borrow() {
    on_each_runtime_and_off(|| {
        let mut numbers = vec![1, 2, 3, 4];
        let text = String::from("text");
        let (sum, len) = scope(|s| {
            let sum = s.spawn(|| numbers.iter().sum::<i32>());
            let len = s.spawn(|| text.len());
            (sum.join().unwrap(), len.join().unwrap())
        });
        assert_eq!((sum, len), (10, 4));
        let (front, back) = numbers.split_at_mut(2);
        scope(|s| {
            s.spawn(|| front.iter_mut().for_each(|n| *n += 10));
            s.spawn(|| back.iter_mut().for_each(|n| *n += 20));
        });
        assert_eq!(numbers, [11, 12, 23, 24]);
    });
}

#[test]
fn a_scope_returns_what_its_closure_does_when_all_have_ended() {
    on_each_runtime_and_off(|| {
        let n_ended = AtomicUsize::new(0);
        let value = scope(|s| {
            for _ in 0..100 {
                s.spawn(|| {
                    yield_now();
                    sleep(Duration::from_micros(10));
                    n_ended.fetch_add(1, Relaxed);
                });
            }
            7
        });
        assert_eq!((value, n_ended.load(Relaxed)), (7, 100));
        assert_eq!(scope(|_| 7), 7);
    });
}

#[test]
fn threads_of_a_scope_spawn_into_it() {
    on_each_runtime_and_off(|| {
        let n_ran = AtomicUsize::new(0);
        scope(|s| {
            s.spawn(|| {
                yield_now();
                for _ in 0..10 {
                    s.spawn(|| {
                        yield_now();
                        s.spawn(|| n_ran.fetch_add(1, Relaxed));
                    });
                }
            });
        });
        assert_eq!(n_ran.load(Relaxed), 10);
    });
}

#[test]
fn scopes_nest() {
    on_each_runtime_and_off(|| {
        fn count(depth: u32) -> u32 {
            let mut parts = [0; 3];
            if depth > 0 {
                scope(|s| {
                    for part in &mut parts {
                        s.spawn(move || *part = count(depth - 1));
                    }
                });
            }
            parts.iter().sum::<u32>() + 1
        }
        assert_eq!(count(5), (3u32.pow(6) - 1) / 2);
    });
}

#[test]
fn a_panic_of_a_thread_that_nobody_joined_ends_the_scope_with_a_panic() {
    on_each_runtime_and_off(|| {
        let n_ended = AtomicUsize::new(0);
        let text = panic_of(|| {
            scope(|s| {
                s.spawn(|| panic!("{EXPECTED}"));
                for _ in 0..10 {
                    s.spawn(|| {
                        (0..5).for_each(|_| yield_now());
                        n_ended.fetch_add(1, Relaxed);
                    });
                }
            });
        });
        assert_eq!(text, "a scoped thread panicked");
        assert_eq!(n_ended.load(Relaxed), 10);
    });
}

#[test]
fn a_panic_that_was_joined_is_handled() {
    on_each_runtime_and_off(|| {
        let value = scope(|s| {
            let panics = s.spawn(|| panic!("{EXPECTED}"));
            assert!(panics.join().is_err());
            7
        });
        assert_eq!(value, 7);
        // One joined and one not: that one counts.
        let text = panic_of(|| {
            scope(|s| {
                let _not_joined = s.spawn(|| panic!("{EXPECTED}"));
                assert!(s.spawn(|| panic!("{EXPECTED}")).join().is_err());
            });
        });
        assert_eq!(text, "a scoped thread panicked");
    });
}

#[test]
fn a_panic_of_the_closure_waits_for_all_threads_and_goes_on() {
    on_each_runtime_and_off(|| {
        let n_ended = AtomicUsize::new(0);
        let payload = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                for _ in 0..10 {
                    s.spawn(|| {
                        (0..5).for_each(|_| yield_now());
                        n_ended.fetch_add(1, Relaxed);
                    });
                }
                s.spawn(|| panic!("{EXPECTED}"));
                resume_unwind(Box::new(7u8));
            });
        }));
        assert_eq!(*payload.unwrap_err().downcast::<u8>().unwrap(), 7);
        assert_eq!(n_ended.load(Relaxed), 10);
    });
}

/// A value of the owner's frame that threads of its scope look at. Says whether it is still there.
struct Lent {
    gone: &'static AtomicBool,
}

impl Lent {
    fn new() -> Lent {
        Lent {
            gone: Box::leak(Box::new(AtomicBool::new(false))),
        }
    }

    fn look(&self) {
        assert!(
            !self.gone.load(SeqCst),
            "looked at after its frame was left"
        );
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.gone.store(true, SeqCst);
    }
}

/// A scope whose threads look at its owner's frame as late as they can: in destructors that run
/// after they were cancelled, and take their time.
fn lend(log: &Log, body: impl FnOnce()) {
    let lent = Lent::new();
    scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                log.note("begun");
                let _late = OnDrop(|| {
                    lent.look();
                    yield_now();
                    sleep(Duration::from_micros(300));
                    lent.look();
                    log.note("child");
                });
                sleep(HOUR);
            });
        }
        body();
    });
    lent.look();
}

#[test]
fn a_cancel_of_the_owner_ends_its_threads_before_its_frame() {
    on_each_runtime(|| {
        // While it waits in its body, at the end of the scope, in a join, in a nested scope.
        let bodies: [(&str, fn()); 5] = [
            ("sleep", || sleep(HOUR)),
            ("end", || ()),
            ("join", || drop(spawn(|| sleep(HOUR)).join())),
            ("nested", || lend(&Log::new(), || ())),
            ("deep", || lend(&Log::new(), || sleep(HOUR))),
        ];
        for (what, body) in bodies {
            let log = Log::new();
            let owner = {
                let log = log.clone();
                spawn(move || lend(&log, body))
            };
            wait_until(|| log.len() == 3);
            until_it_waits(owner.thread());
            cancel(owner.thread());
            assert!(owner.join().unwrap_err().is::<Cancelled>(), "{what}");
            assert_eq!(log.text(), "begun begun begun child child child", "{what}");
        }
    });
}

#[test]
fn a_limit_around_a_scope_ends_its_threads_before_its_frame() {
    let test = |body: fn()| {
        move || {
            // On a busy machine some may not have begun when the time is over.
            let all_began = [2, 20, 200, 2000].into_iter().any(|limit| {
                let log = Log::new();
                let limit = Duration::from_millis(limit);
                assert!(timeout(limit, || lend(&log, body)).is_err());
                let text = log.text();
                let [begun, ended] = ["begun", "child"].map(|what| text.matches(what).count());
                assert_eq!(begun, ended);
                begun == 3
            });
            assert!(all_began);
        }
    };
    on_each_runtime_and_off(test(|| ()));
    on_each_runtime(test(|| sleep(HOUR)));
}

#[test]
fn a_cancel_at_any_moment_never_ends_the_frame_first() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(300, |random| {
                let mut random = random.fork();
                runtime.run(move || {
                    let (log, mut own) = (Log::new(), random.fork());
                    let owner = spawn(move || {
                        lend(&log, || match own.below(4) {
                            0 => {}
                            1 => yield_now(),
                            2 => sleep(Duration::from_micros(own.below(100))),
                            _ => own.dawdle(10_000),
                        });
                    });
                    match random.below(3) {
                        0 => yield_now(),
                        1 => random.dawdle(30_000),
                        _ => sleep(Duration::from_micros(random.below(200))),
                    }
                    cancel(owner.thread());
                    assert!(owner.join().unwrap_err().is::<Cancelled>());
                });
            });
        }
    });
}

/// As an arm of a `select!` of others: one side wins, the other is cancelled in its scope.
#[test]
fn a_scope_that_loses_a_race_against_a_sleep_is_safe() {
    on_each_runtime(|| {
        for n in 0..20 {
            let log = Log::new();
            let [loser, winner] = {
                let log = log.clone();
                [
                    spawn(move || lend(&log, || ())),
                    spawn(|| sleep(Duration::from_micros(100))),
                ]
            };
            winner.join().unwrap();
            if n % 2 == 0 {
                yield_now();
            }
            cancel(loser.thread());
            assert!(loser.join().unwrap_err().is::<Cancelled>());
            // The same stacks again, full of something else.
            let overwriters: Vec<_> = (0..4)
                .map(|n| spawn(move || std::hint::black_box([n; 4096])[7]))
                .collect();
            overwriters
                .into_iter()
                .for_each(|thread| drop(thread.join().unwrap()));
        }
    });
}

#[test]
fn a_thread_that_ignores_the_cancel_is_waited_for() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let owner = spawn(|| {
            let mut value = 1;
            scope(|s| {
                let child = s.spawn(|| {
                    shield(|| sleep(HOUR));
                    value = 2;
                });
                until_it_waits(child.thread());
            });
            value
        });
        until_it_waits(owner.thread());
        cancel(owner.thread());
        // None ended by the cancel, so it goes on; it has no further point.
        assert_eq!(owner.join().unwrap(), 2);
        assert_eq!(clock.now() - start, HOUR);
    });
}

#[test]
fn threads_spawned_into_a_cancelled_scope_are_cancelled() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let log = Log::new();
        let owner = {
            let log = log.clone();
            spawn(move || {
                scope(|s| {
                    let child = s.spawn(|| {
                        let _late = OnDrop(|| {
                            s.spawn(|| sleep(HOUR));
                            let _noted = log.on_drop("spawned late");
                        });
                        sleep(HOUR);
                    });
                    until_it_waits(child.thread());
                });
            })
        };
        until_it_waits(owner.thread());
        cancel(owner.thread());
        assert!(owner.join().unwrap_err().is::<Cancelled>());
        assert_eq!(log.text(), "spawned late");
        assert_eq!(clock.now(), start);
    });
}

#[test]
fn a_cancelled_child_is_no_reason_to_end_the_others() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        scope(|s| {
            let cancelled = s.spawn(|| sleep(HOUR));
            s.spawn(|| sleep(2 * HOUR));
            yield_now();
            cancel(cancelled.thread());
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        });
        assert_eq!(clock.now() - start, 2 * HOUR);
    });
}

#[test]
fn a_forgotten_handle_changes_nothing() {
    on_each_runtime_and_off(|| {
        let n_ended = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..10 {
                std::mem::forget(s.spawn(|| {
                    (0..5).for_each(|_| yield_now());
                    n_ended.fetch_add(1, Relaxed);
                    Box::new(&n_ended)
                }));
            }
        });
        assert_eq!(n_ended.load(Relaxed), 10);
    });
}

#[test]
fn a_result_that_borrows_is_dropped_before_the_scope_ends() {
    struct Looks<'a>(&'a Lent, &'a AtomicUsize);
    impl Drop for Looks<'_> {
        fn drop(&mut self) {
            self.0.look();
            yield_now();
            self.0.look();
            self.1.fetch_add(1, Relaxed);
        }
    }
    on_each_runtime_and_off(|| {
        let (lent, n_dropped) = (Lent::new(), AtomicUsize::new(0));
        scope(|s| {
            for n in 0..30 {
                let thread = s.spawn(|| {
                    yield_now();
                    Looks(&lent, &n_dropped)
                });
                match n % 3 {
                    0 => drop(thread),
                    1 => drop(thread.join().unwrap()),
                    _ => {
                        wait_until(|| thread.is_finished());
                        drop(thread);
                    }
                }
            }
        });
        assert_eq!(n_dropped.load(Relaxed), 30);
    });
}

#[test]
fn a_handle_says_whose_it_is_and_whether_it_has_ended() {
    on_each_runtime_and_off(|| {
        scope(|s| {
            let me = current();
            let thread = Builder::new()
                .name("scoped".into())
                .spawn_scoped(s, move || {
                    park();
                    me.unpark();
                    current()
                })
                .unwrap();
            let handle: Thread = thread.thread().clone();
            assert_eq!(handle.name(), Some("scoped"));
            assert!(!thread.is_finished());
            handle.unpark();
            park();
            assert_eq!(thread.join().unwrap().id(), handle.id());
        });
    });
}

#[test]
fn a_spawn_that_fails_is_not_waited_for() {
    on_each_runtime_and_off(|| {
        scope(|s| {
            let failed = Builder::new().stack_size(1 << 40).spawn_scoped(s, || ());
            assert!(failed.is_err());
            let failed = catch_unwind(AssertUnwindSafe(|| {
                drop(Builder::new().name("\0".into()).spawn_scoped(s, || ()));
            }));
            assert!(failed.is_err());
        });
    });
}

#[test]
fn scopes_may_be_large() {
    on_each_runtime(|| {
        let n_ran = AtomicUsize::new(0);
        scope(|s| {
            for _ in 0..20_000 {
                s.spawn(|| n_ran.fetch_add(1, Relaxed));
            }
        });
        assert_eq!(n_ran.load(Relaxed), 20_000);
    });
}

#[test]
fn ends_of_scopes_are_never_missed() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(5, |random| {
                let mut random = random.fork();
                let act = move || {
                    for _ in 0..500 {
                        let n_ran = AtomicUsize::new(0);
                        scope(|s| {
                            for _ in 0..3 {
                                let mut own = random.fork();
                                let n_ran = &n_ran;
                                s.spawn(move || {
                                    own.dawdle(2000);
                                    if own.below(4) == 0 {
                                        yield_now();
                                    }
                                    n_ran.fetch_add(1, Relaxed);
                                });
                            }
                            random.dawdle(3000);
                        });
                        assert_eq!(n_ran.load(Relaxed), 3);
                    }
                };
                runtime.run(act.clone());
                act.clone()();
            });
        }
    });
}

#[test]
fn a_scope_in_a_destructor_of_a_thread_that_unwinds_waits_too() {
    limited(|| {
        on_manual_clock(2, |clock| {
            let start = clock.now();
            let thread = spawn(|| {
                let mut value = 1;
                let _in_drop = OnDrop(|| {
                    scope(|s| {
                        s.spawn(|| {
                            sleep(HOUR);
                            value += 1;
                        });
                    });
                    assert_eq!(value, 2);
                });
                sleep(HOUR);
            });
            until_it_waits(thread.thread());
            cancel(thread.thread());
            assert!(thread.join().is_err());
            assert_eq!(clock.now() - start, HOUR);
        });
    });
}

#[test]
fn scopes_that_end_with_their_runtime_print_nothing() {
    let died = Child::new("scope::scopes_that_end_with_their_runtime_print_nothing").run(|| {
        for n_workers in [1, 2, 4] {
            for _ in 0..30 {
                let runtime = runtime(n_workers);
                let n_waiting = Arc::new(AtomicUsize::new(0));
                let owners: Vec<_> = (0..20)
                    .map(|_| {
                        let n_waiting = Arc::clone(&n_waiting);
                        runtime.spawn(move || {
                            scope(|s| {
                                s.spawn(|| {
                                    n_waiting.fetch_add(1, Relaxed);
                                    sleep(HOUR);
                                });
                                s.spawn(|| sleep(HOUR));
                            });
                        })
                    })
                    .collect();
                wait_until(|| n_waiting.load(Relaxed) == 20);
                drop(runtime);
                for owner in owners {
                    // Whoever is asked first, owner or threads: it is a cancel and no panic.
                    assert!(owner.join().unwrap_err().is::<Cancelled>());
                }
            }
        }
    });
    died.expect_success();
    assert_eq!(died.stderr, "");
}
