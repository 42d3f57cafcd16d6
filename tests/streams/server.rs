//! `greenrt::Server`.

#![expect(clippy::disallowed_methods, reason = "processes of the recipe")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::{Server, sleep, spawn, yield_now};
use greenstd::net::{SocketAddr, TcpListener, TcpStream};
use greenstd::os::unix::net::{UnixListener, UnixStream};

use crate::places::TempPath;
use crate::support::{
    Child, EXPECTED, on_each_runtime, on_each_runtime_and_off, on_manual_clocks, wait_until,
};

const LONG: Duration = Duration::from_secs(100);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn echo((stream, _): (TcpStream, SocketAddr)) {
    let _ = io::copy(&mut &stream, &mut &stream);
}

fn echoes(mut stream: &TcpStream) -> bool {
    let mut room = [0; 2];
    stream.write_all(b"hi").is_ok() && stream.read_exact(&mut room).is_ok() && &room == b"hi"
}

#[test]
fn many_are_served_at_once() {
    on_each_runtime_and_off(|| {
        let (listener, address) = listen();
        let server = Server::start(listener, echo).unwrap();
        let clients: Vec<_> = (0..50)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        assert!(clients.iter().rev().all(echoes));
        // The others end a moment after their clients have seen it.
        wait_until(|| server.n_connections() == 50);
        drop(clients);
        wait_until(|| server.n_connections() == 0);
        assert!(server.stop(LONG).is_clean());
        // A process that is being forked may keep the listener open for a moment.
        let error = loop {
            match TcpStream::connect(address) {
                Ok(_) => yield_now(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn no_more_than_the_limit() {
    on_each_runtime(|| {
        let (listener, address) = listen();
        let builder = Server::builder().connections_max(3).name("limited".into());
        let server = builder
            .start(listener, |(stream, _): (TcpStream, _)| {
                assert_eq!(greenrt::current().name(), Some("limited"));
                echo((stream, ([0, 0, 0, 0], 0).into()));
            })
            .unwrap();
        let clients: Vec<_> = (0..5)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        assert!(clients[..3].iter().all(echoes));
        clients[3]
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        assert!(!echoes(&clients[3]));
        assert_eq!(server.n_connections(), 3);
        clients[0].shutdown(Shutdown::Write).unwrap();
        // What it has sent waits for it.
        clients[3].set_read_timeout(None).unwrap();
        (&clients[3]).read_exact(&mut [0; 2]).unwrap();
        clients[1].shutdown(Shutdown::Write).unwrap();
        assert!(echoes(&clients[4]));
        drop(clients);
        assert!(server.stop(LONG).is_clean());
    });
}

#[test]
fn who_is_slow_stops_nobody() {
    on_each_runtime(|| {
        let (listener, address) = listen();
        let server = Server::start(listener, |(stream, _): (TcpStream, _)| {
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            if reader.read_line(&mut line).is_ok() {
                let _ = (&stream).write_all(line.as_bytes());
            }
        })
        .unwrap();
        let slow: Vec<_> = (0..50)
            .map(|_| {
                let stream = TcpStream::connect(address).unwrap();
                (&stream).write_all(b"GET /").unwrap();
                stream
            })
            .collect();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"a line\n").unwrap();
            assert_eq!(io::read_to_string(stream).unwrap(), "a line\n");
        }
        // The others end a moment after their clients have seen it.
        wait_until(|| server.n_connections() == 50);
        drop(slow);
        assert!(server.stop(LONG).is_clean());
    });
}

#[test]
fn stopping_lets_them_finish() {
    on_each_runtime_and_off(|| {
        let (listener, address) = listen();
        let server = Server::start(listener, echo).unwrap();
        let client = TcpStream::connect(address).unwrap();
        assert!(echoes(&client));
        let finishing = spawn(move || {
            // The listener has gone already, and the connection has not.
            while TcpStream::connect(address).is_ok() {
                yield_now();
            }
            echoes(&client)
        });
        assert!(server.stop(LONG).is_clean());
        assert!(finishing.join().unwrap());
    });
}

#[test]
fn who_does_not_finish_is_cancelled() {
    on_each_runtime_and_off(|| {
        let (listener, address) = listen();
        let ended = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&ended);
        let server = Server::start(listener, move |connection| {
            let _ended = crate::support::OnDrop(|| {
                seen.fetch_add(1, Relaxed);
            });
            echo(connection);
            sleep(LONG);
        })
        .unwrap();
        let clients: Vec<_> = (0..3)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        assert!(clients.iter().all(echoes));
        let stopped = server.stop(Duration::from_millis(3));
        assert_eq!((stopped.cancelled, stopped.left), (3, 0));
        assert_eq!(ended.load(Relaxed), 3);
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn a_panic_is_one_connections_affair() {
    on_each_runtime(|| {
        let (listener, address) = listen();
        let server = Server::start(listener, |(mut stream, _): (TcpStream, _)| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert!(byte != *b"p", "{EXPECTED}");
            stream.write_all(&byte).unwrap();
        })
        .unwrap();
        for n in 0..10 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(if n % 2 == 0 { b"p" } else { b"o" })
                .unwrap();
            assert_eq!(io::read_to_string(stream).unwrap().len(), n % 2);
        }
        assert!(server.stop(LONG).is_clean());
    });
}

#[test]
fn a_listener_of_the_unix_domain() {
    on_each_runtime(|| {
        let path = TempPath::new();
        let listener = UnixListener::bind(&path).unwrap();
        let server = Server::start(listener, |(mut stream, _): (UnixStream, _)| {
            stream.write_all(b"hi").unwrap();
        })
        .unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        assert_eq!(io::read_to_string(stream).unwrap(), "hi");
        assert!(server.stop(LONG).is_clean());
    });
}

#[test]
fn a_listener_that_is_none_ends_it() {
    on_each_runtime_and_off(|| {
        let n = AtomicUsize::new(0);
        let accept = move || -> io::Result<()> {
            match n.fetch_add(1, Relaxed) {
                0 => Err(ErrorKind::ConnectionAborted.into()),
                1 => Ok(()),
                // EMFILE.
                2..=4 => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                5 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
            }
        };
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let server = Server::start(accept, move |()| _ = count.fetch_add(1, Relaxed)).unwrap();
        let error = server.wait();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        wait_until(|| served.load(Relaxed) == 2);
    });
}

#[test]
fn it_is_patient_when_something_runs_out() {
    on_manual_clocks(|clock| {
        let n = AtomicUsize::new(0);
        let accept = move || -> io::Result<()> {
            match n.fetch_add(1, Relaxed) {
                0..12 => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                12 => Ok(()),
                13..15 => Err(io::Error::from_raw_os_error(libc::ENFILE)),
                _ => Err(ErrorKind::InvalidInput.into()),
            }
        };
        let start = clock.now();
        let error = Server::start(accept, drop).unwrap().wait();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // One millisecond, two, four; never more than a second; and anew after a success.
        let waited = 1023 + 2 * 1000 + 1 + 2;
        assert_eq!(clock.now() - start, Duration::from_millis(waited));
    });
}

#[test]
fn descriptors_that_run_out_are_waited_for() {
    let child = Child::new("server::descriptors_that_run_out_are_waited_for");
    let died = child.shell("ulimit -n 64;").run(|| {
        greenrt::run(|| {
            let (listener, address) = listen();
            let server = Server::start(listener, echo).unwrap();
            // More than there is room for on both ends.
            let mut clients = Vec::new();
            let error = loop {
                match TcpStream::connect(address) {
                    Ok(client) => clients.push(client),
                    Err(error) => break error,
                }
                yield_now();
            };
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            // Those who were accepted are served, and the others once there is room.
            let last = clients.pop().unwrap();
            drop(clients);
            assert!(echoes(&last));
            assert!(echoes(&TcpStream::connect(address).unwrap()));
            drop(last);
            assert!(server.stop(LONG).is_clean());
        });
    });
    died.expect_success();
}

/// The recipe.
#[path = "../../examples/process_per_core.rs"]
#[expect(dead_code, reason = "its `main` is for the command line")]
mod recipe;

#[test]
fn one_process_per_core_on_one_port() {
    const NAME: &str = "server::one_process_per_core_on_one_port";
    if let Ok(address) = std::env::var("GREENRT_TEST_ADDRESS") {
        recipe::serve(address.parse().unwrap()).unwrap();
        std::process::exit(0);
    }
    // Keeps the port while there is nobody else.
    let reserved = recipe::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = reserved.local_addr().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut children: Vec<_> = (0..2)
        .map(|_| {
            let mut command = std::process::Command::new(&program);
            command
                .args([NAME, "--exact", "--nocapture"])
                .env("GREENRT_TEST_ADDRESS", address.to_string())
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut outputs: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().unwrap()))
        .collect();
    for output in &mut outputs {
        // libtest begins the line.
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it died");
        }
    }
    drop(reserved);
    let mut served: std::collections::HashMap<u32, usize> = std::collections::HashMap::new();
    for _ in 0..200 {
        let stream = std::net::TcpStream::connect(address).unwrap();
        let who = io::read_to_string(stream).unwrap();
        *served.entry(who.trim().parse().unwrap()).or_default() += 1;
    }
    assert_eq!(served.len(), 2, "{served:?}");
    for mut child in children {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
