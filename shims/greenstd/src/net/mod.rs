//! TCP and UDP, and the addresses and errors of networking.
//!
//! The addresses and [`Shutdown`] are std's own types. [`TcpListener`],
//! [`TcpStream`] and [`UdpSocket`] mirror std's: a call that would block parks the calling green
//! thread, or blocks the calling OS thread. So do the sockets of the Unix domain, in
//! [`os::unix::net`](crate::os::unix::net), for which all of this page holds too.
//!
//! # Differences from std
//!
//! - The descriptor of a listener that was opened here is in non-blocking mode;
//!   [`TcpListener::set_nonblocking`] changes what [`TcpListener::accept`] does, which is all that
//!   code using the listener sees. Code that uses the descriptor itself
//!   ([`AsFd`](std::os::fd::AsFd)) sees the mode. It leaves, as a descriptor or as a socket of std,
//!   in the mode that its user asked for. The descriptor of any other socket is in that mode always.
//! - A socket made from a descriptor, or from a socket of std, begins with the mode and the
//!   timeouts that the descriptor has, and neither is changed but by its user: whoever shares the
//!   open file, also in another process, notices nothing. From then on it shares mode and timeouts
//!   with its clones made here, and not with other descriptors of the same socket: what is set
//!   there is not noticed.
//! - A listener made so that is in blocking mode, and from which *other processes* accept too, may
//!   block the worker until the next connection, if one of them takes the one that was announced.
//! - Operations are never interrupted by a signal (`ErrorKind::Interrupted`).
//! - [`ToSocketAddrs`] is a trait of its own, which a type of another crate that has std's has not.
//!
//! # Cancellation
//!
//! Every operation that reads, writes, accepts or connects is a point; see [`greenrt::Cancelled`].
//! A thread that unwinds because it was cancelled may still use its sockets, for a second in all. A
//! [`greenrt::timeout`] ends them on OS threads too, but for the looking up of names.

mod fd;
mod resolve;
pub(crate) mod socket;
pub(crate) mod tcp;
mod udp;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};

pub use self::resolve::ToSocketAddrs;
pub use self::tcp::{Incoming, IntoIncoming, TcpListener, TcpStream};
pub use self::udp::UdpSocket;
