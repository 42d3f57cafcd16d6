//! The servers as bare epoll loops: what nothing that uses epoll can undercut by much.
//!
//! With several workers each has an epoll of its own and takes connections from the one listener.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{
    BUFFER_BYTES, Protocol, RESPONSE, Requests, SMALL_BUFFER_BYTES, compute, count_connection,
};

const LISTENER: u64 = u64::MAX;

/// An epoll and room for its events.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: new, and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024],
        })
    }

    /// Watches a descriptor, as long as it is open.
    pub(crate) fn add(&self, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        let epoll = self.fd.as_raw_fd();
        // SAFETY: the event is read during the call only.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// The tokens of what is ready. Waits for so many milliseconds, after which nothing is an error;
    /// -1 is for ever, 0 not at all.
    pub(crate) fn wait(&mut self, timeout_ms: i32) -> io::Result<impl Iterator<Item = u64> + '_> {
        let (at, room) = (self.events.as_mut_ptr(), self.events.len() as i32);
        loop {
            // SAFETY: there is as much room as is said.
            match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), at, room, timeout_ms) }) {
                Ok(0) if timeout_ms > 0 => return Err(io::ErrorKind::TimedOut.into()),
                Ok(n) => return Ok(self.events[..n as usize].iter().map(|event| event.u64)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(super) fn serve(listener: TcpListener, protocol: Protocol, n_workers: usize) {
    listener.set_nonblocking(true).expect("a setting");
    std::thread::scope(|scope| {
        for _ in 1..n_workers {
            scope.spawn(|| work(&listener, protocol, false));
        }
        work(&listener, protocol, n_workers == 1);
    });
}

fn work(listener: &TcpListener, protocol: Protocol, alone: bool) {
    let accepts_max = if alone { usize::MAX } else { 1 };
    let listener = Listener {
        socket: listener,
        accepts_max,
    };
    match protocol {
        Protocol::Echo => run(listener, || Echo, || -1),
        Protocol::HogEcho => run(listener, || Echo, compute_and_go_on),
        Protocol::Http => run(listener, Requests::<BUFFER_BYTES>::new, || -1),
        Protocol::SmallHttp => run(listener, Requests::<SMALL_BUFFER_BYTES>::new, || -1),
    }
}

fn compute_and_go_on() -> i32 {
    compute();
    0
}

struct Listener<'a> {
    socket: &'a TcpListener,
    /// How many connections are taken at a time: few where others take some, too.
    accepts_max: usize,
}

/// What happens when a connection can be read. An error closes it. The buffer is the worker's.
trait Connection {
    fn ready(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<()>;
}

struct Echo;

impl Connection for Echo {
    fn ready(&mut self, fd: RawFd, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let n = receive(fd, buffer)?;
            send_all(fd, &buffer[..n])?;
            if n < buffer.len() {
                return Ok(());
            }
        }
    }
}

impl<const BYTES: usize> Connection for Requests<BYTES> {
    fn ready(&mut self, fd: RawFd, _buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let room = self.room();
            let n_asked = room.len();
            let n = receive(fd, room)?;
            for _ in 0..self.received(n)? {
                send_all(fd, RESPONSE)?;
            }
            if n < n_asked {
                return Ok(());
            }
        }
    }
}

/// Reads what is there; an error if that is the end.
fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: there is as much room as is said.
    let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    match n {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n if n > 0 => Ok(n as usize),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            error => Err(error),
        },
    }
}

/// Sends everything at once: what is sent here always has room.
fn send_all(fd: RawFd, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    // SAFETY: there are as many bytes as is said.
    let n = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    match n {
        n if n == bytes.len() as isize => Ok(()),
        n if n >= 0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The loop. `before_wait` says how many milliseconds to wait at most.
fn run<C: Connection>(listener: Listener<'_>, new: impl Fn() -> C, before_wait: impl Fn() -> i32) {
    let mut epoll = Epoll::new().expect("an epoll");
    let edges = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
    // Of several that wait for the listener, one is woken.
    let of_listener = libc::EPOLLIN | libc::EPOLLEXCLUSIVE;
    epoll
        .add(listener.socket.as_raw_fd(), LISTENER, of_listener)
        .expect("room in the epoll");
    let mut connections: Vec<Option<(OwnedFd, C)>> = Vec::new();
    let mut ready: Vec<u64> = Vec::new();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let timeout_ms = before_wait();
        ready.extend(epoll.wait(timeout_ms).expect("events"));
        for token in ready.drain(..) {
            if token == LISTENER {
                for _ in 0..listener.accepts_max {
                    let Ok(fd) = accept(listener.socket) else {
                        break;
                    };
                    let index = fd.as_raw_fd() as usize;
                    if connections.len() <= index {
                        connections.resize_with(index + 1, || None);
                    }
                    count_connection();
                    epoll
                        .add(fd.as_raw_fd(), index as u64, edges)
                        .expect("room in the epoll");
                    connections[index] = Some((fd, new()));
                }
            } else if let Some((fd, connection)) = &mut connections[token as usize]
                && connection.ready(fd.as_raw_fd(), &mut buffer).is_err()
            {
                connections[token as usize] = None;
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let none = std::ptr::null_mut();
    // SAFETY: the address is not asked for.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, std::ptr::null_mut(), flags) };
    let fd = check(fd)?;
    // SAFETY: new, and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
