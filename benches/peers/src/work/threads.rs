//! The workloads on OS threads.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{JoinHandle, park, sleep, spawn, yield_now};
use std::time::Instant;

use super::{
    N_CONTENDERS, N_ENDS, ROOM, Work, count_spawn, durations, make_room_for_late, note_late,
};
use crate::child::{Cost, Watch};

pub(super) fn run(work: Work, n: u64) -> Cost {
    match work {
        Work::Yield(n_threads) => {
            let each = n / n_threads + 1;
            let start = Arc::new(Barrier::new(n_threads as usize + 1));
            let thread = |start: Arc<Barrier>| {
                spawn(move || {
                    start.wait();
                    (0..each).for_each(|_| yield_now());
                })
            };
            let threads = (0..n_threads).map(|_| thread(Arc::clone(&start))).collect();
            start.wait();
            let watch = Watch::start();
            join_all(threads);
            watch.stop(each * n_threads)
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
            let thread = || {
                count_spawn();
                spawn(|| ())
            };
            join_all((0..n).map(|_| thread()).collect());
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
            let thread = |number| {
                count_spawn();
                spawn(move || sleeps(number))
            };
            join_all((0..n).map(thread).collect());
            watch.stop(n)
        }
        Work::Parked => {
            static PARKED: AtomicU64 = AtomicU64::new(0);
            let watch = Watch::start();
            let _threads: Vec<JoinHandle<()>> = (0..n)
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

fn join_all(threads: Vec<JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
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

/// By crossbeam's channel; std's has one receiver.
fn four_to_four(n: u64) -> Cost {
    let each = n / N_ENDS + 1;
    let (sender, receiver) = crossbeam_channel::bounded::<u64>(ROOM);
    let watch = Watch::start();
    let mut threads = Vec::new();
    for _ in 0..N_ENDS {
        let (sender, receiver) = (sender.clone(), receiver.clone());
        threads.push(spawn(move || {
            (0..each).for_each(|number| sender.send(number).unwrap())
        }));
        threads.push(spawn(move || while receiver.recv().is_ok() {}));
    }
    drop((sender, receiver));
    join_all(threads);
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
