//! A worker with nothing due sleeps in the kernel and is not woken.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::lowlevel::{Io, cancel};
use greenrt::{Runtime, park, park_timeout, scope, sleep, spawn, timeout, yield_now};
use greenstd::net::{TcpListener, TcpStream};
use greenstd::os::unix::net::UnixStream;

use super::support::{HOUR, Stream, limited, named_os_thread, os_sleep, wait_until};

/// How many OS threads with names that begin with `name` sleep, how often they have left the CPU of
/// their own will, and for how many nanoseconds they have had it.
fn activity(name: &str) -> (usize, u64, u64) {
    let (mut n_threads, mut n_switches, mut cpu_ns) = (0, 0, 0);
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if !read("comm").starts_with(name) {
            continue;
        }
        let status = read("status");
        // One that wants the CPU and does not get it is not idle.
        if !status.contains("State:\tS") {
            continue;
        }
        n_threads += 1;
        for line in status.lines().filter(|line| line.starts_with("voluntary")) {
            n_switches += line
                .split_whitespace()
                .last()
                .unwrap()
                .parse::<u64>()
                .unwrap();
        }
        cpu_ns += read("schedstat")
            .split(' ')
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap();
    }
    (n_threads, n_switches, cpu_ns)
}

/// Waits until the `n_threads` OS threads called `name` do nothing any more, and looks for a second
/// whether it stays so.
#[track_caller]
fn assert_idle(name: &str, n_threads: usize) {
    let mut before = activity(name);
    for _ in 0..200 {
        os_sleep(Duration::from_millis(50));
        let now = activity(name);
        // A new OS thread takes a name when it first runs.
        if now == before && now.0 == n_threads {
            os_sleep(Duration::from_millis(1200));
            assert_eq!(
                activity(name),
                before,
                "{name} was woken while nothing was due"
            );
            return;
        }
        before = now;
    }
    panic!("{name} never goes idle");
}

/// Checks runtimes with 1, 2 and 4 workers while the threads that `spawn_all` makes wait.
fn idle_beside(name: &'static str, spawn_all: impl Fn() + Clone + Send + 'static) {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let name = format!("{name}{n_workers}");
            let runtime = Runtime::builder()
                .workers(n_workers)
                .name(&*name)
                .build()
                .unwrap();
            runtime.run(spawn_all.clone());
            assert_idle(&name, n_workers);
        }
    });
}

#[test]
fn a_worker_without_threads_is_idle() {
    idle_beside("none", || ());
}

#[test]
fn a_worker_with_parked_threads_and_far_timers_is_idle() {
    idle_beside("parked", || {
        for _ in 0..100 {
            drop(spawn(|| sleep(HOUR)));
            drop(spawn(|| timeout(HOUR, || sleep(Duration::MAX))));
            drop(spawn(|| spawn(|| sleep(HOUR)).join()));
            drop(spawn(|| {
                scope(|s| {
                    s.spawn(|| sleep(HOUR));
                });
            }));
            drop(spawn(|| {
                let (near, _far) = Stream::pair();
                near.read_byte()
            }));
            yield_now();
        }
    });
}

#[test]
fn a_worker_with_connections_that_were_used_is_idle() {
    idle_beside("tcp", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                drop(spawn(move || std::io::copy(&mut &stream, &mut &stream)));
            }
        });
        for n in 0..100 {
            let mut client = TcpStream::connect(address).unwrap();
            client
                .set_read_timeout((n % 2 == 0).then_some(HOUR))
                .unwrap();
            client.write_all(b"used").unwrap();
            client.read_exact(&mut [0; 4]).unwrap();
            drop(spawn(move || client.read(&mut [0]).map(drop)));
        }
        yield_now();
        drop(acceptor);
    });
}

#[test]
fn a_worker_is_idle_beside_streams_of_which_nobody_reads_the_rest() {
    idle_beside("unread", || {
        for _ in 0..20 {
            let (near, far) = UnixStream::pair().unwrap();
            drop(spawn(move || {
                (&near).read_exact(&mut [0]).unwrap();
                sleep(HOUR);
            }));
            yield_now();
            (&far).write_all(b"all").unwrap();
            drop(spawn(move || {
                sleep(HOUR);
                drop(far);
            }));
        }
    });
}

#[test]
fn a_worker_is_idle_beside_duplicates_that_it_does_not_know() {
    idle_beside("passed", || {
        for _ in 0..20 {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            let reader = spawn(move || {
                let near = Io::read_in_parts(near);
                let read = |mut near: &std::os::unix::net::UnixStream| near.read(&mut [0]);
                near.get_ref().set_nonblocking(true).unwrap();
                assert_eq!(near.read_with(None, read).unwrap(), 1);
                // As if it had been passed to another process, of which the runtime is not told.
                near.get_ref().try_clone().unwrap()
            });
            yield_now();
            (&far).write_all(b"a").unwrap();
            let elsewhere = reader.join().unwrap();
            (&far).write_all(b"unread").unwrap();
            drop(spawn(move || {
                sleep(HOUR);
                drop((far, elsewhere));
            }));
        }
    });
}

#[test]
fn timers_that_are_not_needed_any_more_wake_nobody() {
    idle_beside("timers", || {
        // A deadline of its own for each way to end a wait before it: 100 ms to 1 s from now.
        let time = |n: u64| Duration::from_millis(100 + n * 9);
        for n in 0..100 {
            let parked = spawn(move || park_timeout(time(n)));
            let cancelled = spawn(move || sleep(time(n)));
            let reading = spawn(move || {
                let (near, far) = Stream::pair();
                let writer = spawn(move || far.write_byte(1));
                near.read_timeout(&mut [0], Some(time(n))).unwrap();
                writer.join().unwrap();
            });
            let limited = spawn(move || {
                timeout(time(n), || spawn(yield_now).join().unwrap()).unwrap();
            });
            yield_now();
            cancel(cancelled.thread());
            parked.thread().unpark();
            parked.join().unwrap();
            cancelled.join().unwrap_err();
            reading.join().unwrap();
            limited.join().unwrap();
        }
    });
}

#[test]
fn the_worker_of_run_is_idle_too() {
    limited(|| {
        let over = Arc::new(AtomicBool::new(false));
        let (send, receive) = std::sync::mpsc::channel();
        let runner = {
            let over = Arc::clone(&over);
            named_os_thread("idlerun", move || {
                greenrt::run(|| {
                    drop(spawn(|| sleep(HOUR)));
                    send.send(greenrt::current()).unwrap();
                    while !over.load(Relaxed) {
                        park();
                    }
                });
            })
        };
        let main = receive.recv().unwrap();
        assert_idle("idlerun", 1);
        over.store(true, Relaxed);
        main.unpark();
        runner.join().unwrap();
    });
}

#[test]
fn a_worker_sleeps_until_its_next_timer_and_no_less() {
    limited(|| {
        let runtime = Runtime::builder().workers(1).name("exact").build().unwrap();
        runtime.run(|| ());
        let fired = Arc::new(AtomicBool::new(false));
        let sleeper = {
            let fired = Arc::clone(&fired);
            runtime.spawn(move || {
                sleep(Duration::from_millis(300));
                fired.store(true, Relaxed);
            })
        };
        os_sleep(Duration::from_millis(50));
        let (_, before, _) = activity("exact");
        wait_until(|| fired.load(Relaxed));
        sleeper.join().unwrap();
        os_sleep(Duration::from_millis(50));
        // One to wake up, one to sleep again, and what the join costs.
        let (_, after, _) = activity("exact");
        assert!(
            after - before <= 5,
            "{} switches for one timer",
            after - before
        );
    });
}
