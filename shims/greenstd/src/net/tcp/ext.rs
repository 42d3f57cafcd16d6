//! Options of TCP that only some systems have.

use std::io;
use std::os::fd::AsFd;

use greenrt::lowlevel::socket;

use super::TcpStream;

/// Nobody else implements the trait, so methods can be added to it, as std's may be.
pub trait Sealed {}

impl Sealed for TcpStream {}

/// Options that Linux has for a [`TcpStream`].
///
/// As [`std::os::linux::net::TcpStreamExt`], which is sealed and so not for sockets of others; found
/// at the same path, [`os::linux::net`](crate::os::linux::net).
///
/// # Examples
///
/// ```
/// use greenstd::net::{TcpListener, TcpStream};
/// use greenstd::os::linux::net::TcpStreamExt;
///
/// # fn main() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let stream = TcpStream::connect(listener.local_addr()?)?;
/// stream.set_quickack(true)?;
/// assert!(stream.quickack()?);
/// # Ok(())
/// # }
/// ```
pub trait TcpStreamExt: Sealed {
    /// Sets `TCP_QUICKACK`: whether what comes is acknowledged at once. The system may change it
    /// again by itself.
    ///
    /// As [`std::os::linux::net::TcpStreamExt::set_quickack`]; never parks.
    ///
    /// # Errors
    ///
    /// As std's; of kind `Unsupported` on systems without it.
    fn set_quickack(&self, quickack: bool) -> io::Result<()>;

    /// The value of `TCP_QUICKACK`, as [`std::os::linux::net::TcpStreamExt::quickack`]; never parks.
    ///
    /// # Errors
    ///
    /// As std's; of kind `Unsupported` on systems without it.
    fn quickack(&self) -> io::Result<bool>;
}

impl TcpStreamExt for TcpStream {
    fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        socket::set_quickack(self.socket.get().as_fd(), quickack)
    }

    fn quickack(&self) -> io::Result<bool> {
        socket::quickack(self.socket.get().as_fd())
    }
}
