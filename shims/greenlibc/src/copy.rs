//! Copying from one descriptor to another.
//!
//! # `sendfile`
//!
//! It has no form that does not wait, and how much a socket has room for cannot be asked. So a file
//! is read here, at its offset, and what was read is written as by `write(2)`, which parks: a peer that is
//! slow holds no thread of the pool. That is one copy more than the kernel makes.
//!
//! # `splice`
//!
//! What it takes from a pipe it would have to put back if it could not be written; so it stays the
//! kernel's. A green thread waits until both sides are ready, and then asks for no more than a socket that is
//! ready has room for, on a thread of the pool: only if others write to the same socket does
//! that thread wait.

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::sync::Arc;

use greenrt::lowlevel::{self, Lane, Pause};
use libc::{c_void, off_t, off64_t, size_t, ssize_t};

use crate::errno::{self, result, returned};
use crate::io as fd_io;
use crate::offload;
use crate::poll;
use crate::socket;
use crate::symbol::interpose;
use crate::table::{self, Direction, Entry, Kind};

interpose! {
    /// `copy_file_range(2)`: on an OS thread of the pool.
    green fn copy_file_range(
        from: c_int,
        from_at: *mut off64_t,
        to: c_int,
        to_at: *mut off64_t,
        bytes: size_t,
        flags: c_uint,
    ) -> ssize_t {
        offload::call(Lane::General, || {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::copy_file_range(from, from_at, to, to_at, bytes, flags) }
        })
    }

    /// `sendfile(2)`: parks.
    green fn sendfile(to: c_int, from: c_int, at: *mut off_t, bytes: size_t) -> ssize_t {
        // SAFETY: as the caller promises.
        let at = unsafe { at.as_mut() };
        returned(send_file(to, from, at, bytes))
    }

    /// `sendfile64(2)`: as `sendfile`.
    green fn sendfile64(to: c_int, from: c_int, at: *mut off64_t, bytes: size_t) -> ssize_t {
        // SAFETY: as the caller promises.
        unsafe { sendfile(to, from, at, bytes) }
    }

    /// `splice(2)`: parks until both sides are ready.
    green fn splice(
        from: c_int,
        from_at: *mut off64_t,
        to: c_int,
        to_at: *mut off64_t,
        bytes: size_t,
        flags: c_uint,
    ) -> ssize_t {
        let call = |bytes, flags| {
            offload::call(Lane::General, || {
                // SAFETY: as the caller promises, who waits.
                unsafe { real::splice(from, from_at, to, to_at, bytes, flags) }
            })
        };
        let waits = flags & libc::SPLICE_F_NONBLOCK == 0 && bytes > 0;
        let (Some(from), Some(to), true) = (side(from), side(to), waits) else {
            return call(bytes, flags);
        };
        let mut pause = Pause::new(None);
        loop {
            let bytes = match splice_ready(&from, &to, bytes) {
                Ok(bytes) => bytes,
                Err(error) => return returned(Err(error)),
            };
            let n = call(bytes, flags | libc::SPLICE_F_NONBLOCK);
            if n >= 0 || errno::get() != libc::EAGAIN {
                return n;
            }
            // Others were faster.
            if let Err(error) = lowlevel::interrupts_as_errors(|| Ok(pause.wait())) {
                return returned(Err(error));
            }
        }
    }
}

/// The most that is read before it is sent.
const PIECE: usize = 128 << 10;

/// As `sendfile`.
fn send_file(
    to: RawFd,
    from: RawFd,
    mut at: Option<&mut off64_t>,
    bytes: size_t,
) -> io::Result<ssize_t> {
    let is_file = |fd| table::entry(fd).is_some_and(|entry| entry.kind == Kind::File);
    if !is_file(from) || is_file(to) {
        let at = at.map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let call = || {
            // SAFETY: null, or the caller's, who waits.
            unsafe { real::sendfile(to, from, at, bytes) }
        };
        return result(offload::call(Lane::General, call));
    }
    let begin = match &at {
        Some(at) => **at,
        // SAFETY: no memory is passed.
        None => match unsafe { libc::lseek64(from, 0, libc::SEEK_CUR) } {
            -1 => return Err(io::Error::last_os_error()),
            begin => begin,
        },
    };
    let mut piece = vec![0_u8; PIECE.min(bytes)];
    let mut done = 0;
    let ended = loop {
        let wanted = piece.len().min(bytes - done);
        let place: *mut c_void = piece.as_mut_ptr().cast();
        // SAFETY: ours, and as much room as is said.
        let n = unsafe { crate::file::pread64(from, place, wanted, begin + done as off64_t) };
        let n = match result(n) {
            Ok(n) if n > 0 => n.cast_unsigned(),
            ended => break ended,
        };
        // SAFETY: ours, and as many as were read.
        let sent = unsafe { fd_io::write(to, place, n) };
        match result(sent) {
            Ok(sent) => done += sent.cast_unsigned(),
            ended => break ended,
        }
        if sent.cast_unsigned() < n || done >= bytes {
            break Ok(0);
        }
    };
    if done == 0 {
        return ended.map(|_| 0);
    }
    if let Err(error) = ended
        && let Some(entry) = table::get(to)
    {
        entry.keep_error(&error);
    }
    let end = begin + done as off64_t;
    match &mut at {
        Some(at) => **at = end,
        // SAFETY: no memory is passed.
        None => _ = unsafe { libc::lseek64(from, end, libc::SEEK_SET) },
    }
    Ok(done.cast_signed())
}

/// One side of a `splice`; `None`: it is not to be waited for.
fn side(fd: RawFd) -> Option<Arc<Entry>> {
    table::entry(fd).filter(|entry| entry.kind == Kind::File || !entry.is_nonblocking())
}

/// Waits until both are ready; how many of `bytes` can be asked for.
fn splice_ready(from: &Entry, to: &Entry, bytes: size_t) -> io::Result<size_t> {
    wait(from, Direction::Read, libc::POLLIN)?;
    wait(to, Direction::Write, libc::POLLOUT)?;
    if !to.is_socket() {
        return Ok(bytes);
    }
    // One that can be written to has room for a quarter of its buffer, of which half is overhead.
    let buffer = socket::option(to.io.get_ref().get()?, libc::SO_SNDBUF)?;
    Ok(bytes.min((buffer.unsigned_abs() as usize / 8).max(1)))
}

fn wait(entry: &Entry, direction: Direction, events: i16) -> io::Result<()> {
    if entry.kind == Kind::File {
        return Ok(());
    }
    let timeout = entry.timeout(direction);
    table::wait(entry, direction, timeout, |fd| {
        match poll::is_ready(fd, events) {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        }
    })
}

/// The two kinds of offsets are one.
const _: () = assert!(mem::size_of::<off_t>() == mem::size_of::<off64_t>());
