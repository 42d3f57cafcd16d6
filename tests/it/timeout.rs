//! Limits of time: which one acts, what comes back, and what they leave alone.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use greenrt::lowlevel::cancel;
use greenrt::{
    Cancelled, Elapsed, ManualClock, current, park, park_timeout, scope, shield, sleep, spawn,
    timeout, yield_now,
};

use super::support::{
    EXPECTED, HOUR, Log, OnDrop, Stream, limited, on_each_runtime, on_each_runtime_and_off,
    on_manual_clock, on_manual_clocks, panic_of, runtime, spin_until, wait_until,
};

const MS: Duration = Duration::from_millis(1);

fn for_ever() {
    sleep(Duration::MAX);
}

/// Checks that `act` takes exactly `expected` on the clock.
#[track_caller]
fn takes<T>(clock: &ManualClock, expected: Duration, act: impl FnOnce() -> T) -> T {
    let before = clock.now();
    let result = act();
    assert_eq!(clock.now() - before, expected);
    result
}

#[test]
fn a_closure_that_returns_in_time_returns_its_value() {
    on_each_runtime_and_off(|| {
        assert_eq!(timeout(HOUR, || 7), Ok(7));
        assert_eq!(timeout(Duration::ZERO, || 7), Ok(7));
        assert_eq!(timeout(Duration::MAX, || 7), Ok(7));
        // It may borrow.
        let mut text = String::from("a");
        timeout(HOUR, || text.push('b')).unwrap();
        assert_eq!(text, "ab");
    });
}

#[test]
fn a_wait_ends_when_the_limit_passes() {
    on_manual_clocks(|clock| {
        assert_eq!(
            takes(clock, HOUR, || timeout(HOUR, for_ever)),
            Err(elapsed())
        );
        assert!(takes(clock, HOUR, || timeout(HOUR, || sleep(2 * HOUR))).is_err());
        assert!(takes(clock, HOUR, || timeout(HOUR, || spawn(for_ever).join())).is_err());
        let (near, _far) = Stream::pair();
        assert!(takes(clock, HOUR, || timeout(HOUR, || near.read_byte())).is_err());
        let longer = Some(2 * HOUR);
        let reads = || timeout(HOUR, || near.read_timeout(&mut [0], longer));
        assert!(takes(clock, HOUR, reads).is_err());
        // A shorter timeout of the operation itself is the operation's affair.
        let shorter = Some(HOUR / 2);
        let reads = || timeout(HOUR, || near.read_timeout(&mut [0], shorter));
        let result = takes(clock, HOUR / 2, reads).unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(
            takes(clock, HOUR, || timeout(2 * HOUR, || sleep(HOUR))),
            Ok(())
        );
    });
}

fn elapsed() -> Elapsed {
    timeout(Duration::ZERO, for_ever).unwrap_err()
}

#[test]
fn elapsed_says_what_it_is_and_is_an_io_error_too() {
    limited(|| {
        greenrt::run(|| {
            let elapsed = elapsed();
            assert_eq!(elapsed.to_string(), "time limit elapsed");
            assert_eq!(format!("{elapsed:?}"), "Elapsed");
            let error = io::Error::from(elapsed);
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(error.to_string(), "time limit elapsed");
            fn asks() -> io::Result<u32> {
                Ok(timeout(MS, || -> u32 {
                    for_ever();
                    7
                })?)
            }
            assert_eq!(asks().unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    });
}

#[test]
fn of_nested_limits_the_nearest_acts_at_its_own_place() {
    on_manual_clocks(|clock| {
        // The inner one first; the outer one stays in force, and acts later.
        let result = takes(clock, 3 * HOUR, || {
            timeout(3 * HOUR, || {
                assert!(takes(clock, HOUR, || timeout(HOUR, for_ever)).is_err());
                for_ever();
            })
        });
        assert!(result.is_err());
        // The outer one first: the inner frame is not mistaken for it.
        let log = Log::new();
        let result = takes(clock, HOUR, || {
            timeout(HOUR, || {
                let inner = timeout(3 * HOUR, for_ever);
                log.note(format!("{inner:?}"));
            })
        });
        assert!(result.is_err());
        assert_eq!(log.text(), "");
        // Both at once: the outer one says that it is over.
        let result = takes(clock, HOUR, || {
            timeout(HOUR, || {
                let inner = timeout(HOUR, for_ever);
                log.note(format!("{inner:?}"));
            })
        });
        assert!(result.is_err());
        assert_eq!(log.text(), "");
    });
}

#[test]
fn many_limits_nest() {
    on_manual_clocks(|clock| {
        /// Limits of `n` hours down to one, or up from one: who ends first?
        fn nest(limits: &[u32], ended: &Log) {
            match limits.split_first() {
                None => for_ever(),
                Some((&hours, rest)) => {
                    if timeout(HOUR * hours, || nest(rest, ended)).is_err() {
                        ended.note(hours.to_string());
                    }
                }
            }
        }
        let (inner_first, outer_first) = (Log::new(), Log::new());
        let up: Vec<u32> = (1..=50).collect();
        let down: Vec<u32> = (1..=50).rev().collect();
        takes(clock, HOUR, || nest(&down, &inner_first));
        assert_eq!(inner_first.text(), "1");
        takes(clock, HOUR, || nest(&up, &outer_first));
        assert_eq!(outer_first.text(), "1");
    });
}

#[test]
fn of_limits_that_passed_while_nobody_looked_the_nearest_acts() {
    on_each_runtime(|| {
        let started = Instant::now();
        // Far enough apart for a machine that does other things between the two calls.
        let result = timeout(100 * MS, || {
            timeout(MS, || {
                spin_until(|| started.elapsed() > 101 * MS);
                for_ever();
            })
        });
        // The inner one has the nearest deadline.
        assert!(matches!(result, Ok(Err(_))), "{result:?}");
        let started = Instant::now();
        let result = timeout(MS, || {
            timeout(2 * MS, || {
                spin_until(|| started.elapsed() > 4 * MS);
                for_ever();
            })
        });
        assert!(result.is_err(), "{result:?}");
    });
}

#[test]
fn a_limit_of_nothing_acts_at_the_first_wait() {
    on_manual_clocks(|clock| {
        takes(clock, Duration::ZERO, || {
            assert!(timeout(Duration::ZERO, for_ever).is_err());
            assert!(timeout(Duration::ZERO, || spawn(|| sleep(HOUR)).join()).is_err());
        });
    });
}

#[test]
fn a_loop_of_empty_sleeps_ends() {
    on_each_runtime(|| {
        let endless = || loop {
            sleep(Duration::ZERO);
        };
        let result: Result<(), Elapsed> = timeout(5 * MS, endless);
        assert!(result.is_err());
    });
}

#[test]
fn a_swallowed_limit_comes_back_at_the_next_wait() {
    on_manual_clocks(|clock| {
        let mut n_swallowed = 0;
        let result = takes(clock, HOUR, || {
            timeout(HOUR, || {
                for _ in 0..10 {
                    let payload = catch_unwind(for_ever).unwrap_err();
                    assert!(!payload.is::<Cancelled>());
                    n_swallowed += 1;
                }
                for_ever();
            })
        });
        assert!(result.is_err());
        assert_eq!(n_swallowed, 10);
        // And not after its frame.
        takes(clock, HOUR, || sleep(HOUR));
    });
}

#[test]
fn a_value_that_comes_late_is_returned() {
    on_manual_clocks(|clock| {
        let late = || {
            timeout(HOUR, || {
                assert!(catch_unwind(for_ever).is_err());
                shield(|| sleep(HOUR));
                7
            })
        };
        assert_eq!(takes(clock, 2 * HOUR, late), Ok(7));
        let computes = || {
            timeout(HOUR, || {
                clock.advance(2 * HOUR);
                7
            })
        };
        assert_eq!(takes(clock, 2 * HOUR, computes), Ok(7));
    });
}

#[test]
fn panics_pass_through() {
    on_each_runtime_and_off(|| {
        let text = panic_of(|| timeout(HOUR, || panic!("{EXPECTED}")));
        assert_eq!(text, EXPECTED);
        let text = panic_of(|| timeout(HOUR, || timeout(MS, || panic!("{EXPECTED}"))));
        assert_eq!(text, EXPECTED);
    });
}

#[test]
fn a_panic_in_a_destructor_replaces_elapsed() {
    on_each_runtime(|| {
        struct Swallows;
        impl Drop for Swallows {
            fn drop(&mut self) {
                // Caught here, as anything that panics in a destructor while unwinding must be.
                assert!(catch_unwind(|| panic!("{EXPECTED}")).is_err());
            }
        }
        let result = timeout(MS, || {
            let _swallows = Swallows;
            for_ever();
        });
        assert!(result.is_err());
        let text = panic_of(|| {
            timeout(MS, || {
                let payload = catch_unwind(for_ever).unwrap_err();
                drop(payload);
                panic!("{EXPECTED}");
            })
        });
        assert_eq!(text, EXPECTED);
    });
}

#[test]
fn destructors_run_and_may_wait() {
    on_manual_clocks(|clock| {
        let log = Log::new();
        let result = takes(clock, 3 * HOUR, || {
            timeout(HOUR, || {
                let _slow = OnDrop(|| {
                    sleep(HOUR);
                    // Nothing is interrupted while its thread unwinds, not even by a new limit.
                    let late = timeout(HOUR / 2, || sleep(HOUR));
                    log.note(format!("{late:?}"));
                });
                for_ever();
            })
        });
        assert!(result.is_err());
        assert_eq!(log.text(), "Ok(())");
    });
}

#[test]
fn what_is_no_point_is_not_interrupted() {
    on_manual_clocks(|clock| {
        let result = takes(clock, 2 * HOUR, || timeout(HOUR, || park_timeout(2 * HOUR)));
        assert_eq!(result, Ok(()));
        let me = current();
        let waker = spawn(move || {
            sleep(2 * HOUR);
            me.unpark();
        });
        assert_eq!(takes(clock, 2 * HOUR, || timeout(HOUR, park)), Ok(()));
        waker.join().unwrap();
        let waits = || spawn(|| sleep(2 * HOUR)).join_uncancelled().unwrap();
        assert_eq!(takes(clock, 2 * HOUR, || timeout(HOUR, waits)), Ok(()));
    });
}

#[test]
fn a_shield_keeps_limits_out() {
    on_manual_clocks(|clock| {
        let result = takes(clock, 2 * HOUR, || {
            timeout(HOUR, || shield(|| sleep(2 * HOUR)))
        });
        assert_eq!(result, Ok(()));
        let result = takes(clock, 2 * HOUR, || {
            timeout(HOUR, || {
                shield(|| sleep(2 * HOUR));
                for_ever();
            })
        });
        assert!(result.is_err());
        // One inside the shield is kept out as well.
        let result = takes(clock, 2 * HOUR, || {
            shield(|| timeout(HOUR, || sleep(2 * HOUR)))
        });
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn a_limit_around_a_join_leaves_the_joined_thread_alone() {
    on_manual_clocks(|clock| {
        let log = Log::new();
        let worker = {
            let log = log.clone();
            spawn(move || {
                sleep(2 * HOUR);
                log.note("done");
            })
        };
        assert!(takes(clock, HOUR, || timeout(HOUR, || worker.join())).is_err());
        assert_eq!(log.text(), "");
        sleep(HOUR + MS);
        assert_eq!(log.text(), "done");
    });
}

#[test]
fn a_limit_around_a_scope_cancels_its_threads_first() {
    on_manual_clocks(|clock| {
        let log = Log::new();
        let mut owned = 1;
        let result = takes(clock, 2 * HOUR, || {
            timeout(HOUR, || {
                scope(|s| {
                    s.spawn(|| {
                        let _slow = OnDrop(|| {
                            sleep(HOUR);
                            log.note("child");
                        });
                        owned += 1;
                        for_ever();
                    });
                });
            })
        });
        log.note("owner");
        assert!(result.is_err());
        assert_eq!((log.text(), owned), ("child owner".into(), 2));
    });
}

#[test]
fn a_cancel_passes_through_limits_and_a_limit_through_nothing_else() {
    on_manual_clocks(|clock| {
        let log = Log::new();
        let thread = {
            let log = log.clone();
            spawn(move || {
                let result = timeout(HOUR, || timeout(2 * HOUR, for_ever));
                log.note(format!("{result:?}"));
            })
        };
        sleep(MS);
        cancel(thread.thread());
        assert!(
            takes(clock, Duration::ZERO, || thread.join())
                .unwrap_err()
                .is::<Cancelled>()
        );
        assert_eq!(log.text(), "");
    });
}

#[test]
fn limits_belong_to_their_thread() {
    on_manual_clocks(|clock| {
        let result = timeout(HOUR, || {
            let child = spawn(|| sleep(3 * HOUR));
            let sibling = spawn(|| timeout(2 * HOUR, for_ever));
            (
                catch_unwind(AssertUnwindSafe(|| sleep(2 * HOUR))).is_err(),
                child,
                sibling,
            )
        });
        let (interrupted, child, sibling) = result.unwrap();
        assert!(interrupted);
        takes(clock, 2 * HOUR, || child.join().unwrap());
        assert!(sibling.join().unwrap().is_err());
    });
}

#[test]
fn an_os_thread_may_limit_what_it_waits_for_in_greenrt() {
    limited(|| {
        let runtime = runtime(1);
        let endless = runtime.spawn(for_ever);
        let handle = endless.thread().clone();
        let started = Instant::now();
        assert!(timeout(5 * MS, || endless.join()).is_err());
        assert!(started.elapsed() >= 5 * MS);
        cancel(&handle);
        // Nested, too.
        let slow = runtime.spawn(|| sleep(HOUR));
        let result = timeout(HOUR, || timeout(MS, || slow.join()));
        assert!(matches!(result, Ok(Err(_))));
        // And around the end of a scope, whose threads run on the global runtime.
        let log = Log::new();
        let began = AtomicBool::new(false);
        let result = timeout(5 * MS, || {
            scope(|s| {
                s.spawn(|| {
                    let _ended = log.on_drop("child");
                    began.store(true, Relaxed);
                    for_ever();
                });
            });
        });
        log.note("owner");
        assert!(result.is_err());
        // On a busy machine the time may be over before it begins.
        let child = if began.load(Relaxed) { "child " } else { "" };
        assert_eq!(log.text(), format!("{child}owner"));
        assert_eq!(
            timeout(MS, || shield(|| runtime
                .spawn(|| sleep(5 * MS))
                .join()
                .is_ok())),
            Ok(true)
        );
    });
}

#[test]
fn a_limit_that_passes_as_the_wait_ends_loses_nothing() {
    limited(|| {
        for n_workers in [1, 2] {
            runtime(n_workers).run(|| {
                let n_both = Arc::new(AtomicUsize::new(0));
                for n in 0..2000u64 {
                    let time = Duration::from_nanos(n % 50 * 400);
                    let n_values = Arc::clone(&n_both);
                    let thread = spawn(move || {
                        sleep(time);
                        OnDrop(move || drop(n_values.fetch_add(1, Relaxed)))
                    });
                    match timeout(time, || thread.join().unwrap()) {
                        Ok(value) => drop(value),
                        Err(_elapsed) => {}
                    }
                    wait_until(|| n_both.load(Relaxed) == n as usize + 1);
                }
            });
        }
    });
}

#[test]
fn a_limit_costs_nothing_when_it_is_gone() {
    limited(|| {
        on_manual_clock(1, |clock| {
            for n in 0..10_000u32 {
                assert_eq!(timeout(HOUR * n, || 7), Ok(7));
            }
            takes(clock, 50_000 * HOUR, || sleep(50_000 * HOUR));
            yield_now();
        });
    });
}
