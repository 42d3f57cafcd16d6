//! The workloads on may.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use may::coroutine::{JoinHandle, park, sleep, yield_now};
use may::sync::{Mutex, mpmc, mpsc};

use super::{N_CONTENDERS, N_ENDS, Work, count_spawn, durations, make_room_for_late, note_late};
use crate::child::{Cost, Watch};

pub(super) fn run(work: Work, n: u64) -> Cost {
    let config = may::config();
    // It would choose the CPU itself otherwise.
    config.set_worker_pin(false);
    config.set_workers(1);
    spawn(move || body(work, n)).join().unwrap()
}

fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: nothing here uses thread-locals across a switch or overflows a stack.
    unsafe { may::coroutine::spawn(f) }
}

fn join_all(coroutines: Vec<JoinHandle<()>>) {
    coroutines
        .into_iter()
        .for_each(|coroutine| coroutine.join().unwrap());
}

fn body(work: Work, n: u64) -> Cost {
    let spawn_counted = || {
        count_spawn();
        spawn(|| ())
    };
    match work {
        Work::Yield(n_coroutines) => {
            let each = n / n_coroutines + 1;
            let watch = Watch::start();
            let coroutine = || spawn(move || (0..each).for_each(|_| yield_now()));
            join_all((0..n_coroutines).map(|_| coroutine()).collect());
            watch.stop(each * n_coroutines)
        }
        Work::PingPong => ping_pong(n),
        Work::FourToFour => four_to_four(n),
        Work::Contenders => contenders(n),
        Work::SpawnJoin => {
            let watch = Watch::start();
            (0..n).for_each(|_| spawn(|| ()).join().unwrap());
            watch.stop(n)
        }
        Work::SpawnBurst => {
            let watch = Watch::start();
            join_all((0..n).map(|_| spawn_counted()).collect());
            watch.stop(n)
        }
        Work::Skynet => {
            let watch = Watch::start();
            assert_eq!(skynet(0, n), n * (n - 1) / 2);
            watch.stop(n)
        }
        Work::Sleeps => {
            make_room_for_late(3 * n);
            let watch = Watch::start();
            let coroutine = |number| {
                count_spawn();
                spawn(move || sleeps(number))
            };
            join_all((0..n).map(coroutine).collect());
            watch.stop(n)
        }
        Work::Parked => {
            static PARKED: AtomicU64 = AtomicU64::new(0);
            let watch = Watch::start();
            let _coroutines: Vec<JoinHandle<()>> = (0..n)
                .map(|_| {
                    count_spawn();
                    spawn(|| {
                        PARKED.fetch_add(1, Relaxed);
                        loop {
                            park();
                        }
                    })
                })
                .collect();
            while PARKED.load(Relaxed) < n {
                yield_now();
            }
            super::end_parked(watch.stop(n))
        }
    }
}

fn ping_pong(n: u64) -> Cost {
    let (there, receive_there) = mpsc::channel::<u64>();
    let (back, receive_back) = mpsc::channel::<u64>();
    let echo = spawn(move || {
        while let Ok(number) = receive_there.recv() {
            back.send(number).unwrap();
        }
    });
    let watch = Watch::start();
    for number in 0..n {
        there.send(number).unwrap();
        assert_eq!(receive_back.recv(), Ok(number));
    }
    let cost = watch.stop(n);
    drop(there);
    echo.join().unwrap();
    cost
}

/// may's channel for many receivers has room for any number of messages.
fn four_to_four(n: u64) -> Cost {
    let each = n / N_ENDS + 1;
    let (sender, receiver) = mpmc::channel::<u64>();
    let watch = Watch::start();
    let mut coroutines = Vec::new();
    for _ in 0..N_ENDS {
        let (sender, receiver) = (sender.clone(), receiver.clone());
        coroutines.push(spawn(move || {
            (0..each).for_each(|number| sender.send(number).unwrap())
        }));
        coroutines.push(spawn(move || while receiver.recv().is_ok() {}));
    }
    drop((sender, receiver));
    join_all(coroutines);
    watch.stop(each * N_ENDS)
}

fn contenders(n: u64) -> Cost {
    let each = n / N_CONTENDERS + 1;
    let mutex = Arc::new(Mutex::new(0_u64));
    let body = |mutex: Arc<Mutex<u64>>| {
        move || {
            for _ in 0..each {
                let mut sum = mutex.lock().unwrap();
                yield_now();
                *sum += 1;
            }
        }
    };
    let watch = Watch::start();
    join_all(
        (0..N_CONTENDERS)
            .map(|_| spawn(body(Arc::clone(&mutex))))
            .collect(),
    );
    watch.stop(each * N_CONTENDERS)
}

fn skynet(first: u64, n_leaves: u64) -> u64 {
    if n_leaves == 1 {
        return first;
    }
    let each = n_leaves / 10;
    let children: [JoinHandle<u64>; 10] = std::array::from_fn(|i| {
        count_spawn();
        spawn(move || skynet(first + i as u64 * each, each))
    });
    children
        .into_iter()
        .map(|child| child.join().unwrap())
        .sum()
}

fn sleeps(number: u64) {
    for duration in durations(number) {
        let begin = Instant::now();
        sleep(duration);
        note_late(begin, duration);
    }
}
