//! Channels.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::sync::mpsc::{
    IntoIter, Iter, Receiver, RecvError, RecvTimeoutError, SendError, Sender, SyncSender, TryIter,
    TryRecvError, TrySendError, channel, sync_channel,
};
use super::{run, thread};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(1000);

#[test]
fn messages_come_in_order() {
    run(|| {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || (0..1000).for_each(|n| sender.send(n).unwrap()));
        (0..1000).for_each(|n| assert_eq!(receiver.recv(), Ok(n)));
        assert_eq!(receiver.recv(), Err(RecvError));
        thread.join().unwrap();
    });
}

#[test]
fn those_of_many_senders_all_come() {
    run(|| {
        for bound in [None, Some(0), Some(1), Some(3)] {
            let (sum, n) = match bound {
                None => {
                    let (sender, receiver) = channel();
                    sends(&sender, Sender::send);
                    drop(sender);
                    sum(receiver)
                }
                Some(bound) => {
                    let (sender, receiver) = sync_channel(bound);
                    sends(&sender, SyncSender::send);
                    drop(sender);
                    sum(receiver)
                }
            };
            assert_eq!((sum, n), (8 * 100 * 99 / 2, 800), "{bound:?}");
        }
    });

    fn sends<S: Clone + Send + 'static>(
        sender: &S,
        send: fn(&S, usize) -> Result<(), SendError<usize>>,
    ) {
        for _ in 0..8 {
            let sender = sender.clone();
            thread::spawn(move || (0..100).for_each(|n| send(&sender, n).unwrap()));
        }
    }

    fn sum(receiver: Receiver<usize>) -> (usize, usize) {
        receiver
            .into_iter()
            .fold((0, 0), |(sum, n), m| (sum + m, n + 1))
    }
}

#[test]
fn each_sender_keeps_its_order() {
    run(|| {
        for bound in [0, 2] {
            let (sender, receiver) = sync_channel(bound);
            for who in 0..4 {
                let sender = sender.clone();
                thread::spawn(move || (0..100).for_each(|n| sender.send((who, n)).unwrap()));
            }
            drop(sender);
            let mut next = [0; 4];
            for (who, n) in receiver {
                assert_eq!(next[who], n);
                next[who] += 1;
            }
            assert_eq!(next, [100; 4]);
        }
    });
}

#[test]
fn trying_to_receive() {
    run(|| {
        let (sender, receiver) = channel();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
        drop(sender);
        assert_eq!(receiver.try_recv(), Ok(2));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    });
}

/// Whoever waits by trying gets a message all the same.
#[test]
fn trying_in_a_loop() {
    run(|| {
        let (sender, receiver) = sync_channel(0);
        let thread = thread::spawn(move || {
            let mut message = 7;
            while let Err(TrySendError::Full(again)) = sender.try_send(message) {
                message = again;
            }
            sender.send(8).unwrap();
        });
        assert_eq!(receiver.recv(), Ok(7));
        let second = loop {
            match receiver.try_recv() {
                Ok(second) => break second,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => panic!("gone"),
            }
        };
        assert_eq!(second, 8);
        thread.join().unwrap();
    });
}

#[test]
fn a_send_without_a_receiver_gives_the_message_back() {
    run(|| {
        let (sender, receiver) = channel();
        drop(receiver);
        assert_eq!(sender.send("x"), Err(SendError("x")));
        for bound in [0, 1] {
            let (sender, receiver) = sync_channel(bound);
            drop(receiver);
            assert_eq!(sender.send("x"), Err(SendError("x")));
            assert_eq!(sender.try_send("x"), Err(TrySendError::Disconnected("x")));
        }
    });
}

#[test]
fn the_receiver_goes_while_senders_wait() {
    run(|| {
        for bound in [0, 1] {
            let (sender, receiver) = sync_channel(bound);
            (0..bound).for_each(|_| sender.send(100).unwrap());
            let threads: Vec<_> = (0..20)
                .map(|n| {
                    let sender = sender.clone();
                    thread::spawn(move || sender.send(n))
                })
                .collect();
            (0..20).for_each(|_| thread::yield_now());
            let n_received = receiver.try_iter().take(3 + bound).count();
            drop(receiver);
            let mut n_back = 0;
            for (n, thread) in threads.into_iter().enumerate() {
                if let Err(SendError(message)) = thread.join().unwrap() {
                    assert_eq!(message, n);
                    n_back += 1;
                }
            }
            // With a bound one may have gone into the buffer, and was dropped with the receiver.
            assert!(
                n_received + n_back >= 20,
                "{bound}: {n_received} + {n_back}"
            );
        }
    });
}

#[test]
fn the_last_sender_wakes_the_receiver() {
    run(|| {
        let (sender, receiver) = channel::<()>();
        let other = sender.clone();
        let threads = [sender, other].map(|sender| {
            thread::spawn(move || {
                thread::yield_now();
                drop(sender);
            })
        });
        assert_eq!(receiver.recv(), Err(RecvError));
        assert_eq!(
            receiver.recv_timeout(LONG),
            Err(RecvTimeoutError::Disconnected)
        );
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_thread_that_panics_is_a_sender_less() {
    run(|| {
        let (sender, receiver) = channel::<()>();
        let thread = thread::spawn(move || {
            let _sender = sender;
            std::panic::resume_unwind(Box::new(()));
        });
        assert_eq!(receiver.recv(), Err(RecvError));
        assert!(thread.join().is_err());
    });
}

#[test]
fn receiving_with_a_limit() {
    run(|| {
        let (sender, receiver) = channel();
        let start = Instant::now();
        assert_eq!(
            receiver.recv_timeout(2 * MS),
            Err(RecvTimeoutError::Timeout)
        );
        assert!(start.elapsed() >= 2 * MS);
        assert_eq!(
            receiver.recv_timeout(Duration::ZERO),
            Err(RecvTimeoutError::Timeout)
        );
        let thread = thread::spawn(move || sender.send(1).unwrap());
        assert_eq!(receiver.recv_timeout(LONG), Ok(1));
        assert_eq!(
            receiver.recv_timeout(Duration::MAX),
            Err(RecvTimeoutError::Disconnected)
        );
        thread.join().unwrap();
    });
}

/// Times out and is sent to again and again: nothing is lost, nothing comes twice.
#[test]
fn a_limit_that_passes_as_a_message_comes_loses_none() {
    run(|| {
        for bound in [0, 1] {
            let (sender, receiver) = sync_channel(bound);
            let thread = thread::spawn(move || {
                for n in 0..100 {
                    if n % 3 == 0 {
                        thread::sleep(MS / 5);
                    }
                    sender.send(n).unwrap();
                }
            });
            let mut next = 0;
            loop {
                match receiver.recv_timeout(MS / 5) {
                    Ok(n) => {
                        assert_eq!(n, next);
                        next += 1;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            assert_eq!(next, 100);
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_bound_holds() {
    run(|| {
        let (sender, receiver) = sync_channel(2);
        sender.send(1).unwrap();
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        let n_sent = Arc::new(AtomicUsize::new(0));
        let thread = thread::spawn({
            let n_sent = Arc::clone(&n_sent);
            move || {
                for n in 3..10 {
                    sender.send(n).unwrap();
                    n_sent.store(n, Relaxed);
                }
            }
        });
        for n in 1..10 {
            (0..5).for_each(|_| thread::yield_now());
            assert!(n_sent.load(Relaxed) <= n + 1);
            assert_eq!(receiver.recv(), Ok(n));
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_rendezvous_waits_for_the_receiver() {
    run(|| {
        let (sender, receiver) = sync_channel(0);
        assert_eq!(sender.try_send(0), Err(TrySendError::Full(0)));
        let n_sent = Arc::new(AtomicUsize::new(0));
        let thread = thread::spawn({
            let n_sent = Arc::clone(&n_sent);
            move || {
                for n in 1..=20 {
                    sender.send(n).unwrap();
                    n_sent.store(n, Relaxed);
                }
            }
        });
        for n in 1..=20 {
            (0..5).for_each(|_| thread::yield_now());
            assert!(n_sent.load(Relaxed) < n);
            assert_eq!(receiver.recv(), Ok(n));
        }
        thread.join().unwrap();
    });
}

#[test]
fn iterators_end_as_they_should() {
    run(|| {
        let (sender, receiver) = channel();
        (0..5).for_each(|n| sender.send(n).unwrap());
        let tried: TryIter<'_, i32> = receiver.try_iter();
        assert_eq!(tried.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        (0..5).for_each(|n| sender.send(n).unwrap());
        let mut iter: Iter<'_, i32> = receiver.iter();
        assert_eq!(iter.next(), Some(0));
        for n in &receiver {
            if n == 2 {
                break;
            }
            assert_eq!(n, 1);
        }
        drop(sender);
        let rest: IntoIter<i32> = receiver.into_iter();
        assert_eq!(rest.collect::<Vec<_>>(), [3, 4]);
    });
}

/// Adds one when dropped.
struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn messages_nobody_took_are_dropped_with_the_receiver() {
    run(|| {
        let n = Arc::new(AtomicUsize::new(0));
        let counts = || Counts(Arc::clone(&n));
        let (sender, receiver) = channel();
        (0..5).for_each(|_| assert!(sender.send(counts()).is_ok()));
        drop(receiver.recv());
        drop(receiver);
        assert_eq!(n.load(Relaxed), 5);
        drop(sender.send(counts()));
        assert_eq!(n.load(Relaxed), 6);
        let (sender, receiver) = sync_channel(10);
        (0..5).for_each(|_| assert!(sender.send(counts()).is_ok()));
        drop(sender);
        assert_eq!(n.load(Relaxed), 6);
        assert!(receiver.recv().is_ok());
        drop(receiver);
        assert_eq!(n.load(Relaxed), 11);
    });
}

/// Its destructor uses the channel that it is in.
#[test]
fn what_is_dropped_with_a_channel_may_use_it() {
    struct Sends(Option<Sender<Sends>>);
    impl Drop for Sends {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.send(Sends(None)).is_err());
            }
        }
    }
    run(|| {
        let (sender, receiver) = channel();
        assert!(sender.send(Sends(Some(sender.clone()))).is_ok());
        drop(receiver);
    });
}

#[test]
fn debug_says_little() {
    run(|| {
        let (sender, receiver) = channel::<std::cell::Cell<i32>>();
        assert_eq!(format!("{sender:?}"), "Sender { .. }");
        assert_eq!(format!("{receiver:?}"), "Receiver { .. }");
        let (sync_sender, receiver) = sync_channel::<()>(1);
        assert_eq!(format!("{sync_sender:?}"), "SyncSender { .. }");
        assert!(format!("{:?}", receiver.iter()).starts_with("Iter {"));
        assert!(format!("{:?}", receiver.try_iter()).starts_with("TryIter {"));
        assert!(format!("{:?}", receiver.into_iter()).starts_with("IntoIter {"));
    });
}

#[test]
fn a_ring_of_channels() {
    run(|| {
        const N: usize = 20;
        let (first, mut receiver) = channel::<usize>();
        for _ in 0..N {
            let (sender, next) = channel();
            let from = std::mem::replace(&mut receiver, next);
            thread::spawn(move || from.into_iter().try_for_each(|n| sender.send(n + 1)));
        }
        for n in 0..50 {
            first.send(n).unwrap();
            assert_eq!(receiver.recv(), Ok(n + N));
        }
        drop(first);
        assert_eq!(receiver.recv(), Err(RecvError));
    });
}
