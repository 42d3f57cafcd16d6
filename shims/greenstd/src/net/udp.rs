//! A UDP socket.

use std::io;
use std::net;
use std::os::fd::AsFd;

use greenrt::lowlevel::{may_block, socket};

use super::socket::{Socket, socket_settings};
use super::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, resolve};

/// A UDP socket.
///
/// As [`std::net::UdpSocket`]. Any number of threads may send and receive at once, through
/// references or clones; each datagram goes to one of them.
///
/// # Cancellation
///
/// A green thread that is cancelled, or whose time limit passes, unwinds from whatever sends or
/// receives here. No datagram is lost by that: an operation unwinds before it has done anything.
///
/// # Differences from std
///
/// See [`net`](crate::net#differences-from-std).
///
/// # Examples
///
/// ```
/// use greenstd::net::UdpSocket;
/// use greenstd::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let address = server.local_addr()?;
/// let echo = thread::spawn(move || {
///     let mut room = [0; 1500];
///     let (n, peer) = server.recv_from(&mut room)?;
///     server.send_to(&room[..n], peer)
/// });
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"come back", address)?;
/// let mut room = [0; 1500];
/// assert_eq!(client.recv_from(&mut room)?, (9, address));
/// # echo.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
pub struct UdpSocket {
    pub(super) socket: Socket<net::UdpSocket>,
}

socket_settings!(UdpSocket, "std::net::UdpSocket");

impl UdpSocket {
    /// Makes a socket with an address of its own.
    ///
    /// As [`std::net::UdpSocket::bind`]: of several addresses the first that can be had is taken,
    /// and port 0 is any free port. Parks to look up a name.
    ///
    /// # Errors
    ///
    /// As std's; of several addresses, that of the last.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        let socket = net::UdpSocket::bind(&resolve::all(addr)?[..])?;
        Ok(UdpSocket {
            socket: Socket::of(socket),
        })
    }

    /// Receives a datagram, and returns its length and who has sent it.
    ///
    /// As [`std::net::UdpSocket::recv_from`]: what there is no room for is lost. The calling green
    /// thread parks; its worker runs others meanwhile. A cancelled green thread unwinds from here.
    ///
    /// # Errors
    ///
    /// As std's: of kind `WouldBlock` after the timeout for reading.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if may_block() {
            return self.socket.get().recv_from(buf);
        }
        self.socket
            .read_with(|socket| socket::receive_from(socket.as_fd(), buf))
    }

    /// As [`recv_from`](UdpSocket::recv_from), but leaves the datagram to be received again; as
    /// [`std::net::UdpSocket::peek_from`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        if may_block() {
            return self.socket.get().peek_from(buf);
        }
        self.socket
            .read_with(|socket| socket::peek_from(socket.as_fd(), buf))
    }

    /// Sends a datagram.
    ///
    /// As [`std::net::UdpSocket::send_to`]: of several addresses it goes to the first. Parks and is
    /// cancelled as [`recv_from`](UdpSocket::recv_from), which is rare: while the system's buffer is
    /// full, and to look up a name.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        match addr.to_socket_addrs()?.next() {
            Some(address) if may_block() => self.socket.get().send_to(buf, address),
            Some(address) => self
                .socket
                .write_with(|socket| socket::send_to(socket.as_fd(), buf, &address)),
            // Of no addresses std says so in its own words.
            None => self.socket.get().send_to(buf, &[][..]),
        }
    }

    /// The address of the other end, as [`std::net::UdpSocket::peer_addr`].
    ///
    /// # Errors
    ///
    /// As std's: of kind `NotConnected` if it has none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// The address of this end, as [`std::net::UdpSocket::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Sets `SO_BROADCAST`, as [`std::net::UdpSocket::set_broadcast`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.socket.get().set_broadcast(broadcast)
    }

    /// The value of `SO_BROADCAST`, as [`std::net::UdpSocket::broadcast`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.get().broadcast()
    }

    /// Sets `IP_MULTICAST_LOOP`, as [`std::net::UdpSocket::set_multicast_loop_v4`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_multicast_loop_v4(&self, multicast_loop_v4: bool) -> io::Result<()> {
        self.socket.get().set_multicast_loop_v4(multicast_loop_v4)
    }

    /// The value of `IP_MULTICAST_LOOP`, as [`std::net::UdpSocket::multicast_loop_v4`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.socket.get().multicast_loop_v4()
    }

    /// Sets `IP_MULTICAST_TTL`, as [`std::net::UdpSocket::set_multicast_ttl_v4`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_multicast_ttl_v4(&self, multicast_ttl_v4: u32) -> io::Result<()> {
        self.socket.get().set_multicast_ttl_v4(multicast_ttl_v4)
    }

    /// The value of `IP_MULTICAST_TTL`, as [`std::net::UdpSocket::multicast_ttl_v4`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.socket.get().multicast_ttl_v4()
    }

    /// Sets `IPV6_MULTICAST_LOOP`, as [`std::net::UdpSocket::set_multicast_loop_v6`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_multicast_loop_v6(&self, multicast_loop_v6: bool) -> io::Result<()> {
        self.socket.get().set_multicast_loop_v6(multicast_loop_v6)
    }

    /// The value of `IPV6_MULTICAST_LOOP`, as [`std::net::UdpSocket::multicast_loop_v6`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.get().multicast_loop_v6()
    }

    /// Sets `IP_TTL`, as [`std::net::UdpSocket::set_ttl`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.get().set_ttl(ttl)
    }

    /// The value of `IP_TTL`, as [`std::net::UdpSocket::ttl`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.get().ttl()
    }

    /// Joins a group (`IP_ADD_MEMBERSHIP`), as [`std::net::UdpSocket::join_multicast_v4`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.get().join_multicast_v4(multiaddr, interface)
    }

    /// Joins a group (`IPV6_ADD_MEMBERSHIP`), as [`std::net::UdpSocket::join_multicast_v6`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get().join_multicast_v6(multiaddr, interface)
    }

    /// Leaves a group (`IP_DROP_MEMBERSHIP`), as [`std::net::UdpSocket::leave_multicast_v4`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.get().leave_multicast_v4(multiaddr, interface)
    }

    /// Leaves a group (`IPV6_DROP_MEMBERSHIP`), as [`std::net::UdpSocket::leave_multicast_v6`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get().leave_multicast_v6(multiaddr, interface)
    }

    /// Connects to an address: [`send`](UdpSocket::send) goes there, and only what comes from there
    /// is received.
    ///
    /// As [`std::net::UdpSocket::connect`]: of several addresses the first that can be had is taken.
    /// Parks to look up a name.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        self.socket.get().connect(&resolve::all(addr)?[..])
    }

    /// Sends a datagram to where the socket is connected, as [`std::net::UdpSocket::send`].
    ///
    /// Parks and is cancelled as [`send_to`](UdpSocket::send_to).
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().send(buf);
        }
        self.socket
            .write_with(|socket| socket::send(socket.as_fd(), buf))
    }

    /// Receives a datagram, and returns its length, as [`std::net::UdpSocket::recv`].
    ///
    /// Parks and is cancelled as [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Errors
    ///
    /// As std's: of kind `ConnectionRefused` if the other end has answered that nobody listens there.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().recv(buf);
        }
        self.socket
            .read_with(|socket| socket::receive(socket.as_fd(), buf))
    }

    /// As [`recv`](UdpSocket::recv), but leaves the datagram to be received again; as
    /// [`std::net::UdpSocket::peek`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        if may_block() {
            return self.socket.get().peek(buf);
        }
        self.socket
            .read_with(|socket| socket::peek(socket.as_fd(), buf))
    }
}
