//! `select!`: exactly one arm is done, on threads of every kind.

#![expect(
    clippy::disallowed_methods,
    reason = "plain OS threads are part of what is tested"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt::lowlevel::{Io, cancel};
use greenrt::sync::channel::{RecvError, SendError, bounded, unbounded};
use greenrt::sync::select::{RecvArm, Select, SendArm};
use greenrt::{Cancelled, select, spawn};

use crate::support::*;

const SOON: Duration = Duration::from_millis(2);

#[test]
fn an_arm_that_is_ready_is_chosen() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = unbounded();
        let (_other, nothing) = unbounded::<u8>();
        sender.send("a message").unwrap();
        let got = select! {
            recv(nothing) -> _ => "nothing",
            recv(receiver) -> message => message.unwrap(),
        };
        assert_eq!(got, "a message");
        let got = select! {
            recv(nothing) -> message => message.is_ok(),
            send(sender, "another") -> sent => sent.is_ok(),
        };
        assert!(got);
        assert_eq!(receiver.recv(), Ok("another"));
    });
}

#[test]
fn the_default_is_chosen_if_nothing_is_ready() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = bounded::<u8>(0);
        let got = select! {
            recv(receiver) -> _ => 1,
            default => 2,
            send(sender, 7) -> _ => { 3 }
        };
        assert_eq!(got, 2);
    });
}

#[test]
fn it_waits_for_whatever_comes_first() {
    on_each_runtime_and_off(|| {
        for first in 0..4 {
            let (send_a, receive_a) = bounded(0);
            let (send_b, receive_b) = bounded(1);
            send_b.send('b').unwrap();
            let mut handle = spawn(move || {
                if first != 2 {
                    greenrt::sleep(HOUR);
                }
                'j'
            });
            let os = std::thread::spawn({
                let (receive_b, send_a) = (receive_b.clone(), send_a.clone());
                move || {
                    std::thread::sleep(SOON / 4);
                    match first {
                        0 => send_a.send('a').unwrap(),
                        1 => drop(receive_b.recv()),
                        _ => {}
                    }
                }
            });
            let thread = handle.thread().clone();
            let time = if first == 3 { SOON } else { HOUR };
            let got = select! {
                recv(receive_a) -> message => message.unwrap_or('c'),
                send(send_b, 'x') -> sent => { sent.unwrap(); 's' }
                join(handle) -> result => result.unwrap(),
                timeout(time) => 't',
            };
            assert_eq!(got, ['a', 's', 'j', 't'][first]);
            drop(send_a);
            assert!(receive_b.try_recv().is_ok());
            cancel(&thread);
            wait_until(|| os.is_finished());
            os.join().unwrap();
        }
    });
}

#[test]
fn a_closed_channel_is_ready() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = bounded::<u8>(0);
        let (keep, waits) = bounded::<u8>(0);
        let closer = spawn(move || {
            greenrt::sleep(SOON / 4);
            drop(sender);
        });
        let got = select! {
            recv(waits) -> _ => panic!("nothing was sent"),
            recv(receiver) -> message => message,
        };
        assert_eq!(got, Err(RecvError));
        closer.join().unwrap();
        let closer = spawn(move || {
            greenrt::sleep(SOON / 4);
            drop(waits);
        });
        let got = select! {
            send(keep, 9) -> sent => sent,
            timeout(HOUR) => panic!("an hour is long"),
        };
        assert_eq!(got, Err(SendError(9)));
        closer.join().unwrap();
    });
}

#[test]
fn a_message_that_was_not_sent_can_be_kept() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = bounded(0);
        let (_keep, waits) = bounded::<u8>(0);
        let (mut sending, mut receiving) = (SendArm::new(&sender, 5), RecvArm::new(&waits));
        let mut select = Select::new();
        select.add(&mut sending);
        select.add(&mut receiving);
        assert_eq!(select.wait_timeout(SOON), None);
        assert_eq!((sending.result(), receiving.result()), (None, None));
        assert_eq!(sending.into_message(), Some(5));
        assert!(receiver.try_recv().is_err());
    });
}

#[test]
fn a_thread_does_not_meet_itself() {
    on_each_runtime_and_off(|| {
        let (sender, receiver) = bounded(0);
        let got = select! {
            send(sender, 1) -> _ => 's',
            recv(receiver) -> _ => 'r',
            timeout(SOON) => 't',
        };
        assert_eq!(got, 't');
        // But another one that does the same.
        let other = spawn({
            let (sender, receiver) = (sender.clone(), receiver.clone());
            move || {
                select! {
                    send(sender, 1) -> sent => sent.is_ok(),
                    recv(receiver) -> message => message.is_ok(),
                }
            }
        });
        let met = select! {
            recv(receiver) -> message => message.is_ok(),
            send(sender, 2) -> sent => sent.is_ok(),
        };
        assert!(met && other.join().unwrap());
    });
}

/// Also if there are others between them that are not ready.
#[test]
fn arms_that_are_always_ready_have_equal_chances() {
    on_each_runtime_and_off(|| {
        let channels = [(); 4].map(|()| unbounded());
        let idle = [(); 2].map(|()| unbounded::<usize>());
        let ready = channels.iter().map(|(sender, _)| sender);
        ready.for_each(|sender| (0..8000).for_each(|n| sender.send(n).unwrap()));
        let mut n = [0; 4];
        for _ in 0..8000 {
            let which = select! {
                recv(channels[0].1) -> _ => 0,
                recv(channels[1].1) -> _ => 1,
                recv(channels[2].1) -> _ => 2,
                recv(idle[0].1) -> _ => unreachable!(),
                recv(idle[1].1) -> _ => unreachable!(),
                recv(channels[3].1) -> _ => 3,
            };
            n[which] += 1;
        }
        // A fourth each; what is less likely than one in ten thousand millions is left out.
        assert!(n.iter().all(|&n| (1250..2750).contains(&n)), "{n:?}");
    });
}

#[test]
fn a_descriptor_is_ready_when_it_can_be_read() {
    on_each_runtime_and_off(|| {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let here = Io::new(here);
        let (_keep, receiver) = bounded::<u8>(0);
        let got = select! {
            readable(here) => 'r',
            recv(receiver) -> _ => 'm',
            default => 'd',
        };
        assert_eq!(got, 'd');
        let writer = std::thread::spawn(move || {
            std::thread::sleep(SOON);
            there.write_all(b"!").unwrap();
            there
        });
        let got = select! {
            readable(here) => 'r',
            recv(receiver) -> _ => 'm',
            timeout(HOUR) => 't',
        };
        assert_eq!(got, 'r');
        let mut byte = [0];
        assert_eq!(here.get_ref().read(&mut byte).unwrap(), 1);
        wait_until(|| writer.is_finished());
        let got = select! {
            writable(here) => 'w',
            readable(here) => 'r',
        };
        assert_eq!(got, 'w');
        let got = select! {
            readable(here) => 'r',
            timeout(SOON) => 't',
        };
        assert_eq!(got, 't');
        let there = writer.join().unwrap();
        drop(there);
        let got = select! {
            readable(here) => 'r',
            timeout(HOUR) => 't',
        };
        assert_eq!(got, 'r', "the end can be read");
    });
}

#[test]
fn bodies_may_leave_the_surrounding_code() {
    fn first(receiver: &greenrt::sync::channel::Receiver<u8>) -> Result<u8, RecvError> {
        loop {
            let message = select! {
                recv(receiver) -> message => message?,
                default => return Ok(0),
            };
            if message == 1 {
                continue;
            }
            select! {
                deadline(Instant::now()) => break Ok(message),
            }
        }
    }
    on_each_runtime_and_off(|| {
        let (sender, receiver) = unbounded();
        assert_eq!(first(&receiver), Ok(0));
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(first(&receiver), Ok(2));
        drop(sender);
        assert_eq!(first(&receiver), Err(RecvError));
    });
}

#[test]
fn a_chosen_arm_lets_go_of_the_others() {
    on_one_worker(|| {
        let (sender, receiver) = unbounded();
        sender.send(1).unwrap();
        select! {
            recv(receiver) -> message => {
                assert_eq!(message, Ok(1));
                drop(receiver);
            }
            send(bounded(0).0, 1) -> _ => drop(sender),
        }
    });
}

#[test]
#[should_panic(expected = "a select without arms")]
fn a_select_without_arms_panics() {
    Select::new().wait();
}

#[test]
fn a_cancelled_select_has_done_nothing() {
    on_each_runtime(|| {
        let (sender, receiver) = bounded(0);
        let (keep, waits) = bounded::<u8>(0);
        let thread = spawn({
            let sender = sender.clone();
            move || {
                select! {
                    send(sender, 1) -> _ => {}
                    recv(waits) -> _ => {}
                }
            }
        });
        greenrt::yield_now();
        cancel(thread.thread());
        assert!(thread.join().unwrap_err().is::<Cancelled>());
        assert!(receiver.try_recv().is_err());
        assert!(keep.try_send(1).is_err());
    });
}

/// Threads that select among all channels, sending and receiving, with deadlines and cancels.
#[test]
fn selects_that_race_lose_no_message() {
    let n_seeds = if cfg!(debug_assertions) { 150 } else { 1500 };
    limited(|| {
        let runtime = runtime(2);
        with_seeds(n_seeds, |random| {
            let capacities = [random.below(3) as usize, random.below(3) as usize];
            let mut random = random.fork();
            runtime.run(move || {
                let [(send_a, receive_a), (send_b, receive_b)] = capacities.map(bounded::<()>);
                let n_sent = Arc::new(AtomicUsize::new(0));
                let n_received = Arc::new(AtomicUsize::new(0));
                let body = |kind: u64, mut random: Random| {
                    let (send_a, send_b) = (send_a.clone(), send_b.clone());
                    let (receive_a, receive_b) = (receive_a.clone(), receive_b.clone());
                    let (n_sent, n_received) = (Arc::clone(&n_sent), Arc::clone(&n_received));
                    let sent = move |sent: Result<(), _>| {
                        drop(n_sent.fetch_add(usize::from(sent.is_ok()), Relaxed))
                    };
                    let received = move |message: Result<(), _>| {
                        drop(n_received.fetch_add(usize::from(message.is_ok()), Relaxed))
                    };
                    move || {
                        for _ in 0..6 {
                            let time = Duration::from_nanos(random.below(20_000));
                            random.dawdle(300);
                            match kind {
                                0 => select! {
                                    send(send_a, ()) -> result => sent(result),
                                    send(send_b, ()) -> result => sent(result),
                                    timeout(time) => {}
                                },
                                1 => select! {
                                    recv(receive_a) -> message => received(message),
                                    recv(receive_b) -> message => received(message),
                                    timeout(time) => {}
                                },
                                2 => select! {
                                    send(send_a, ()) -> result => sent(result),
                                    recv(receive_b) -> message => received(message),
                                    timeout(time) => {}
                                },
                                _ => select! {
                                    recv(receive_a) -> message => received(message),
                                    send(send_b, ()) -> result => sent(result),
                                    default => greenrt::yield_now(),
                                },
                            }
                        }
                    }
                };
                let threads: Vec<_> = (0..12).map(|n| spawn(body(n % 4, random.fork()))).collect();
                let os: Vec<_> = (0..2)
                    .map(|n| std::thread::spawn(body(n, random.fork())))
                    .collect();
                for thread in &threads {
                    random.dawdle(1000);
                    if random.below(3) == 0 {
                        cancel(thread.thread());
                    }
                    greenrt::yield_now();
                }
                for thread in threads {
                    let _ = thread.join();
                }
                wait_until(|| os.iter().all(|thread| thread.is_finished()));
                os.into_iter().for_each(|thread| thread.join().unwrap());
                let left = receive_a.try_iter().count() + receive_b.try_iter().count();
                assert_eq!(n_sent.load(Relaxed), n_received.load(Relaxed) + left);
                // No waiter was left behind, who would take or give a message.
                for (sender, receiver) in [(&send_a, &receive_a), (&send_b, &receive_b)] {
                    assert!(receiver.try_recv().is_err());
                    let room = sender.capacity() > Some(0);
                    assert_eq!(sender.try_send(()).is_ok(), room);
                }
            });
        });
    });
}
