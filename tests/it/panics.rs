//! A panic ends its own green thread and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenrt::lowlevel::cancel;
use greenrt::{Builder, Cancelled, park, sleep, spawn, timeout, yield_now};

use super::support::{
    Child, EXPECTED, HOUR, Log, OnDrop, Stream, limited, on_each_runtime, on_one_worker,
    panic_text, runtime, wait_until, with_seeds,
};

#[test]
fn panics_of_siblings_that_unwind_at_the_same_time_do_not_mix() {
    on_each_runtime(|| {
        let log = Log::new();
        let threads: Vec<_> = (0..50)
            .map(|n| {
                let log = log.clone();
                spawn(move || {
                    // Each unwinds in several steps, with all the others between.
                    let _outer = OnDrop(|| {
                        (0..n % 7).for_each(|_| yield_now());
                        log.note("outer");
                    });
                    let _inner = OnDrop(|| sleep(Duration::from_micros(n * 10)));
                    yield_now();
                    panic!("{EXPECTED} {n}");
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            let payload = thread.join().unwrap_err();
            assert_eq!(panic_text(&*payload), format!("{EXPECTED} {n}"));
        }
        assert_eq!(log.len(), 50);
        // All of them have been caught: no worker believes that it panics.
        let sees: Vec<_> = (0..50).map(|_| spawn(std::thread::panicking)).collect();
        assert!(sees.into_iter().all(|thread| !thread.join().unwrap()));
    });
}

/// Runs `test` while a sibling on the same worker waits in a destructor, unwinding.
fn beside_one_that_unwinds(test: impl Fn() + Send + Sync + 'static) {
    on_one_worker(move || {
        let unwinding = spawn(|| {
            let _waits = OnDrop(park);
            panic!("{EXPECTED}");
        });
        yield_now();
        test();
        unwinding.thread().unpark();
        assert!(unwinding.join().is_err());
        assert!(!std::thread::panicking());
    });
}

#[test]
fn a_sibling_may_panic_and_be_joined_while_another_unwinds() {
    beside_one_that_unwinds(|| {
        let panics = spawn(|| {
            yield_now();
            panic!("{EXPECTED} too");
        });
        assert_eq!(
            panic_text(&*panics.join().unwrap_err()),
            format!("{EXPECTED} too")
        );
        let catches = spawn(|| catch_unwind(|| panic!("{EXPECTED}")).is_err());
        assert!(catches.join().unwrap());
        // Nested: one begins to unwind, and waits, while another does.
        let nested = spawn(|| {
            let _waits = OnDrop(|| sleep(Duration::from_millis(1)));
            panic!("{EXPECTED}");
        });
        assert!(nested.join().is_err());
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn a_lock_of_std_may_be_poisoned_meanwhile_and_its_data_is_right() {
    beside_one_that_unwinds(|| {
        // On thread-locals that a worker's threads share, a sibling may believe that it panics; then
        // a lock of std that it holds is poisoned. Its data is what it should be.
        let lock = Arc::new(Mutex::new(0));
        let worker = {
            let lock = Arc::clone(&lock);
            spawn(move || *lock.lock().unwrap() += 1)
        };
        worker.join().unwrap();
        assert_eq!(
            *lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()),
            1
        );
    });
}

/// How long siblings may be deaf to cancels and limits after the one that unwinds has gone on.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn who_began_to_wait_while_a_sibling_unwinds_can_be_cancelled_when_it_has_gone_on() {
    on_one_worker(|| {
        let unwinding = spawn(|| {
            let _waits = OnDrop(park);
            panic!("{EXPECTED}");
        });
        yield_now();
        let (near, _far) = Stream::pair();
        let waiting = [
            spawn(|| sleep(HOUR)),
            spawn(|| drop(spawn(|| sleep(HOUR)).join())),
            spawn(move || drop(near.read_byte())),
            spawn(|| drop(timeout(2 * HOUR, || sleep(HOUR)))),
        ];
        let limited = spawn(|| timeout(Duration::from_millis(1), || sleep(HOUR)));
        let limited_join = spawn(|| {
            timeout(Duration::from_millis(1), || {
                drop(spawn(|| sleep(HOUR)).join())
            })
        });
        yield_now();
        // Asked before it has gone on, or after: both are heard.
        cancel(waiting[0].thread());
        cancel(waiting[1].thread());
        (0..5).for_each(|_| yield_now());
        unwinding.thread().unpark();
        assert!(unwinding.join().is_err());
        let started = Instant::now();
        cancel(waiting[2].thread());
        cancel(waiting[3].thread());
        for thread in waiting {
            assert!(thread.join().unwrap_err().is::<Cancelled>());
        }
        assert!(limited.join().unwrap().is_err());
        assert!(limited_join.join().unwrap().is_err());
        assert!(started.elapsed() < SOON);
    });
}

#[test]
fn deafness_ends_with_the_last_of_many_that_unwind() {
    limited(|| {
        for n_workers in [1, 2] {
            let runtime = runtime(n_workers);
            with_seeds(20, |random| {
                let mut random = random.fork();
                runtime.run(move || {
                    let unwinding: Vec<_> = (0..10)
                        .map(|_| {
                            let time = Duration::from_micros(random.below(2000));
                            spawn(move || {
                                let _waits = OnDrop(|| sleep(time));
                                panic!("{EXPECTED}");
                            })
                        })
                        .collect();
                    let waiting: Vec<_> = (0..40)
                        .map(|n| {
                            let mut own = random.fork();
                            spawn(move || {
                                sleep(Duration::from_micros(own.below(1500)));
                                match n % 3 {
                                    0 => drop(timeout(Duration::from_micros(500), || sleep(HOUR))),
                                    1 => sleep(HOUR),
                                    _ => drop(spawn(|| sleep(HOUR)).join()),
                                }
                            })
                        })
                        .collect();
                    for thread in unwinding {
                        assert!(thread.join().is_err());
                    }
                    for (n, thread) in waiting.into_iter().enumerate() {
                        if n % 3 > 0 {
                            if random.below(2) == 0 {
                                sleep(Duration::from_micros(random.below(1000)));
                            }
                            cancel(thread.thread());
                            assert!(thread.join().unwrap_err().is::<Cancelled>());
                        } else {
                            thread.join().unwrap();
                        }
                    }
                });
            });
        }
    });
}

#[test]
fn a_panic_in_a_closure_that_a_destructor_catches_is_the_destructors() {
    on_each_runtime(|| {
        let thread = spawn(|| {
            let _catches = OnDrop(|| {
                assert!(catch_unwind(|| panic!("{EXPECTED}")).is_err());
                let inner = spawn(|| panic!("{EXPECTED}"));
                assert!(inner.join().is_err());
            });
            sleep(HOUR);
        });
        yield_now();
        cancel(thread.thread());
        assert!(thread.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_panic_goes_through_everything_between() {
    on_each_runtime(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            timeout(HOUR, || {
                greenrt::shield(|| {
                    greenrt::scope(|s| {
                        s.spawn(yield_now);
                        panic!("{EXPECTED}");
                    })
                })
            })
        }));
        assert_eq!(panic_text(&*caught.unwrap_err()), EXPECTED);
        // Nothing of it is left behind.
        assert!(timeout(Duration::from_millis(1), || sleep(HOUR)).is_err());
    });
}

#[test]
fn many_threads_panic_at_once_on_all_workers() {
    limited(|| {
        let runtime = runtime(4);
        let threads: Vec<_> = (0..2000)
            .map(|n| {
                runtime.spawn(move || {
                    if n % 5 == 0 {
                        yield_now();
                    }
                    panic!("{EXPECTED} {n}");
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(
                panic_text(&*thread.join().unwrap_err()),
                format!("{EXPECTED} {n}")
            );
        }
    });
}

#[test]
fn the_panic_hook_prints_which_green_thread_it_was() {
    let test = "panics::the_panic_hook_prints_which_green_thread_it_was";
    let died = Child::new(test).run(|| {
        greenrt::panic_hook();
        greenrt::run(|| {
            let named = Builder::new()
                .name("acceptor".into())
                .spawn(|| panic!("no more"));
            assert!(named.unwrap().join().is_err());
            assert!(spawn(|| panic!("nor this")).join().is_err());
        });
        // An OS thread's is as ever.
        assert!(
            std::thread::spawn(|| panic!("of an OS thread"))
                .join()
                .is_err()
        );
    });
    died.expect_success();
    let text = &died.stderr;
    assert!(text.contains("thread 'acceptor' (green thread "), "{text}");
    assert!(text.contains("spawned at tests/it/panics.rs:"), "{text}");
    assert!(text.contains(") panicked at tests/it/panics.rs:"), "{text}");
    assert!(text.contains(":\nno more\n"), "{text}");
    assert!(text.contains("thread '<unnamed>' (green thread "), "{text}");
    assert!(text.contains(":\nnor this\n"), "{text}");
    assert!(text.contains(":\nof an OS thread\n"), "{text}");
    assert_eq!(text.matches("green thread ").count(), 2, "{text}");
    assert!(text.contains("note: run with `RUST_BACKTRACE=1`"), "{text}");
}

#[test]
fn the_panic_hook_prints_a_backtrace_if_asked_to() {
    let test = "panics::the_panic_hook_prints_a_backtrace_if_asked_to";
    let died = Child::new(test).env("RUST_BACKTRACE", "1").run(|| {
        greenrt::panic_hook();
        greenrt::run(|| assert!(spawn(|| panic!("no more")).join().is_err()));
    });
    died.expect_success();
    assert!(
        died.stderr.contains("stack backtrace:\n"),
        "{}",
        died.stderr
    );
    assert!(
        died.stderr.contains("panics::the_panic_hook"),
        "{}",
        died.stderr
    );
}

#[test]
fn a_worker_lives_on_after_thousands_of_panics() {
    on_each_runtime(|| {
        for _ in 0..2000 {
            assert!(spawn(|| panic!("{EXPECTED}")).join().is_err());
        }
        wait_until(|| spawn(|| true).join().unwrap());
    });
}
