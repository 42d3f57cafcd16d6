//! Tokens: `park` and `unpark`, from everywhere to everywhere.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use greenrt::lowlevel::cancel;
use greenrt::{Runtime, Thread, current, park, park_timeout, scope, sleep, spawn, yield_now};

use super::support::{
    HOUR, Random, Ring, Stream, limited, on_each_runtime, on_each_runtime_and_off,
    on_manual_clocks, on_os_thread, runtime, with_seeds,
};

#[test]
fn unpark_before_park_is_not_lost() {
    on_each_runtime_and_off(|| {
        for _ in 0..1000 {
            current().unpark();
            park();
        }
    });
}

#[test]
fn unpark_wakes_who_is_parked() {
    on_each_runtime(|| {
        let parked = Arc::new(AtomicBool::new(false));
        let waiter = {
            let parked = Arc::clone(&parked);
            spawn(move || {
                parked.store(true, Relaxed);
                park();
            })
        };
        while !parked.load(Relaxed) {
            yield_now();
        }
        (0..10).for_each(|_| yield_now());
        waiter.thread().unpark();
        waiter.join().unwrap();
    });
}

/// How long the next `park` waits, on a manual clock.
fn parks_for(clock: &greenrt::ManualClock) -> Duration {
    let before = clock.now();
    park_timeout(HOUR);
    clock.now() - before
}

#[test]
fn many_tokens_are_one() {
    on_manual_clocks(|clock| {
        for _ in 0..1000 {
            current().unpark();
        }
        assert_eq!(parks_for(clock), Duration::ZERO);
        assert_eq!(parks_for(clock), HOUR);
    });
}

#[test]
fn a_park_that_timed_out_takes_no_token() {
    on_manual_clocks(|clock| {
        assert_eq!(parks_for(clock), HOUR);
        current().unpark();
        assert_eq!(parks_for(clock), Duration::ZERO);
        assert_eq!(parks_for(clock), HOUR);
    });
}

#[test]
fn a_token_that_comes_while_its_thread_waits_for_something_else_stays() {
    on_manual_clocks(|clock| {
        let me = current();
        let unpark_in = |time| {
            let me = me.clone();
            spawn(move || {
                sleep(time);
                me.unpark();
            })
        };
        let keeps_token = |what: &str, act: &dyn Fn()| {
            act();
            assert_eq!(parks_for(clock), Duration::ZERO, "{what}");
            assert_eq!(parks_for(clock), HOUR, "{what}");
        };
        keeps_token("sleep", &|| {
            let unparker = unpark_in(HOUR);
            let before = clock.now();
            sleep(2 * HOUR);
            assert_eq!(clock.now() - before, 2 * HOUR);
            unparker.join().unwrap();
        });
        keeps_token("join", &|| {
            let unparker = unpark_in(HOUR);
            spawn(|| sleep(2 * HOUR)).join().unwrap();
            unparker.join().unwrap();
        });
        keeps_token("end of scope", &|| {
            let unparker = unpark_in(HOUR);
            scope(|s| {
                s.spawn(|| sleep(2 * HOUR));
            });
            unparker.join().unwrap();
        });
        keeps_token("read", &|| {
            let unparker = unpark_in(HOUR);
            let (near, far) = Stream::pair();
            let writer = spawn(move || {
                sleep(2 * HOUR);
                far.write_byte(1);
            });
            assert_eq!(near.read_byte(), 1);
            writer.join().unwrap();
            unparker.join().unwrap();
        });
        keeps_token("yield", &|| {
            let unparker = unpark_in(Duration::ZERO);
            unparker.join().unwrap();
            yield_now();
        });
    });
}

#[test]
fn unpark_of_an_ended_thread_does_nothing() {
    on_each_runtime_and_off(|| {
        let thread = spawn(|| ());
        let handle = thread.thread().clone();
        thread.join().unwrap();
        for _ in 0..100 {
            handle.unpark();
        }
        // Nor does one that comes when the stack and all else of it is used by others.
        let others: Vec<_> = (0..100).map(|_| spawn(yield_now)).collect();
        handle.unpark();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        handle.unpark();
    });
}

#[test]
fn unpark_of_a_thread_that_has_not_started_is_kept_for_it() {
    on_each_runtime(|| {
        for _ in 0..100 {
            let thread = spawn(park);
            thread.thread().unpark();
            thread.join().unwrap();
        }
    });
}

#[test]
fn unpark_comes_from_an_os_thread_and_from_another_runtime() {
    on_each_runtime(|| {
        let me = current();
        on_os_thread(move || me.unpark());
        park();
        let me = current();
        on_os_thread(move || runtime(1).run(move || me.unpark()));
        park();
    });
}

#[test]
fn an_os_thread_is_unparked_by_a_green_thread() {
    limited(|| {
        let me = current();
        assert!(!me.is_green());
        spawn(move || me.unpark()).join().unwrap();
        park();
        assert!(!on_os_thread(|| current().is_green()));
    });
}

#[test]
fn park_is_no_point_of_cancellation() {
    on_manual_clocks(|clock| {
        let woken_at = Arc::new(AtomicU64::new(0));
        let waiter = {
            let (woken_at, clock, start) = (Arc::clone(&woken_at), clock.clone(), clock.now());
            spawn(move || {
                park();
                let passed = clock.now() - start;
                park_timeout(HOUR);
                assert_eq!(clock.now() - start, passed + HOUR);
                woken_at.store(passed.as_secs(), Relaxed);
                sleep(HOUR);
                unreachable!("a sleep is a point");
            })
        };
        yield_now();
        cancel(waiter.thread());
        sleep(HOUR);
        waiter.thread().unpark();
        assert!(waiter.join().unwrap_err().is::<greenrt::Cancelled>());
        assert_eq!(woken_at.load(Relaxed), HOUR.as_secs());
    });
}

/// A turn goes round 100,000 times. A lost wake-up hangs.
fn go_round(n_players: usize, spawn_player: impl Fn(usize, Box<dyn FnOnce() + Send>) -> Waited) {
    const N_TURNS: usize = 100_000;
    let ring = Ring::new();
    let players: Vec<Waited> = (0..n_players)
        .map(|player| {
            let ring = Arc::clone(&ring);
            let play = move || {
                for turn in (player..N_TURNS).step_by(n_players) {
                    ring.wait_for(turn);
                    ring.pass_on();
                }
            };
            spawn_player(player, Box::new(play))
        })
        .collect();
    ring.start(players.iter().map(|player| player.thread.clone()).collect());
    players.into_iter().for_each(|player| (player.join)());
}

/// A thread of whatever kind.
struct Waited {
    thread: Thread,
    join: Box<dyn FnOnce()>,
}

impl Waited {
    fn green(handle: greenrt::JoinHandle<()>) -> Waited {
        Waited {
            thread: handle.thread().clone(),
            join: Box::new(|| handle.join().unwrap()),
        }
    }

    fn os(play: Box<dyn FnOnce() + Send>) -> Waited {
        let (send, receive) = std::sync::mpsc::channel();
        let handle = std::thread::spawn(move || {
            send.send(current()).unwrap();
            play();
        });
        Waited {
            thread: receive.recv().unwrap(),
            join: Box::new(|| handle.join().unwrap()),
        }
    }
}

#[test]
fn no_wake_up_is_lost_on_one_worker() {
    limited(|| {
        let runtime = runtime(1);
        go_round(2, |_, play| Waited::green(runtime.spawn(play)));
        go_round(100, |_, play| Waited::green(runtime.spawn(play)));
    });
}

#[test]
fn no_wake_up_is_lost_between_workers() {
    limited(|| {
        for (n_workers, n_players) in [(2, 2), (4, 4), (4, 7)] {
            let runtime = runtime(n_workers);
            go_round(n_players, |player, play| {
                let builder = greenrt::Builder::new().worker(player % n_workers);
                Waited::green(builder.spawn_on(&runtime, play).unwrap())
            });
        }
    });
}

#[test]
fn no_wake_up_is_lost_between_runtimes() {
    limited(|| {
        let runtimes = [runtime(1), runtime(2)];
        go_round(2, |player, play| {
            Waited::green(runtimes[player].spawn(play))
        });
    });
}

#[test]
fn no_wake_up_is_lost_between_green_and_os_threads() {
    limited(|| {
        let runtime = runtime(2);
        go_round(4, |player, play| match player % 2 {
            0 => Waited::green(runtime.spawn(play)),
            _ => Waited::os(play),
        });
    });
}

/// Work comes from `n_os` OS threads and as many green ones; each unit is announced with an
/// `unpark`, and the waiter parks whenever it finds none.
fn hammer(runtime: &Runtime, n_units: usize, random: &mut Random) {
    const N_SOURCES: usize = 4;
    let n_made = Arc::new(AtomicUsize::new(0));
    let waiter = {
        let (n_made, mut random) = (Arc::clone(&n_made), random.fork());
        runtime.spawn(move || {
            let mut n_taken = 0;
            while n_taken < N_SOURCES * n_units {
                match n_made.swap(0, AcqRel) {
                    0 if random.below(4) == 0 => park_timeout(Duration::from_secs(1000)),
                    0 => park(),
                    n => n_taken += n,
                }
                match random.below(16) {
                    0 => yield_now(),
                    1 => sleep(Duration::from_micros(random.below(20))),
                    2 => random.dawdle(2000),
                    _ => {}
                }
            }
        })
    };
    let source = |green: bool| {
        let (n_made, mut random, waiter) =
            (Arc::clone(&n_made), random.clone(), waiter.thread().clone());
        move || {
            for _ in 0..n_units {
                n_made.fetch_add(1, AcqRel);
                waiter.unpark();
                match random.below(64) {
                    0 if green => yield_now(),
                    1 if green => sleep(Duration::from_micros(random.below(20))),
                    0..5 => random.dawdle(5000),
                    _ => {}
                }
            }
        }
    };
    let green = [(); 2].map(|()| runtime.spawn(source(true)));
    let os = [(); 2].map(|()| std::thread::spawn(source(false)));
    green.into_iter().for_each(|thread| thread.join().unwrap());
    os.into_iter().for_each(|thread| thread.join().unwrap());
    waiter.join().unwrap();
}

#[test]
fn no_unit_of_work_is_forgotten_when_many_announce_it() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(10, |random| hammer(&runtime, 5000, random));
        }
    });
}

#[test]
fn a_token_is_not_lost_to_a_timeout_that_passes_at_the_same_moment() {
    limited(|| {
        for n_workers in [1, 2] {
            let runtime = runtime(n_workers);
            with_seeds(4, |random| {
                let turns = Arc::new(AtomicUsize::new(0));
                let waiter = {
                    let (turns, mut random) = (Arc::clone(&turns), random.fork());
                    runtime.spawn(move || {
                        for turn in 1..5000 {
                            // The token may end this one, and the deadline may; in both cases ...
                            park_timeout(Duration::from_nanos(random.below(20_000)));
                            // ... the turn comes.
                            while turns.load(Acquire) < turn {
                                park();
                            }
                        }
                    })
                };
                let (thread, mut random) = (waiter.thread().clone(), random.fork());
                let unparker = runtime.spawn(move || {
                    for turn in 1..5000 {
                        turns.store(turn, Relaxed);
                        thread.unpark();
                        random.dawdle(10_000);
                        if random.below(8) == 0 {
                            yield_now();
                        }
                    }
                });
                unparker.join().unwrap();
                waiter.join().unwrap();
            });
        }
    });
}

#[test]
fn what_was_written_before_unpark_is_seen_after_park() {
    limited(|| {
        let runtime = runtime(2);
        let data = Arc::new(AtomicUsize::new(0));
        let turn = Arc::new(AtomicBool::new(false));
        let reader = {
            let (data, turn) = (Arc::clone(&data), Arc::clone(&turn));
            greenrt::Builder::new()
                .worker(0)
                .spawn_on(&runtime, move || {
                    for n in 1..20_000 {
                        park();
                        // Parks return with a token only, and each follows one write.
                        assert!(data.load(Relaxed) >= n, "{n}");
                        turn.store(true, Relaxed);
                    }
                })
                .unwrap()
        };
        let thread = reader.thread().clone();
        let writer = greenrt::Builder::new()
            .worker(1)
            .spawn_on(&runtime, move || {
                for n in 1..20_000 {
                    data.store(n, Relaxed);
                    thread.unpark();
                    while !turn.swap(false, Relaxed) {
                        yield_now();
                    }
                }
            })
            .unwrap();
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn handles_tell_threads_apart() {
    on_each_runtime_and_off(|| {
        let (a, b) = (spawn(park), spawn(park));
        assert_ne!(a.thread().id(), b.thread().id());
        assert_ne!(a.thread().id(), current().id());
        assert_eq!(current().id(), current().id());
        // Only the right one wakes up.
        a.thread().unpark();
        a.join().unwrap();
        (0..10).for_each(|_| yield_now());
        assert!(!b.is_finished());
        b.thread().unpark();
        b.join().unwrap();
    });
}
