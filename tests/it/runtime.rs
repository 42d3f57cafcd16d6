//! Runtimes: how they start, what they cost, how they end.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use greenrt::lowlevel::cancel;
use greenrt::{Builder, Cancelled, Runtime, park, run, scope, shield, sleep, spawn, yield_now};
use greenrt_arch::usage::usage;

use super::support::{
    Child, EXPECTED, HOUR, Log, OnDrop, Stream, limited, on_one_worker, on_os_thread, os_sleep,
    panic_of, runtime, wait_until, with_seeds,
};

#[test]
fn run_returns_the_value_of_its_closure_which_may_borrow() {
    limited(|| {
        let mut text = String::from("a");
        let n = run(|| {
            text.push('b');
            yield_now();
            text.push('c');
            text.len()
        });
        assert_eq!((n, text.as_str()), (3, "abc"));
        // Neither closure nor value need be `Send`.
        let shared = std::rc::Rc::new(7);
        let copy = run(|| std::rc::Rc::clone(&shared));
        assert_eq!(std::rc::Rc::strong_count(&copy), 2);
        let borrowed: &str = run(|| text.as_str());
        assert_eq!(borrowed, "abc");
    });
}

#[test]
fn run_panics_as_its_closure_does_after_the_others_have_ended() {
    limited(|| {
        let log = Log::new();
        let text = panic_of(|| {
            run(|| {
                let log = log.clone();
                drop(spawn(move || {
                    let _noted = log.on_drop("left over");
                    sleep(HOUR);
                }));
                yield_now();
                panic!("{EXPECTED}");
            })
        });
        assert_eq!((text.as_str(), &*log.text()), (EXPECTED, "left over"));
        let payload = std::panic::catch_unwind(|| run(|| resume_unwind(Box::new(7u8))));
        assert_eq!(*payload.unwrap_err().downcast::<u8>().unwrap(), 7);
        let text = panic_of(|| runtime(2).run(|| panic!("{EXPECTED}")));
        assert_eq!(text, EXPECTED);
    });
}

#[test]
fn run_inside_a_runtime_panics() {
    let message = "greenrt::run called from a green thread, whose worker runs already";
    limited(|| {
        assert_eq!(run(|| panic_of(|| run(|| ()))), message);
        assert_eq!(runtime(2).run(move || panic_of(|| run(|| ()))), message);
        assert_eq!(
            spawn(move || panic_of(|| run(|| ()))).join().unwrap(),
            message
        );
        // After it, and on another OS thread meanwhile, it may.
        assert_eq!(run(|| on_os_thread(|| run(|| 7))), 7);
        assert_eq!(run(|| 7), 7);
    });
}

#[test]
fn runtimes_may_be_used_from_each_other() {
    limited(|| {
        let (a, b) = (Arc::new(runtime(1)), Arc::new(runtime(2)));
        let sum = a.run({
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            move || {
                let inner = b.run(move || a.spawn(|| 30).join().unwrap() + 4);
                inner + b.spawn(|| spawn(|| 8).join().unwrap()).join().unwrap()
            }
        });
        assert_eq!(sum, 42);
        assert_eq!((a.n_workers(), b.n_workers()), (1, 2));
        wait_until(|| a.n_threads() == 0 && b.n_threads() == 0);
    });
}

#[test]
fn a_runtime_counts_its_threads() {
    limited(|| {
        let runtime = runtime(2);
        assert_eq!(runtime.n_threads(), 0);
        let threads: Vec<_> = (0..100).map(|_| runtime.spawn(park)).collect();
        assert_eq!(runtime.n_threads(), 100);
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        wait_until(|| runtime.n_threads() == 0);
        let text = format!("{runtime:?}");
        assert!(text.contains("n_workers: 2"), "{text}");
    });
}

#[test]
fn what_is_left_over_is_cancelled_when_run_ends() {
    limited(|| {
        let log = Log::new();
        run(|| {
            let note = |text: &str| log.on_drop(text);
            let (sleeping, joining, reading, fresh) = (
                note("sleeping"),
                note("joining"),
                note("reading"),
                note("fresh"),
            );
            drop(spawn(move || {
                let _noted = sleeping;
                sleep(HOUR);
            }));
            drop(spawn(move || {
                let _noted = joining;
                drop(spawn(|| sleep(HOUR)).join());
            }));
            drop(spawn(move || {
                let _noted = reading;
                let (near, _far) = Stream::pair();
                near.read_byte();
            }));
            (0..3).for_each(|_| yield_now());
            drop(spawn(move || {
                let _noted = fresh;
                sleep(HOUR);
            }));
            assert_eq!(log.text(), "");
        });
        let mut notes: Vec<String> = log.text().split(' ').map(String::from).collect();
        notes.sort();
        assert_eq!(notes, ["fresh", "joining", "reading", "sleeping"]);
    });
}

#[test]
fn what_is_left_over_is_cancelled_when_a_runtime_is_dropped() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let (runtime, log) = (runtime(n_workers), Log::new());
            let n_waiting = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..100)
                .map(|_| {
                    let (noted, n_waiting) = (log.on_drop("dropped"), Arc::clone(&n_waiting));
                    runtime.spawn(move || {
                        let _noted = noted;
                        n_waiting.fetch_add(1, Relaxed);
                        sleep(HOUR);
                    })
                })
                .collect();
            wait_until(|| n_waiting.load(Relaxed) == 100);
            drop(runtime);
            assert_eq!(log.len(), 100);
            for thread in threads {
                assert!(thread.is_finished());
                assert!(thread.join().unwrap_err().is::<Cancelled>());
            }
        }
    });
}

#[test]
fn destructors_of_left_over_threads_may_wait_and_spawn() {
    on_one_worker(|| {
        let log = Log::new();
        on_os_thread({
            let log = log.clone();
            move || {
                run(|| {
                    let log = log.clone();
                    drop(spawn(move || {
                        let _in_drop = OnDrop(|| {
                            sleep(Duration::from_millis(2));
                            let log = log.clone();
                            // It is cancelled from the start, and so are its own.
                            drop(spawn(move || log.note("not run")));
                            scope(|s| drop(s.spawn(|| sleep(HOUR)).join()));
                        });
                        let _noted = log.on_drop("waited");
                        sleep(HOUR);
                    }));
                    yield_now();
                });
            }
        });
        assert_eq!(log.text(), "waited");
    });
}

/// A runtime whose end must not be left to its timeout: whoever misses it, or its cancel, hangs.
fn unhurried(n_workers: usize) -> Runtime {
    Runtime::builder()
        .workers(n_workers)
        .shutdown_timeout(HOUR)
        .build()
        .unwrap()
}

#[test]
fn no_worker_sleeps_through_the_end_of_its_runtime() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            for n in 0..300 {
                let runtime = unhurried(n_workers);
                match n % 3 {
                    0 => {}
                    1 => runtime.run(|| ()),
                    _ => drop(runtime.spawn(|| sleep(HOUR))),
                }
            }
        }
    });
}

/// Threads start, spawn and wait while their runtime ends: each meets its cancel, wherever it is.
#[test]
fn no_thread_misses_the_end_of_its_runtime() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            with_seeds(150, |random| {
                let runtime = unhurried(n_workers);
                for _ in 0..n_workers * 2 {
                    let mut own = random.fork();
                    drop(runtime.spawn(move || {
                        loop {
                            let mut other = own.fork();
                            drop(spawn(move || match other.below(4) {
                                0 => drop(spawn(|| sleep(HOUR)).join()),
                                1 => scope(|s| drop(s.spawn(|| shield(yield_now)))),
                                2 => sleep(Duration::from_micros(other.below(100))),
                                _ => sleep(HOUR),
                            }));
                            match own.below(4) {
                                0 => yield_now(),
                                1 => sleep(Duration::from_micros(own.below(50))),
                                _ => own.dawdle(3000),
                            }
                            // The loop would never end of itself.
                            if own.below(8) == 0 {
                                sleep(Duration::ZERO);
                            }
                        }
                    }));
                }
                os_sleep(Duration::from_micros(random.below(500)));
            });
        }
    });
}

#[test]
fn a_runtime_may_be_dropped_by_a_green_thread_of_another() {
    limited(|| {
        for n_workers in [1, 2] {
            let log = Log::new();
            let inner = runtime(n_workers);
            let noted = log.on_drop("dropped");
            let left = inner.spawn(move || {
                let _noted = noted;
                sleep(HOUR);
            });
            runtime(1).run(move || drop(inner));
            assert!(left.join().unwrap_err().is::<Cancelled>());
            assert_eq!(log.text(), "dropped");
        }
    });
}

#[test]
fn siblings_run_while_a_green_thread_drops_a_runtime() {
    limited(|| {
        run(|| {
            let inner = unhurried(1);
            // It takes a while to end, and needs us for it.
            let me = greenrt::current();
            let left = inner.spawn(move || {
                shield(|| {
                    me.unpark();
                    park();
                })
            });
            park();
            let helper = left.thread().clone();
            drop(spawn(move || {
                sleep(Duration::from_millis(5));
                helper.unpark();
            }));
            drop(inner);
            assert!(left.is_finished(), "given up");
        });
    });
}

#[test]
fn a_runtime_may_be_dropped_by_one_of_its_own_threads() {
    let test = "runtime::a_runtime_may_be_dropped_by_one_of_its_own_threads";
    let died = Child::new(test).run(|| {
        let builder = Runtime::builder()
            .workers(2)
            .shutdown_timeout(Duration::from_millis(50));
        let runtime = Arc::new(builder.build().unwrap());
        let (send, receive) = std::sync::mpsc::channel();
        let own = Arc::clone(&runtime);
        drop(runtime.spawn(move || {
            while Arc::strong_count(&own) > 1 {
                yield_now();
            }
            drop(own);
            send.send(7).unwrap();
        }));
        drop(runtime);
        assert_eq!(receive.recv(), Ok(7));
        println!("alive");
    });
    died.expect_success();
    assert!(died.stdout.contains("alive"), "{died:?}");
}

/// Descriptors and mappings of the process, when it is down to `n_threads` OS threads.
fn holdings(n_threads: u64) -> (u64, u64) {
    wait_until(|| usage().unwrap().n_threads == n_threads);
    let usage = usage().unwrap();
    (usage.n_descriptors, usage.n_mappings)
}

#[test]
fn a_thousand_runs_leave_nothing_behind() {
    let died = Child::new("runtime::a_thousand_runs_leave_nothing_behind").run(|| {
        let once = || {
            run(|| {
                let threads: Vec<_> = (0..10).map(|_| spawn(yield_now)).collect();
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
                let (near, far) = Stream::pair();
                drop(spawn(move || far.write_byte(1)));
                near.read_byte();
                drop(spawn(|| sleep(HOUR)));
                yield_now();
            });
        };
        let n_threads = usage().unwrap().n_threads;
        (0..100).for_each(|_| once());
        let before = holdings(n_threads);
        (0..1000).for_each(|_| once());
        assert_eq!(holdings(n_threads), before, "descriptors and mappings");
    });
    died.expect_success();
}

#[test]
fn runtimes_that_are_dropped_leave_nothing_behind() {
    let died = Child::new("runtime::runtimes_that_are_dropped_leave_nothing_behind").run(|| {
        let once = || {
            let runtime = runtime(2);
            runtime.run(|| spawn(yield_now).join().unwrap());
            drop(runtime.spawn(|| sleep(HOUR)));
        };
        let n_threads = usage().unwrap().n_threads;
        (0..100).for_each(|_| once());
        let before = holdings(n_threads);
        (0..200).for_each(|_| once());
        let after = holdings(n_threads);
        assert_eq!(after.0, before.0, "descriptors");
        // The system's allocator keeps a few for each OS thread that lived at once.
        assert!(
            after.1 <= before.1 + 20,
            "mappings: {} and then {}",
            before.1,
            after.1
        );
    });
    died.expect_success();
}

#[test]
fn run_starts_no_os_thread() {
    let died = Child::new("runtime::run_starts_no_os_thread").run(|| {
        let n_threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = n_threads();
        run(|| {
            assert_eq!(n_threads(), before);
            let threads: Vec<_> = (0..100)
                .map(|_| spawn(|| sleep(Duration::from_millis(1))))
                .collect();
            let (near, far) = Stream::pair();
            drop(spawn(move || far.write_byte(1)));
            near.read_byte();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            assert_eq!(n_threads(), before);
        });
        assert_eq!(n_threads(), before);
    });
    died.expect_success();
}

#[test]
fn threads_that_ignore_the_end_are_leaked_with_a_report() {
    let test = "runtime::threads_that_ignore_the_end_are_leaked_with_a_report";
    let died = Child::new(test).run(|| {
        let builder = || {
            let builder = Runtime::builder().shutdown_timeout(Duration::from_millis(30));
            builder.workers(2).build().unwrap()
        };
        let (runtime, log) = (builder(), Log::new());
        let noted = log.on_drop("never");
        let ignores = move || {
            let _noted = noted;
            park();
            park();
        };
        let stubborn = Builder::new()
            .name("stubborn".into())
            .spawn_on(&runtime, ignores)
            .unwrap();
        let heeds = runtime.spawn(|| sleep(HOUR));
        stubborn.thread().unpark();
        wait_until(|| {
            greenrt::debug::dump()
                .to_string()
                .contains("\"stubborn\": park")
        });
        drop(runtime);
        assert!(heeds.join().unwrap_err().is::<Cancelled>());
        assert!(!stubborn.is_finished());
        assert_eq!(log.text(), "");
        // What others still do with it is harmless.
        stubborn.thread().unpark();
        cancel(stubborn.thread());
        assert!(greenrt::debug::dump().to_string().contains("stubborn"));
        drop(stubborn);
        // A worker that never comes back is left behind, too.
        let runtime = builder();
        let stuck = Arc::new(AtomicBool::new(false));
        drop(runtime.spawn({
            let stuck = Arc::clone(&stuck);
            move || {
                stuck.store(true, Relaxed);
                loop {
                    os_sleep(Duration::from_secs(1));
                }
            }
        }));
        wait_until(|| stuck.load(Relaxed));
        drop(runtime);
        println!("alive");
    });
    died.expect_success();
    assert!(died.stdout.contains("alive"), "{died:?}");
    let text = &died.stderr;
    assert_eq!(text.matches("they are leaked").count(), 2, "{text}");
    assert!(
        text.contains("ended with 1 green threads that did not end within 30ms"),
        "{text}"
    );
    assert!(
        text.contains("\"stubborn\": park, cancelled; spawned at tests/it/runtime.rs"),
        "{text}"
    );
}

#[test]
fn run_gives_up_on_threads_that_ignore_its_end() {
    let test = "runtime::run_gives_up_on_threads_that_ignore_its_end";
    let died = Child::new(test).run(|| {
        let parked = run(|| {
            let parked = spawn(park);
            yield_now();
            parked
        });
        assert!(!parked.is_finished());
        parked.thread().unpark();
        let swallows = run(|| {
            let swallows = spawn(|| {
                loop {
                    let _swallowed = std::panic::catch_unwind(|| sleep(HOUR));
                }
            });
            yield_now();
            swallows
        });
        assert!(!swallows.is_finished());
        assert_eq!(run(|| 7), 7);
        println!("alive");
    });
    died.expect_success();
    assert!(died.stdout.contains("alive"), "{died:?}");
    assert_eq!(
        died.stderr.matches("they are leaked").count(),
        2,
        "{}",
        died.stderr
    );
}

#[test]
fn a_detached_result_whose_destructor_waits_ends_with_its_runtime() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(Duration::from_millis(20));
        }
    }
    let test = "runtime::a_detached_result_whose_destructor_waits_ends_with_its_runtime";
    let died = Child::new(test).run(|| {
        run(|| {
            drop(spawn(|| Waits));
            yield_now();
        });
        let runtime = runtime(2);
        drop(runtime.spawn(|| Waits));
        yield_now();
        drop(runtime);
        println!("alive");
    });
    died.expect_success();
    assert!(died.stdout.contains("alive"), "{died:?}");
    assert_eq!(died.stderr, "");
}

#[test]
fn a_result_whose_destructor_waits_survives_a_cancel_and_a_limit() {
    struct Waits(Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let _count = OnDrop(|| drop(self.0.fetch_add(1, Relaxed)));
            sleep(Duration::from_millis(5));
        }
    }
    let test = "runtime::a_result_whose_destructor_waits_survives_a_cancel_and_a_limit";
    let died = Child::new(test).run(|| {
        run(|| {
            let n_dropped = Arc::new(AtomicUsize::new(0));
            let make = || {
                let n_dropped = Arc::clone(&n_dropped);
                spawn(move || Waits(n_dropped))
            };
            // Cancelled in the destructor, detached.
            let detached = make();
            let handle = detached.thread().clone();
            drop(detached);
            yield_now();
            cancel(&handle);
            wait_until(|| n_dropped.load(Relaxed) == 1);
            // A limit of who drops the handle passes in the destructor.
            let ended = make();
            yield_now();
            let _either = greenrt::timeout(Duration::from_millis(1), || drop(ended));
            wait_until(|| n_dropped.load(Relaxed) == 2);
            // A cancel of who drops the handle.
            let ended = make();
            yield_now();
            let dropper = spawn(move || drop(ended));
            yield_now();
            cancel(dropper.thread());
            let _either = dropper.join();
            wait_until(|| n_dropped.load(Relaxed) == 3);
            // A cancel that was swallowed before.
            let swallows = {
                let n_dropped = Arc::clone(&n_dropped);
                spawn(move || {
                    let _swallowed = std::panic::catch_unwind(|| sleep(HOUR));
                    Waits(n_dropped)
                })
            };
            let handle = swallows.thread().clone();
            drop(swallows);
            yield_now();
            cancel(&handle);
            wait_until(|| n_dropped.load(Relaxed) == 4);
        });
        println!("alive");
    });
    died.expect_success();
    assert!(died.stdout.contains("alive"), "{died:?}");
}

#[test]
fn the_process_ends_with_main_whatever_green_threads_do() {
    let test = "runtime::the_process_ends_with_main_whatever_green_threads_do";
    let died = Child::new(test).run(|| {
        for _ in 0..10 {
            drop(spawn(|| {
                let _never = OnDrop(|| println!("dropped"));
                sleep(HOUR);
            }));
            drop(spawn(|| {
                loop {
                    yield_now();
                }
            }));
        }
        os_sleep(Duration::from_millis(2));
        // The harness leaves by `exit`, as `main` does when it returns.
    });
    died.expect_success();
    assert!(!died.stdout.contains("dropped"), "{died:?}");
    assert_eq!(died.stderr, "");
}

#[test]
fn exit_from_a_green_thread_is_the_exit_of_the_process() {
    let test = "runtime::exit_from_a_green_thread_is_the_exit_of_the_process";
    let died = Child::new(test).run(|| {
        run(|| {
            drop(spawn(|| std::process::exit(7)));
            sleep(HOUR);
        });
    });
    assert_eq!(died.code, Some(7), "{died:?}");
}

#[test]
fn the_environment_says_how_many_workers_there_are() {
    for n_workers in ["1", "2", "3", " 5 "] {
        let test = "runtime::the_environment_says_how_many_workers_there_are";
        let died = Child::new(test).env("GREENRT_WORKERS", n_workers).run(|| {
            let expected: usize = std::env::var("GREENRT_WORKERS")
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            assert_eq!(Runtime::builder().build().unwrap().n_workers(), expected);
            assert_eq!(
                Runtime::builder().workers(4).build().unwrap().n_workers(),
                4
            );
            assert_eq!(
                Runtime::builder().workers(0).build().unwrap().n_workers(),
                1
            );
            // The global one: its workers are the only OS threads besides the harness's two.
            let last = Builder::new().worker(expected - 1).spawn(|| 7).unwrap();
            assert_eq!(last.join().unwrap(), 7);
            assert!(Builder::new().worker(expected).spawn(|| 7).is_err());
        });
        died.expect_success();
        assert_eq!(died.stderr, "");
    }
}

#[test]
fn without_the_environment_there_is_a_worker_for_each_cpu() {
    let test = "runtime::without_the_environment_there_is_a_worker_for_each_cpu";
    let died = Child::new(test).shell("unset GREENRT_WORKERS").run(|| {
        let n_cpus = std::thread::available_parallelism().unwrap().get();
        assert_eq!(Runtime::builder().build().unwrap().n_workers(), n_cpus);
    });
    died.expect_success();
}

#[test]
fn what_the_environment_says_wrongly_is_reported_and_ignored() {
    for name in ["GREENRT_WORKERS", "GREENRT_STACK_SIZE"] {
        for value in ["0", "-1", "many", "1.5", "", "99999999999999999999999"] {
            let test = "runtime::what_the_environment_says_wrongly_is_reported_and_ignored";
            let died = Child::new(test).env(name, value).run(|| {
                assert_eq!(spawn(|| 7).join().unwrap(), 7);
            });
            died.expect_success();
            let report = format!("greenrt: {name}={value:?} is not a number above zero; ignored");
            assert!(died.stderr.contains(&report), "{died:?}");
        }
    }
}

#[test]
fn a_stack_size_from_the_environment_is_used() {
    let test = "runtime::a_stack_size_from_the_environment_is_used";
    let died = Child::new(test)
        .env("GREENRT_STACK_SIZE", "1048576")
        .run(|| {
            fn use_stack(bytes: usize) -> usize {
                let frame = std::hint::black_box([1u8; 1024]);
                let below = if bytes > 4096 {
                    use_stack(bytes - 4096)
                } else {
                    0
                };
                below + usize::from(frame[bytes % 1024])
            }
            run(|| assert!(spawn(|| use_stack(700_000)).join().unwrap() > 0));
        });
    died.expect_success();
}

#[test]
fn a_stack_size_that_is_too_large_is_an_error_that_says_so() {
    limited(|| {
        let error = Runtime::builder().stack_size(1 << 30).build().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(
            error
                .to_string()
                .contains("is above the maximum of 8388608"),
            "{error}"
        );
    });
    let test = "runtime::a_stack_size_that_is_too_large_is_an_error_that_says_so";
    let died = Child::new(test)
        .env("GREENRT_STACK_SIZE", "1073741824")
        .run(|| {
            let text = panic_of(|| run(|| ()));
            assert!(text.contains("is above the maximum of 8388608"), "{text}");
        });
    died.expect_success();
}

#[test]
fn many_runtimes_work_at_once() {
    limited(|| {
        let runners: Vec<_> = (0..8)
            .map(|n| {
                std::thread::spawn(move || {
                    for _ in 0..30 {
                        let sum = run(|| {
                            let threads: Vec<_> = (0..20u64)
                                .map(|k| {
                                    spawn(move || {
                                        sleep(Duration::from_micros(k));
                                        k
                                    })
                                })
                                .collect();
                            threads
                                .into_iter()
                                .map(|thread| thread.join().unwrap())
                                .sum::<u64>()
                        });
                        assert_eq!(sum, 190);
                    }
                    n
                })
            })
            .collect();
        for (n, runner) in runners.into_iter().enumerate() {
            assert_eq!(runner.join().unwrap(), n);
        }
    });
}

#[test]
fn a_main_thread_that_is_cancelled_ends_its_run() {
    limited(|| {
        let ended = std::panic::catch_unwind(|| {
            run(|| {
                let main = greenrt::current();
                drop(spawn(move || cancel(&main)));
                sleep(HOUR);
            });
        });
        assert!(ended.unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_shutdown_timeout_may_be_endless() {
    limited(|| {
        let builder = Runtime::builder().workers(2);
        let runtime = builder.shutdown_timeout(Duration::MAX).build().unwrap();
        let started = Arc::new(AtomicBool::new(false));
        let slow = runtime.spawn({
            let started = Arc::clone(&started);
            move || {
                shield(|| {
                    started.store(true, Relaxed);
                    sleep(Duration::from_millis(20));
                })
            }
        });
        wait_until(|| started.load(Relaxed));
        drop(runtime);
        assert!(slow.is_finished(), "given up at once");
    });
}

#[test]
fn dropping_a_runtime_is_no_point() {
    limited(|| {
        run(|| {
            let slow_to_end = || {
                let runtime = unhurried(1);
                let main = greenrt::current();
                let slow = runtime.spawn(move || {
                    shield(|| {
                        main.unpark();
                        sleep(Duration::from_millis(20));
                    })
                });
                park();
                (runtime, slow)
            };
            let (runtime, slow) = slow_to_end();
            let result = greenrt::timeout(Duration::from_millis(1), || {
                drop(runtime);
                slow.is_finished()
            });
            assert_eq!(result, Ok(true));
            let dropper = spawn(move || {
                let (runtime, slow) = slow_to_end();
                cancel(&greenrt::current());
                drop(runtime);
                slow.is_finished()
            });
            assert!(dropper.join().unwrap());
        });
    });
}

#[test]
fn a_runtime_may_have_many_more_workers_than_cpus() {
    limited(|| {
        let runtime = unhurried(40);
        let threads: Vec<_> = (0..4000)
            .map(|n| {
                runtime.spawn(move || {
                    sleep(Duration::from_micros(n % 500));
                    spawn(yield_now).join().unwrap();
                    n
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), n as u64);
        }
    });
}

/// A process that is stopped and continued finds its system calls interrupted, which nobody asked
/// for.
#[test]
fn a_process_that_is_stopped_and_continued_notices_nothing() {
    let test = "runtime::a_process_that_is_stopped_and_continued_notices_nothing";
    let stops =
        "(for n in $(seq 60); do kill -STOP $$; sleep 0.003; kill -CONT $$; sleep 0.003; done) &";
    let died = Child::new(test).shell(stops).run(|| {
        let runtime = runtime(2);
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(400) {
            runtime.run(|| {
                let (near, far) = Stream::pair();
                let late = spawn(move || {
                    sleep(Duration::from_millis(2));
                    far.write_byte(7);
                });
                assert_eq!(near.read_byte(), 7);
                late.join().unwrap();
                let started = std::time::Instant::now();
                sleep(Duration::from_millis(2));
                assert!(started.elapsed() >= Duration::from_millis(2));
            });
            // And the waits of OS threads.
            let thread = runtime.spawn(|| sleep(Duration::from_millis(2)));
            thread.join().unwrap();
            let (near, far) = Stream::pair();
            let error = near
                .read_timeout(&mut [0], Some(Duration::from_millis(2)))
                .unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            drop(far);
        }
    });
    died.expect_success();
    assert_eq!(died.stderr, "");
}
