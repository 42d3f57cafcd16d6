//! Switches, wake-ups, spawns, generators, descriptors.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::lowlevel::Io;
use greenrt::{Builder, Generator, JoinHandle, Runtime, Thread};

use crate::harness::{Row, Sample, Size};

pub(crate) fn all() -> Vec<Row> {
    let row = |name, op, run| Row {
        name,
        op,
        size: Size::Timed,
        waits: false,
        run,
    };
    let fixed = |name, op, n_ops, n_rounds, run| Row {
        name,
        op,
        size: Size::Fixed(n_ops, n_rounds),
        waits: false,
        run,
    };
    let waits = |row: Row| Row { waits: true, ..row };
    vec![
        row("switch/yield_2_threads", "a yield", |n| yields(2, n)),
        row("switch/yield_1000_threads", "a yield", |n| yields(1000, n)),
        row(
            "park/round_trip_one_worker",
            "two unparks, two parks",
            park_one_worker,
        ),
        waits(row(
            "park/round_trip_other_worker_runs",
            "two unparks, two parks",
            |n| park_two_workers(n, true),
        )),
        waits(row(
            "park/round_trip_other_worker_sleeps",
            "two unparks, two parks",
            |n| park_two_workers(n, false),
        )),
        row("spawn/join_warm", "a spawn, its run, its join", spawn_join),
        fixed(
            "spawn/cold_10k_threads",
            "the same, all alive at once",
            10_000,
            11,
            |n| Sample::of_child(&["cold", &n.to_string()]),
        ),
        fixed(
            "spawn/100k_then_join",
            "a spawn, its run, its join",
            100_000,
            15,
            spawn_burst,
        ),
        fixed(
            "spawn/100k_scoped",
            "the same, in a scope",
            100_000,
            15,
            spawn_scoped,
        ),
        fixed(
            "skynet/million_leaves",
            "the whole tree",
            1,
            5,
            skynet_million,
        ),
        row(
            "timer/timeout_around_yield",
            "a limit set and taken back",
            timeout_around_yield,
        ),
        row(
            "timer/park_timeout_unparked",
            "two unparks, two parks with timers",
            park_timeout,
        ),
        row("generator/resume", "there and back", generator),
        row(
            "io/socketpair_round_trip",
            "two writes, two waits, two reads",
            io_round_trip,
        ),
    ]
}

fn yields(n_threads: u64, n_ops: u64) -> Sample {
    greenrt::run(|| {
        let each = n_ops / n_threads + 1;
        // The threads run once before they are measured, so they have their stacks.
        let threads: Vec<JoinHandle<()>> = (0..n_threads)
            .map(|_| {
                greenrt::spawn(move || {
                    greenrt::park();
                    (0..each).for_each(|_| greenrt::yield_now());
                })
            })
            .collect();
        greenrt::yield_now();
        Sample::of(each * n_threads, || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            join_all(threads);
        })
    })
}

/// Wakes `other` and waits to be woken, `n` times.
fn ping(other: &Thread, n: u64) {
    for _ in 0..n {
        other.unpark();
        greenrt::park();
    }
}

/// Waits to be woken and wakes `other`, `n` times.
fn pong(other: &Thread, n: u64) {
    for _ in 0..n {
        greenrt::park();
        other.unpark();
    }
}

fn park_one_worker(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let main = greenrt::current();
        let other = greenrt::spawn(move || pong(&main, n_ops + 10));
        ping(other.thread(), 10);
        let sample = Sample::of(n_ops, || ping(other.thread(), n_ops));
        other.join().unwrap();
        sample
    })
}

fn park_two_workers(n_ops: u64, awake: bool) -> Sample {
    let runtime = Runtime::builder().workers(2).build().expect("a runtime");
    let on = |worker| Builder::new().worker(worker);
    let stop = Arc::new(AtomicBool::new(!awake));
    let yielders: Vec<JoinHandle<()>> = (0..2)
        .map(|worker| {
            let stop = Arc::clone(&stop);
            let body = move || {
                while !stop.load(Relaxed) {
                    greenrt::yield_now();
                }
            };
            on(worker).spawn_on(&runtime, body).expect("a yielder")
        })
        .collect();
    let pinger = on(0).spawn_on(&runtime, move || {
        let main = greenrt::current();
        let other = on(1)
            .spawn(move || pong(&main, n_ops + 10))
            .expect("the other one");
        ping(other.thread(), 10);
        let sample = Sample::of(n_ops, || ping(other.thread(), n_ops));
        other.join().unwrap();
        sample
    });
    let sample = pinger.expect("a pinger").join().unwrap();
    stop.store(true, Relaxed);
    join_all(yielders);
    sample
}

fn spawn_join(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let spawn_and_join = |n| {
            for number in 0..n {
                black_box(greenrt::spawn(move || number).join().unwrap());
            }
        };
        spawn_and_join(100);
        Sample::of(n_ops, || spawn_and_join(n_ops))
    })
}

/// In a process that has spawned nothing before.
pub(crate) fn spawn_cold(n_ops: u64) -> Sample {
    greenrt::run(|| {
        Sample::of(n_ops, || {
            // Each yields once, so that all of them have a stack at the same time.
            join_all(
                (0..n_ops)
                    .map(|_| greenrt::spawn(greenrt::yield_now))
                    .collect(),
            );
        })
    })
}

fn spawn_burst(n_ops: u64) -> Sample {
    greenrt::run(|| {
        Sample::of(n_ops, || {
            join_all((0..n_ops).map(|_| greenrt::spawn(|| ())).collect());
        })
    })
}

fn spawn_scoped(n_ops: u64) -> Sample {
    greenrt::run(|| {
        Sample::of(n_ops, || {
            greenrt::scope(|scope| {
                (0..n_ops).for_each(|_| drop(scope.spawn(|| ())));
            });
        })
    })
}

fn join_all(threads: Vec<JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// A tree with ten children to a node; each leaf returns its number, each node the sum.
fn skynet(first: u64, n_leaves: u64) -> u64 {
    if n_leaves == 1 {
        return first;
    }
    let each = n_leaves / 10;
    let children: [JoinHandle<u64>; 10] =
        std::array::from_fn(|i| greenrt::spawn(move || skynet(first + i as u64 * each, each)));
    children
        .into_iter()
        .map(|child| child.join().unwrap())
        .sum()
}

fn skynet_million(n_ops: u64) -> Sample {
    greenrt::run(|| {
        Sample::of(n_ops, || {
            for _ in 0..n_ops {
                assert_eq!(skynet(0, 1_000_000), 499_999_500_000);
            }
        })
    })
}

fn timeout_around_yield(n_ops: u64) -> Sample {
    greenrt::run(|| {
        Sample::of(n_ops, || {
            for _ in 0..n_ops {
                let limit = black_box(Duration::from_secs(1));
                greenrt::timeout(limit, greenrt::yield_now).expect("it does not take a second");
            }
        })
    })
}

fn park_timeout(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let limit = black_box(Duration::from_secs(100));
        let main = greenrt::current();
        let other = greenrt::spawn(move || {
            for _ in 0..n_ops {
                greenrt::park_timeout(limit);
                main.unpark();
            }
        });
        let sample = Sample::of(n_ops, || {
            for _ in 0..n_ops {
                other.thread().unpark();
                greenrt::park_timeout(limit);
            }
        });
        other.join().unwrap();
        sample
    })
}

fn generator(n_ops: u64) -> Sample {
    let mut numbers = Generator::new(|out, ()| {
        let mut number = 0_u64;
        loop {
            out.yield_(number);
            number += 1;
        }
    });
    numbers.next();
    Sample::of(n_ops, || {
        for _ in 0..n_ops {
            black_box(numbers.next());
        }
    })
}

fn io_round_trip(n_ops: u64) -> Sample {
    fn receive(stream: &Io<UnixStream>) -> usize {
        let mut buffer = [0; 64];
        let n = stream.read_stream_with(None, 64, |mut stream| stream.read(&mut buffer));
        n.expect("a byte")
    }
    fn send(stream: &Io<UnixStream>) {
        let n = stream.write_stream_with(None, 1, |mut stream| stream.write(b"."));
        assert_eq!(n.expect("room for a byte"), 1);
    }
    greenrt::run(|| {
        let (here, there) = UnixStream::pair().expect("a pair of sockets");
        here.set_nonblocking(true).expect("a setting");
        there.set_nonblocking(true).expect("a setting");
        let (here, there) = (Io::new(here), Io::new(there));
        let echo = greenrt::spawn(move || {
            while receive(&there) > 0 {
                send(&there);
            }
        });
        let round_trips = |n| {
            for _ in 0..n {
                send(&here);
                receive(&here);
            }
        };
        round_trips(10);
        let sample = Sample::of(n_ops, || round_trips(n_ops));
        drop(here);
        echo.join().unwrap();
        sample
    })
}
