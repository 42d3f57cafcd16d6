//! Cancellation: where it acts, what runs then, and what it leaves usable.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::lowlevel::{Io, cancel};
use greenrt::{
    Cancelled, JoinHandle, ManualClock, current, park, park_timeout, scope, shield, sleep, spawn,
    yield_now,
};

use super::support::{
    Child, EXPECTED, HOUR, Log, OnDrop, Random, Stream, limited, on_each_runtime, on_manual_clock,
    on_manual_clocks, on_one_worker, runtime, spin_until, until_it_waits, wait_until, with_seeds,
};

/// Cancels a thread when it waits, and checks that it ended by that.
fn cancelled<T>(thread: JoinHandle<T>) {
    until_it_waits(thread.thread());
    cancel(thread.thread());
    match thread.join() {
        Ok(_) => panic!("ended as if nobody had cancelled it"),
        Err(payload) => assert!(payload.is::<Cancelled>()),
    }
}

#[test]
fn a_cancelled_thread_unwinds_from_where_it_waits() {
    on_each_runtime(|| {
        cancelled(spawn(|| sleep(HOUR)));
        cancelled(spawn(|| sleep(Duration::MAX)));
        cancelled(spawn(|| spawn(|| sleep(HOUR)).join()));
        let (near, _far) = Stream::pair();
        cancelled(spawn(move || near.read_byte()));
        let (near, _far) = Stream::pair();
        cancelled(spawn(move || near.read_timeout(&mut [0], Some(HOUR))));
        let (near, _far) = Stream::pair();
        cancelled(spawn(move || {
            loop {
                near.write(&[0; 4096]).unwrap();
            }
        }));
        cancelled(greenrt::spawn_after(HOUR, || ()));
        cancelled(spawn(|| {
            scope(|s| {
                s.spawn(|| sleep(HOUR));
            });
        }));
    });
}

#[test]
fn a_running_thread_meets_the_cancel_at_its_next_point() {
    on_each_runtime(|| {
        let log = Log::new();
        let thread = {
            let log = log.clone();
            spawn(move || {
                let me = current();
                cancel(&me);
                log.note("runs on");
                yield_now();
                log.note("yields");
                sleep(Duration::ZERO);
                log.note("sleeps");
            })
        };
        assert!(thread.join().unwrap_err().is::<Cancelled>());
        assert_eq!(log.text(), "runs on yields");
    });
}

#[test]
fn every_point_is_one_for_a_thread_that_was_cancelled_before() {
    on_each_runtime(|| {
        fn meets_it(what: &'static str, act: impl FnOnce() + Send + 'static) {
            let thread = spawn(move || {
                cancel(&current());
                act();
                what
            });
            match thread.join() {
                Ok(what) => panic!("{what} is no point"),
                Err(payload) => assert!(payload.is::<Cancelled>()),
            }
        }
        meets_it("an empty sleep", || sleep(Duration::ZERO));
        meets_it("a sleep until now", || {
            greenrt::sleep_until(std::time::Instant::now())
        });
        meets_it("a join", || {
            let waits = spawn(|| sleep(HOUR));
            let thread = waits.thread().clone();
            let _ends = OnDrop(move || cancel(&thread));
            drop(waits.join());
        });
        meets_it("a read that would not wait", || {
            let (near, far) = Stream::pair();
            shield(|| far.write_byte(1));
            near.read_byte();
        });
        meets_it("a write that would not wait", || {
            let (near, _far) = Stream::pair();
            near.write_byte(1);
        });
    });
}

#[test]
fn a_thread_that_returns_before_its_next_point_returns_its_value() {
    on_each_runtime(|| {
        let thread = spawn(|| {
            cancel(&current());
            yield_now();
            7
        });
        assert_eq!(thread.join().unwrap(), 7);
    });
}

#[test]
fn cancelling_twice_or_too_late_or_an_os_thread_does_nothing() {
    limited(|| {
        cancel(&current());
        sleep(Duration::from_micros(1));
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
    });
    on_each_runtime(|| {
        let thread = spawn(|| sleep(HOUR));
        let handle = thread.thread().clone();
        yield_now();
        (0..10).for_each(|_| cancel(&handle));
        assert!(thread.join().is_err());
        (0..10).for_each(|_| cancel(&handle));
        let ended = spawn(|| 7);
        wait_until(|| ended.is_finished());
        cancel(ended.thread());
        assert_eq!(ended.join().unwrap(), 7);
        // Whoever gets its memory next is not affected.
        for _ in 0..100 {
            spawn(|| sleep(Duration::ZERO)).join().unwrap();
        }
    });
}

#[test]
fn a_swallowed_cancel_comes_back_at_the_next_point() {
    on_each_runtime(|| {
        let n_swallowed = Arc::new(AtomicUsize::new(0));
        let thread = {
            let n_swallowed = Arc::clone(&n_swallowed);
            spawn(move || {
                for _ in 0..10 {
                    let payload = catch_unwind(|| sleep(HOUR)).unwrap_err();
                    assert!(payload.is::<Cancelled>());
                    n_swallowed.fetch_add(1, Relaxed);
                }
                sleep(HOUR);
            })
        };
        cancelled(thread);
        assert_eq!(n_swallowed.load(Relaxed), 10);
    });
}

#[test]
fn a_thread_that_swallows_every_cancel_does_not_starve_its_siblings() {
    on_one_worker(|| {
        let thread = spawn(|| {
            for _ in 0..1_000_000 {
                let _swallowed = catch_unwind(|| sleep(HOUR));
            }
            false
        });
        yield_now();
        cancel(thread.thread());
        yield_now();
        // We run again long before it has swallowed them all.
        assert!(!thread.is_finished());
    });
}

#[test]
fn destructors_run_from_the_inside_out() {
    on_each_runtime(|| {
        let log = Log::new();
        let thread = {
            let log = log.clone();
            spawn(move || {
                let _outer = log.on_drop("outer");
                let inner = || {
                    let _first = log.on_drop("first");
                    let _second = log.on_drop("second");
                    sleep(HOUR);
                };
                inner();
            })
        };
        cancelled(thread);
        assert_eq!(log.text(), "second first outer");
    });
}

#[test]
fn destructors_may_wait_while_their_thread_unwinds() {
    on_manual_clocks(|clock| {
        let log = Log::new();
        let thread = {
            let (log, clock) = (log.clone(), clock.clone());
            spawn(move || {
                let _slow = OnDrop(|| {
                    let start = clock.now();
                    sleep(HOUR);
                    assert_eq!(clock.now() - start, HOUR);
                    let child = spawn(|| {
                        sleep(HOUR);
                        7
                    });
                    assert_eq!(child.join().unwrap(), 7);
                    assert_eq!(clock.now() - start, 2 * HOUR);
                    scope(|s| {
                        s.spawn(|| sleep(HOUR));
                    });
                    park_timeout(HOUR);
                    yield_now();
                    assert_eq!(clock.now() - start, 4 * HOUR);
                    log.note("all of it");
                });
                sleep(HOUR);
            })
        };
        cancelled(thread);
        assert_eq!(log.text(), "all of it");
    });
}

#[test]
fn destructors_may_read_and_write_while_their_thread_unwinds() {
    on_each_runtime(|| {
        let (near, far) = Stream::pair();
        let thread = spawn(move || {
            let _farewell = OnDrop(|| {
                near.write_byte(1);
                assert_eq!(near.read_byte(), 2);
                near.write_byte(3);
            });
            sleep(HOUR);
        });
        let peer = spawn(move || {
            assert_eq!(far.read_byte(), 1);
            sleep(Duration::from_millis(1));
            far.write_byte(2);
            assert_eq!(far.read_byte(), 3);
        });
        cancelled(thread);
        peer.join().unwrap();
    });
}

/// What `act` returns when it is called by a destructor of a cancelled thread, and how long it
/// took.
fn while_unwinding<T: Send + 'static>(
    clock: &ManualClock,
    act: impl FnOnce() -> T + Send + 'static,
) -> (T, Duration) {
    let (send, receive) = std::sync::mpsc::channel();
    let clock = clock.clone();
    let mut act = Some(act);
    cancelled(spawn(move || {
        let _in_drop = OnDrop(move || {
            let start = clock.now();
            let result = act.take().unwrap()();
            send.send((result, clock.now() - start)).unwrap();
        });
        sleep(HOUR);
    }));
    receive.recv().unwrap()
}

#[test]
fn io_of_a_thread_that_unwinds_fails_after_a_second() {
    on_manual_clocks(|clock| {
        let (near, _far) = Stream::pair();
        let (result, took) = while_unwinding(clock, move || near.read(&mut [0]));
        let error = result.unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(125),
            "{error}, which is not ECANCELED"
        );
        assert_eq!(took, Duration::from_secs(1));
        // A timeout of its own that is shorter acts first.
        let (near, _far) = Stream::pair();
        let tenth = Duration::from_millis(100);
        let (result, took) =
            while_unwinding(clock, move || near.read_timeout(&mut [0], Some(tenth)));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(took, tenth);
    });
}

#[test]
fn the_second_is_for_all_io_of_a_thread_that_unwinds_together() {
    limited(|| {
        on_manual_clock(1, |clock| {
            let (near, far) = Stream::pair();
            let trickle = spawn(move || {
                for n in 0..100 {
                    sleep(Duration::from_millis(300));
                    if far.write(&[n]).is_err() {
                        break;
                    }
                }
            });
            let (n_read, took) = while_unwinding(clock, move || {
                (0..100).take_while(|_| near.read(&mut [0]).is_ok()).count()
            });
            assert!(
                took <= Duration::from_secs(1),
                "read {n_read} times in {took:?}"
            );
            trickle.join().unwrap();
        });
    });
}

#[test]
fn the_payload_says_what_it_is() {
    on_each_runtime(|| {
        let thread = spawn(|| sleep(HOUR));
        cancel(thread.thread());
        let payload = thread.join().unwrap_err().downcast::<Cancelled>().unwrap();
        assert_eq!(payload.to_string(), "green thread was cancelled");
        assert_eq!(format!("{payload:?}"), "Cancelled");
        let _error: &dyn std::error::Error = &*payload;
    });
}

#[test]
fn a_cancel_prints_nothing() {
    let died = Child::new("cancel::a_cancel_prints_nothing").run(|| {
        greenrt::panic_hook();
        greenrt::run(|| {
            cancelled(spawn(|| sleep(HOUR)));
            let _left = spawn(|| sleep(HOUR));
            yield_now();
        });
    });
    died.expect_success();
    assert_eq!(died.stderr, "");
}

#[test]
fn park_yield_and_the_end_of_a_scope_are_no_points() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let thread = {
            let clock = clock.clone();
            spawn(move || {
                cancel(&current());
                yield_now();
                current().unpark();
                park();
                park_timeout(HOUR);
                scope(|s| {
                    s.spawn(|| shield(|| sleep(HOUR)));
                });
                let waits = spawn(|| sleep(HOUR));
                waits.join_uncancelled().unwrap();
                clock.now() - start
            })
        };
        assert_eq!(thread.join().unwrap(), 3 * HOUR);
    });
}

#[test]
fn cancelling_who_joins_leaves_who_is_joined_alone() {
    on_each_runtime(|| {
        let log = Log::new();
        let worker = {
            let log = log.clone();
            spawn(move || {
                park();
                log.note("done");
            })
        };
        let thread = worker.thread().clone();
        cancelled(spawn(move || worker.join()));
        assert_eq!(log.text(), "");
        thread.unpark();
        wait_until(|| log.text() == "done");
    });
}

#[test]
fn a_shield_holds_a_cancel_back_until_its_end() {
    on_manual_clocks(|clock| {
        let (start, log) = (clock.now(), Log::new());
        let thread = {
            let log = log.clone();
            spawn(move || {
                shield(|| {
                    sleep(HOUR);
                    shield(|| sleep(HOUR));
                    sleep(HOUR);
                    log.note("slept");
                });
                log.note("still here");
                sleep(HOUR);
                log.note("not here");
            })
        };
        cancelled(thread);
        assert_eq!(log.text(), "slept still here");
        assert_eq!(clock.now() - start, 3 * HOUR);
    });
}

#[test]
fn a_shield_ends_when_a_panic_leaves_it() {
    on_each_runtime(|| {
        let thread = spawn(|| {
            let panicked = catch_unwind(|| shield(|| panic!("{EXPECTED}")));
            assert!(panicked.is_err());
            sleep(HOUR);
        });
        cancelled(thread);
    });
}

#[test]
fn a_cancelled_reader_takes_nothing_with_it() {
    on_each_runtime(|| {
        for _ in 0..50 {
            let (near, far) = Stream::pair();
            let near = Arc::new(near);
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let near = Arc::clone(&near);
                    spawn(move || near.read_byte())
                })
                .collect();
            readers
                .iter()
                .for_each(|reader| until_it_waits(reader.thread()));
            let mut readers = readers.into_iter();
            cancel(readers.next().unwrap().thread());
            far.write_byte(1);
            cancel(readers.next().unwrap().thread());
            far.write_byte(2);
            // Each byte finds a reader that was not cancelled, unless one was quicker.
            let n_left = readers.len();
            wait_until(|| {
                readers
                    .as_slice()
                    .iter()
                    .filter(|r| r.is_finished())
                    .count()
                    > 0
                    || n_left == 0
            });
            drop(
                (0..n_left)
                    .map(|n| far.write_byte(n as u8))
                    .collect::<Vec<_>>(),
            );
            for reader in readers {
                reader.join().unwrap();
            }
        }
    });
}

/// Cancels a thread at about the moment when `wait` ends by itself. Both ways to end are right,
/// and each must be whole. Returns how often it was the cancel.
fn races(random: &mut Random, n: usize, wait: fn(&mut Random)) -> usize {
    let mut n_cancelled = 0;
    for _ in 0..n {
        let (mut own, log) = (random.fork(), Log::new());
        let thread = {
            let log = log.clone();
            spawn(move || {
                let _dropped = log.on_drop("dropped");
                wait(&mut own);
                7
            })
        };
        match random.below(4) {
            0 => {}
            1 => yield_now(),
            2 => random.dawdle(20_000),
            _ => sleep(Duration::from_micros(random.below(30))),
        }
        cancel(thread.thread());
        match thread.join() {
            Ok(value) => assert_eq!(value, 7),
            Err(payload) => {
                assert!(payload.is::<Cancelled>());
                n_cancelled += 1;
            }
        }
        assert!(log.text() == "dropped" || log.text().is_empty());
    }
    n_cancelled
}

#[test]
fn a_cancel_and_the_end_of_a_wait_may_come_at_the_same_moment() {
    fn sleeps(random: &mut Random) {
        sleep(Duration::from_nanos(random.below(20_000)));
    }
    fn joins(random: &mut Random) {
        let mut own = random.fork();
        let child = spawn(move || {
            own.dawdle(5000);
            if own.below(2) == 0 {
                yield_now();
            }
            vec![1; 10]
        });
        assert_eq!(child.join().unwrap(), vec![1; 10]);
    }
    fn reads(random: &mut Random) {
        let (near, far) = Stream::pair();
        let mut own = random.fork();
        let writer = spawn(move || {
            own.dawdle(3000);
            far.write_byte(7);
            far
        });
        assert_eq!(near.read_byte(), 7);
        drop(writer);
    }
    fn parks(random: &mut Random) {
        let me = current();
        let mut own = random.fork();
        let waker = spawn(move || {
            own.dawdle(2000);
            me.unpark();
        });
        park();
        drop(waker);
        sleep(Duration::ZERO);
    }
    fn ends_a_scope(random: &mut Random) {
        let mut sums = [0; 3];
        let mut own = random.fork();
        scope(|s| {
            for (n, sum) in sums.iter_mut().enumerate() {
                let mut own = own.fork();
                s.spawn(move || {
                    own.dawdle(1000);
                    sleep(Duration::from_nanos(own.below(5000)));
                    *sum = n + 1;
                });
            }
        });
        assert_eq!(sums, [1, 2, 3]);
    }
    fn times_out(random: &mut Random) {
        let limit = Duration::from_nanos(random.below(20_000));
        let time = Duration::from_nanos(random.below(20_000));
        let _either = greenrt::timeout(limit, || sleep(time));
    }
    fn shields(random: &mut Random) {
        shield(|| sleep(Duration::from_nanos(random.below(10_000))));
        sleep(Duration::ZERO);
    }
    limited(|| {
        let waits: [(&str, fn(&mut Random)); 7] = [
            ("sleep", sleeps),
            ("join", joins),
            ("read", reads),
            ("park", parks),
            ("scope", ends_a_scope),
            ("timeout", times_out),
            ("shield", shields),
        ];
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            for (what, wait) in waits {
                with_seeds(3, |random| {
                    let mut random = random.fork();
                    let n_cancelled = runtime.run(move || races(&mut random, 500, wait));
                    assert!(n_cancelled > 0, "{what} was never cancelled");
                });
            }
        }
    });
}

/// Many threads wait for each other in all ways while a reaper cancels any of them.
#[test]
fn a_storm_of_cancels_leaves_nothing_hanging() {
    fn live(random: &mut Random) {
        for _ in 0..20 {
            match random.below(7) {
                0 => sleep(Duration::from_micros(random.below(200))),
                1 => drop(spawn(yield_now).join()),
                2 => {
                    let (near, far) = Stream::pair();
                    let writer = spawn(move || far.write(&[1]));
                    assert_eq!(near.read_byte(), 1);
                    drop(writer.join());
                }
                3 => scope(|s| {
                    s.spawn(|| sleep(Duration::from_micros(20)));
                    s.spawn(yield_now);
                }),
                4 => drop(greenrt::timeout(Duration::from_micros(50), || sleep(HOUR))),
                5 => shield(|| sleep(Duration::from_micros(20))),
                _ => {
                    let _in_drop = OnDrop(|| {
                        let _may_meet_it = catch_unwind(|| sleep(Duration::from_micros(20)));
                    });
                    yield_now();
                }
            }
        }
    }
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(5, |random| {
                let mut random = random.fork();
                runtime.run(move || {
                    let threads: Vec<_> = (0..100)
                        .map(|_| {
                            let mut own = random.fork();
                            spawn(move || live(&mut own))
                        })
                        .collect();
                    for _ in 0..60 {
                        cancel(threads[random.below(100) as usize].thread());
                        sleep(Duration::from_micros(random.below(200)));
                    }
                    for thread in threads {
                        if let Err(payload) = thread.join() {
                            assert!(payload.is::<Cancelled>());
                        }
                    }
                });
                wait_until(|| runtime.n_threads() == 0);
            });
        }
    });
}

#[test]
fn a_cancelled_thread_that_computes_is_not_interrupted() {
    on_each_runtime(|| {
        let thread = spawn(|| {
            let mut n = 0;
            spin_until(|| {
                n += 1;
                n == 100_000
            });
            n
        });
        cancel(thread.thread());
        match thread.join() {
            Ok(n) => assert_eq!(n, 100_000),
            // It had not started.
            Err(payload) => assert!(payload.is::<Cancelled>()),
        }
        let caught = catch_unwind(AssertUnwindSafe(|| sleep(Duration::ZERO)));
        assert!(
            caught.is_ok(),
            "the one that cancelled is not cancelled itself"
        );
    });
}

#[test]
fn a_reader_whose_operation_panics_leaves_the_rest_to_the_others() {
    on_each_runtime(|| {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let near = Arc::new(Io::new(near));
        let panics = {
            let near = Arc::clone(&near);
            spawn(move || {
                let mut n_calls = 0;
                near.read_with(None, |mut socket| {
                    n_calls += 1;
                    match n_calls {
                        1 => socket.read(&mut [0]),
                        _ => panic!("{EXPECTED}"),
                    }
                })
            })
        };
        until_it_waits(panics.thread());
        let reads = spawn(move || near.read_with(None, |mut socket| socket.read(&mut [0])));
        until_it_waits(reads.thread());
        (&far).write_all(&[1]).unwrap();
        // Whoever was woken, one of them reads it, and the other one's panic is its own.
        assert_eq!(reads.join().unwrap().unwrap(), 1);
        drop(far);
        let _either = panics.join();
    });
}
