//! Sleeping, on the system's clock.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use greenrt::lowlevel::cancel;
use greenrt::{park_timeout, sleep, sleep_until, spawn, spawn_after, timeout, yield_now};

use super::support::{
    limited, on_each_runtime, on_each_runtime_and_off, on_one_worker, runtime, spin_until,
    with_seeds,
};

/// A few milliseconds.
const SHORT: Duration = Duration::from_millis(3);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[test]
fn a_sleep_never_ends_early() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(4, |random| {
                let sleepers: Vec<_> = (0..300)
                    .map(|_| {
                        let mut random = random.fork();
                        runtime.spawn(move || {
                            for _ in 0..4 {
                                let time = Duration::from_nanos(random.below(5_000_000));
                                let started = Instant::now();
                                match random.below(3) {
                                    0 => sleep(time),
                                    1 => sleep_until(started + time),
                                    _ => park_timeout(time),
                                }
                                let took = started.elapsed();
                                assert!(took >= time, "slept {took:?} of {time:?}");
                            }
                        })
                    })
                    .collect();
                sleepers
                    .into_iter()
                    .for_each(|sleeper| sleeper.join().unwrap());
            });
        }
    });
}

#[test]
fn a_sleep_ends_soon_after_its_deadline() {
    on_each_runtime(|| {
        let late = |_| {
            let started = Instant::now();
            sleep(SHORT);
            started.elapsed() - SHORT
        };
        // The best of many: the machine may be busy.
        let best = (0..20).map(late).min().unwrap();
        assert!(
            best < Duration::from_millis(1),
            "every sleep was later than {best:?}"
        );
    });
}

#[test]
fn many_sleep_at_once() {
    on_each_runtime(|| {
        let started = Instant::now();
        let sleepers: Vec<_> = (0..1000)
            .map(|_| spawn(|| sleep(Duration::from_millis(20))))
            .collect();
        sleepers
            .into_iter()
            .for_each(|sleeper| sleeper.join().unwrap());
        assert!(started.elapsed() < Duration::from_secs(15));
    });
}

/// Whether `act` lets a sibling on the same worker run.
fn lets_others_run(act: impl FnOnce()) -> bool {
    let ran = Arc::new(AtomicBool::new(false));
    let sibling = {
        let ran = Arc::clone(&ran);
        spawn(move || ran.store(true, Relaxed))
    };
    act();
    let let_run = ran.load(Relaxed);
    sibling.join().unwrap();
    let_run
}

#[test]
fn a_sleep_of_no_length_yields() {
    on_one_worker(|| {
        assert!(lets_others_run(|| sleep(Duration::ZERO)));
        assert!(lets_others_run(yield_now));
        assert!(!lets_others_run(|| ()));
    });
}

#[test]
fn a_deadline_in_the_past_yields_and_fires_at_once() {
    on_one_worker(|| {
        let now = Instant::now();
        let past = now.checked_sub(Duration::from_millis(1)).unwrap();
        for deadline in [past, now] {
            // Not each time: after a round that took long, those whose time has come are first.
            assert!((0..20).any(|_| lets_others_run(|| sleep_until(deadline))));
        }
        let long_ago = now.checked_sub(Duration::from_secs(1000)).unwrap_or(past);
        for _ in 0..1000 {
            sleep_until(long_ago);
        }
        assert!(now.elapsed() < Duration::from_secs(60));
    });
}

#[test]
fn a_loop_of_empty_sleeps_does_not_starve_a_timer() {
    on_one_worker(|| {
        let over = Arc::new(AtomicBool::new(false));
        let looping = {
            let over = Arc::clone(&over);
            spawn(move || {
                while !over.load(Relaxed) {
                    sleep(Duration::ZERO);
                }
            })
        };
        sleep(SHORT);
        over.store(true, Relaxed);
        looping.join().unwrap();
    });
}

#[test]
fn a_sleep_after_a_long_computation_counts_from_now() {
    on_each_runtime(|| {
        let started = Instant::now();
        spin_until(|| started.elapsed() >= 2 * SHORT);
        let before = Instant::now();
        sleep(SHORT);
        assert!(before.elapsed() >= SHORT);
    });
}

#[test]
fn times_that_are_too_long_to_tell_do_not_overflow() {
    on_each_runtime(|| {
        let endless: Vec<_> = vec![
            spawn(|| sleep(Duration::MAX)),
            spawn(|| sleep(Duration::from_secs(u64::MAX))),
            spawn(|| sleep(Duration::from_nanos(u64::MAX))),
            spawn(|| sleep(CENTURY)),
            spawn(|| sleep_until(Instant::now() + CENTURY)),
            spawn(|| sleep_until(Instant::now() + 30 * CENTURY)),
            spawn(|| drop(timeout(Duration::MAX, || sleep(Duration::MAX)))),
            spawn(|| drop(timeout(CENTURY, || sleep(Duration::MAX)))),
            spawn_after(Duration::MAX, || ()),
        ];
        sleep(SHORT);
        for thread in endless {
            assert!(!thread.is_finished());
            cancel(thread.thread());
            assert!(thread.join().is_err());
        }
        assert_eq!(timeout(Duration::MAX, || 7), Ok(7));
        let parked = spawn(|| park_timeout(Duration::MAX));
        yield_now();
        parked.thread().unpark();
        parked.join().unwrap();
    });
}

#[test]
fn off_a_green_thread_time_passes_as_in_std() {
    limited(|| {
        let started = Instant::now();
        sleep(SHORT);
        assert!(started.elapsed() >= SHORT);
        sleep_until(started + 2 * SHORT);
        assert!(started.elapsed() >= 2 * SHORT);
        sleep_until(started);
        greenrt::current().unpark();
        park_timeout(Duration::MAX);
        greenrt::park_timeout(SHORT);
        yield_now();
    });
}

#[test]
fn a_wait_with_a_timeout_leaves_no_timer_behind() {
    on_each_runtime_and_off(|| {
        for _ in 0..1000 {
            assert_eq!(timeout(SHORT, || 1), Ok(1));
            greenrt::current().unpark();
            park_timeout(SHORT);
        }
        // Were one left, it would end this too early.
        let started = Instant::now();
        park_timeout(4 * SHORT);
        assert!(started.elapsed() >= 4 * SHORT);
    });
}

#[test]
fn spawn_after_runs_when_its_time_has_come_and_not_if_it_is_cancelled_before() {
    on_each_runtime(|| {
        let n_ran = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let run = || {
            let n_ran = Arc::clone(&n_ran);
            move || {
                n_ran.fetch_add(1, Relaxed);
                started.elapsed()
            }
        };
        let runs = spawn_after(SHORT, run());
        let cancelled = spawn_after(SHORT, run());
        cancel(cancelled.thread());
        assert!(runs.join().unwrap() >= SHORT);
        assert!(cancelled.join().is_err());
        assert_eq!(n_ran.load(Relaxed), 1);
    });
}
