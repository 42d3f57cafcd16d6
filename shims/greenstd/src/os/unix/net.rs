//! Sockets of the Unix domain: streams, listeners, datagrams.
//!
//! [`SocketAddr`] is std's own type, abstract names included (on Linux, with
//! [`os::linux::net::SocketAddrExt`](crate::os::linux::net::SocketAddrExt)). The sockets mirror
//! std's; what [`net`](crate::net) says of modes, timeouts and cancellation holds for them too.
//!
//! # Differences from std
//!
//! - A connection to a listener whose backlog is full, and a datagram to a receiver whose queue is
//!   full and to whom the socket is not connected, are tried again and again, at intervals of up to
//!   10 ms: the system announces to nobody when there is room. Who came first need not be first.
//! - A datagram from a path as long as a path can be (108 bytes on Linux), which std's [`SocketAddr`]
//!   accepts from the system only, counts as one without a name.

mod datagram;
mod listener;
mod stream;

pub use std::os::unix::net::SocketAddr;

pub use self::datagram::UnixDatagram;
pub use self::listener::{Incoming, UnixListener};
pub use self::stream::UnixStream;
