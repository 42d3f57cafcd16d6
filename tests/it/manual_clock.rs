//! A clock that jumps when every green thread waits.

use std::sync::Arc;
use std::time::Duration;

use greenrt::lowlevel::cancel;
use greenrt::{
    Clock, ManualClock, Runtime, park, park_timeout, sleep, sleep_until, spawn, spawn_after,
    timeout, yield_now,
};

use super::support::{
    HOUR, Log, OnDrop, Ring, Stream, limited, on_manual_clock, on_manual_clocks, on_os_thread,
    spawn_at, with_seeds,
};

#[test]
fn a_year_passes_at_once_and_exactly() {
    on_manual_clocks(|clock| {
        let before = clock.now();
        for _ in 0..365 {
            sleep(HOUR * 24);
        }
        assert_eq!(clock.now() - before, HOUR * 24 * 365);
    });
}

#[test]
fn time_stands_still_while_somebody_runs() {
    on_manual_clocks(|clock| {
        let before = clock.now();
        let sleeper = spawn(|| sleep(HOUR));
        for _ in 0..1000 {
            yield_now();
            spawn(yield_now).join().unwrap();
        }
        assert_eq!(clock.now(), before);
        sleeper.join().unwrap();
        assert_eq!(clock.now(), before + HOUR);
    });
}

#[test]
fn sleeps_end_in_the_exact_order_of_their_deadlines_on_all_workers() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            with_seeds(20, |random| {
                let mut random = random.fork();
                on_manual_clock(n_workers, move |clock| {
                    let (log, start, clock) = (Log::new(), clock.now(), clock.clone());
                    let sleepers: Vec<_> = (0..100)
                        .map(|_| {
                            let (log, clock) = (log.clone(), clock.clone());
                            // Distinct for all practical purposes.
                            let time = Duration::from_nanos(random.below(1 << 50));
                            spawn(move || {
                                sleep_until(start + time);
                                assert_eq!(clock.now() - start, time);
                                log.note(format!("{:016}", time.as_nanos()));
                            })
                        })
                        .collect();
                    sleepers
                        .into_iter()
                        .for_each(|sleeper| sleeper.join().unwrap());
                    assert!(log.text().split(' ').is_sorted(), "{}", log.text());
                });
            });
        }
    });
}

#[test]
fn a_hand_over_between_workers_takes_no_time() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            on_manual_clock(n_workers, move |clock| {
                let (ring, start) = (Ring::new(), clock.now());
                let players: Vec<_> = (0..4)
                    .map(|player| {
                        let (ring, clock) = (Arc::clone(&ring), clock.clone());
                        spawn_at(player % n_workers, move || {
                            for turn in (player..400).step_by(4) {
                                ring.wait_for(turn);
                                sleep(HOUR);
                                assert_eq!(clock.now() - start, HOUR * (turn as u32 + 1));
                                ring.pass_on();
                            }
                        })
                    })
                    .collect();
                ring.start(
                    players
                        .iter()
                        .map(|player| player.thread().clone())
                        .collect(),
                );
                players
                    .into_iter()
                    .for_each(|player| player.join().unwrap());
            });
        }
    });
}

#[test]
fn limits_pass_at_their_exact_time() {
    on_manual_clocks(|clock| {
        let limits: Vec<_> = (1..100)
            .map(|n| {
                let (clock, start) = (clock.clone(), clock.now());
                spawn(move || {
                    assert!(timeout(HOUR * n, park_for_ever).is_err());
                    assert_eq!(clock.now() - start, HOUR * n);
                })
            })
            .collect();
        limits.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn park_for_ever() {
    sleep(Duration::MAX);
}

#[test]
fn a_wait_that_ends_before_its_deadline_takes_no_time() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        for _ in 0..200 {
            let waiter = spawn(|| park_timeout(HOUR));
            let joiner = spawn(move || timeout(HOUR, || waiter.join().unwrap()));
            yield_now();
            let sleeper = spawn(|| sleep(HOUR));
            yield_now();
            cancel(sleeper.thread());
            assert!(sleeper.join().is_err());
            cancel(joiner.thread());
            assert!(joiner.join().is_err());
        }
        // The waiters are detached, and are still there.
        assert_eq!(clock.now(), start);
    });
}

#[test]
fn spawn_after_begins_at_its_exact_time() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let threads: Vec<_> = (1..50)
            .map(|n| {
                let clock = clock.clone();
                spawn_after(HOUR * n, move || assert_eq!(clock.now() - start, HOUR * n))
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_clock_that_is_advanced_fires_everything_due_in_its_order() {
    limited(|| {
        on_manual_clock(1, |clock| {
            let log = Log::new();
            let sleepers: Vec<_> = [3, 1, 2, 5, 4]
                .map(|n| {
                    let log = log.clone();
                    spawn(move || {
                        sleep(HOUR * n);
                        log.note(n.to_string());
                    })
                })
                .into();
            yield_now();
            clock.advance(HOUR * 3);
            // A worker looks at its timers after at most 256 switches.
            (0..300).for_each(|_| yield_now());
            assert_eq!(log.text(), "1 2 3");
            sleepers
                .into_iter()
                .for_each(|sleeper| sleeper.join().unwrap());
            assert_eq!(log.text(), "1 2 3 4 5");
        });
    });
}

#[test]
fn a_clock_does_not_overflow() {
    limited(|| {
        on_manual_clock(1, |clock| {
            clock.advance(Duration::MAX);
            let now = clock.now();
            clock.advance(Duration::MAX);
            sleep(Duration::ZERO);
            assert_eq!(clock.now(), now);
            let sleeper = spawn(|| sleep(HOUR));
            yield_now();
            cancel(sleeper.thread());
            assert!(sleeper.join().is_err());
        });
    });
}

#[test]
fn what_is_on_its_way_to_another_worker_comes_before_time() {
    limited(|| {
        for n_workers in [2, 4] {
            on_manual_clock(n_workers, move |clock| {
                let start = clock.now();
                for turn in 0..500 {
                    let waiter = spawn_at(turn % n_workers, || {
                        park_timeout(HOUR);
                    });
                    let thread = waiter.thread().clone();
                    let waker = spawn_at((turn + 1) % n_workers, move || thread.unpark());
                    waiter.join().unwrap();
                    waker.join().unwrap();
                }
                assert_eq!(clock.now(), start);
            });
        }
    });
}

#[test]
fn a_descriptor_that_is_ready_comes_before_time() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            on_manual_clock(n_workers, move |clock| {
                let start = clock.now();
                let (near, far) = Stream::pair();
                let echo = spawn_at(n_workers - 1, move || {
                    for n in 0..500 {
                        let mut byte = [0];
                        far.read_timeout(&mut byte, Some(HOUR))
                            .expect("ready in time");
                        assert_eq!(byte, [n as u8]);
                        far.write_byte(n as u8);
                    }
                });
                let asker = spawn_at(0, move || {
                    for n in 0..500 {
                        near.write_byte(n as u8);
                        near.read_timeout(&mut [0], Some(HOUR))
                            .expect("ready in time");
                    }
                });
                asker.join().unwrap();
                echo.join().unwrap();
                assert_eq!(clock.now(), start);
            });
        }
    });
}

#[test]
fn a_timeout_of_a_descriptor_is_that_of_the_clock() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let (near, _far) = Stream::pair();
        let error = near.read_timeout(&mut [0], Some(HOUR)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(clock.now() - start, HOUR);
    });
}

#[test]
fn an_os_thread_can_end_a_wait() {
    on_manual_clocks(|_| {
        for _ in 0..20 {
            let waiter = spawn(park);
            let thread = waiter.thread().clone();
            on_os_thread(move || thread.unpark());
            waiter.join().unwrap();
        }
    });
}

#[test]
fn two_runtimes_may_share_a_clock() {
    limited(|| {
        let clock = ManualClock::new();
        let runtimes = [1, 2].map(|n_workers| {
            let builder = Runtime::builder().workers(n_workers);
            builder.clock(Clock::Manual(clock.clone())).build().unwrap()
        });
        let start = clock.now();
        let sleepers = [0, 1].map(|n| runtimes[n].spawn(move || sleep(HOUR * (n as u32 + 1))));
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        // Each jumps when it has nothing to run, so the second may have begun after the first's hour.
        let passed = clock.now() - start;
        assert!(HOUR * 2 <= passed && passed <= HOUR * 3, "{passed:?}");
    });
}

#[test]
fn a_runtime_ends_at_once_although_destructors_sleep_for_hours() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let log = Log::new();
            on_manual_clock(n_workers, {
                let log = log.clone();
                move |_| {
                    for _ in 0..20 {
                        let log = log.clone();
                        drop(spawn(move || {
                            let _slow = OnDrop(|| {
                                sleep(HOUR);
                                log.note("slept");
                            });
                            sleep(HOUR * 100);
                        }));
                    }
                    yield_now();
                }
            });
            assert!(
                log.text().split_whitespace().all(|note| note == "slept"),
                "{}",
                log.text()
            );
        }
    });
}
