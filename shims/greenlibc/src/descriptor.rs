//! Closing and duplicating descriptors, and their modes.

use std::ffi::{c_int, c_uint, c_ulong};
use std::io;
use std::os::fd::RawFd;

use crate::errno::result;
use crate::symbol::{Symbol, interpose};
use crate::{file, table};

interpose! {
    /// `close(2)`: wakes those who wait for the descriptor.
    all fn close(fd: c_int) -> c_int {
        table::forget(fd);
        // SAFETY: as the caller promises.
        unsafe { real::close(fd) }
    }

    /// `fcntl(2)`: the mode is noted.
    all fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
        let call = |argument| {
            // SAFETY: as the caller promises.
            unsafe { real::fcntl(fd, command, argument) }
        };
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
                let new = call(argument);
                if new >= 0 {
                    table::duplicated(fd, new);
                }
                new
            }
            libc::F_GETFL => {
                let flags = call(argument);
                match table::get(fd).filter(|entry| entry.is_ours()) {
                    Some(entry) if flags >= 0 && !entry.is_nonblocking() => flags & !libc::O_NONBLOCK,
                    _ => flags,
                }
            }
            libc::F_SETFL => {
                let entry = table::get(fd);
                let ours = entry.as_ref().is_some_and(|entry| entry.is_ours());
                let kept = if ours { libc::O_NONBLOCK as usize } else { 0 };
                let error = call(argument | kept);
                if error == 0 && let Some(entry) = entry {
                    entry.believe(argument & libc::O_NONBLOCK as usize != 0);
                }
                error
            }
            libc::F_SETLKW | libc::F_OFD_SETLKW if Symbol::fcntl.is_green() => {
                let now = if command == libc::F_SETLKW { libc::F_SETLK } else { libc::F_OFD_SETLK };
                file::lock(|| {
                    // SAFETY: as the caller promises.
                    unsafe { real::fcntl(fd, now, argument) }
                })
            }
            _ => call(argument),
        }
    }

    /// `fcntl64`: what `fcntl` is called where files may be large.
    all fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { fcntl(fd, command, argument) }
    }

    /// `close_range(2)`: as `close`.
    all fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        const CLOSES_NONE: c_int = libc::CLOSE_RANGE_CLOEXEC as c_int;
        if flags & CLOSES_NONE == 0 {
            table::forget_range(first, last);
        }
        // SAFETY: as the caller promises.
        unsafe { real::close_range(first, last, flags) }
    }

    /// `ioctl(2)`: the mode is noted (`FIONBIO`).
    all fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
        let call = |argument| {
            // SAFETY: as the caller promises.
            unsafe { real::ioctl(fd, request, argument) }
        };
        let Some(entry) = table::get(fd).filter(|_| request == libc::FIONBIO && argument != 0) else {
            return call(argument);
        };
        let wish = std::ptr::with_exposed_provenance::<c_int>(argument);
        // SAFETY: as the caller promises.
        let nonblocking = unsafe { wish.read() } != 0;
        let kept: c_int = (nonblocking || entry.is_ours()).into();
        let error = call((&raw const kept).expose_provenance());
        if error == 0 {
            entry.believe(nonblocking);
        }
        error
    }

    /// `dup(2)`: what is believed of one holds for the other.
    all fn dup(fd: c_int) -> c_int {
        // SAFETY: as the caller promises.
        let new = unsafe { real::dup(fd) };
        if new >= 0 {
            table::duplicated(fd, new);
        }
        new
    }

    /// `dup2(2)`: as `dup`; the second one is closed.
    all fn dup2(fd: c_int, other: c_int) -> c_int {
        replace(fd, other, || {
            // SAFETY: as the caller promises.
            unsafe { real::dup2(fd, other) }
        })
    }

    /// `dup3(2)`: as `dup2`.
    all fn dup3(fd: c_int, other: c_int, flags: c_int) -> c_int {
        replace(fd, other, || {
            // SAFETY: as the caller promises.
            unsafe { real::dup3(fd, other, flags) }
        })
    }
}

fn replace(fd: RawFd, other: RawFd, call: impl FnOnce() -> c_int) -> c_int {
    if fd != other && flags(fd).is_ok() {
        table::forget(other);
    }
    let new = call();
    if new >= 0 && fd != other {
        table::duplicated(fd, new);
    }
    new
}

/// The mode and so on of a descriptor, as the kernel has it.
pub(crate) fn flags(fd: RawFd) -> io::Result<c_int> {
    // SAFETY: no memory is passed.
    result(unsafe { real::fcntl(fd, libc::F_GETFL, 0) })
}

pub(crate) fn set_flags(fd: RawFd, flags: c_int) -> io::Result<()> {
    // SAFETY: no memory is passed.
    result(unsafe { real::fcntl(fd, libc::F_SETFL, flags as usize) }).map(drop)
}
