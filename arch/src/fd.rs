//! One descriptor at a time: blocking on it, asking what it is.

#![expect(unsafe_code, reason = "asks the kernel about a descriptor")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use crate::clock;
use crate::os;

/// Blocks the calling OS thread until `fd` is readable (or `writable`), and returns true; or false
/// after `timeout`.
///
/// `None` waits for ever. An error or hang-up counts as ready: the next call on the descriptor says
/// which. Never gives up early: signals do not count, and a timeout is rounded up to what the
/// system can measure.
///
/// # Errors
///
/// Those of `poll(2)` without `EINTR`; `EBADF` if the number is no open descriptor.
pub fn wait(fd: BorrowedFd<'_>, writable: bool, timeout: Option<Duration>) -> io::Result<bool> {
    let events = if writable {
        libc::POLLOUT
    } else {
        libc::POLLIN
    };
    // A timeout of more than 584 years has no deadline.
    let deadline_ns = timeout
        .and_then(|timeout| u64::try_from(timeout.as_nanos()).ok())
        .and_then(|timeout_ns| clock::monotonic_ns().checked_add(timeout_ns));
    let mut left = deadline_ns.and(timeout);
    loop {
        match os::poll(fd.as_raw_fd(), events, left) {
            Ok(0) => {}
            Ok(came) if came & libc::POLLNVAL != 0 => {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let Some(deadline_ns) = deadline_ns else {
            continue;
        };
        let now_ns = clock::monotonic_ns();
        if now_ns >= deadline_ns {
            return Ok(false);
        }
        left = Some(Duration::from_nanos(deadline_ns - now_ns));
    }
}

/// Calls `listen(2)` with the longest backlog that the system allows.
///
/// On a socket that listens already this makes its backlog longer and disturbs nothing else: std
/// asks for 128, which a burst of clients overflows.
///
/// # Errors
///
/// Those of `listen(2)`.
pub fn listen_max(fd: BorrowedFd<'_>) -> io::Result<()> {
    // The kernel lowers it to its own maximum.
    os::listen(fd.as_raw_fd(), c_int::MAX)
}

/// Whether `fd` is in non-blocking mode, in which operations fail with `WouldBlock` rather than wait.
///
/// The mode belongs to the open file description, so duplicates of `fd` share it, also those in
/// other processes.
///
/// # Errors
///
/// Those of `fcntl(2)`.
pub fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: no memory is passed.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags & libc::O_NONBLOCK != 0),
    }
}

/// Puts `fd` into non-blocking mode, or takes it out of that.
///
/// Duplicates share the mode, also those in other processes: not for descriptors from elsewhere.
///
/// # Errors
///
/// Those of `fcntl(2)`.
pub fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    let wanted = if nonblocking {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    if flags == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether `fd` is a stream socket: TCP, or a stream of the Unix domain.
///
/// On those, and on nothing else, a read or write that does less than asked says that the next
/// would block.
#[must_use]
pub fn is_stream_socket(fd: BorrowedFd<'_>) -> bool {
    let mut kind: c_int = 0;
    let mut bytes = size_of::<c_int>() as libc::socklen_t;
    let place = ptr::from_mut(&mut kind).cast();
    // SAFETY: `place` has room for the `bytes` that we say, and both are ours to be written to.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            place,
            &mut bytes,
        )
    };
    result == 0 && kind == libc::SOCK_STREAM
}

#[cfg(test)]
mod tests;
