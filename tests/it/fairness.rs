//! Whoever runs for long, or never waits, starves nobody.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};
use std::time::Duration;

use greenrt::lowlevel::{Io, spend_credit};
use greenrt::{park, sleep, spawn, yield_now};

use super::support::{
    Ring, Stream, limited, on_each_runtime, on_one_worker, os_sleep, os_thread, runtime, spawn_at,
    spin_until, with_seeds,
};

/// Runs `test` while on every worker some threads do nothing but yield.
fn beside_yield_loops(test: impl Fn() + Send + Sync + 'static) {
    on_each_runtime(move || {
        let over = Arc::new(AtomicBool::new(false));
        let loops: Vec<_> = (0..12)
            .map(|_| {
                let over = Arc::clone(&over);
                spawn(move || {
                    while !over.load(Relaxed) {
                        yield_now();
                    }
                })
            })
            .collect();
        yield_now();
        test();
        over.store(true, Relaxed);
        loops.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_yield_loop_does_not_starve_timers() {
    beside_yield_loops(|| (0..5).for_each(|_| sleep(Duration::from_millis(2))));
}

#[test]
fn a_yield_loop_does_not_starve_descriptors() {
    beside_yield_loops(|| {
        let (here, there) = Stream::pair();
        let echo = spawn(move || (0..200).for_each(|_| there.write_byte(there.read_byte())));
        for n in 0..200 {
            here.write_byte(n);
            assert_eq!(here.read_byte(), n);
        }
        echo.join().unwrap();
    });
}

#[test]
fn a_yield_loop_does_not_starve_spawns() {
    beside_yield_loops(|| (0..200).for_each(|_| spawn(|| ()).join().unwrap()));
}

#[test]
fn a_yield_loop_does_not_starve_unparks_from_os_threads() {
    beside_yield_loops(|| {
        let waiting = greenrt::current();
        let n_unparks = Arc::new(AtomicUsize::new(0));
        let n_seen = Arc::new(AtomicUsize::new(0));
        let os_thread = {
            let (n_unparks, n_seen) = (Arc::clone(&n_unparks), Arc::clone(&n_seen));
            std::thread::spawn(move || {
                for n in 1..=50 {
                    n_unparks.store(n, Relaxed);
                    waiting.unpark();
                    while n_seen.load(Relaxed) < n {
                        os_sleep(Duration::from_micros(50));
                    }
                }
            })
        };
        for n in 1..=50 {
            while n_unparks.load(Relaxed) < n {
                park();
            }
            n_seen.store(n, Relaxed);
        }
        os_thread.join().unwrap();
    });
}

#[test]
fn two_threads_that_hand_over_to_each_other_do_not_starve_a_third() {
    on_each_runtime(|| {
        let (ring, over) = (Ring::new(), Arc::new(AtomicBool::new(false)));
        let players = [0, 1].map(|player| {
            let (ring, over) = (Arc::clone(&ring), Arc::clone(&over));
            spawn(move || {
                let mut turn = player;
                while !over.load(Relaxed) {
                    ring.wait_for(turn);
                    ring.pass_on();
                    turn += 2;
                }
            })
        });
        ring.start(
            players
                .iter()
                .map(|player| player.thread().clone())
                .collect(),
        );
        (0..10).for_each(|_| yield_now());
        over.store(true, Relaxed);
        for player in players {
            // The other one may be gone, and wait for no turn.
            while !player.is_finished() {
                ring.pass_on();
                yield_now();
            }
        }
    });
}

/// Runs `act` until a sibling has had `n` turns, and returns how often it ran in that time.
fn acts_while_a_sibling_has_turns(n: usize, mut act: impl FnMut()) -> usize {
    let n_turns = Arc::new(AtomicUsize::new(0));
    let sibling = {
        let n_turns = Arc::clone(&n_turns);
        spawn(move || {
            for _ in 0..n {
                n_turns.fetch_add(1, Relaxed);
                yield_now();
            }
        })
    };
    let mut n_acts = 0;
    while n_turns.load(Relaxed) < n {
        act();
        n_acts += 1;
        assert!(n_acts < 1_000_000, "a sibling starves");
    }
    sibling.join().unwrap();
    n_acts
}

#[test]
fn a_call_that_always_succeeds_yields_when_128_credits_are_spent() {
    on_one_worker(|| {
        let n = acts_while_a_sibling_has_turns(100, spend_credit);
        assert!((100 * 128..=100 * 129).contains(&n), "{n}");
    });
}

#[test]
fn reads_that_never_wait_let_siblings_run() {
    on_one_worker(|| {
        let zeros = Io::new(File::open("/dev/zero").unwrap());
        let n = acts_while_a_sibling_has_turns(50, || {
            let read = zeros.read_with(None, |mut file| file.read(&mut [0; 16]));
            assert_eq!(read.unwrap(), 16);
        });
        assert!(n <= 50 * 129, "{n}");
    });
}

#[test]
fn writes_that_never_wait_let_siblings_run() {
    on_one_worker(|| {
        let sink = Io::new(File::options().write(true).open("/dev/null").unwrap());
        let n = acts_while_a_sibling_has_turns(50, || {
            let written = sink.write_with(None, |mut file| std::io::Write::write(&mut file, b"x"));
            assert_eq!(written.unwrap(), 1);
        });
        assert!(n <= 50 * 129, "{n}");
    });
}

#[test]
fn a_computation_on_one_worker_holds_up_nobody_on_another() {
    limited(|| {
        runtime(2).run(|| {
            let (started, over) = (
                Arc::new(AtomicBool::new(false)),
                Arc::new(AtomicBool::new(false)),
            );
            let burner = {
                let (started, over) = (Arc::clone(&started), Arc::clone(&over));
                spawn_at(0, move || {
                    started.store(true, Relaxed);
                    spin_until(|| over.load(Relaxed));
                })
            };
            let sleeper = spawn_at(1, move || {
                while !started.load(Relaxed) {
                    yield_now();
                }
                let (near, far) = Stream::pair();
                for _ in 0..50 {
                    sleep(Duration::from_millis(1));
                    far.write_byte(1);
                    near.read_byte();
                    spawn_at(1, yield_now).join().unwrap();
                }
                over.store(true, Relaxed);
            });
            sleeper.join().unwrap();
            burner.join().unwrap();
        });
    });
}

#[test]
fn what_a_busy_worker_has_spawned_and_not_started_runs_on_another() {
    limited(|| {
        for n_workers in [2, 4] {
            runtime(n_workers).run(|| {
                let n_done = Arc::new(AtomicUsize::new(0));
                let here = os_thread();
                let threads: Vec<_> = (0..100)
                    .map(|_| {
                        let n_done = Arc::clone(&n_done);
                        spawn(move || {
                            yield_now();
                            n_done.fetch_add(1, Relaxed);
                            os_thread()
                        })
                    })
                    .collect();
                // All of them, although this worker never looks at them.
                spin_until(|| n_done.load(Relaxed) == 100);
                for thread in threads {
                    assert_ne!(thread.join().unwrap(), here);
                }
            });
        }
    });
}

#[test]
fn a_single_spawn_of_a_busy_worker_is_stolen_too() {
    limited(|| {
        let runtime = runtime(2);
        for _ in 0..200 {
            runtime.run(|| {
                let done = Arc::new(AtomicBool::new(false));
                let thread = {
                    let done = Arc::clone(&done);
                    spawn(move || done.store(true, Relaxed))
                };
                spin_until(|| done.load(Relaxed));
                thread.join().unwrap();
            });
        }
    });
}

/// Wherever it is stolen to: a marker in the run queue whose closure is gone runs nothing.
#[test]
fn every_closure_runs_exactly_once() {
    const N_SPAWNERS: usize = 8;
    const N_EACH: usize = 4000;
    limited(|| {
        for n_workers in [2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(6, |random| {
                let runs: Arc<Vec<AtomicU8>> =
                    Arc::new((0..N_SPAWNERS * N_EACH).map(|_| AtomicU8::new(0)).collect());
                let spawners: Vec<_> = (0..N_SPAWNERS)
                    .map(|spawner| {
                        let (runs, mut random) = (Arc::clone(&runs), random.fork());
                        runtime.spawn(move || {
                            let mut threads = Vec::new();
                            for n in spawner * N_EACH..(spawner + 1) * N_EACH {
                                let runs = Arc::clone(&runs);
                                threads.push(spawn(move || {
                                    runs[n].fetch_add(1, Relaxed);
                                }));
                                match random.below(200) {
                                    0 => yield_now(),
                                    1 => random.dawdle(20_000),
                                    2 => threads.drain(..).for_each(|t| t.join().unwrap()),
                                    _ => {}
                                }
                            }
                            threads
                                .into_iter()
                                .for_each(|thread| thread.join().unwrap());
                        })
                    })
                    .collect();
                spawners
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
                assert!(runs.iter().all(|n| n.load(Relaxed) == 1));
            });
        }
    });
}
