//! Sockets in a process of their own, where descriptors can be counted and run out.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use greenrt::lowlevel::{Io, socket};
use greenrt::{spawn, yield_now};
use greenstd::net::{TcpListener, TcpStream};
use greenstd::thread;

use crate::support::{Child, runtime, wait_until};

fn n_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Opens files until there are no more descriptors.
fn use_up_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Has so many connections at once, with a thread at each end, where before there were `before`
/// descriptors in all.
fn open_and_close(n_clients: usize, before: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let n_open = Arc::new(AtomicUsize::new(0));
    let client = |n: usize| {
        let n_open = Arc::clone(&n_open);
        move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&n.to_ne_bytes()).unwrap();
            let mut answer = [0; size_of::<usize>()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(usize::from_ne_bytes(answer), n);
            n_open.fetch_add(1, Relaxed);
            thread::park();
        }
    };
    let clients: Vec<_> = (0..n_clients).map(|n| thread::spawn(client(n))).collect();
    let serve = |stream: TcpStream| io::copy(&mut &stream, &mut &stream).unwrap();
    let incoming = listener.incoming().take(n_clients);
    let servers: Vec<_> = incoming
        .map(|stream| stream.unwrap())
        .map(|stream| thread::spawn(move || serve(stream)))
        .collect();
    wait_until(|| n_open.load(Relaxed) == n_clients);
    assert_eq!(n_descriptors(), before + 2 * n_clients + 1);
    for client in clients {
        client.thread().unpark();
        client.join().unwrap();
    }
    for server in servers {
        assert_eq!(server.join().unwrap(), size_of::<usize>() as u64);
    }
}

#[test]
fn a_thousand_connections_at_once_leave_nothing_behind() {
    const N_CLIENTS: usize = 1000;
    let child = Child::new("net_limits::a_thousand_connections_at_once_leave_nothing_behind");
    let died = child.shell("ulimit -n 4096").run(|| {
        let rounds = || {
            let before = n_descriptors();
            for _ in 0..5 {
                open_and_close(N_CLIENTS, before);
                assert_eq!(n_descriptors(), before);
            }
        };
        greenrt::run(rounds);
        runtime(2).run(rounds);
    });
    died.expect_success();
}

#[test]
fn cancelled_threads_leave_no_descriptors_behind() {
    let child = Child::new("net_limits::cancelled_threads_leave_no_descriptors_behind");
    let died = child.run(|| {
        let runtime = runtime(2);
        let before = runtime.run(n_descriptors);
        runtime.run(|| {
            for round in 0..200 {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let client = TcpStream::connect(address).unwrap();
                let (server, _) = listener.accept().unwrap();
                let threads = [
                    spawn(move || drop(listener.accept())),
                    spawn(move || drop((&client).read(&mut [0]))),
                    spawn(move || drop((&server.try_clone().unwrap()).read(&mut [0]))),
                ];
                for _ in 0..round % 4 {
                    yield_now();
                }
                threads
                    .iter()
                    .for_each(|t| greenrt::lowlevel::cancel(t.thread()));
                threads.into_iter().for_each(|thread| drop(thread.join()));
            }
        });
        assert_eq!(runtime.run(n_descriptors), before);
    });
    died.expect_success();
}

#[test]
fn accepting_without_descriptors_is_an_error_and_goes_on_later() {
    let child =
        Child::new("net_limits::accepting_without_descriptors_is_an_error_and_goes_on_later");
    let died = child.shell("ulimit -n 64").run(|| {
        for green in [true, false] {
            let body = || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let twin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let _client = TcpStream::connect(address).unwrap();
                let _to_twin = TcpStream::connect(twin.local_addr().unwrap()).unwrap();
                let mut files = use_up_descriptors();
                let number = |error: io::Error| error.raw_os_error();
                let stds = twin.accept().map_err(number).unwrap_err();
                for _ in 0..3 {
                    assert_eq!(listener.accept().map_err(number).unwrap_err(), stds);
                }
                assert_eq!(
                    TcpStream::connect(address).map_err(number).unwrap_err(),
                    stds
                );
                assert_eq!(
                    TcpListener::bind(address).map_err(number).unwrap_err(),
                    stds
                );
                assert_eq!(listener.try_clone().map_err(number).unwrap_err(), stds);
                files.pop();
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"a").unwrap();
                (&_client).read_exact(&mut [0]).unwrap();
            };
            if green {
                greenrt::run(body);
            } else {
                body();
            }
        }
    });
    died.expect_success();
}

#[test]
fn descriptors_that_run_out_while_somebody_accepts() {
    let child = Child::new("net_limits::descriptors_that_run_out_while_somebody_accepts");
    let died = child.shell("ulimit -n 64").run(|| {
        greenrt::run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let acceptor = spawn(move || {
                let first = listener.accept().map(drop);
                yield_now();
                (first.is_err(), listener.accept().map(drop).is_ok())
            });
            yield_now();
            let mut files = use_up_descriptors();
            files.pop();
            // Takes the last one.
            let client = TcpStream::connect(address).unwrap();
            // The acceptor is told when the worker next looks, and fails; then it tries again.
            wait_until(|| {
                greenrt::debug::dump()
                    .threads
                    .iter()
                    .any(|thread| thread.waits_for == "runnable")
            });
            drop(files);
            assert_eq!(acceptor.join().unwrap(), (true, true));
            drop(client);
        });
    });
    died.expect_success();
}

#[test]
fn a_number_that_comes_back_with_the_same_file_is_registered_anew() {
    let child =
        Child::new("net_limits::a_number_that_comes_back_with_the_same_file_is_registered_anew");
    let died = child.run(|| {
        greenrt::run(|| {
            let (near, mut far) = UnixStream::pair().unwrap();
            let read_byte = |io: &Arc<Io<UnixStream>>, far: &mut UnixStream| {
                let io = Arc::clone(io);
                let reader = spawn(move || {
                    let mut byte = [0];
                    io.read_with(None, |socket| socket::receive(socket.as_fd(), &mut byte))
                        .unwrap();
                    byte
                });
                // Waits for its descriptor now, which is registered by that.
                yield_now();
                far.write_all(b"a").unwrap();
                assert_eq!(reader.join().unwrap(), *b"a");
            };
            let mut io = Arc::new(Io::new(near));
            for _ in 0..20 {
                read_byte(&io, &mut far);
                // A duplicate that nobody was told of keeps the registration when this is closed...
                let number = io.get_ref().as_raw_fd();
                let duplicate = io.get_ref().try_clone().unwrap();
                drop(Arc::into_inner(io).unwrap());
                // ...and its own duplicate has the number again.
                let again = duplicate.try_clone().unwrap();
                assert_eq!(again.as_raw_fd(), number);
                io = Arc::new(Io::new(again));
                read_byte(&io, &mut far);
                drop(duplicate);
            }
        });
    });
    died.expect_success();
}

#[test]
fn events_of_a_duplicate_that_was_left_behind_concern_nobody() {
    let child = Child::new("net_limits::events_of_a_duplicate_that_was_left_behind_concern_nobody");
    let died = child.run(|| {
        greenrt::run(|| {
            for _ in 0..50 {
                let (old, mut old_far) = UnixStream::pair().unwrap();
                let (new, mut new_far) = UnixStream::pair().unwrap();
                let receive = |io: Arc<Io<UnixStream>>| {
                    spawn(move || {
                        let mut byte = [0];
                        io.read_with(None, |socket| socket::receive(socket.as_fd(), &mut byte))
                            .map(|n| (n, byte))
                            .unwrap()
                    })
                };
                let old = Arc::new(Io::new(old));
                let reader = receive(Arc::clone(&old));
                yield_now();
                old_far.write_all(b"a").unwrap();
                reader.join().unwrap();
                let number = old.get_ref().as_raw_fd();
                let duplicate = old.get_ref().try_clone().unwrap();
                drop(Arc::into_inner(old).unwrap());
                let again = new.try_clone().unwrap();
                assert_eq!(again.as_raw_fd(), number);
                let reader = receive(Arc::new(Io::new(again)));
                yield_now();
                // An event for the old registration, of which the number is now another file's.
                old_far.write_all(b"b").unwrap();
                drop(old_far);
                (0..3).for_each(|_| yield_now());
                assert!(!reader.is_finished());
                new_far.write_all(b"c").unwrap();
                assert_eq!(reader.join().unwrap(), (1, *b"c"));
                drop(duplicate);
            }
        });
    });
    died.expect_success();
}
