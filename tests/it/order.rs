//! In which order green threads run. On one worker all of it is certain.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::{Builder, scope, sleep, sleep_until, spawn, spawn_local, yield_now};

use super::support::{
    HOUR, Log, Random, limited, on_each_runtime, on_manual_clock, on_one_worker, os_thread_name,
    runtime, with_seeds,
};

#[test]
fn two_threads_that_print_yield_and_print_give_1a_2a_1b_2b() {
    on_one_worker(|| {
        let log = Log::new();
        let threads: Vec<_> = [1, 2]
            .map(|thread| {
                let log = log.clone();
                spawn(move || {
                    log.note(format!("{thread}A"));
                    yield_now();
                    log.note(format!("{thread}B"));
                })
            })
            .into();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(log.text(), "1A 2A 1B 2B");
    });
}

#[test]
fn a_spawn_does_not_run_before_its_spawner_waits() {
    on_one_worker(|| {
        let n_started = Arc::new(AtomicUsize::new(0));
        let count = || {
            let n_started = Arc::clone(&n_started);
            move || drop(n_started.fetch_add(1, Relaxed))
        };
        for _ in 0..1000 {
            drop(spawn(count()));
            drop(spawn_local(count()));
            drop(Builder::new().worker(0).spawn(count()).unwrap());
            assert_eq!(n_started.load(Relaxed), 0);
        }
        yield_now();
        assert_eq!(n_started.load(Relaxed), 3000);
    });
}

#[test]
fn threads_start_in_the_order_of_their_spawns_however_they_were_spawned() {
    on_one_worker(|| {
        let log = Log::new();
        let note = |text: &str| {
            let (log, text) = (log.clone(), text.to_string());
            move || log.note(text)
        };
        scope(|s| {
            drop(spawn(note("plain")));
            drop(spawn_local(note("local")));
            drop(Builder::new().worker(0).spawn(note("placed")).unwrap());
            s.spawn(note("scoped"));
            drop(
                Builder::new()
                    .stack_size(1 << 20)
                    .spawn(note("large"))
                    .unwrap(),
            );
            drop(
                Builder::new()
                    .name("n".into())
                    .spawn(note("named"))
                    .unwrap(),
            );
            drop(spawn(note("plain")));
            assert_eq!(log.text(), "");
        });
        assert_eq!(log.text(), "plain local placed scoped large named plain");
    });
}

#[test]
fn threads_that_yield_take_turns() {
    on_one_worker(|| {
        let log = Log::new();
        let threads: Vec<_> = (0..10)
            .map(|name| {
                let log = log.clone();
                spawn(move || {
                    for turn in 0..100 {
                        log.note(format!("{turn}:{name}"));
                        yield_now();
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let expected: Vec<String> = (0..100)
            .flat_map(|turn| (0..10).map(move |name| format!("{turn}:{name}")))
            .collect();
        assert_eq!(log.text(), expected.join(" "));
    });
}

#[test]
fn woken_and_spawned_threads_share_one_queue() {
    on_one_worker(|| {
        let log = Log::new();
        let note = |text: &'static str| {
            let log = log.clone();
            move || log.note(text)
        };
        let sleeper = |text: &'static str| {
            let log = log.clone();
            spawn(move || {
                greenrt::park();
                log.note(text);
            })
        };
        let [first, second] = ["woken first", "woken second"].map(sleeper);
        yield_now();
        first.thread().unpark();
        drop(spawn(note("spawned")));
        second.thread().unpark();
        drop(spawn(note("spawned last")));
        yield_now();
        assert_eq!(log.text(), "woken first spawned woken second spawned last");
    });
}

#[test]
fn those_who_join_go_on_in_the_order_of_the_ends() {
    on_one_worker(|| {
        let log = Log::new();
        let turns = [3, 1, 2];
        let joiners: Vec<_> = turns
            .map(|n| {
                let thread = spawn(move || (0..n).for_each(|_| yield_now()));
                let log = log.clone();
                spawn(move || {
                    thread.join().unwrap();
                    log.note(n.to_string());
                })
            })
            .into();
        joiners
            .into_iter()
            .for_each(|joiner| joiner.join().unwrap());
        assert_eq!(log.text(), "1 2 3");
    });
}

#[test]
fn joined_results_come_in_the_order_of_the_handles() {
    on_each_runtime(|| {
        let threads: Vec<_> = (0..1000u64)
            .map(|n| {
                spawn(move || {
                    (0..n % 7).for_each(|_| yield_now());
                    n
                })
            })
            .collect();
        let results: Vec<u64> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(results.into_iter().eq(0..1000));
    });
}

#[test]
fn equal_deadlines_fire_in_the_order_in_which_they_were_set() {
    limited(|| {
        on_manual_clock(1, |clock| {
            let (log, deadline) = (Log::new(), clock.now() + HOUR);
            let threads: Vec<_> = (0..1000)
                .map(|n| {
                    let log = log.clone();
                    spawn(move || {
                        sleep_until(deadline);
                        log.note(n.to_string());
                    })
                })
                .collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
            assert_eq!(log.text(), expected.join(" "));
        });
    });
}

#[test]
fn deadlines_fire_in_their_order_whatever_the_order_of_setting() {
    limited(|| {
        with_seeds(20, |random| {
            let mut random = random.clone();
            on_manual_clock(1, move |_| {
                let log = Log::new();
                let mut hours: Vec<u32> = (1..=200).collect();
                shuffle(&mut hours, &mut random);
                let threads: Vec<_> = hours
                    .into_iter()
                    .map(|n| {
                        let log = log.clone();
                        spawn(move || {
                            sleep(HOUR * n);
                            log.note(n.to_string());
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
                let expected: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
                assert_eq!(log.text(), expected.join(" "));
            });
        });
    });
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
}

#[test]
fn spawns_from_an_os_thread_start_in_their_order_on_one_worker() {
    limited(|| {
        let (runtime, log) = (runtime(1), Log::new());
        let threads: Vec<_> = (0..10_000)
            .map(|n| {
                let log = log.clone();
                runtime.spawn(move || log.note(n.to_string()))
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let expected: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        assert_eq!(log.text(), expected.join(" "));
    });
}

#[test]
fn a_spawn_stays_in_the_runtime_of_its_spawner_and_elsewhere_goes_to_the_global_one() {
    limited(|| {
        let global = spawn(os_thread_name).join().unwrap();
        assert!(global.starts_with("greenrt-"), "{global}");
        let own = greenrt::Runtime::builder()
            .workers(2)
            .name("own")
            .build()
            .unwrap();
        for _ in 0..100 {
            let name = own.run(|| {
                spawn(|| spawn(os_thread_name).join().unwrap())
                    .join()
                    .unwrap()
            });
            assert!(name.starts_with("own-"), "{name}");
            let name = spawn(|| spawn(os_thread_name).join().unwrap())
                .join()
                .unwrap();
            assert!(name.starts_with("greenrt-"), "{name}");
        }
    });
}

/// Everything that happens on one worker with a manual clock is determined.
#[test]
fn a_program_on_one_worker_runs_the_same_way_each_time() {
    fn act(n: u32, log: &Log, random: &mut Random) {
        for turn in 0..20 {
            log.note(format!("{n}.{turn}"));
            match random.below(4) {
                0 => yield_now(),
                1 => sleep(Duration::from_millis(random.below(10))),
                2 => greenrt::park_timeout(Duration::from_millis(random.below(10))),
                _ => drop(spawn({
                    let log = log.clone();
                    move || log.note(format!("{n}.{turn}.child"))
                })),
            }
        }
    }
    fn trace(seed: u64) -> String {
        on_manual_clock(1, move |_| {
            let (log, mut random) = (Log::new(), Random(seed));
            let threads: Vec<_> = (0..20)
                .map(|n| {
                    let (log, mut random) = (log.clone(), random.fork());
                    spawn(move || act(n, &log, &mut random))
                })
                .collect();
            for thread in &threads {
                thread.thread().unpark();
                yield_now();
            }
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            log.text()
        })
    }
    limited(|| {
        with_seeds(10, |random| {
            let seed = random.next();
            assert_eq!(trace(seed), trace(seed));
        });
        assert_ne!(trace(1), trace(2));
    });
}
