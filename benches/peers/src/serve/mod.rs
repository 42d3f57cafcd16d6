//! The servers, all of the same shape: a thread or task for each connection, a buffer of 4 KiB,
//! a read, a write.
//!
//! A child process prints its port and serves until it is killed, or the one that started it ends.
//! To a line "threads" it answers how many connections each of its OS threads has begun to serve.

pub(crate) mod epoll;
mod greenrt;
mod local;
mod may;
mod smol;
mod threads;
mod tokio;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::Runtime;
use crate::child;

/// What is read at once.
const BUFFER_BYTES: usize = 4096;
/// The buffer of `small_http`, with which a connection may fit in one page.
const SMALL_BUFFER_BYTES: usize = 1024;
/// How long a hog computes before it yields.
pub(crate) const HOG_BURST: Duration = Duration::from_millis(20);

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Echo,
    /// Beside a thread that computes.
    HogEcho,
    Http,
    SmallHttp,
}

pub(crate) fn child(protocol: &str, runtime: &str, n_workers: &str) {
    let n_workers: usize = n_workers.parse().expect("a number of workers");
    if n_workers == 1 {
        child::pin_to(child::SERVER_CPU);
    }
    std::panic::set_hook(Box::new(|info| {
        println!("fails: {info}");
        std::process::exit(1);
    }));
    if let Some(transport) = local::Transport::from_protocol(protocol) {
        child::answer_parent(|_| String::new());
        return local::serve(transport, Runtime::from_name(runtime).expect("a runtime"));
    }
    let protocol = match protocol {
        "echo" => Protocol::Echo,
        "hog_echo" => Protocol::HogEcho,
        "http" => Protocol::Http,
        "small_http" => Protocol::SmallHttp,
        _ => panic!("there is no protocol {protocol}"),
    };
    child::answer_parent(|_| {
        let counts = ACCEPTED
            .iter()
            .map(|count| count.load(Relaxed))
            .filter(|&count| count > 0);
        counts
            .map(|count| count.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    });
    let runtime = Runtime::from_name(runtime).expect("a runtime");
    if runtime == Runtime::Unmodified {
        greenlibc::patch_all();
    }
    let serve: fn(TcpListener, Protocol, usize) = match runtime {
        Runtime::Tokio => tokio::serve,
        Runtime::May => may::serve,
        Runtime::Smol => smol::serve,
        Runtime::Threads => threads::serve,
        Runtime::Unmodified => threads::serve_on_a_thread,
        Runtime::Epoll => epoll::serve,
        // Listens by itself.
        Runtime::Greenrt | Runtime::Shared | Runtime::Private => {
            return greenrt::serve(runtime, protocol, n_workers);
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listen_max(&listener);
    announce(listener.local_addr());
    serve(listener, protocol, n_workers);
}

/// Tells where the server listens.
fn announce(address: io::Result<SocketAddr>) {
    println!("{}", address.expect("its address").port());
}

/// The same long backlog for all, which greenrt takes by itself; std asks for 128.
fn listen_max(listener: &TcpListener) {
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1 << 16) }, 0);
}

/// How many connections each OS thread has begun to serve.
static ACCEPTED: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
static N_THREADS: AtomicUsize = AtomicUsize::new(0);

/// Counts a connection for the calling OS thread.
///
/// For green threads this says where they run although they may have thread-locals of their own:
/// the number of the OS thread is asked from the system.
fn count_connection() {
    thread_local! {
        static LAST: Cell<(i32, usize)> = const { Cell::new((0, usize::MAX)) };
    }
    static KNOWN: std::sync::Mutex<Vec<i32>> = std::sync::Mutex::new(Vec::new());
    // SAFETY: no memory is passed. Not through `libc::gettid`, which may answer from a cache.
    let id = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let (last, mut index) = LAST.get();
    if last != id {
        let mut known = KNOWN.lock().unwrap();
        index = known
            .iter()
            .position(|&other| other == id)
            .unwrap_or_else(|| {
                known.push(id);
                N_THREADS.fetch_add(1, Relaxed)
            });
        LAST.set((id, index));
    }
    if let Some(count) = ACCEPTED.get(index) {
        count.fetch_add(1, Relaxed);
    }
}

/// Computes.
fn compute() {
    let start = Instant::now();
    while start.elapsed() < HOG_BURST {
        (0..100).for_each(|n| _ = std::hint::black_box(n));
    }
}

/// An echo in blocking style.
fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n])?;
    }
}

/// HTTP in blocking style.
fn http<const BYTES: usize>(mut stream: impl Read + Write) -> io::Result<()> {
    let mut requests = Requests::<BYTES>::new();
    loop {
        let n = stream.read(requests.room())?;
        for _ in 0..requests.received(n)? {
            stream.write_all(RESPONSE)?;
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// What has come of the requests of one connection.
struct Requests<const BYTES: usize> {
    buffer: [u8; BYTES],
    n_filled: usize,
}

impl<const BYTES: usize> Requests<BYTES> {
    fn new() -> Self {
        Requests {
            buffer: [0; BYTES],
            n_filled: 0,
        }
    }

    /// Where the next bytes go.
    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.n_filled..]
    }

    /// So many bytes have come; how many requests are complete now.
    fn received(&mut self, n_bytes: usize) -> io::Result<usize> {
        self.n_filled += n_bytes;
        let (mut n_requests, mut start) = (0, 0);
        while let Some(n) = parse(&self.buffer[start..self.n_filled])? {
            start += n;
            n_requests += 1;
        }
        self.buffer.copy_within(start..self.n_filled, 0);
        self.n_filled -= start;
        if self.n_filled == BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(n_requests)
    }
}

/// The length of the request at the start of `bytes`, if it is complete.
fn parse(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let parsed = httparse::Request::new(&mut headers).parse(bytes);
    match parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
        httparse::Status::Complete(n) => Ok(Some(n)),
        httparse::Status::Partial => Ok(None),
    }
}
