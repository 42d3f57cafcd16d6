//! Sending and receiving on sockets.
//!
//! What reads and writes asks the kernel not to wait, and parks when it would have. A write to a stream
//! goes on until all of it is written, as one in blocking mode does, or fails; what was written before
//! that is what it returns.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;

use greenrt::lowlevel::{self, Pause};
use libc::{mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use crate::errno::{pass, result, returned};
use crate::io::Slices;
use crate::poll;
use crate::symbol::interpose;
use crate::table::{self, Direction, Entry, Kind, Number};

interpose! {
    /// `recv(2)`: parks.
    green fn recv(fd: c_int, buffer: *mut c_void, bytes: size_t, flags: c_int) -> ssize_t {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::recv(fd, buffer, bytes, flags) });
        };
        returned(receive(&entry, flags, bytes, |fd, done, flags| {
            // SAFETY: as the caller promises; `done` bytes are there already.
            let rest = unsafe { buffer.byte_add(done) };
            // SAFETY: as the caller promises.
            unsafe { real::recv(fd, rest, bytes - done, flags) }
        }))
    }

    /// `recvfrom(2)`: parks.
    green fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        bytes: size_t,
        flags: c_int,
        address: *mut sockaddr,
        address_bytes: *mut socklen_t,
    ) -> ssize_t {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::recvfrom(fd, buffer, bytes, flags, address, address_bytes) });
        };
        returned(receive(&entry, flags, bytes, |fd, done, flags| {
            // SAFETY: as the caller promises; `done` bytes are there already.
            let rest = unsafe { buffer.byte_add(done) };
            // SAFETY: as the caller promises.
            unsafe { real::recvfrom(fd, rest, bytes - done, flags, address, address_bytes) }
        }))
    }

    /// `recvmsg(2)`: parks.
    green fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::recvmsg(fd, message, flags) });
        };
        // Not as far as it goes, with `MSG_WAITALL`: what it says of ancillary data is of one call.
        returned(receive(&entry, flags & !libc::MSG_WAITALL, usize::MAX, |fd, _, flags| {
            // SAFETY: as the caller promises.
            unsafe { real::recvmsg(fd, message, flags) }
        }))
    }

    /// `send(2)`: parks.
    green fn send(fd: c_int, bytes: *const c_void, n: size_t, flags: c_int) -> ssize_t {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::send(fd, bytes, n, flags) });
        };
        returned(transmit(&entry, n, |fd, done| {
            // SAFETY: as the caller promises; `done` bytes of it are sent.
            let rest = unsafe { bytes.byte_add(done) };
            // SAFETY: as the caller promises.
            unsafe { real::send(fd, rest, n - done, flags | how_to_send(done)) }
        }))
    }

    /// `sendto(2)`: parks.
    green fn sendto(
        fd: c_int,
        bytes: *const c_void,
        n: size_t,
        flags: c_int,
        address: *const sockaddr,
        address_bytes: socklen_t,
    ) -> ssize_t {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::sendto(fd, bytes, n, flags, address, address_bytes) });
        };
        returned(transmit(&entry, n, |fd, done| {
            // SAFETY: as the caller promises; `done` bytes of it are sent.
            let rest = unsafe { bytes.byte_add(done) };
            let flags = flags | how_to_send(done);
            // SAFETY: as the caller promises.
            unsafe { real::sendto(fd, rest, n - done, flags, address, address_bytes) }
        }))
    }

    /// `sendmsg(2)`: parks.
    green fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::sendmsg(fd, message, flags) });
        };
        // SAFETY: as the caller promises.
        let mut rest = unsafe { ptr::read(message) };
        // SAFETY: as the caller promises, who waits.
        let mut slices = unsafe { Slices::new(rest.msg_iov, rest.msg_iovlen) };
        let n = slices.bytes();
        returned(transmit(&entry, n, |fd, done| {
            slices.skip_to(done);
            if done > 0 {
                // Went along with the first bytes.
                rest.msg_control = ptr::null_mut();
                rest.msg_controllen = 0;
            }
            (rest.msg_iov, rest.msg_iovlen) = slices.parts();
            // SAFETY: as the caller promises; the slices are what is left of the caller's.
            unsafe { real::sendmsg(fd, &raw const rest, flags | how_to_send(done)) }
        }))
    }

    /// `recvmmsg(2)`: parks for the first message, and takes those that are there. Its own timeout, with
    /// which the kernel does not do what one may think, is not looked at.
    green fn recvmmsg(
        fd: c_int,
        messages: *mut mmsghdr,
        n: c_uint,
        flags: c_int,
        timeout: *mut timespec,
    ) -> c_int {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::recvmmsg(fd, messages, n, flags, timeout) });
        };
        returned(receive_packet(&entry, flags & !libc::MSG_WAITFORONE, |fd, flags| {
            // One, if there is no flag that keeps it from waiting.
            let n = if flags & libc::MSG_DONTWAIT == 0 { n.min(1) } else { n };
            // SAFETY: as the caller promises.
            result(unsafe { real::recvmmsg(fd, messages, n, flags, ptr::null_mut()) })
        }))
    }

    /// `sendmmsg(2)`: parks until some are sent; how many, is told.
    green fn sendmmsg(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
        let Some(entry) = blocking(fd, flags) else {
            // SAFETY: as the caller promises.
            return pass(unsafe { real::sendmmsg(fd, messages, n, flags) });
        };
        returned(send_packet(&entry, |fd| {
            // SAFETY: as the caller promises.
            result(unsafe { real::sendmmsg(fd, messages, n, flags | libc::MSG_DONTWAIT) })
        }))
    }
}

/// The entry of a descriptor on which a call should park; `None`: the kernel's answer is right, because
/// it will not wait, or cannot be helped.
#[inline]
pub(crate) fn blocking(fd: RawFd, flags: c_int) -> Option<Arc<Entry>> {
    if flags & libc::MSG_DONTWAIT != 0 {
        return None;
    }
    table::entry(fd).filter(|entry| entry.is_socket() && !entry.is_nonblocking())
}

/// Receives by `call`, which is told how much is there already, and its flags.
#[inline]
pub(crate) fn receive(
    entry: &Entry,
    flags: c_int,
    bytes: usize,
    mut call: impl FnMut(RawFd, usize, c_int) -> ssize_t,
) -> io::Result<ssize_t> {
    let timeout = entry.timeout(Direction::Read);
    let to_the_end = flags & libc::MSG_WAITALL != 0 && entry.is_stream();
    let simple = flags & !(libc::MSG_WAITALL | libc::MSG_NOSIGNAL) == 0;
    entry.kept_error()?;
    if entry.kind == Kind::Socket {
        let call = |fd, flags| result(call(fd, 0, flags));
        return receive_packet(entry, flags, call);
    }
    let mut done = 0;
    loop {
        let at = done;
        let mut once = |number: &Number| {
            let fd = number.get()?;
            let n = result(call(
                fd,
                at,
                flags & !libc::MSG_WAITALL | libc::MSG_DONTWAIT,
            ));
            n.map(isize::cast_unsigned)
                .inspect_err(|error| keep_error(entry, at, error))
        };
        let came = lowlevel::interrupts_as_errors(|| {
            match entry.kind {
                _ if !simple || bytes == usize::MAX => entry.io.read_with(timeout, &mut once),
                Kind::Stream => entry.io.read_stream_with(timeout, bytes - at, &mut once),
                // Where it must tell whether it stopped early it may have.
                _ => entry
                    .io
                    .read_part_with(timeout, bytes - at, |number, must_tell| {
                        Ok((once(number)?, must_tell))
                    }),
            }
        });
        match came {
            Ok(n) => done += n,
            Err(error) if done == 0 => return Err(error),
            Err(_) => return Ok(done.cast_signed()),
        }
        let ended = done == at;
        if !to_the_end || ended || done >= bytes {
            return Ok(done.cast_signed());
        }
    }
}

/// After a part was done its number is returned, and an error of the socket is for the next call.
fn keep_error(entry: &Entry, done: usize, error: &io::Error) {
    if done > 0 {
        entry.keep_error(error);
    }
}

/// Receives a packet by `call`, which is told the flags.
fn receive_packet<R>(
    entry: &Entry,
    flags: c_int,
    mut call: impl FnMut(RawFd, c_int) -> io::Result<R>,
) -> io::Result<R> {
    let timeout = entry.timeout(Direction::Read);
    let mut is_first = true;
    table::wait(entry, Direction::Read, timeout, |fd| {
        let error = match call(fd, flags | libc::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => error,
            done => return done,
        };
        if is_deaf(entry, fd, mem::replace(&mut is_first, false)) {
            // This one does not wait either then, and says that it is the end.
            return call(fd, flags);
        }
        Err(error)
    })
}

/// Whether a socket that has nothing to read was shut down for reading.
pub(crate) fn is_deaf(entry: &Entry, fd: RawFd, is_first: bool) -> bool {
    // Woken for nothing: perhaps it was, through a duplicate.
    if !is_first && poll::is_ready(fd, libc::POLLRDHUP) {
        entry.was_deafened();
    }
    entry.is_deaf()
}

/// Sends packets by `call`.
///
/// There may be no room for two reasons: the socket's own buffer is full, or the queue of the receiver, of
/// which nothing tells when there is room again unless the two are connected.
fn send_packet<R>(entry: &Entry, mut call: impl FnMut(RawFd) -> io::Result<R>) -> io::Result<R> {
    let mut pause = Pause::new(entry.timeout(Direction::Write));
    loop {
        let sent = table::wait(entry, Direction::Write, pause.left(), |fd| match call(fd) {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && poll::is_ready(fd, libc::POLLOUT) =>
            {
                Ok(None)
            }
            sent => sent.map(Some),
        })?;
        match sent {
            Some(sent) => return Ok(sent),
            None if lowlevel::interrupts_as_errors(|| Ok(pause.wait()))? => {}
            None => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        }
    }
}

/// How to send, when `done` bytes are sent already: a peer that has gone meanwhile is the next call's
/// to be told of, and to have the signal for.
pub(crate) fn how_to_send(done: usize) -> c_int {
    match done {
        0 => libc::MSG_DONTWAIT,
        _ => libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
    }
}

/// Sends `bytes` by `call`, which is told how much is sent already.
#[inline]
pub(crate) fn transmit(
    entry: &Entry,
    bytes: usize,
    mut call: impl FnMut(RawFd, usize) -> ssize_t,
) -> io::Result<ssize_t> {
    let timeout = entry.timeout(Direction::Write);
    entry.kept_error()?;
    if entry.kind == Kind::Socket {
        return send_packet(entry, |fd| result(call(fd, 0)));
    }
    let mut done = 0;
    loop {
        let at = done;
        let mut once = |number: &Number| {
            let n = result(call(number.get()?, at));
            n.map(isize::cast_unsigned)
                .inspect_err(|error| keep_error(entry, at, error))
        };
        let sent = lowlevel::interrupts_as_errors(|| {
            entry.io.write_stream_with(timeout, bytes - at, &mut once)
        });
        match sent {
            Ok(n) => done += n,
            Err(error) if done == 0 => return Err(error),
            Err(_) => return Ok(done.cast_signed()),
        }
        if done >= bytes || done == at {
            return Ok(done.cast_signed());
        }
    }
}
