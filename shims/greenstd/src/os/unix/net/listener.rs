//! A socket of the Unix domain that listens for connections.

use std::io;
use std::os::unix::net as unix;
use std::path::Path;

use greenrt::lowlevel::Io;

use super::{SocketAddr, UnixStream};
use crate::net::socket::Socket;

/// A socket of the Unix domain that listens for connections.
///
/// As [`std::os::unix::net::UnixListener`]. Any number of threads may accept from it at once.
///
/// # Differences from std
///
/// See [`net`](crate::net#differences-from-std).
///
/// # Examples
///
/// ```
/// use greenstd::io::{self, Read, Write};
/// use greenstd::os::unix::net::{UnixListener, UnixStream};
/// use greenstd::thread;
///
/// # fn main() -> io::Result<()> {
/// let path = greenstd::env::temp_dir().join(format!("greenstd {}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let server = thread::spawn(move || listener.accept()?.0.write_all(b"welcome"));
/// let mut text = String::new();
/// UnixStream::connect(&path)?.read_to_string(&mut text)?;
/// assert_eq!(text, "welcome");
/// # server.join().unwrap()?;
/// # std::fs::remove_file(path)
/// # }
/// ```
pub struct UnixListener {
    pub(crate) socket: Socket<unix::UnixListener>,
}

/// An iterator over the connections that come in at a [`UnixListener`], without end.
///
/// As [`std::os::unix::net::Incoming`]; made by [`UnixListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl UnixListener {
    fn new(listener: unix::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener {
            socket: Socket::new(Io::new(listener)),
        })
    }

    /// Makes a socket that listens at a path, where there must not be a file yet; as
    /// [`std::os::unix::net::UnixListener::bind`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        unix::UnixListener::bind(path).and_then(UnixListener::new)
    }

    /// Makes a socket that listens at an address, as
    /// [`std::os::unix::net::UnixListener::bind_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixListener> {
        unix::UnixListener::bind_addr(socket_addr).and_then(UnixListener::new)
    }

    /// Waits for a connection, and returns it with the address of its other end.
    ///
    /// As [`std::os::unix::net::UnixListener::accept`]. The calling green thread parks; its worker
    /// runs others meanwhile. One that never has to wait yields now and then, so a flood of clients
    /// starves nobody. A cancelled green thread unwinds from here.
    ///
    /// # Errors
    ///
    /// As std's. After `EMFILE`, say, the next call may succeed.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, address) = self.socket.accept_with(unix::UnixListener::accept)?;
        Ok((UnixStream::new(stream), address))
    }

    /// Makes another handle of the same socket, as [`std::os::unix::net::UnixListener::try_clone`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        let socket = self.socket.try_clone()?;
        Ok(UnixListener { socket })
    }

    /// The address at which it listens, as [`std::os::unix::net::UnixListener::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Says whether [`accept`](UnixListener::accept) waits, or fails with `WouldBlock`.
    ///
    /// As [`std::os::unix::net::UnixListener::set_nonblocking`]; clones share the mode. A thread that
    /// tries again and again yields now and then, so its siblings run too.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// # Differences from std
    ///
    /// The descriptor of a listener that was opened here is always in non-blocking mode; see
    /// [`net`](crate::net#differences-from-std).
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Takes the error that waits at the socket, as
    /// [`std::os::unix::net::UnixListener::take_error`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.get().take_error()
    }

    /// An iterator over the connections that come in, without end, as
    /// [`std::os::unix::net::UnixListener::incoming`].
    ///
    /// Each step parks and is cancelled as [`accept`](UnixListener::accept).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }
}

impl greenrt::Accept for UnixListener {
    type Connection = (UnixStream, SocketAddr);

    fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        UnixListener::accept(self)
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
