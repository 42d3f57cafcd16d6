//! A socket of the Unix domain for datagrams.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net as unix;
use std::path::Path;

use greenrt::lowlevel::{may_block, socket};

use super::SocketAddr;
use crate::net::Shutdown;
use crate::net::socket::{Socket, socket_settings};

/// A socket of the Unix domain for datagrams.
///
/// As [`std::os::unix::net::UnixDatagram`]. Any number of threads may send and receive at once,
/// through references or clones; each datagram goes to one of them.
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time limit passes, unwinds from whatever sends or
/// receives here. No datagram is lost by that: an operation unwinds before it has done anything.
///
/// # Differences from std
///
/// See [`net`](crate::net#differences-from-std) and [`os::unix::net`](super).
///
/// # Examples
///
/// ```
/// use greenstd::os::unix::net::UnixDatagram;
/// use greenstd::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let (near, far) = UnixDatagram::pair()?;
/// let receiver = thread::spawn(move || {
///     let mut room = [0; 3];
///     far.recv(&mut room).map(|n| room[..n].to_vec())
/// });
/// near.send(b"truncated")?;
/// assert_eq!(receiver.join().unwrap()?, b"tru");
/// # Ok(())
/// # }
/// ```
pub struct UnixDatagram {
    pub(crate) socket: Socket<unix::UnixDatagram>,
}

socket_settings!(UnixDatagram, "std::os::unix::net::UnixDatagram");

impl UnixDatagram {
    fn new(socket: unix::UnixDatagram) -> Self {
        UnixDatagram {
            socket: Socket::of(socket),
        }
    }

    /// Makes a socket with a path as its address, where there must not be a file yet; as
    /// [`std::os::unix::net::UnixDatagram::bind`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        unix::UnixDatagram::bind(path).map(UnixDatagram::new)
    }

    /// Makes a socket with an address, as [`std::os::unix::net::UnixDatagram::bind_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixDatagram> {
        unix::UnixDatagram::bind_addr(socket_addr).map(UnixDatagram::new)
    }

    /// Makes a socket without an address, as [`std::os::unix::net::UnixDatagram::unbound`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn unbound() -> io::Result<UnixDatagram> {
        unix::UnixDatagram::unbound().map(UnixDatagram::new)
    }

    /// Makes two sockets that are connected with each other, as
    /// [`std::os::unix::net::UnixDatagram::pair`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (near, far) = unix::UnixDatagram::pair()?;
        Ok((UnixDatagram::new(near), UnixDatagram::new(far)))
    }

    /// Connects to a path: [`send`](UnixDatagram::send) goes there, and only what comes from there is
    /// received. As [`std::os::unix::net::UnixDatagram::connect`]; never parks.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.socket.get().connect(path)
    }

    /// Connects to an address, as [`std::os::unix::net::UnixDatagram::connect_addr`]; never parks.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        self.socket.get().connect_addr(socket_addr)
    }

    /// The address of this end, as [`std::os::unix::net::UnixDatagram::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// The address of the other end, as [`std::os::unix::net::UnixDatagram::peer_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// Receives a datagram, and returns its length and who has sent it.
    ///
    /// As [`std::os::unix::net::UnixDatagram::recv_from`]: what there is no room for is lost. The
    /// calling green thread parks; its worker runs others meanwhile. A cancelled green thread unwinds
    /// from here.
    ///
    /// # Errors
    ///
    /// As std's: of kind `WouldBlock` after the timeout for reading.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if may_block() {
            return self.socket.get().recv_from(buf);
        }
        self.socket.receive_datagram(
            |socket| socket::receive_from_unix(socket.as_fd(), buf),
            || Ok((0, SocketAddr::from_pathname("")?)),
        )
    }

    /// Receives a datagram, and returns its length, as [`std::os::unix::net::UnixDatagram::recv`].
    ///
    /// Parks and is cancelled as [`recv_from`](UnixDatagram::recv_from).
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().recv(buf);
        }
        self.socket
            .receive_datagram(|socket| socket::receive(socket.as_fd(), buf), || Ok(0))
    }

    /// Sends a datagram to a path.
    ///
    /// As [`std::os::unix::net::UnixDatagram::send_to`]. The calling green thread parks while the
    /// receiver's queue is full; its worker runs others meanwhile. A cancelled green thread unwinds
    /// from here.
    ///
    /// # Errors
    ///
    /// As std's: of kind `WouldBlock` after the timeout for writing.
    ///
    /// # Differences from std
    ///
    /// See [`os::unix::net`](super).
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to an address, as [`std::os::unix::net::UnixDatagram::send_to_addr`].
    ///
    /// Parks and is cancelled as [`send_to`](UnixDatagram::send_to).
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().send_to_addr(buf, socket_addr);
        }
        self.socket
            .send_datagram(|socket| socket::send_to_unix(socket.as_fd(), buf, socket_addr))
    }

    /// Sends a datagram to where the socket is connected, as
    /// [`std::os::unix::net::UnixDatagram::send`].
    ///
    /// Parks and is cancelled as [`send_to`](UnixDatagram::send_to).
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().send(buf);
        }
        self.socket
            .send_datagram(|socket| socket::send(socket.as_fd(), buf))
    }

    /// Ends one direction or both, as [`std::os::unix::net::UnixDatagram::shutdown`].
    ///
    /// Threads that wait for that direction go on.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get().shutdown(how)?;
        self.socket.was_shut_down(how);
        Ok(())
    }
}
