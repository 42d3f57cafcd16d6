//! Channels: between green threads, OS threads, and both.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt::lowlevel::cancel;
use greenrt::sync::channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, bounded, unbounded,
};
use greenrt::{Cancelled, JoinHandle, spawn, timeout};

use crate::support::*;

const CAPACITIES: [usize; 4] = [0, 1, 3, usize::MAX];
const SOON: Duration = Duration::from_millis(2);

fn channel_of<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    match capacity {
        usize::MAX => unbounded(),
        n => bounded(n),
    }
}

/// A thread of either kind.
enum Either<T> {
    Green(JoinHandle<T>),
    Os(std::thread::JoinHandle<T>),
}

fn spawn_either<T: Send + 'static>(
    green: bool,
    f: impl FnOnce() -> T + Send + 'static,
) -> Either<T> {
    if green {
        Either::Green(spawn(f))
    } else {
        Either::Os(std::thread::spawn(f))
    }
}

impl<T> Either<T> {
    fn join(self) -> T {
        match self {
            Either::Green(thread) => thread.join_uncancelled().unwrap(),
            Either::Os(thread) => {
                wait_until(|| thread.is_finished());
                thread.join().unwrap()
            }
        }
    }
}

#[test]
fn messages_come_in_order() {
    on_each_runtime_and_off(|| {
        for capacity in CAPACITIES {
            let (sender, receiver) = channel_of(capacity);
            let producer = spawn(move || (0..100).for_each(|n| sender.send(n).unwrap()));
            assert!(receiver.iter().eq(0..100));
            assert_eq!(receiver.recv(), Err(RecvError));
            producer.join().unwrap();
        }
    });
}

#[test]
fn nothing_is_lost_or_doubled_between_threads_of_both_kinds() {
    on_each_runtime_and_off(|| {
        for capacity in CAPACITIES {
            const EACH: usize = 300;
            let (sender, receiver) = channel_of(capacity);
            let producers: Vec<_> = (0..4)
                .map(|producer| {
                    let sender = sender.clone();
                    spawn_either(producer % 2 == 0, move || {
                        (0..EACH).for_each(|n| sender.send((producer, n)).unwrap());
                    })
                })
                .collect();
            drop(sender);
            let consumers: Vec<_> = (0..4)
                .map(|consumer| {
                    let receiver = receiver.clone();
                    spawn_either(consumer % 2 == 0, move || {
                        receiver.into_iter().collect::<Vec<_>>()
                    })
                })
                .collect();
            drop(receiver);
            producers.into_iter().for_each(Either::join);
            let mut all: Vec<(usize, usize)> = Vec::new();
            for consumer in consumers {
                let taken = consumer.join();
                for producer in 0..4 {
                    let of_one = taken.iter().filter(|(from, _)| *from == producer);
                    assert!(of_one.is_sorted(), "one producer's messages are in order");
                }
                all.extend(taken);
            }
            all.sort_unstable();
            assert!(
                all.into_iter()
                    .eq((0..4).flat_map(|p| (0..EACH).map(move |n| (p, n))))
            );
        }
    });
}

#[test]
fn a_full_channel_makes_its_sender_wait() {
    on_one_worker(|| {
        let log = Log::new();
        let (sender, receiver) = bounded(2);
        let producer = spawn({
            let log = log.clone();
            move || {
                for n in 0..4 {
                    sender.send(n).unwrap();
                    log.note(format!("s{n}"));
                }
            }
        });
        greenrt::yield_now();
        assert_eq!(log.text(), "s0 s1");
        assert!(receiver.is_full());
        assert_eq!((receiver.len(), receiver.capacity()), (2, Some(2)));
        assert_eq!(receiver.recv(), Ok(0));
        assert_eq!(
            receiver.len(),
            2,
            "the message of the waiting sender has the room"
        );
        greenrt::yield_now();
        assert_eq!(log.text(), "s0 s1 s2");
        assert!(receiver.iter().eq(1..4));
        producer.join().unwrap();
    });
}

#[test]
fn a_rendezvous_waits_for_both() {
    on_one_worker(|| {
        let log = Log::new();
        let (sender, receiver) = bounded(0);
        assert_eq!(sender.try_send(7), Err(TrySendError::Full(7)));
        assert!(sender.is_full() && sender.is_empty());
        let producer = spawn({
            let log = log.clone();
            move || {
                sender.send(1).unwrap();
                log.note("sent");
                while sender.try_send(2).is_err() {
                    greenrt::yield_now();
                }
            }
        });
        (0..10).for_each(|_| greenrt::yield_now());
        assert_eq!(log.len(), 0);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(receiver.recv(), Ok(2));
        assert_eq!(log.text(), "sent");
        assert_eq!(receiver.recv(), Err(RecvError));
        producer.join().unwrap();
    });
}

#[test]
fn who_waits_first_is_served_first() {
    on_one_worker(|| {
        let log = Log::new();
        let (sender, receiver) = bounded::<usize>(0);
        let receivers: Vec<_> = (0..5)
            .map(|number| {
                let (receiver, log) = (receiver.clone(), log.clone());
                spawn(move || {
                    let message = receiver.recv().unwrap();
                    log.note(format!("{number}:{message}"));
                })
            })
            .collect();
        greenrt::yield_now();
        (0..5).for_each(|n| sender.try_send(n).unwrap());
        receivers
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(log.text(), "0:0 1:1 2:2 3:3 4:4");
        let senders: Vec<_> = (0..5)
            .map(|number| {
                let sender = sender.clone();
                spawn(move || sender.send(number).unwrap())
            })
            .collect();
        greenrt::yield_now();
        assert!(receiver.try_iter().eq(0..5));
        senders
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn dropping_the_last_sender_wakes_every_receiver() {
    on_each_runtime_and_off(|| {
        for capacity in CAPACITIES {
            let (sender, receiver) = channel_of::<u8>(capacity);
            let other = sender.clone();
            let waiting: Vec<_> = (0..6)
                .map(|n| {
                    let receiver = receiver.clone();
                    spawn_either(n % 2 == 0, move || receiver.recv())
                })
                .collect();
            (0..10).for_each(|_| greenrt::yield_now());
            drop(sender);
            drop(other);
            for thread in waiting {
                assert_eq!(thread.join(), Err(RecvError));
            }
            assert!(receiver.is_disconnected());
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(
                receiver.recv_timeout(HOUR),
                Err(RecvTimeoutError::Disconnected)
            );
        }
    });
}

#[test]
fn dropping_the_last_receiver_wakes_every_sender_and_gives_the_messages_back() {
    on_each_runtime_and_off(|| {
        for capacity in [0, 1, 3] {
            let (sender, receiver) = channel_of(capacity);
            (0..capacity).for_each(|n| sender.send(n).unwrap());
            let other = receiver.clone();
            let waiting: Vec<_> = (10..16)
                .map(|n| {
                    let sender = sender.clone();
                    spawn_either(n % 2 == 0, move || sender.send(n))
                })
                .collect();
            (0..10).for_each(|_| greenrt::yield_now());
            drop(receiver);
            drop(other);
            for (thread, n) in waiting.into_iter().zip(10..) {
                assert_eq!(thread.join(), Err(SendError(n)));
            }
            assert!(sender.is_disconnected());
            assert_eq!(sender.try_send(1), Err(TrySendError::Disconnected(1)));
            assert_eq!(
                sender.send_timeout(1, HOUR),
                Err(SendTimeoutError::Disconnected(1))
            );
        }
    });
}

#[test]
fn messages_that_nobody_takes_are_dropped_with_the_last_receiver() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let (sender, receiver) = unbounded();
        (0..3).for_each(|n| sender.send(log.on_drop(n.to_string())).unwrap());
        drop(receiver);
        assert_eq!(log.text(), "0 1 2");
        drop(sender);
    });
}

#[test]
fn a_closed_channel_can_be_drained() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = bounded(2);
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        let waiting = spawn({
            let sender = sender.clone();
            move || sender.send(3)
        });
        wait_until(|| {
            greenrt::debug::dump()
                .to_string()
                .contains("room in a channel")
                || waiting.is_finished()
        });
        assert!(sender.close());
        assert!(!receiver.close());
        assert_eq!(waiting.join().unwrap(), Err(SendError(3)));
        assert_eq!(sender.send(4), Err(SendError(4)));
        assert!(!receiver.is_disconnected());
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
        assert!(receiver.is_disconnected());
    });
}

#[test]
fn a_wait_ends_at_its_deadline_and_the_message_comes_back() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = bounded::<u8>(0);
        let before = Instant::now();
        assert_eq!(receiver.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
        assert_eq!(
            sender.send_timeout(5, SOON),
            Err(SendTimeoutError::Timeout(5))
        );
        assert!(before.elapsed() >= 2 * SOON);
        let at = Instant::now() + SOON;
        assert_eq!(receiver.recv_deadline(at), Err(RecvTimeoutError::Timeout));
        assert_eq!(
            sender.send_deadline(6, at),
            Err(SendTimeoutError::Timeout(6))
        );
        assert!(Instant::now() >= at);
        // Nobody was left behind in the lists.
        assert_eq!(sender.try_send(7), Err(TrySendError::Full(7)));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn a_deadline_is_one_of_the_runtimes_clock() {
    on_manual_clocks(|clock| {
        let (sender, receiver) = bounded::<u8>(0);
        let before = clock.now();
        assert_eq!(receiver.recv_timeout(HOUR), Err(RecvTimeoutError::Timeout));
        assert!(sender.send_deadline(1, clock.now() + HOUR).is_err());
        assert_eq!(clock.now() - before, 2 * HOUR);
    });
}

#[test]
fn a_channel_that_is_always_ready_starves_nobody() {
    on_one_worker(|| {
        let (sender, receiver) = unbounded();
        let n_turns = Arc::new(AtomicUsize::new(0));
        let other = spawn({
            let n_turns = Arc::clone(&n_turns);
            move || {
                for _ in 0..8 {
                    n_turns.fetch_add(1, Relaxed);
                    greenrt::yield_now();
                }
            }
        });
        for n in 0..200 {
            sender.send(n).unwrap();
            assert_eq!(receiver.recv(), Ok(n));
            let _ = receiver.try_recv();
        }
        assert!(
            n_turns.load(Relaxed) >= 3,
            "600 operations are several turns"
        );
        other.join().unwrap();
    });
}

#[test]
fn cancel_and_limits_end_a_wait_and_take_nothing() {
    on_each_runtime(|| {
        let log = Log::new();
        let (sender, receiver) = bounded(1);
        let waiting = spawn({
            let receiver = receiver.clone();
            move || receiver.recv().is_ok()
        });
        greenrt::yield_now();
        cancel(waiting.thread());
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        sender.send(log.on_drop("first")).unwrap();
        let waiting = spawn({
            let (sender, message) = (sender.clone(), log.on_drop("second"));
            move || sender.send(message).is_ok()
        });
        greenrt::yield_now();
        cancel(waiting.thread());
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert!(timeout(SOON, || sender.send(log.on_drop("third"))).is_err());
        drop(receiver.recv().unwrap());
        assert_eq!(log.text(), "second third first");
        assert!(timeout(SOON, || receiver.recv()).is_err());
        assert!(receiver.is_empty());
    });
}

#[test]
fn a_limit_ends_the_wait_of_an_os_thread_too() {
    limited(|| {
        let (sender, receiver) = bounded::<u8>(0);
        assert!(timeout(SOON, || receiver.recv()).is_err());
        assert!(timeout(SOON, || sender.send(1)).is_err());
    });
}

#[test]
fn a_cancelled_thread_does_not_take_what_is_there() {
    on_each_runtime(|| {
        let (sender, receiver) = unbounded();
        sender.send(1).unwrap();
        let thread = spawn({
            let receiver = receiver.clone();
            move || {
                greenrt::shield(greenrt::park);
                receiver.recv().is_ok()
            }
        });
        greenrt::yield_now();
        cancel(thread.thread());
        thread.thread().unpark();
        assert!(thread.join().unwrap_err().is::<Cancelled>());
        assert_eq!(receiver.try_recv(), Ok(1));
    });
}

/// Senders and receivers that are cancelled, time out, or succeed, at any moment.
#[test]
fn cancel_and_deadline_racing_with_messages_lose_none() {
    let n_seeds = if cfg!(debug_assertions) { 150 } else { 1500 };
    limited(|| {
        let runtime = runtime(2);
        with_seeds(n_seeds, |random| {
            let capacity = random.below(3) as usize;
            let mut random = random.fork();
            runtime.run(move || {
                let (sender, receiver) = bounded(capacity);
                let n_sent = Arc::new(AtomicUsize::new(0));
                let n_received = Arc::new(AtomicUsize::new(0));
                let threads: Vec<_> = (0..12)
                    .map(|number| {
                        let mut random = random.fork();
                        // Nobody has both ends, so nobody keeps the channel open for itself.
                        let sends = number % 2 == 0;
                        let sender = sends.then(|| sender.clone());
                        let receiver = (!sends).then(|| receiver.clone());
                        let (n_sent, n_received) = (Arc::clone(&n_sent), Arc::clone(&n_received));
                        spawn(move || {
                            for _ in 0..6 {
                                let time = Duration::from_nanos(random.below(20_000));
                                random.dawdle(300);
                                let waits = random.below(2) == 0;
                                let done = match (&sender, &receiver) {
                                    (Some(sender), _) if waits => sender.send(()).is_ok(),
                                    (Some(sender), _) => sender.send_timeout((), time).is_ok(),
                                    (_, Some(receiver)) if waits => receiver.recv().is_ok(),
                                    (_, receiver) => {
                                        receiver.as_ref().unwrap().recv_timeout(time).is_ok()
                                    }
                                };
                                let n = if sends { &n_sent } else { &n_received };
                                n.fetch_add(usize::from(done), Relaxed);
                            }
                        })
                    })
                    .collect();
                for thread in &threads {
                    greenrt::yield_now();
                    random.dawdle(1000);
                    if random.below(3) > 0 {
                        cancel(thread.thread());
                    }
                }
                drop(sender);
                // Those who are left over on one side get an end.
                let rest = std::thread::spawn({
                    let n_received = Arc::clone(&n_received);
                    move || n_received.fetch_add(receiver.iter().count(), Relaxed)
                });
                for thread in threads {
                    let _ = thread.join();
                }
                wait_until(|| rest.is_finished());
                rest.join().unwrap();
                assert_eq!(n_sent.load(Relaxed), n_received.load(Relaxed));
            });
        });
    });
}

#[test]
fn errors_say_what_happened() {
    let timeout = SendTimeoutError::Timeout(std::cell::Cell::new(5));
    assert!(timeout.is_timeout() && !timeout.is_disconnected());
    assert_eq!(timeout.to_string(), "timed out sending on a channel");
    assert_eq!(format!("{timeout:?}"), "Timeout(..)");
    assert_eq!(timeout.into_inner().get(), 5);
    let closed: SendTimeoutError<u8> = SendError(6).into();
    assert!(closed.is_disconnected());
    assert_eq!(closed.to_string(), "sending on a closed channel");
}

#[test]
fn both_ends_may_be_shared_if_messages_may_be_sent() {
    fn is_shared<T: Send + Sync + std::panic::UnwindSafe>() {}
    is_shared::<Sender<std::cell::Cell<u8>>>();
    is_shared::<Receiver<std::cell::Cell<u8>>>();
    is_shared::<Receiver<Box<dyn FnOnce() + Send>>>();
}
