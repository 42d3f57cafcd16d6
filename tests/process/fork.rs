//! A plain `fork` on a green thread: the child has that one, and goes on with it.
//!
//! Each test is a process of its own, for what other threads do at the moment of a fork is not what
//! most of this is about.

#![expect(unsafe_code, reason = "forks")]

use std::io::{ErrorKind, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenrt::lowlevel::process::{States, Which, wait_for};
use greenrt::sync::channel;
use greenrt::{Builder, Runtime, park, run, scope, sleep, spawn, timeout, yield_now};
use greenstd::net::{TcpListener, TcpStream};
use greenstd::process::Command;

use crate::support::{Child, Stream, join_all, runtime, wait_until};

const SHORT: Duration = Duration::from_millis(2);

/// In a child that should have gone by now.
fn end_in_time() {
    // SAFETY: a number.
    unsafe { libc::alarm(60) };
}

/// Forks. In the child: runs `f`, and ends. In the parent: the number of the child.
fn begin(f: impl FnOnce()) -> u32 {
    // SAFETY: what the child does is what is tested.
    match unsafe { libc::fork() } {
        0 => {
            end_in_time();
            let done = panic::catch_unwind(AssertUnwindSafe(f));
            // SAFETY: a number.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) };
        }
        pid => u32::try_from(pid).unwrap(),
    }
}

/// Waits for a child as a green thread does.
#[track_caller]
fn expect_success(pid: u32) {
    let end = wait_for(Which::Process(pid), States::ENDED, false, None);
    assert_eq!(end.unwrap().unwrap().status, 0);
}

/// Runs `f` in a child, and waits for it.
#[track_caller]
fn in_child(f: impl FnOnce()) {
    expect_success(begin(f));
}

/// Runs a test in a process of its own, with both kinds of thread-locals.
#[track_caller]
fn in_processes(name: &str, body: impl Fn() + Copy) {
    for mode in ["shared", "private"] {
        let child = Child::new(&format!("fork::{name}"));
        let died = child.env("GREENRT_THREAD_LOCALS", mode).run(body);
        died.expect_success();
    }
}

/// As a green thread: of `run`, not the first of `run`, of runtimes, of the global one.
fn on_each(test: fn()) {
    run(test);
    run(|| spawn(test).join().unwrap());
    for n_workers in [1, 2, 4] {
        runtime(n_workers).run(test);
    }
    spawn(test).join().unwrap();
}

/// Everything that a process can do with green threads.
fn goes_on() {
    // Threads.
    let log = Arc::new(Mutex::new(String::new()));
    let threads: Vec<_> = (0..3)
        .map(|n| {
            let log = Arc::clone(&log);
            spawn(move || {
                for _ in 0..2 {
                    log.lock().unwrap().push_str(&n.to_string());
                    yield_now();
                }
            })
        })
        .collect();
    join_all(threads);
    let mut log: Vec<char> = log.lock().unwrap().chars().collect();
    log.sort_unstable();
    assert_eq!(log, ['0', '0', '1', '1', '2', '2']);
    // Time.
    let begin = Instant::now();
    sleep(SHORT);
    assert!(begin.elapsed() >= SHORT);
    timeout(SHORT, || sleep(Duration::MAX)).unwrap_err();
    // Channels and scopes.
    let (sender, receiver) = channel::bounded(1);
    scope(|s| {
        s.spawn(|| (0..10).for_each(|n| sender.send(n).unwrap()));
        (0..10).for_each(|n| assert_eq!(receiver.recv(), Ok(n)));
    });
    // Descriptors.
    let (near, far) = Stream::pair();
    let reader = spawn(move || near.read_byte());
    yield_now();
    far.write_byte(7);
    assert_eq!(reader.join().unwrap(), 7);
    // std's locks park.
    let lock = Arc::new(Mutex::new(0));
    let threads = (0..10).map(|_| {
        let lock = Arc::clone(&lock);
        spawn(move || {
            let mut guard = lock.lock().unwrap();
            yield_now();
            *guard += 1;
        })
    });
    join_all(threads.collect::<Vec<_>>());
    assert_eq!(*lock.lock().unwrap(), 10);
    // OS threads wake them.
    let (sender, receiver) = channel::bounded(1);
    let thread = std::thread::spawn(move || sender.send(8).unwrap());
    assert_eq!(receiver.recv(), Ok(8));
    thread.join().unwrap();
    // Children.
    let output = Command::new("echo").arg("child").output().unwrap();
    assert_eq!(output.stdout, b"child\n");
}

#[test]
fn the_child_goes_on() {
    in_processes("the_child_goes_on", || {
        on_each(|| {
            goes_on();
            in_child(goes_on);
            // And so does the parent.
            goes_on();
            // Once more, and once more in the child of the child.
            in_child(|| {
                in_child(goes_on);
                goes_on();
                in_child(goes_on);
            });
        });
    });
}

#[test]
fn the_child_becomes_another_program_or_ends() {
    in_processes("the_child_becomes_another_program_or_ends", || {
        on_each(|| {
            use greenstd::os::unix::process::CommandExt;
            in_child(|| panic!("{}", Command::new("true").exec()));
            in_child(|| {
                let error = Command::new("/no/such/program").exec();
                assert_eq!(error.kind(), ErrorKind::NotFound);
                goes_on();
            });
            in_child(|| std::process::exit(0));
            in_child(|| spawn(|| std::process::exit(0)).join().unwrap());
            // std's own way, with something to do in between.
            let mut command = std::process::Command::new("true");
            // SAFETY: it does nothing.
            unsafe {
                std::os::unix::process::CommandExt::pre_exec(&mut command, || Ok(()));
            }
            assert!(command.spawn().unwrap().wait().unwrap().success());
        });
    });
}

#[test]
fn no_other_thread_runs_in_the_child() {
    in_processes("no_other_thread_runs_in_the_child", || {
        on_each(|| {
            static TURNS: AtomicUsize = AtomicUsize::new(0);
            static STOP: AtomicBool = AtomicBool::new(false);
            STOP.store(false, Relaxed);
            let (sender, receiver) = channel::bounded::<u8>(10);
            let (near, far) = Stream::pair();
            let turn = || _ = TURNS.fetch_add(1, Relaxed);
            let siblings = vec![
                // Runnable, asleep, waiting for a message, a descriptor and a token.
                spawn(move || {
                    while !STOP.load(Relaxed) {
                        turn();
                        yield_now();
                    }
                }),
                spawn(move || {
                    while !STOP.load(Relaxed) {
                        sleep(Duration::from_micros(100));
                        turn();
                    }
                }),
                spawn({
                    let receiver = receiver.clone();
                    move || {
                        while receiver.recv().is_ok() {
                            turn();
                        }
                    }
                }),
                spawn(move || {
                    while near.read_byte() != 0 {
                        turn();
                    }
                }),
                spawn(move || {
                    while !STOP.load(Relaxed) {
                        park();
                        turn();
                    }
                }),
            ];
            sleep(SHORT);
            let fresh = spawn(turn);
            in_child(|| {
                // Other workers may have been at it until the moment before.
                let turns = TURNS.load(Relaxed);
                sender.send(1).unwrap();
                siblings
                    .iter()
                    .for_each(|sibling| sibling.thread().unpark());
                siblings
                    .iter()
                    .for_each(|sibling| greenrt::lowlevel::cancel(sibling.thread()));
                for _ in 0..20 {
                    yield_now();
                }
                sleep(SHORT);
                goes_on();
                assert_eq!(TURNS.load(Relaxed), turns);
                // The message is there for whoever is.
                assert_eq!(receiver.recv(), Ok(1));
                let lost = greenrt::debug::dump().to_string();
                assert!(lost.contains("has not come along a fork"), "{lost}");
            });
            STOP.store(true, Relaxed);
            far.write_byte(0);
            drop(sender);
            siblings[4].thread().unpark();
            fresh.join().unwrap();
            join_all(siblings);
        });
    });
}

#[test]
fn the_child_ends_with_its_last_thread() {
    in_processes("the_child_ends_with_its_last_thread", || {
        fn fork_and_return() {
            let (near, far) = Stream::pair();
            let parent = std::process::id();
            let forker = spawn(move || {
                // SAFETY: what the child does is what is tested.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    end_in_time();
                    // Outlives the one that forked.
                    spawn(move || {
                        sleep(SHORT);
                        far.write_byte(9);
                    });
                }
                u32::try_from(pid).unwrap()
            });
            let pid = forker.join().unwrap();
            // The parent's only.
            assert_eq!(std::process::id(), parent);
            assert_eq!(near.read_byte(), 9);
            // Nobody else has the other end any more.
            assert_eq!(near.read(&mut [0]).unwrap(), 0);
            expect_success(pid);
        }
        run(|| {
            spawn(park);
            fork_and_return();
        });
        for n_workers in [1, 2] {
            runtime(n_workers).run(|| {
                spawn(park);
                fork_and_return();
            });
        }
        spawn(fork_and_return).join().unwrap();
    });
}

#[test]
fn the_main_thread_returns_in_the_child() {
    in_processes("the_main_thread_returns_in_the_child", || {
        let parent = std::process::id();
        let pid = run(|| {
            spawn(park);
            // SAFETY: what the child does is what is tested.
            let pid = unsafe { libc::fork() };
            spawn(|| sleep(Duration::MAX));
            yield_now();
            pid
        });
        if pid == 0 {
            end_in_time();
            let done = panic::catch_unwind(|| {
                assert_ne!(std::process::id(), parent);
                // The OS thread of the caller of `run` may do everything again.
                run(goes_on);
                runtime(2).run(goes_on);
                spawn(goes_on).join().unwrap();
            });
            // SAFETY: a number.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) };
        }
        expect_success(u32::try_from(pid).unwrap());
    });
}

#[test]
fn what_both_have_stays_the_parents_too() {
    in_processes("what_both_have_stays_the_parents_too", || {
        on_each(|| {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let address = listener.local_addr().unwrap();
            // Registered, and waited for, in the parent.
            let acceptor = spawn({
                let listener = Arc::clone(&listener);
                move || listener.accept().unwrap().1
            });
            let (near, far) = Stream::pair();
            let near = Arc::new(near);
            let reader = spawn({
                let near = Arc::clone(&near);
                move || (near.read_byte(), near.read_byte())
            });
            sleep(SHORT);
            in_child(|| {
                // A connection that the child itself accepts, for the parent is about to wait for this
                // child.
                let mut client = spawn(move || TcpStream::connect(address).unwrap())
                    .join()
                    .unwrap();
                drop(near);
                client.write_all(b"a").unwrap();
            });
            // The connection of the child went to whoever waited; now to the next.
            let accepted = acceptor.join().unwrap();
            assert_eq!(accepted.ip(), address.ip());
            // The child has closed its copies, and the parent is told of what comes.
            far.write_byte(1);
            far.write_byte(2);
            assert_eq!(reader.join().unwrap(), (1, 2));

            // The child accepts while nobody in the parent does.
            let pid = begin(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                stream.write_all(&byte).unwrap();
            });
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"x").unwrap();
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
            expect_success(pid);
            // And then the parent again.
            let client = spawn(move || TcpStream::connect(address).unwrap());
            listener.accept().unwrap();
            drop(client.join().unwrap());
        });
    });
}

#[test]
fn limits_and_cancellation_go_along() {
    in_processes("limits_and_cancellation_go_along", || {
        on_each(|| {
            let outcome = timeout(Duration::from_millis(50), || {
                in_child(|| {
                    // The limit is around this thread in the child too.
                    let own = panic::catch_unwind(AssertUnwindSafe(|| sleep(Duration::MAX)));
                    assert!(own.is_err());
                });
            });
            // On time or not, as the machine likes.
            let _ = outcome;
        });
    });
}

#[test]
fn runtimes_that_have_not_come_along_take_nothing() {
    in_processes("runtimes_that_have_not_come_along_take_nothing", || {
        let other = runtime(2);
        other.run(goes_on);
        let other = Mutex::new(Some(other));
        let test = || {
            in_child(|| {
                let other = other.lock().unwrap().take().unwrap();
                let error = Builder::new().spawn_on(&other, || ());
                // On a worker the caller's runtime takes it.
                assert!(greenrt::lowlevel::on_green_thread() || error.is_err());
                drop(other);
                goes_on();
            });
        };
        run(test);
        // Forked by an OS thread, which has no green thread to go on with.
        in_child(|| {
            let lost = other.lock().unwrap().take().unwrap();
            let message = Builder::new()
                .spawn_on(&lost, || ())
                .unwrap_err()
                .to_string();
            assert_eq!(message, "the runtime has not come along a fork");
            drop(lost);
            run(goes_on);
            Runtime::builder().workers(2).build().unwrap().run(goes_on);
            spawn(goes_on).join().unwrap();
        });
        // It is all there in the parent.
        other.lock().unwrap().take().unwrap().run(goes_on);
    });
}

#[test]
fn an_os_thread_forks_beside_the_global_runtime() {
    in_processes("an_os_thread_forks_beside_the_global_runtime", || {
        spawn(goes_on).join().unwrap();
        for _ in 0..3 {
            in_child(|| {
                spawn(goes_on).join().unwrap();
                run(goes_on);
                in_child(|| spawn(goes_on).join().unwrap());
            });
            spawn(goes_on).join().unwrap();
        }
    });
}

#[test]
fn forks_beside_busy_workers_find_no_lock_taken() {
    in_processes("forks_beside_busy_workers_find_no_lock_taken", || {
        static STOP: AtomicBool = AtomicBool::new(false);
        STOP.store(false, Relaxed);
        runtime(4).run(|| {
            let busy: Vec<_> = (0..8)
                .map(|_| {
                    spawn(|| {
                        while !STOP.load(Relaxed) {
                            // Takes and gives back stacks, records, registrations and timers.
                            let (near, far) = Stream::pair();
                            let reader = spawn(move || near.read_byte());
                            yield_now();
                            far.write_byte(1);
                            reader.join().unwrap();
                            sleep(Duration::from_micros(10));
                        }
                    })
                })
                .collect();
            for _ in 0..50 {
                in_child(|| {
                    let threads = (0..20).map(|n| {
                        spawn(move || {
                            let (near, far) = Stream::pair();
                            let reader = spawn(move || near.read_byte());
                            sleep(Duration::from_micros(10));
                            far.write_byte(n);
                            assert_eq!(reader.join().unwrap(), n);
                        })
                    });
                    join_all(threads.collect::<Vec<_>>());
                });
            }
            STOP.store(true, Relaxed);
            join_all(busy);
        });
    });
}

#[test]
fn children_of_the_parent_are_not_the_childs() {
    in_processes("children_of_the_parent_are_not_the_childs", || {
        run(|| {
            use greenrt::process::{CommandExt as _, OnDrop};
            let mut sleeper = Command::new("sleep");
            let mut sleeper = sleeper.arg("1000").on_drop(OnDrop::Kill).spawn().unwrap();
            let pid = sleeper.id();
            let mut ours = Some(&mut sleeper);
            in_child(|| {
                let sleeper = ours.take().unwrap();
                assert_eq!(sleeper.try_wait().unwrap_err().raw_os_error(), Some(10));
            });
            assert!(crate::extras::state(pid).is_some());
            assert_eq!(sleeper.try_wait().unwrap(), None);
            // A copy that is dropped in the child kills nobody.
            // SAFETY: what the child does is what is tested.
            let child = unsafe { libc::fork() };
            if child == 0 {
                drop(sleeper);
                // SAFETY: a number.
                unsafe { libc::_exit(0) };
            }
            expect_success(u32::try_from(child).unwrap());
            assert_eq!(sleeper.try_wait().unwrap(), None);
            drop(sleeper);
            wait_until(|| crate::extras::state(pid).is_none());
        });
    });
}
