//! No message is lost or doubled, and nobody is forgotten.

use std::time::Duration;

use loom::thread;

use super::{bounded, unless_cancelled};
use crate::park::Thread;
use crate::sync::channel::{SendTimeoutError, bounded as channel, unbounded};

const SOON: Duration = Duration::ZERO;

fn each_capacity(model: impl Fn(usize) + Sync + Send + Copy + 'static) {
    for capacity in [0, 1, usize::MAX] {
        bounded(2, move || model(capacity));
    }
}

#[test]
fn two_messages_to_two_receivers() {
    each_capacity(|capacity| {
        let (sender, receiver) = channel(capacity);
        let other = receiver.clone();
        let other = thread::spawn(move || other.recv().unwrap());
        let sender = thread::spawn(move || (1..=2).for_each(|n| sender.send(n).unwrap()));
        let (mine, others) = (receiver.recv().unwrap(), other.join().unwrap());
        assert_eq!(mine + others, 3);
        sender.join().unwrap();
        assert!(receiver.is_empty());
    });
}

#[test]
fn the_last_sender_goes() {
    bounded(3, || {
        let (sender, receiver) = unbounded();
        let sender = thread::spawn(move || sender.send(1).unwrap());
        assert_eq!(receiver.recv(), Ok(1));
        assert!(receiver.recv().is_err());
        sender.join().unwrap();
    });
}

#[test]
fn the_last_receiver_goes() {
    each_capacity(|capacity| {
        let (sender, receiver) = channel(capacity);
        let receiver = thread::spawn(move || receiver.try_recv().is_ok());
        let sent = (0..2).map(|n| sender.send(n).is_ok()).collect::<Vec<_>>();
        let _received = receiver.join().unwrap();
        assert!(!(sent[1] && !sent[0]));
        assert!(sender.send(3).is_err());
    });
}

#[test]
fn a_deadline_that_passes_as_the_message_comes() {
    each_capacity(|capacity| {
        let (sender, receiver) = channel(capacity);
        let sender = thread::spawn(move || match sender.send_timeout(7, SOON) {
            Ok(()) => true,
            Err(SendTimeoutError::Timeout(7)) => false,
            Err(error) => panic!("{error:?}"),
        });
        let received = receiver.recv_timeout(SOON).is_ok();
        let sent = sender.join().unwrap();
        let left = receiver.try_recv().is_ok();
        assert_eq!(sent, received || left);
        assert!(!(received && left));
    });
}

#[test]
fn a_cancel_that_comes_with_the_message() {
    each_capacity(|capacity| {
        let (sender, receiver) = channel(capacity);
        let (tell, told) = loom::sync::mpsc::channel();
        let victim = {
            let receiver = receiver.clone();
            thread::spawn(move || {
                tell.send(Thread::current()).unwrap();
                unless_cancelled(|| receiver.recv().unwrap())
            })
        };
        let victims = told.recv().unwrap();
        let canceller = thread::spawn(move || victims.cancel());
        let sent = sender.try_send(7).is_ok();
        canceller.join().unwrap();
        let received = victim.join().unwrap().is_some();
        let left = receiver.try_recv().is_ok();
        assert_eq!(sent, received || left);
        assert!(!(received && left));
    });
}
