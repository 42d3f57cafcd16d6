//! TCP, and the addresses and errors of networking.
//!
//! The addresses, [`Shutdown`] and [`ToSocketAddrs`] are std's own types. [`TcpListener`] and
//! [`TcpStream`] mirror std's: a call that would block parks the calling green thread, or blocks
//! the calling OS thread.
//!
//! `UdpSocket` is not here yet: std's would block the worker.
//!
//! # Differences from std
//!
//! - A socket's descriptor is always in non-blocking mode. [`TcpStream::set_nonblocking`] and its
//!   twin change what the *operations* do, which is all that code using the socket sees. Code that
//!   uses the descriptor itself ([`AsFd`](std::os::fd::AsFd)) sees the mode. A socket that is
//!   turned into a descriptor, or into a socket of std, leaves in the mode that its user asked for,
//!   unless clones of it are left here: those need the other mode, which they share.
//! - A socket made from a descriptor, or from a socket of std, begins in blocking mode, whatever
//!   the descriptor was in, and with the timeouts that the descriptor has. From then on it shares
//!   mode and timeouts with its clones made here, and not with other descriptors of the same socket:
//!   what is set there is not noticed.
//! - Operations are never interrupted by a signal (`ErrorKind::Interrupted`).
//! - [`ToSocketAddrs`] takes literal addresses at once. To look up a name it blocks the worker for
//!   now, as it blocks an OS thread.
//!
//! # Cancellation
//!
//! Every operation that reads, writes, accepts or connects is a point; see [`greenrt::Cancelled`].
//! A thread that unwinds because it was cancelled may still use its sockets, for a second in all.

mod socket;
mod tcp;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    ToSocketAddrs,
};

pub use self::tcp::{Incoming, TcpListener, TcpStream};
