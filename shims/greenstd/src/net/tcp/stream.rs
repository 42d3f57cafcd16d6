//! A TCP connection.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net;
use std::os::fd::AsFd;
use std::time::Duration;

use greenrt::lowlevel::{Io, socket};

use crate::net::socket::{Socket, by_reference, len_of_all, socket_settings};
use crate::net::{Shutdown, SocketAddr, ToSocketAddrs};

/// A TCP connection between this socket and one elsewhere.
///
/// As [`std::net::TcpStream`]. Any number of threads may read and write at once, through references
/// or clones; when one shuts a direction down, those that wait for it go on.
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time limit passes, unwinds from `connect`, `read`,
/// `write` and `peek`. No bytes are lost by that: an operation unwinds before it has done anything.
///
/// # Differences from std
///
/// See [`net`](crate::net#differences-from-std).
///
/// # Examples
///
/// ```
/// use greenstd::io::{self, Read, Write};
/// use greenstd::net::{Shutdown, TcpListener, TcpStream};
/// use greenstd::thread;
///
/// # fn main() -> io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut stream = TcpStream::connect(listener.local_addr()?)?;
/// let echo = thread::spawn(move || {
///     let (stream, _) = listener.accept()?;
///     io::copy(&mut &stream, &mut &stream)
/// });
/// stream.write_all(b"come back")?;
/// stream.shutdown(Shutdown::Write)?;
/// let mut text = String::new();
/// stream.read_to_string(&mut text)?;
/// assert_eq!(text, "come back");
/// assert_eq!(echo.join().unwrap()?, 9);
/// # Ok(())
/// # }
/// ```
pub struct TcpStream {
    pub(in crate::net) socket: Socket<net::TcpStream>,
}

socket_settings!(TcpStream, "std::net::TcpStream");

impl TcpStream {
    /// Connects to an address.
    ///
    /// As [`std::net::TcpStream::connect`]: several addresses are tried in turn. The calling green
    /// thread parks; its worker runs others meanwhile. A cancelled green thread unwinds from here.
    ///
    /// # Errors
    ///
    /// As std's; of several addresses, that of the last.
    ///
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        let mut last = None;
        for address in addr.to_socket_addrs()? {
            match Self::connect_to(address, None) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error),
            // Of no addresses std says so in its own words.
            None => net::TcpStream::connect::<&[SocketAddr]>(&[]).map(TcpStream::from),
        }
    }

    /// Connects to an address, for at most `timeout`.
    ///
    /// As [`std::net::TcpStream::connect_timeout`]. Parks and is cancelled as
    /// [`connect`](TcpStream::connect).
    ///
    /// # Errors
    ///
    /// As std's: of kind `TimedOut` when the time is up, of kind `InvalidInput` if it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenstd::io::ErrorKind;
    /// use greenstd::net::{TcpListener, TcpStream};
    /// use greenstd::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    /// let error = TcpStream::connect_timeout(&nobody, Duration::from_secs(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        Self::connect_to(*addr, Some(timeout))
    }

    fn connect_to(address: SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        let stream = mio::net::TcpStream::connect(address)?;
        let io = Io::new(net::TcpStream::from(stream));
        if timeout == Some(Duration::ZERO) {
            // The error that std has for this, which comes after those of the address.
            io.get_ref().set_read_timeout(timeout)?;
        }
        // On the way, or there already? The other end is known once it has answered.
        if io.try_with(net::TcpStream::peer_addr).is_err() {
            io.wait_connected(timeout)?;
            if let Some(error) = io.get_ref().take_error()? {
                return Err(error);
            }
        }
        io.get_ref().set_nonblocking(false)?;
        Ok(TcpStream {
            socket: Socket::new(io),
        })
    }

    /// The address of the other end, as [`std::net::TcpStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// The address of this end, as [`std::net::TcpStream::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Ends one direction of the connection or both, as [`std::net::TcpStream::shutdown`].
    ///
    /// Threads that wait for that direction go on.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get().shutdown(how)
    }

    /// Reads without taking, so that the next read gets the same, as
    /// [`std::net::TcpStream::peek`].
    ///
    /// Parks and is cancelled as a read.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket
            .read_with(|stream| socket::peek(stream.as_fd(), buf))
    }

    /// Sets how long closing waits for what was not sent yet (`SO_LINGER`), as
    /// `std::net::TcpStream::set_linger`, which is not stable yet.
    ///
    /// Zero resets the connection when it is closed.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// # Differences from std
    ///
    /// None; but mind that closing a socket that lingers blocks the worker for that long.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        socket::set_linger(self.socket.get().as_fd(), linger)
    }

    /// The value of `SO_LINGER`, as `std::net::TcpStream::linger`, which is not stable yet.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        socket::linger(self.socket.get().as_fd())
    }

    /// Sets `TCP_NODELAY`, as [`std::net::TcpStream::set_nodelay`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.get().set_nodelay(nodelay)
    }

    /// The value of `TCP_NODELAY`, as [`std::net::TcpStream::nodelay`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.get().nodelay()
    }

    /// Sets `IP_TTL`, as [`std::net::TcpStream::set_ttl`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.get().set_ttl(ttl)
    }

    /// The value of `IP_TTL`, as [`std::net::TcpStream::ttl`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.get().ttl()
    }
}

impl Read for &TcpStream {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket
            .read_bytes(buf.len(), |stream| socket::receive(stream.as_fd(), buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            // There is nothing to wait for.
            return Ok(0);
        }
        let len = len_of_all(bufs.iter().map(|buf| &**buf));
        self.socket
            .read_bytes(len, |stream| socket::receive_vectored(stream.as_fd(), bufs))
    }
}

impl Write for &TcpStream {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket
            .write_bytes(buf.len(), |stream| socket::send(stream.as_fd(), buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        let len = len_of_all(bufs.iter().map(|buf| &**buf));
        self.socket
            .write_bytes(len, |stream| socket::send_vectored(stream.as_fd(), bufs))
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

by_reference!(TcpStream);
