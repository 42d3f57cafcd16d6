//! One call on one socket: reading and writing that never waits, and the options that std does not
//! offer.
//!
//! Reading and writing leave the mode of the descriptor as it is. `O_NONBLOCK` belongs to the open
//! file description, which other processes may share, so it is not ours to set: each call says for
//! itself that it shall not wait.

#![expect(unsafe_code, reason = "hands buffers to the kernel")]

use std::ffi::c_int;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use crate::os;

mod datagram;

pub use crate::os::SocketAddrExt;

pub use self::datagram::{
    peek_from, receive_from, receive_from_unix, receive_unix, send_to, send_to_unix,
};

/// How many slices the system takes at once, as std has it.
const SLICES_MAX: usize = 1024;

/// A peer that has gone is an error and no signal.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// A peer that has gone is an error and no signal: std sets that for each socket here.
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT;

/// Reads what is there, of kind `WouldBlock` if that is nothing.
///
/// # Errors
///
/// Those of `recv(2)`.
#[inline]
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    receive_with(fd, buffer, libc::MSG_DONTWAIT)
}

/// As [`receive`], but leaves what it read to be read again.
///
/// # Errors
///
/// Those of `recv(2)`.
pub fn peek(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    receive_with(fd, buffer, libc::MSG_DONTWAIT | libc::MSG_PEEK)
}

#[inline]
fn receive_with(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: there is as much room as is said, and it is ours to be written to.
    unsafe { os::receive(fd.as_raw_fd(), buffer.as_mut_ptr(), buffer.len(), flags) }
}

/// Writes what there is room for, of kind `WouldBlock` if that is nothing.
///
/// # Errors
///
/// Those of `send(2)`; `EPIPE` raises no signal.
#[inline]
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: there are as many bytes as is said.
    unsafe { os::send(fd.as_raw_fd(), bytes.as_ptr(), bytes.len(), SEND_FLAGS) }
}

/// As [`receive`], into several buffers in turn.
///
/// # Errors
///
/// Those of `recvmsg(2)`.
pub fn receive_vectored(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    receive_vectored_unix(fd, buffers).map(|(n, _)| n)
}

/// As [`receive_vectored`], and says what [`receive_unix`] says.
///
/// # Errors
///
/// Those of `recvmsg(2)`.
pub fn receive_vectored_unix(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
) -> io::Result<(usize, bool)> {
    if buffers.iter().take(SLICES_MAX).all(|b| b.is_empty()) {
        // What `readv` says without looking.
        return Ok((0, false));
    }
    // An `IoSliceMut` has the layout of an `iovec`.
    let mut message = message(buffers.as_mut_ptr().cast(), buffers.len());
    // SAFETY: the message names as many buffers as there are, or fewer, all ours to be written to.
    let n = unsafe { os::receive_message(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) }?;
    Ok((n, message.msg_flags & libc::MSG_CTRUNC != 0))
}

/// As [`send`], of several buffers in turn.
///
/// # Errors
///
/// Those of `sendmsg(2)`; `EPIPE` raises no signal.
pub fn send_vectored(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    if buffers.iter().take(SLICES_MAX).all(|b| b.is_empty()) {
        // What `writev` says without looking.
        return Ok(0);
    }
    // An `IoSlice` has the layout of an `iovec`; what it names is only read.
    let message = message(buffers.as_ptr().cast_mut().cast(), buffers.len());
    // SAFETY: the message names as many buffers as there are, or fewer.
    unsafe { os::send_message(fd.as_raw_fd(), &raw const message, SEND_FLAGS) }
}

/// A message of these buffers, of as many of them as the system takes, and of nothing else.
fn message(buffers: *mut libc::iovec, n_buffers: usize) -> libc::msghdr {
    // SAFETY: it has integers and pointers only, and no name and no ancillary data are zeros.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = buffers;
    message.msg_iovlen = n_buffers.min(SLICES_MAX) as _;
    message
}

/// How long closing waits for what was not sent yet: the value of `SO_LINGER`.
///
/// # Errors
///
/// Those of `getsockopt(2)`.
pub fn linger(fd: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let linger: libc::linger = option(fd, libc::SOL_SOCKET, LINGER)?;
    Ok((linger.l_onoff != 0).then(|| Duration::from_secs(linger.l_linger as u64)))
}

/// Sets `SO_LINGER`, in whole seconds.
///
/// # Errors
///
/// Those of `setsockopt(2)`.
pub fn set_linger(fd: BorrowedFd<'_>, linger: Option<Duration>) -> io::Result<()> {
    let value = libc::linger {
        l_onoff: linger.is_some().into(),
        l_linger: linger.unwrap_or_default().as_secs() as c_int,
    };
    set_option(fd, libc::SOL_SOCKET, LINGER, value)
}

/// In seconds.
#[cfg(not(target_vendor = "apple"))]
const LINGER: c_int = libc::SO_LINGER;
/// In seconds, where `SO_LINGER` is in ticks.
#[cfg(target_vendor = "apple")]
const LINGER: c_int = libc::SO_LINGER_SEC;

/// Whether what comes is acknowledged at once: the value of `TCP_QUICKACK`.
///
/// # Errors
///
/// Those of `getsockopt(2)`; of kind `Unsupported` where the system has no such option.
pub fn quickack(fd: BorrowedFd<'_>) -> io::Result<bool> {
    option::<c_int>(fd, libc::IPPROTO_TCP, quickack_option()?).map(|value| value != 0)
}

/// Sets `TCP_QUICKACK`.
///
/// # Errors
///
/// Those of `setsockopt(2)`; of kind `Unsupported` where the system has no such option.
pub fn set_quickack(fd: BorrowedFd<'_>, quickack: bool) -> io::Result<()> {
    let value = c_int::from(quickack);
    set_option(fd, libc::IPPROTO_TCP, quickack_option()?, value)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn quickack_option() -> io::Result<c_int> {
    Ok(libc::TCP_QUICKACK)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn quickack_option() -> io::Result<c_int> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Types that are options of sockets: of C, and right whatever their bytes are.
trait SocketOption: Copy {}
impl SocketOption for c_int {}
impl SocketOption for libc::linger {}

fn option<T: SocketOption>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    // SAFETY: an option may have any bytes.
    let mut value: T = unsafe { mem::zeroed() };
    let mut bytes = size_of::<T>() as libc::socklen_t;
    let place = ptr::from_mut(&mut value).cast();
    // SAFETY: `place` has room for the `bytes` that we say, and both are ours to be written to.
    match unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut bytes) } {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_option<T: SocketOption>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: T,
) -> io::Result<()> {
    let bytes = size_of::<T>() as libc::socklen_t;
    let place = ptr::from_ref(&value).cast();
    // SAFETY: `place` holds the `bytes` that we say.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, place, bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
