//! Datagrams, whose senders and receivers have addresses, and what a stream of the Unix domain says
//! besides its bytes.

#![expect(unsafe_code, reason = "hands buffers and addresses to the kernel")]

use std::ffi::OsStr;
use std::io;
use std::mem::{self, offset_of};
use std::net::{self, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;
use std::ptr;

use super::{SEND_FLAGS, message};
use crate::os::{self, SocketAddrExt};

/// The place of the bytes in a `sockaddr_un`.
const PATH_OFFSET: usize = offset_of!(libc::sockaddr_un, sun_path);

/// Receives a datagram, as much of it as there is room for, and says whose it is; of kind
/// `WouldBlock` if there is none.
///
/// # Errors
///
/// Those of `recvfrom(2)`; of kind `InvalidInput` if the sender has no address of the internet.
#[inline]
pub fn receive_from(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, net::SocketAddr)> {
    let (n, name) = receive_named(fd, buffer, libc::MSG_DONTWAIT)?;
    Ok((n, name.internet()?))
}

/// As [`receive_from`], but leaves the datagram to be received again.
///
/// # Errors
///
/// As [`receive_from`].
pub fn peek_from(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, net::SocketAddr)> {
    let (n, name) = receive_named(fd, buffer, libc::MSG_DONTWAIT | libc::MSG_PEEK)?;
    Ok((n, name.internet()?))
}

/// As [`receive_from`], for sockets of the Unix domain.
///
/// A path of the greatest length, which std's type cannot be given, counts as no name.
///
/// # Errors
///
/// Those of `recvfrom(2)`; of kind `InvalidInput` if the sender is not of the Unix domain.
pub fn receive_from_unix(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, unix::SocketAddr)> {
    let (n, name) = receive_named(fd, buffer, libc::MSG_DONTWAIT)?;
    Ok((n, name.unix()?))
}

/// Sends a datagram to `to`; of kind `WouldBlock` if there is no room for it.
///
/// # Errors
///
/// Those of `sendto(2)`; `EPIPE` raises no signal.
#[inline]
pub fn send_to(fd: BorrowedFd<'_>, bytes: &[u8], to: &net::SocketAddr) -> io::Result<usize> {
    match to {
        net::SocketAddr::V4(to) => {
            send_named(fd, bytes, &sockaddr_in(to), size_of::<libc::sockaddr_in>())
        }
        net::SocketAddr::V6(to) => send_named(
            fd,
            bytes,
            &sockaddr_in6(to),
            size_of::<libc::sockaddr_in6>(),
        ),
    }
}

/// As [`send_to`], for sockets of the Unix domain.
///
/// # Errors
///
/// As [`send_to`].
pub fn send_to_unix(fd: BorrowedFd<'_>, bytes: &[u8], to: &unix::SocketAddr) -> io::Result<usize> {
    let (name, len) = sockaddr_un(to);
    send_named(fd, bytes, &name, len)
}

/// Reads from a stream of the Unix domain as [`receive`](super::receive), and says whether the read
/// may have ended for another reason than that there was no more.
///
/// It ends behind bytes that came with descriptors, which are dropped, as `recv(2)` drops them; and
/// between two senders, if the socket asks who they are.
///
/// # Errors
///
/// Those of `recvmsg(2)`.
#[inline]
pub fn receive_unix(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = message(&raw mut slice, 1);
    // SAFETY: the message names one buffer, which is ours to be written to.
    let n = unsafe { os::receive_message(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) }?;
    // Said of whatever there was no room for; we gave none.
    Ok((n, message.msg_flags & libc::MSG_CTRUNC != 0))
}

/// An address that the kernel has written.
struct Name {
    bytes: libc::sockaddr_storage,
    len: usize,
}

#[inline]
fn receive_named(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: i32) -> io::Result<(usize, Name)> {
    // SAFETY: all zeros are an address of no family.
    let mut bytes: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the room for bytes and for the address is as large as is said, and ours.
    let n = unsafe {
        os::receive_from(
            fd.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
            flags,
            (&raw mut bytes).cast(),
            &raw mut len,
        )
    }?;
    let len = len as usize;
    Ok((n, Name { bytes, len }))
}

#[inline]
fn send_named<T>(fd: BorrowedFd<'_>, bytes: &[u8], name: &T, len: usize) -> io::Result<usize> {
    debug_assert!(len <= size_of::<T>());
    // SAFETY: the bytes are as many as is said, and the address is as long.
    unsafe {
        os::send_to(
            fd.as_raw_fd(),
            bytes.as_ptr(),
            bytes.len(),
            SEND_FLAGS,
            ptr::from_ref(name).cast(),
            len as libc::socklen_t,
        )
    }
}

impl Name {
    fn family(&self) -> libc::c_int {
        libc::c_int::from(self.bytes.ss_family)
    }

    #[inline]
    fn internet(&self) -> io::Result<net::SocketAddr> {
        let place = ptr::from_ref(&self.bytes);
        match self.family() {
            libc::AF_INET if self.len >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: of this family, and as long; the storage is large enough and aligned.
                let name = unsafe { place.cast::<libc::sockaddr_in>().read() };
                let ip = u32::from_be(name.sin_addr.s_addr).into();
                Ok(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 if self.len >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: of this family, and as long; the storage is large enough and aligned.
                let name = unsafe { place.cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                let (flow, scope) = (name.sin6_flowinfo, name.sin6_scope_id);
                Ok(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => Err(invalid("the address of a peer is not one of the internet")),
        }
    }

    fn unix(&self) -> io::Result<unix::SocketAddr> {
        let place = ptr::from_ref(&self.bytes);
        // No name at all is what an unnamed sender has on Linux.
        if self.len > 0 && self.family() != libc::AF_UNIX {
            return Err(invalid(
                "the address of a peer is not one of the Unix domain",
            ));
        }
        // SAFETY: the storage is larger, aligned, and bytes that nobody wrote are zero.
        let name = unsafe { place.cast::<libc::sockaddr_un>().read() };
        let len = self
            .len
            .saturating_sub(PATH_OFFSET)
            .min(name.sun_path.len());
        let path = name.sun_path.map(|byte| byte as u8);
        match &path[..len] {
            [] => unnamed(),
            // An address of a system without such names has none.
            [0, rest @ ..] => unix::SocketAddr::from_abstract_name(rest).or_else(|_| unnamed()),
            named => {
                let end = named.iter().position(|&byte| byte == 0);
                let path = OsStr::from_bytes(&named[..end.unwrap_or(named.len())]);
                unix::SocketAddr::from_pathname(path).or_else(|_| unnamed())
            }
        }
    }
}

/// The address of a socket without a name.
fn unnamed() -> io::Result<unix::SocketAddr> {
    unix::SocketAddr::from_pathname("")
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn sockaddr_in(address: &SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: all zeros are one; some systems have more fields than we fill.
    let mut name: libc::sockaddr_in = unsafe { mem::zeroed() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_port = address.port().to_be();
    name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    name
}

fn sockaddr_in6(address: &SocketAddrV6) -> libc::sockaddr_in6 {
    // SAFETY: all zeros are one; some systems have more fields than we fill.
    let mut name: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = address.port().to_be();
    name.sin6_addr.s6_addr = address.ip().octets();
    name.sin6_flowinfo = address.flowinfo();
    name.sin6_scope_id = address.scope_id();
    name
}

/// The address as the kernel has it, and its length: with a zero behind a path, and without behind
/// an abstract name.
fn sockaddr_un(address: &unix::SocketAddr) -> (libc::sockaddr_un, usize) {
    // SAFETY: all zeros are one; some systems have more fields than we fill.
    let mut name: libc::sockaddr_un = unsafe { mem::zeroed() };
    name.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, &byte) in name.sun_path[at..].iter_mut().zip(bytes) {
            *place = byte as libc::c_char;
        }
    };
    let len = if let Some(path) = address.as_pathname() {
        let bytes = path.as_os_str().as_bytes();
        put(0, bytes);
        bytes.len() + 1
    } else if let Some(bytes) = address.as_abstract_name() {
        put(1, bytes);
        bytes.len() + 1
    } else {
        0
    };
    (name, PATH_OFFSET + len.min(name.sun_path.len()))
}
