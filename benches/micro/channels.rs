//! Channels and `select!`.

use std::hint::black_box;

use greenrt::JoinHandle;
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
