//! A TCP socket that listens for connections.

use std::io;
use std::iter::FusedIterator;
use std::net;
use std::os::fd::AsFd;

use greenrt::lowlevel::{self, Io};

use super::TcpStream;
use crate::net::socket::Socket;
use crate::net::{SocketAddr, ToSocketAddrs, resolve};

/// A TCP socket that listens for connections.
///
/// As [`std::net::TcpListener`]. Any number of threads may accept from it at once.
///
/// # Differences from std
///
/// The backlog is the longest that the system allows, where std asks for 128: a burst of clients
/// overflows that. Otherwise see [`net`](crate::net#differences-from-std).
///
/// # Examples
///
/// ```
/// use greenstd::io::{self, Read, Write};
/// use greenstd::net::{TcpListener, TcpStream};
/// use greenstd::thread;
///
/// # fn main() -> io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// thread::spawn(move || {
///     for stream in listener.incoming() {
///         let mut stream = stream?;
///         thread::spawn(move || stream.write_all(b"welcome"));
///     }
///     Ok::<(), io::Error>(())
/// });
/// let mut text = String::new();
/// TcpStream::connect(address)?.read_to_string(&mut text)?;
/// assert_eq!(text, "welcome");
/// # Ok(())
/// # }
/// ```
pub struct TcpListener {
    pub(in crate::net) socket: Socket<net::TcpListener>,
}

/// An iterator over the connections that come in at a [`TcpListener`], without end.
///
/// As [`std::net::Incoming`]; made by [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

/// The same, of a listener that it owns.
///
/// As `std::net::IntoIncoming`, which is not stable yet; made by [`TcpListener::into_incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl TcpListener {
    /// Makes a socket that listens at an address.
    ///
    /// As [`std::net::TcpListener::bind`]: of several addresses the first that can be had is taken,
    /// and port 0 is any free port.
    ///
    /// # Errors
    ///
    /// As std's; of several addresses, that of the last.
    ///
    /// # Differences from std
    ///
    /// The backlog is the longest that the system allows. Parks to look up a name.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        let listener = net::TcpListener::bind(&resolve::all(addr)?[..])?;
        listener.set_nonblocking(true)?;
        lowlevel::listen_max(listener.as_fd())?;
        Ok(TcpListener {
            socket: Socket::new(Io::new(listener)),
        })
    }

    /// The address at which it listens, as [`std::net::TcpListener::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Makes another handle of the same socket, as [`std::net::TcpListener::try_clone`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        let socket = self.socket.try_clone()?;
        Ok(TcpListener { socket })
    }

    /// Waits for a connection, and returns it with the address of its other end.
    ///
    /// As [`std::net::TcpListener::accept`]. The calling green thread parks; its worker runs others
    /// meanwhile. One that never has to wait yields now and then, so a flood of clients starves
    /// nobody. A cancelled green thread unwinds from here.
    ///
    /// # Errors
    ///
    /// As std's. After `EMFILE`, say, the next call may succeed.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = self.socket.accept_with(net::TcpListener::accept)?;
        Ok((
            TcpStream {
                socket: Socket::new(Io::new(stream)),
            },
            address,
        ))
    }

    /// An iterator over the connections that come in, without end, as
    /// [`std::net::TcpListener::incoming`].
    ///
    /// Each step parks and is cancelled as [`accept`](TcpListener::accept).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// An iterator over the connections that come in, without end, that keeps the listener: as
    /// `std::net::TcpListener::into_incoming`, which is not stable yet.
    ///
    /// Each step parks and is cancelled as [`accept`](TcpListener::accept).
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// Sets `IP_TTL`, as [`std::net::TcpListener::set_ttl`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.get().set_ttl(ttl)
    }

    /// The value of `IP_TTL`, as [`std::net::TcpListener::ttl`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.get().ttl()
    }

    /// Sets `IPV6_V6ONLY`, as `std::net::TcpListener::set_only_v6`.
    ///
    /// # Errors
    ///
    /// As std's.
    #[deprecated(
        since = "0.1.0",
        note = "this option can only be set before the socket is bound"
    )]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        #[expect(deprecated, reason = "mirrors it")]
        self.socket.get().set_only_v6(only_v6)
    }

    /// The value of `IPV6_V6ONLY`, as `std::net::TcpListener::only_v6`.
    ///
    /// # Errors
    ///
    /// As std's.
    #[deprecated(
        since = "0.1.0",
        note = "this option can only be set before the socket is bound"
    )]
    pub fn only_v6(&self) -> io::Result<bool> {
        #[expect(deprecated, reason = "mirrors it")]
        self.socket.get().only_v6()
    }

    /// Takes the error that waits at the socket, as [`std::net::TcpListener::take_error`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.get().take_error()
    }

    /// Says whether [`accept`](TcpListener::accept) waits, or fails with `WouldBlock`.
    ///
    /// As [`std::net::TcpListener::set_nonblocking`]; clones share the mode. A thread that tries
    /// again and again yields now and then, so its siblings run too.
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
}

impl greenrt::Accept for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self)
    }
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for IntoIncoming {}
