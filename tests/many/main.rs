//! Thousands of connections at once between two processes: a server, and this one as its client.
//! A binary of its own, so that nothing else counts against the descriptor limit.

#![expect(
    clippy::disallowed_methods,
    reason = "a child process and a watchdog of its own"
)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use greenrt_arch::usage;
use greenstd::net::{TcpListener, TcpStream};

/// Set for the child that is the server.
const SERVER: &str = "GREENRT_TEST_SERVER";

const N_CONNECTIONS: usize = 5_000;
const N_ROUNDS: u8 = if cfg!(debug_assertions) { 4 } else { 20 };
const N_MESSAGES: usize = 3;
const LIMIT: Duration = Duration::from_secs(180);

/// Echoes until its standard input ends. Prints its port, and how many descriptors it has whenever
/// it is asked to.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    println!("{}", listener.local_addr()?.port());
    let (begins, has_begun) = mpsc::channel();
    greenrt::spawn(move || {
        begins.send(()).expect("somebody waits");
        for stream in listener.incoming() {
            let stream = stream.expect("accept");
            greenrt::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    // A worker that makes its first stacks opens a descriptor for a moment, which is not to be counted.
    has_begun.recv().expect("it begins");
    for line in io::stdin().lines() {
        line?;
        println!("{}", usage::descriptors()?);
    }
    Ok(())
}

struct Server {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(n_workers: &str) -> io::Result<(Server, u16)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "thousands_of_connections_are_echoed_and_none_is_left",
            ])
            .args(["--nocapture", "--quiet"])
            .env(SERVER, "1")
            .env("GREENRT_WORKERS", n_workers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut server = Server { child, output };
        let port = server.number()?;
        Ok((server, port as u16))
    }

    /// The next number that the server prints; the harness prints lines of its own.
    fn number(&mut self) -> io::Result<u64> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Ok(number) = line.trim().parse() {
                return Ok(number);
            }
        }
    }

    fn n_descriptors(&mut self) -> io::Result<u64> {
        writeln!(self.child.stdin.as_mut().expect("piped"))?;
        self.number()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn talk(stream: &mut TcpStream, number: usize) -> io::Result<()> {
    for n in 0..N_MESSAGES {
        let message = format!("{number:>8} {n:>8} and some more, to fill a message of 64 bytes");
        stream.write_all(message.as_bytes())?;
        let mut back = vec![0; message.len()];
        stream.read_exact(&mut back)?;
        assert_eq!(back, message.as_bytes());
    }
    Ok(())
}

/// Opens all connections, talks on every one, and closes them.
fn round(host: Ipv4Addr, port: u16) {
    // All are open at the same time: each waits for the last one before it closes.
    let n_open = AtomicUsize::new(0);
    let opener = greenrt::current();
    greenrt::scope(|scope| {
        let clients: Vec<_> = (0..N_CONNECTIONS)
            .map(|number| {
                let (n_open, opener) = (&n_open, &opener);
                scope.spawn(move || -> io::Result<()> {
                    let mut stream = TcpStream::connect((host, port))?;
                    talk(&mut stream, number)?;
                    if n_open.fetch_add(1, AcqRel) + 1 == N_CONNECTIONS {
                        opener.unpark();
                    }
                    greenrt::park();
                    talk(&mut stream, number)
                })
            })
            .collect();
        while n_open.load(Acquire) < N_CONNECTIONS {
            greenrt::park();
        }
        clients.iter().for_each(|client| client.thread().unpark());
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
}

fn all_rounds(n_workers: &str) -> io::Result<()> {
    let (mut server, port) = Server::start(n_workers)?;
    let (mine, theirs) = (usage::descriptors()?, server.n_descriptors()?);
    for n in 1..=N_ROUNDS {
        // Another address each time: the ports of the last round's are not free yet.
        greenrt::run(move || round(Ipv4Addr::new(127, 0, 0, n), port));
    }
    assert_eq!(usage::descriptors()?, mine, "the client leaks descriptors");
    let give_up = Instant::now() + LIMIT / 2;
    loop {
        let now = server.n_descriptors()?;
        if now == theirs {
            return Ok(());
        }
        assert!(
            Instant::now() < give_up,
            "the server with {n_workers} workers leaks descriptors: {now} in place of {theirs}"
        );
    }
}

#[test]
fn thousands_of_connections_are_echoed_and_none_is_left() {
    if std::env::var_os(SERVER).is_some() {
        serve().unwrap();
        std::process::exit(0);
    }
    std::thread::spawn(|| {
        let limit = Instant::now() + LIMIT;
        while Instant::now() < limit {
            std::thread::park_timeout(limit - Instant::now());
        }
        eprintln!(
            "the rounds did not end within {LIMIT:?}\n{}",
            greenrt::debug::dump()
        );
        std::process::abort();
    });
    for n_workers in ["1", "2"] {
        all_rounds(n_workers).unwrap();
    }
}
