//! OS threads of the same process that have descriptors in non-blocking mode and an epoll of their own,
//! as mio and tokio have: nobody disturbs them.

#![expect(unsafe_code, reason = "asks libc")]

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use crate::support::{tests, wait_until};

tests! {
    an_epoll_of_os_threads_is_not_disturbed
    duplicates_of_what_an_epoll_watches
}

fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// What an OS thread watches, edge-triggered.
struct Epoll(OwnedFd);

impl Epoll {
    fn new(watched: &[UnixStream]) -> Epoll {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: new.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        for (n, stream) in watched.iter().enumerate() {
            stream.set_nonblocking(true).unwrap();
            let mut event = libc::epoll_event {
                events: (libc::EPOLLIN | libc::EPOLLET) as u32,
                u64: n as u64,
            };
            let (fd, at) = (stream.as_raw_fd(), &raw mut event);
            // SAFETY: an event to be read.
            let error = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, at) };
            assert_eq!(error, 0);
        }
        Epoll(epoll)
    }

    /// Waits for one of them.
    fn wait(&self) -> usize {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for an event.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, -1) };
        assert_eq!(n, 1);
        event.u64 as usize
    }
}

/// Echoes on an OS thread, until all peers have gone.
fn echo(watched: Arc<[UnixStream]>) -> thread::JoinHandle<()> {
    let body = move || {
        let epoll = Epoll::new(&watched);
        // The end of one may be told of twice: with what came before it, and by itself.
        let mut left: HashSet<usize> = (0..watched.len()).collect();
        while !left.is_empty() {
            let number = epoll.wait();
            let mut stream = &watched[number];
            let mut bytes = [0; 100];
            loop {
                match stream.read(&mut bytes) {
                    Ok(0) => {
                        left.remove(&number);
                        break;
                    }
                    Ok(n) => stream.write_all(&bytes[..n]).unwrap(),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        break;
                    }
                }
            }
        }
        assert!(watched.iter().all(is_nonblocking));
    };
    greenlibc::os_threads(|| thread::spawn(body))
}

fn pairs(n: usize) -> (Arc<[UnixStream]>, Vec<UnixStream>) {
    let (watched, peers): (Vec<_>, Vec<_>) = (0..n).map(|_| UnixStream::pair().unwrap()).unzip();
    (watched.into(), peers)
}

fn ask(mut stream: &UnixStream, n: u8) {
    stream.write_all(&[n; 10]).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [n; 10]);
}

fn an_epoll_of_os_threads_is_not_disturbed() {
    let (watched, peers) = pairs(10);
    let server = echo(watched);
    let clients: Vec<_> = peers
        .into_iter()
        .map(|peer| {
            thread::spawn(move || {
                for n in 0..100 {
                    ask(&peer, n);
                    // Numbers come and go beside those that are watched.
                    drop(UnixStream::pair().unwrap());
                }
                // The other end of the same is in its own mode.
                assert!(!is_nonblocking(&peer));
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    wait_until(|| server.is_finished());
    server.join().unwrap();
}

fn duplicates_of_what_an_epoll_watches() {
    let (watched, peers) = pairs(5);
    let server = echo(Arc::clone(&watched));
    // The server's mode, through which it is known that it has begun.
    wait_until(|| watched.iter().all(is_nonblocking));
    let done = Arc::new(AtomicBool::new(false));
    let meddlers: Vec<_> = (0..5)
        .map(|n| {
            let (watched, done) = (Arc::clone(&watched), Arc::clone(&done));
            thread::spawn(move || {
                while !done.load(SeqCst) {
                    let other = watched[n].try_clone().unwrap();
                    assert!(is_nonblocking(&other));
                    wait_briefly(other.as_raw_fd());
                    // Closed again, which ends nobody's watching.
                    drop(other);
                    thread::yield_now();
                }
            })
        })
        .collect();
    for n in 0..100 {
        peers.iter().for_each(|peer| ask(peer, n));
    }
    done.store(true, SeqCst);
    meddlers
        .into_iter()
        .for_each(|meddler| meddler.join().unwrap());
    drop(peers);
    wait_until(|| server.is_finished());
    server.join().unwrap();
}

/// Waits for it, so that greenrt watches it too.
fn wait_briefly(fd: RawFd) {
    let mut one = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one to look at.
    assert!(unsafe { libc::poll(&raw mut one, 1, 1) } >= 0);
}
