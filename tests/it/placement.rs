//! Which OS thread runs a green thread: one, for life.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::{JoinHandle, Runtime, park, sleep, spawn, spawn_local, timeout, yield_now};

use super::support::{
    Random, Stream, limited, on_each_runtime, os_thread, os_thread_name, runtime, spawn_at,
    spin_until, wait_until, with_seeds,
};

#[test]
fn a_placed_thread_runs_on_its_worker() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = Runtime::builder()
                .workers(n_workers)
                .name("placed")
                .build()
                .unwrap();
            runtime.run(move || {
                for worker in (0..n_workers).chain((0..n_workers).rev()) {
                    let ran_on = spawn_at(worker, os_thread_name).join().unwrap();
                    assert_eq!(ran_on, format!("placed-{worker}"));
                }
            });
        }
    });
}

#[test]
fn a_placed_thread_is_not_stolen() {
    limited(|| {
        runtime(2).run(|| {
            let [first, second] = [0, 1].map(|worker| spawn_at(worker, os_thread).join().unwrap());
            let spawner = spawn_at(0, || {
                let n_done = Arc::new(AtomicUsize::new(0));
                let placed: Vec<_> = (0..100).map(|_| spawn_at(0, os_thread)).collect();
                let free: Vec<_> = (0..100)
                    .map(|_| {
                        let n_done = Arc::clone(&n_done);
                        spawn(move || {
                            n_done.fetch_add(1, Relaxed);
                            os_thread()
                        })
                    })
                    .collect();
                // Gives the other worker time to take what it may take.
                spin_until(|| n_done.load(Relaxed) == 100);
                (placed, free)
            });
            let (placed, free) = spawner.join().unwrap();
            assert!(
                placed
                    .into_iter()
                    .all(|thread| thread.join().unwrap() == first)
            );
            assert!(
                free.into_iter()
                    .all(|thread| thread.join().unwrap() == second)
            );
        });
    });
}

#[test]
fn a_local_thread_runs_on_the_worker_of_its_spawner() {
    on_each_runtime(|| {
        let spawners: Vec<_> = (0..50)
            .map(|_| {
                spawn(|| {
                    let here = os_thread();
                    let thread = spawn_local(move || {
                        yield_now();
                        assert_eq!(os_thread(), here);
                    });
                    thread.join().unwrap();
                })
            })
            .collect();
        spawners
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

/// Does whatever a green thread may do that stops it, and checks after each that it is still on the
/// OS thread on which it began.
fn live(peer: &greenrt::Thread, random: &mut Random) {
    let here = os_thread();
    let (near, far) = Stream::pair();
    for turn in 0..60 {
        match random.below(9) {
            0 | 1 => yield_now(),
            2 => sleep(Duration::from_micros(random.below(300))),
            3 => greenrt::park_timeout(Duration::from_micros(random.below(300))),
            4 => peer.unpark(),
            5 => {
                far.write_byte(turn);
                assert_eq!(near.read_byte(), turn);
            }
            6 => {
                let limit = Duration::from_micros(random.below(300));
                assert!(timeout(limit, || near.read_byte()).is_err());
            }
            7 => spawn(yield_now).join().unwrap(),
            _ => {
                let reader = spawn(|| 1);
                greenrt::scope(|s| {
                    s.spawn(yield_now);
                });
                assert_eq!(reader.join().unwrap(), 1);
            }
        }
        assert_eq!(os_thread(), here);
    }
}

#[test]
fn a_thread_stays_on_its_os_thread_for_life() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(4, |random| {
                let mut random = random.fork();
                runtime.run(move || {
                    let main = greenrt::current();
                    let threads: Vec<_> = (0..40)
                        .map(|_| {
                            let (main, mut random) = (main.clone(), random.fork());
                            spawn(move || live(&main, &mut random))
                        })
                        .collect();
                    for thread in threads {
                        thread.thread().unpark();
                        thread.join().unwrap();
                    }
                });
            });
        }
    });
}

/// Where `n` threads live that `spawn_all` makes: the most that one worker has, and the least.
fn spread(
    n_workers: usize,
    n: usize,
    spawn_all: impl FnOnce(&Runtime, Arc<dyn Fn() -> u64 + Send + Sync>) -> Vec<JoinHandle<u64>>,
) -> (usize, usize) {
    let runtime = runtime(n_workers);
    let n_parked = Arc::new(AtomicUsize::new(0));
    let live = {
        let n_parked = Arc::clone(&n_parked);
        move || {
            n_parked.fetch_add(1, Relaxed);
            park();
            os_thread()
        }
    };
    let threads = spawn_all(&runtime, Arc::new(live));
    wait_until(|| n_parked.load(Relaxed) == n);
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for thread in threads {
        thread.thread().unpark();
        *counts.entry(thread.join().unwrap()).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or_default();
    let least = counts.values().copied().min().unwrap_or_default();
    (most, if counts.len() < n_workers { 0 } else { least })
}

/// Each worker has its share, give or take. How much depends on the system: a worker that has no
/// CPU for a while leaves its unstarted threads to those that have.
fn assert_even(
    what: &str,
    n_workers: usize,
    n: usize,
    (most, least): (usize, usize),
    percent: usize,
) {
    let even = n / n_workers;
    let slack = even * percent / 100;
    assert!(
        most <= even + slack && least >= even - slack,
        "{what}, {n_workers} workers: between {least} and {most} each, {even} would be even"
    );
}

/// As a server does that accepts connections: each spawn comes alone.
#[test]
fn long_lived_threads_spawned_one_by_one_are_spread_evenly() {
    const N: usize = 8000;
    limited(|| {
        for n_workers in [2, 4] {
            let counts = spread(n_workers, N, |runtime, live| {
                runtime.run(move || {
                    let spawn_one = || {
                        let live = Arc::clone(&live);
                        let thread = spawn(move || live());
                        yield_now();
                        thread
                    };
                    (0..N).map(|_| spawn_one()).collect()
                })
            });
            assert_even(
                "one by one",
                n_workers,
                N,
                counts,
                if n_workers == 2 { 30 } else { 90 },
            );
        }
    });
}

#[test]
fn long_lived_threads_spawned_by_an_os_thread_are_spread_evenly() {
    const N: usize = 8000;
    limited(|| {
        for n_workers in [2, 4] {
            let counts = spread(n_workers, N, |runtime, live| {
                let spawn_one = || {
                    let live = Arc::clone(&live);
                    runtime.spawn(move || live())
                };
                (0..N).map(|_| spawn_one()).collect()
            });
            assert_even(
                "from outside",
                n_workers,
                N,
                counts,
                if n_workers == 2 { 60 } else { 95 },
            );
        }
    });
}

/// In a burst nothing has started yet, so who has a CPU takes most: nobody goes without.
#[test]
fn long_lived_threads_spawned_in_a_burst_are_spread() {
    const N: usize = 8000;
    limited(|| {
        let (_, least) = spread(2, N, |runtime, live| {
            runtime.run(move || {
                let spawn_one = || {
                    let live = Arc::clone(&live);
                    spawn(move || live())
                };
                (0..N).map(|_| spawn_one()).collect()
            })
        });
        assert!(least > 0, "one worker ran all");
    });
}
