//! Locks and channels of greenstd, with std's lock beside them.

use std::hint::black_box;
use std::sync::Arc;

use greenstd::sync::{Mutex, mpsc};
use greenstd::thread;

use crate::harness::{Row, Sample, Size};

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, op, run| Row {
        name,
        op,
        size: Size::Timed,
        waits: false,
        run,
    };
    vec![
        row("mutex/uncontended", "a lock and unlock", |n| {
            let mutex = Mutex::new(0_u64);
            uncontended(n, || *black_box(&mutex).lock().unwrap() += 1)
        }),
        row(
            "mutex/uncontended_std_guarded_number",
            "the same with std's",
            |n| {
                let mutex = std::sync::Mutex::new(0_u64);
                uncontended(n, || *black_box(&mutex).lock().unwrap() += 1)
            },
        ),
        row(
            "mutex/1000_contenders",
            "a lock, a yield, an unlock",
            contended,
        ),
        row(
            "mpsc/ping_pong",
            "two sends, two waits, two receives",
            ping_pong,
        ),
    ]
}

fn uncontended(n_ops: u64, mut act: impl FnMut()) -> Sample {
    greenrt::run(|| Sample::of(n_ops, || (0..n_ops).for_each(|_| act())))
}

fn contended(n_ops: u64) -> Sample {
    const N_THREADS: u64 = 1000;
    greenrt::run(|| {
        let each = n_ops / N_THREADS + 1;
        let mutex = Arc::new(Mutex::new(0_u64));
        // The threads run once before they are measured, so they have their stacks.
        let threads: Vec<_> = (0..N_THREADS)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                thread::spawn(move || {
                    thread::park();
                    for _ in 0..each {
                        let mut n = mutex.lock().unwrap();
                        *n += 1;
                        thread::yield_now();
                    }
                })
            })
            .collect();
        thread::yield_now();
        Sample::of(each * N_THREADS, || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            for thread in threads {
                thread.join().unwrap();
            }
        })
    })
}

fn ping_pong(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let (ping, pinged) = mpsc::channel();
        let (pong, ponged) = mpsc::channel();
        let other = thread::spawn(move || {
            for n in pinged {
                pong.send(n).unwrap();
            }
        });
        let round_trips = |n_ops| {
            for n in 0..n_ops {
                ping.send(n).unwrap();
                assert_eq!(ponged.recv(), Ok(n));
            }
        };
        round_trips(10);
        let sample = Sample::of(n_ops, || round_trips(n_ops));
        drop(ping);
        other.join().unwrap();
        sample
    })
}
