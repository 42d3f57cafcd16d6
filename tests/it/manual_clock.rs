//! A clock that jumps when every green thread waits.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::lowlevel::cancel;
use greenrt::{
    Clock, ManualClock, Runtime, park, park_timeout, sleep, sleep_until, spawn, spawn_after,
    timeout, yield_now,
};

use super::support::{
    HOUR, Log, OnDrop, Stream, limited, on_manual_clock, on_manual_clocks, on_os_thread, spawn_at,
    with_seeds,
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
                    sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
                    assert!(log.text().split(' ').is_sorted(), "{}", log.text());
                });
            });
        }
    });
}

#[test]
fn a_hand_over_between_workers_takes_no_time() {
    on_manual_clocks(|clock| {
        let n_workers = greenrt_workers();
        let start = clock.now();
        let [ping, pong] = [0, 1].map(|n| {
            let clock = clock.clone();
            let turns = Arc::new(AtomicUsize::new(0));
            let player = spawn_at(n % n_workers, {
                let turns = Arc::clone(&turns);
                move || {
                    for turn in 0..200 {
                        while turns.load(Relaxed) <= turn {
                            park();
                        }
                        sleep(Duration::from_secs(1));
                        let expected = Duration::from_secs(2 * turn as u64 + n as u64 + 1);
                        assert_eq!(clock.now() - start, expected);
                        let (peer_turns, peer): (Arc<AtomicUsize>, greenrt::Thread) = peer(n);
                        peer_turns.fetch_add(1, Relaxed);
                        peer.unpark();
                    }
                }
            });
            (turns, player)
        });
        let peers = [(pong.0.clone(), pong.1.thread().clone()), (ping.0.clone(), ping.1.thread().clone())];
        set_peers(start, peers);
        ping.0.fetch_add(1, Relaxed);
        ping.1.thread().unpark();
        ping.1.join().unwrap();
        pong.1.join().unwrap();
    });
}
