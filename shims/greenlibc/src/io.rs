//! Reading and writing descriptors of every kind.
//!
//! A read of a pipe, a terminal and the like asks the kernel not to wait by `RWF_NOWAIT`. Where there
//! is no such form for them, it asks first whether they are ready; then another reader of the same may
//! be faster, and the worker waits. What a file has in memory is read at once, and the rest on
//! an OS thread of the pool.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::RawFd;

use greenrt::lowlevel::Lane;
use libc::{iovec, size_t, ssize_t};

use crate::errno::{pass, result, returned};
use crate::net;
use crate::offload;
use crate::poll;
use crate::symbol::{Symbol, interpose};
use crate::table::{self, Direction, Entry, Kind};

interpose! {
    /// `read(2)`: parks.
    green fn read(fd: c_int, buffer: *mut c_void, bytes: size_t) -> ssize_t {
        let slice = iovec { iov_base: buffer, iov_len: bytes };
        let call = |fd| {
            // SAFETY: as the caller promises.
            unsafe { real::read(fd, buffer, bytes) }
        };
        // SAFETY: as the caller promises, who waits.
        unsafe { read_with(fd, &[slice], Symbol::read, call) }
    }

    /// `readv(2)`: parks.
    green fn readv(fd: c_int, slices: *const iovec, n: c_int) -> ssize_t {
        let call = |fd| {
            // SAFETY: as the caller promises.
            unsafe { real::readv(fd, slices, n) }
        };
        let Ok(count @ 1..=MAX_SLICES) = usize::try_from(n) else {
            return call(fd);
        };
        // SAFETY: as the caller promises.
        let slices = unsafe { std::slice::from_raw_parts(slices, count) };
        // SAFETY: as the caller promises, who waits.
        unsafe { read_with(fd, slices, Symbol::readv, call) }
    }

    /// `write(2)`: parks.
    green fn write(fd: c_int, bytes: *const c_void, n: size_t) -> ssize_t {
        let slice = iovec { iov_base: bytes.cast_mut(), iov_len: n };
        let call = |fd| {
            // SAFETY: as the caller promises.
            unsafe { real::write(fd, bytes, n) }
        };
        // SAFETY: as the caller promises, who waits.
        unsafe { write_with(fd, &[slice], Symbol::write, call) }
    }

    /// `writev(2)`: parks.
    green fn writev(fd: c_int, slices: *const iovec, n: c_int) -> ssize_t {
        let call = |fd| {
            // SAFETY: as the caller promises.
            unsafe { real::writev(fd, slices, n) }
        };
        let Ok(count @ 1..=MAX_SLICES) = usize::try_from(n) else {
            return call(fd);
        };
        // SAFETY: as the caller promises.
        let slices = unsafe { std::slice::from_raw_parts(slices, count) };
        // SAFETY: as the caller promises, who waits.
        unsafe { write_with(fd, slices, Symbol::writev, call) }
    }
}

/// More than this the kernel does not take.
const MAX_SLICES: usize = 1024;

/// How a call without waiting ended.
pub(crate) enum Tried {
    Done(io::Result<usize>),
    /// There is no such call for this descriptor.
    Unsupported,
}

/// The flag is for positions; this one is that of the descriptor.
const HERE: libc::off_t = -1;

pub(crate) fn tried(n: ssize_t) -> Tried {
    match result(n) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
            Tried::Unsupported
        }
        done => Tried::Done(done.map(isize::cast_unsigned)),
    }
}

/// Reads into slices. `call` is the user's own call.
///
/// # Safety
///
/// The slices may be written to until this returns.
unsafe fn read_with(
    fd: RawFd,
    slices: &[iovec],
    symbol: Symbol,
    call: impl Fn(RawFd) -> ssize_t,
) -> ssize_t {
    let try_now = |fd| {
        let n = slices.len() as c_int;
        // SAFETY: as the caller promises.
        tried(unsafe { libc::preadv2(fd, slices.as_ptr(), n, HERE, libc::RWF_NOWAIT) })
    };
    let known = table::get(fd);
    // What need not wait needs no entry.
    if known.is_none()
        && let Some(n) = done_at_once(try_now(fd))
    {
        return n;
    }
    let Some(entry) = known.or_else(|| table::entry(fd)) else {
        return call(fd);
    };
    match entry.kind {
        Kind::File => return file(fd, try_now, || call(fd)),
        _ if entry.is_nonblocking() => return pass(call(fd)),
        // To read into no room is no operation, where to receive is one.
        Kind::Stream | Kind::Local | Kind::Socket if bytes_of(slices) == 0 => {
            return pass(call(fd));
        }
        Kind::Stream | Kind::Local | Kind::Socket => {}
        Kind::Other => return returned(other(&entry, Direction::Read, symbol, try_now, call)),
    }
    if let [slice] = slices {
        return returned(net::receive(&entry, 0, slice.iov_len, |fd, _, flags| {
            // SAFETY: as the caller promises.
            unsafe { net::real::recv(fd, slice.iov_base, slice.iov_len, flags) }
        }));
    }
    // SAFETY: all zero is a message.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut();
    message.msg_iovlen = slices.len();
    let bytes = bytes_of(slices);
    returned(net::receive(&entry, 0, bytes, |fd, _, flags| {
        // SAFETY: as the caller promises.
        unsafe { net::real::recvmsg(fd, &raw mut message, flags) }
    }))
}

/// Writes from slices. `call` is the user's own call.
///
/// # Safety
///
/// The slices may be read from until this returns.
unsafe fn write_with(
    fd: RawFd,
    all: &[iovec],
    symbol: Symbol,
    call: impl Fn(RawFd) -> ssize_t,
) -> ssize_t {
    // SAFETY: as the caller promises.
    let mut slices = unsafe { Slices::new(all.as_ptr().cast_mut(), all.len()) };
    let bytes = slices.bytes();
    let known = table::get(fd);
    let mut begun = 0;
    // What need not wait needs no entry, also in the handler of a signal.
    if known.is_none() {
        let n = all.len() as c_int;
        // SAFETY: as the caller promises.
        let n = tried(unsafe { libc::pwritev2(fd, all.as_ptr(), n, HERE, libc::RWF_NOWAIT) });
        match n {
            Tried::Done(Ok(n)) if 0 < n && n < bytes => begun = n,
            n => {
                if let Some(n) = done_at_once(n) {
                    return n;
                }
            }
        }
    }
    let Some(entry) = known.or_else(|| table::entry(fd)) else {
        return call(fd);
    };
    if begun > 0 && entry.is_nonblocking() {
        return pass(begun.cast_signed());
    }
    if entry.is_socket() && bytes == 0 && symbol == Symbol::writev {
        // As above; but `write` of nothing sends a datagram.
        return pass(call(fd));
    }
    if entry.is_socket() && !entry.is_nonblocking() {
        // SAFETY: all zero is a message.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        let sent = net::transmit(&entry, bytes - begun, |fd, done| {
            let done = begun + done;
            if let [slice] = all {
                // SAFETY: as the caller promises; `done` bytes of it are sent.
                let rest = unsafe { slice.iov_base.byte_add(done) };
                // SAFETY: as the caller promises.
                return unsafe { net::real::send(fd, rest, bytes - done, net::how_to_send(done)) };
            }
            slices.skip_to(done);
            (message.msg_iov, message.msg_iovlen) = slices.parts();
            // SAFETY: as the caller promises.
            unsafe { net::real::sendmsg(fd, &raw const message, net::how_to_send(done)) }
        });
        return match sent {
            Ok(n) => begun.cast_signed() + n,
            Err(_) if begun > 0 => begun.cast_signed(),
            Err(error) => returned(Err(error)),
        };
    }
    let mut done = begun;
    loop {
        slices.skip_to(done);
        let (rest, n) = slices.parts();
        let try_now = |fd| {
            // SAFETY: as the caller promises.
            tried(unsafe { libc::pwritev2(fd, rest, n as c_int, HERE, libc::RWF_NOWAIT) })
        };
        let rest_call = |fd| {
            if done == 0 {
                return call(fd);
            }
            // SAFETY: as the caller promises.
            unsafe { real::writev(fd, rest, n as c_int) }
        };
        let n = match entry.kind {
            Kind::File => result(file(fd, try_now, || rest_call(fd))),
            _ if entry.is_nonblocking() => return pass(call(fd)),
            _ => other(&entry, Direction::Write, symbol, try_now, rest_call),
        };
        match n {
            // One in blocking mode writes all of it.
            Ok(n) if n > 0 && done + n.cast_unsigned() < bytes => done += n.cast_unsigned(),
            Ok(n) => return done.cast_signed() + n,
            Err(error) if done == 0 => return returned(Err(error)),
            Err(_) => return done.cast_signed(),
        }
    }
}

/// What a call that has not waited returns; `None`: it would have, or was none.
fn done_at_once(tried: Tried) -> Option<ssize_t> {
    match tried {
        Tried::Done(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
        Tried::Done(done) => Some(pass(returned(done.map(usize::cast_signed)))),
        Tried::Unsupported => None,
    }
}

/// A file: at once, if that can be; otherwise by the pool.
pub(crate) fn file(
    fd: RawFd,
    try_now: impl FnOnce(RawFd) -> Tried,
    call: impl Fn() -> ssize_t,
) -> ssize_t {
    if crate::symbol::patched() & crate::symbol::Part::Files as u32 == 0 {
        return call();
    }
    match try_now(fd) {
        Tried::Done(Ok(n)) => pass(n.cast_signed()),
        Tried::Done(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
            returned(Err(error))
        }
        _ => offload::call(Lane::General, call),
    }
}

/// A pipe, a terminal and the like.
fn other(
    entry: &Entry,
    direction: Direction,
    symbol: Symbol,
    try_now: impl Fn(RawFd) -> Tried,
    call: impl Fn(RawFd) -> ssize_t,
) -> io::Result<ssize_t> {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    let done = table::wait(entry, direction, None, |fd| {
        if !entry.has_no_nowait() {
            match try_now(fd) {
                Tried::Done(done) => return done.map(usize::cast_signed),
                Tried::Unsupported => entry.has_no_nowait_form(),
            }
        }
        if poll::is_ready(fd, events) {
            result(call(fd))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    });
    match done {
        // It cannot be waited for, and so should not have to be.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            symbol.blocks();
            result(call(entry.io.get_ref().get()?))
        }
        done => done,
    }
}

pub(crate) fn bytes_of(slices: &[iovec]) -> usize {
    slices
        .iter()
        .fold(0, |sum, slice| sum.saturating_add(slice.iov_len))
}

/// What is left to be written of the user's slices. They are copied only if there are several and
/// some of it was written.
pub(crate) struct Slices {
    all: (*mut iovec, usize),
    rest: Vec<iovec>,
    done: usize,
}

impl Slices {
    /// # Safety
    ///
    /// There are `n` slices at `all`, for as long as this is used.
    pub(crate) unsafe fn new(all: *mut iovec, n: usize) -> Slices {
        Slices {
            all: (all, n),
            rest: Vec::new(),
            done: 0,
        }
    }

    fn all(&self) -> &[iovec] {
        match self.all {
            (_, 0) => &[],
            // SAFETY: as whoever made this has promised.
            (all, n) => unsafe { std::slice::from_raw_parts(all, n) },
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        bytes_of(self.all())
    }

    /// The first `done` bytes are written.
    pub(crate) fn skip_to(&mut self, done: usize) {
        if done == self.done {
            return;
        }
        self.done = done;
        let mut skip = done;
        let mut rest = Vec::with_capacity(self.all.1);
        for slice in self.all() {
            let n = slice.iov_len.min(skip);
            skip -= n;
            if n < slice.iov_len {
                rest.push(iovec {
                    iov_base: slice.iov_base.wrapping_byte_add(n),
                    iov_len: slice.iov_len - n,
                });
            }
        }
        self.rest = rest;
    }

    pub(crate) fn parts(&mut self) -> (*mut iovec, usize) {
        match self.done {
            0 => self.all,
            _ => (self.rest.as_mut_ptr(), self.rest.len()),
        }
    }
}
