//! A stream of the Unix domain.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net as unix;
use std::path::Path;

use greenrt::lowlevel::{Io, Pause, may_block, socket};

use super::SocketAddr;
use crate::net::Shutdown;
use crate::net::socket::{Socket, by_reference, len_of_all, socket_settings};

/// A stream of the Unix domain.
///
/// As [`std::os::unix::net::UnixStream`]. Any number of threads may read and write at once, through
/// references or clones; when one shuts a direction down, those that wait for it go on.
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time limit passes, unwinds from `connect`, `read` and
/// `write`. No bytes are lost by that: an operation unwinds before it has done anything.
///
/// # Differences from std
///
/// See [`net`](crate::net#differences-from-std) and [`os::unix::net`](super).
///
/// # Examples
///
/// ```
/// use greenstd::io::{Read, Write};
/// use greenstd::os::unix::net::UnixStream;
/// use greenstd::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let (mut near, mut far) = UnixStream::pair()?;
/// let answer = thread::spawn(move || {
///     let mut room = [0; 4];
///     far.read_exact(&mut room)?;
///     far.write_all(&room)
/// });
/// near.write_all(b"ping")?;
/// let mut text = String::new();
/// near.read_to_string(&mut text)?;
/// assert_eq!(text, "ping");
/// # answer.join().unwrap()
/// # }
/// ```
pub struct UnixStream {
    pub(crate) socket: Socket<unix::UnixStream>,
}

socket_settings!(UnixStream, "std::os::unix::net::UnixStream");

impl UnixStream {
    /// Of a socket that was opened here.
    pub(super) fn new(stream: unix::UnixStream) -> Self {
        UnixStream {
            socket: Socket::of(stream),
        }
    }

    /// Connects to a listener by its path.
    ///
    /// As [`std::os::unix::net::UnixStream::connect`]. The calling green thread parks while the
    /// listener's backlog is full; its worker runs others meanwhile. A cancelled green thread unwinds
    /// from here.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// # Differences from std
    ///
    /// See [`os::unix::net`](super).
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to a listener by its address, as [`std::os::unix::net::UnixStream::connect_addr`].
    ///
    /// Parks and is cancelled as [`connect`](UnixStream::connect).
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn connect_addr(socket_addr: &SocketAddr) -> io::Result<UnixStream> {
        if may_block() {
            return unix::UnixStream::connect_addr(socket_addr).map(UnixStream::new);
        }
        let mut pause = Pause::new(None);
        let io = loop {
            match mio::net::UnixStream::connect_addr(socket_addr) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => _ = pause.wait(),
                stream => break Io::read_in_parts(unix::UnixStream::from(stream?)),
            }
        };
        // Where the system connects in its own time; on Linux it has, and this is a credit spent.
        if io.try_with(unix::UnixStream::peer_addr).is_err() {
            io.wait_connected(None)?;
            if let Some(error) = io.get_ref().take_error()? {
                return Err(error);
            }
        }
        io.get_ref().set_nonblocking(false)?;
        Ok(UnixStream {
            socket: Socket::new(io),
        })
    }

    /// Makes two streams that are connected with each other, as
    /// [`std::os::unix::net::UnixStream::pair`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (near, far) = unix::UnixStream::pair()?;
        Ok((UnixStream::new(near), UnixStream::new(far)))
    }

    /// The address of this end, as [`std::os::unix::net::UnixStream::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// The address of the other end, as [`std::os::unix::net::UnixStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// Ends one direction of the connection or both, as [`std::os::unix::net::UnixStream::shutdown`].
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

impl Read for &UnixStream {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().read(buf);
        }
        self.socket
            .read_unix_bytes(buf.len(), |stream, must_tell| match must_tell {
                true => socket::receive_unix(stream.as_fd(), buf),
                false => socket::receive(stream.as_fd(), buf).map(|n| (n, false)),
            })
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if may_block() || bufs.iter().all(|buf| buf.is_empty()) {
            return self.socket.get().read_vectored(bufs);
        }
        let len = len_of_all(bufs.iter().map(|buf| &**buf));
        self.socket.read_unix_bytes(len, |stream, _| {
            socket::receive_vectored_unix(stream.as_fd(), bufs)
        })
    }
}

impl Write for &UnixStream {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().write(buf);
        }
        self.socket
            .write_bytes(buf.len(), |stream| socket::send(stream.as_fd(), buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if may_block() || bufs.iter().all(|buf| buf.is_empty()) {
            return self.socket.get().write_vectored(bufs);
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

by_reference!(UnixStream);
