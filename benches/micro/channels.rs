//! Channels, `select!` and locks.

use std::hint::black_box;

use std::sync::Arc;

use greenrt::JoinHandle;
use greenrt::select;
use greenrt::sync::Mutex;
use greenrt::sync::channel::{self, Receiver, Sender};

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
        row(
            "channel/ping_pong_bounded_1",
            "two sends, two receives",
            |n| ping_pong(n, || channel::bounded(1)),
        ),
        row(
            "channel/ping_pong_unbounded",
            "two sends, two receives",
            |n| ping_pong(n, channel::unbounded),
        ),
        row(
            "channel/ping_pong_rendezvous",
            "two sends, two receives",
            |n| ping_pong(n, || channel::bounded(0)),
        ),
        row(
            "channel/send_and_receive",
            "a send, a receive, no switch",
            send_and_receive,
        ),
        row("channel/4_to_4_bounded_64", "a message", |n| {
            four_to_four(n, 64)
        }),
        row(
            "select/two_ready_channels",
            "a receive and a send, no switch",
            select_two_ready,
        ),
        row("mutex/std_uncontended", "a lock, an unlock", |n| {
            greenrt::run(|| {
                let mutex = std::sync::Mutex::new(0_u64);
                Sample::of(n, || {
                    (0..n).for_each(|_| *black_box(&mutex).lock().unwrap() += 1)
                })
            })
        }),
        row("mutex/uncontended", "a lock, an unlock", |n| {
            greenrt::run(|| {
                let mutex = Mutex::new(0_u64);
                Sample::of(n, || {
                    (0..n).for_each(|_| *black_box(&mutex).lock().unwrap() += 1)
                })
            })
        }),
        row(
            "mutex/1000_contenders",
            "a lock, a yield, an unlock",
            contenders,
        ),
    ]
}

fn ping_pong(n_ops: u64, channel: impl Fn() -> (Sender<u64>, Receiver<u64>)) -> Sample {
    greenrt::run(|| {
        let (there, receive_there) = channel();
        let (back, receive_back) = channel();
        let echo = greenrt::spawn(move || {
            while let Ok(number) = receive_there.recv() {
                back.send(number).unwrap();
            }
        });
        let round_trips = |n| {
            for number in 0..n {
                there.send(number).unwrap();
                assert_eq!(receive_back.recv(), Ok(number));
            }
        };
        round_trips(10);
        let sample = Sample::of(n_ops, || round_trips(n_ops));
        drop(there);
        echo.join().unwrap();
        sample
    })
}

fn send_and_receive(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let (sender, receiver) = channel::bounded(64);
        Sample::of(n_ops, || {
            for number in 0..n_ops {
                sender.send(number).unwrap();
                black_box(receiver.recv().unwrap());
            }
        })
    })
}

fn four_to_four(n_ops: u64, capacity: usize) -> Sample {
    greenrt::run(|| {
        let each = n_ops / 4 + 1;
        let (sender, receiver) = channel::bounded(capacity);
        Sample::of(each * 4, || {
            let producers = [(); 4].map(|()| {
                let sender = sender.clone();
                greenrt::spawn(move || (0..each).for_each(|number| sender.send(number).unwrap()))
            });
            drop(sender);
            let consumers = [(); 4].map(|()| {
                let receiver = receiver.clone();
                greenrt::spawn(move || receiver.iter().count() as u64)
            });
            drop(receiver);
            producers
                .into_iter()
                .for_each(|producer| producer.join().unwrap());
            let n: u64 = consumers
                .into_iter()
                .map(|consumer: JoinHandle<u64>| consumer.join().unwrap())
                .sum();
            assert_eq!(n, each * 4);
        })
    })
}

/// A row with a plain receive in its place is `channel/send_and_receive`.
fn select_two_ready(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let (send_a, receive_a) = channel::bounded(64);
        let (send_b, receive_b) = channel::bounded(64);
        send_a.send(0).unwrap();
        send_b.send(0).unwrap();
        Sample::of(n_ops, || {
            for _ in 0..n_ops {
                select! {
                    recv(receive_a) -> message => send_a.send(message.unwrap()).unwrap(),
                    recv(receive_b) -> message => send_b.send(message.unwrap()).unwrap(),
                }
            }
        })
    })
}

fn contenders(n_ops: u64) -> Sample {
    const N: u64 = 1000;
    greenrt::run(|| {
        let mutex = Arc::new(Mutex::new(0_u64));
        let each = n_ops / N + 1;
        // They run once before they are measured, so they have their stacks.
        let threads: Vec<JoinHandle<()>> = (0..N)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                greenrt::spawn(move || {
                    greenrt::park();
                    for _ in 0..each {
                        let mut sum = mutex.lock().unwrap();
                        greenrt::yield_now();
                        *sum += 1;
                    }
                })
            })
            .collect();
        greenrt::yield_now();
        let sample = Sample::of(each * N, || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(*mutex.lock().unwrap(), each * N);
        sample
    })
}
