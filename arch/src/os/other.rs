//! The least that works on a Unix that is not Linux.
//!
//! Guards are `mprotect` only, there is no epoll, timeouts are in milliseconds.

#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::SocketAddr;
use std::ptr;
use std::time::Duration;

use crate::epoll::RawEvent;
use crate::process::{Change, Which};

/// No system that this file knows needs more.
pub(crate) const MAP_FLAGS_STACK: c_int = 0;

/// Does nothing: these systems do not make huge pages unasked.
///
/// # Safety
///
/// None is needed.
pub(crate) unsafe fn keep_pages_small(_range: Range<usize>) {}

/// Always `Unsupported`.
///
/// # Safety
///
/// None is needed.
pub(crate) unsafe fn guard(_ranges: impl Iterator<Item = Range<usize>>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets the system take the memory of `ranges` when it needs some.
///
/// # Errors
///
/// Those of `madvise(2)`.
///
/// # Safety
///
/// The ranges are whole pages of mappings that `map` made, and nobody uses what is in them.
pub(crate) unsafe fn discard(ranges: impl Iterator<Item = Range<usize>>) -> io::Result<()> {
    for range in ranges {
        let memory = ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the caller owns the pages and promises that nothing in them is used.
        let result = unsafe { libc::madvise(memory, range.len(), libc::MADV_FREE) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Does nothing: the pages come when they are touched.
///
/// # Safety
///
/// None is needed.
pub(crate) unsafe fn populate(_ranges: impl Iterator<Item = Range<usize>>) {}

/// No limit that we know of.
pub(crate) fn mappings_max() -> Option<usize> {
    None
}

/// The system's own suggestion.
pub(crate) fn signal_frame_bytes() -> usize {
    libc::MINSIGSTKSZ
}

/// Identifies the calling OS thread.
pub(crate) fn thread_id() -> usize {
    // SAFETY: the function has no arguments and cannot fail.
    unsafe { libc::pthread_self() as usize }
}

/// Sends `signal` to the calling OS thread.
pub(crate) fn raise(signal: c_int) {
    // SAFETY: the argument is a number; what the signal does, its sender has already decided.
    unsafe { libc::raise(signal) };
}

/// Writes all of `text` to standard error; an error ends the writing, for there is nobody to tell.
pub(crate) fn write_stderr(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: `text` is that many readable bytes.
        let n = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        match usize::try_from(n) {
            Ok(n) if n > 0 => text = &text[n.min(text.len())..],
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Sleeps until the process ends. Signals are handled meanwhile.
pub(crate) fn wait_for_ever() -> ! {
    loop {
        // SAFETY: the function has no arguments.
        unsafe { libc::pause() };
    }
}

/// Waits until one of `events` comes for `fd`, and returns what came: nothing after `timeout`,
/// which is rounded up to a millisecond.
///
/// # Errors
///
/// Those of `poll(2)`, `EINTR` included.
pub(crate) fn poll(fd: RawFd, events: i16, timeout: Option<Duration>) -> io::Result<i16> {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let timeout = timeout.map_or(-1, |timeout| {
        c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
    });
    // SAFETY: one entry, ours to be written to.
    let n = unsafe { libc::poll(&mut entry, 1, timeout) };
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(entry.revents)
    }
}

/// `recv(2)`.
///
/// # Errors
///
/// Those of `recv(2)`.
///
/// # Safety
///
/// `place` has room for `bytes`.
pub(crate) unsafe fn receive(
    fd: RawFd,
    place: *mut u8,
    bytes: usize,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: the room is the caller's to be written to.
    let result = unsafe { libc::recv(fd, place.cast(), bytes, flags) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `send(2)`.
///
/// # Errors
///
/// Those of `send(2)`.
///
/// # Safety
///
/// At `place` are `bytes` bytes.
pub(crate) unsafe fn send(
    fd: RawFd,
    place: *const u8,
    bytes: usize,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: the bytes are there, says the caller.
    let result = unsafe { libc::send(fd, place.cast(), bytes, flags) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `recvfrom(2)`, with the sender's address.
///
/// # Errors
///
/// Those of `recvfrom(2)`.
///
/// # Safety
///
/// `place` has room for `bytes`, and `name` for `*name_bytes`.
pub(crate) unsafe fn receive_from(
    fd: RawFd,
    place: *mut u8,
    bytes: usize,
    flags: c_int,
    name: *mut libc::sockaddr,
    name_bytes: *mut libc::socklen_t,
) -> io::Result<usize> {
    // SAFETY: all room is the caller's to be written to.
    let result = unsafe { libc::recvfrom(fd, place.cast(), bytes, flags, name, name_bytes) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `sendto(2)`, with the receiver's address.
///
/// # Errors
///
/// Those of `sendto(2)`.
///
/// # Safety
///
/// At `place` are `bytes` bytes, and at `name` are `name_bytes`.
pub(crate) unsafe fn send_to(
    fd: RawFd,
    place: *const u8,
    bytes: usize,
    flags: c_int,
    name: *const libc::sockaddr,
    name_bytes: libc::socklen_t,
) -> io::Result<usize> {
    // SAFETY: the bytes and the address are there, says the caller.
    let result = unsafe { libc::sendto(fd, place.cast(), bytes, flags, name, name_bytes) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `recvmsg(2)`.
///
/// # Errors
///
/// Those of `recvmsg(2)`.
///
/// # Safety
///
/// The message names room that is the caller's to be written to.
pub(crate) unsafe fn receive_message(
    fd: RawFd,
    message: *mut libc::msghdr,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: the caller answers for what the message names.
    let result = unsafe { libc::recvmsg(fd, message, flags) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// `sendmsg(2)`.
///
/// # Errors
///
/// Those of `sendmsg(2)`.
///
/// # Safety
///
/// The message names bytes that are there.
pub(crate) unsafe fn send_message(
    fd: RawFd,
    message: *const libc::msghdr,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: the caller answers for what the message names.
    let result = unsafe { libc::sendmsg(fd, message, flags) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// What Linux has for addresses of the Unix domain: as `std::os::linux::net::SocketAddrExt`. Here
/// there are no abstract names.
pub trait SocketAddrExt: Sized {
    /// Always fails.
    ///
    /// # Errors
    ///
    /// Of kind `Unsupported`.
    fn from_abstract_name<N: AsRef<[u8]>>(name: N) -> io::Result<Self>;

    /// Always `None`.
    fn as_abstract_name(&self) -> Option<&[u8]>;
}

impl SocketAddrExt for SocketAddr {
    fn from_abstract_name<N: AsRef<[u8]>>(_name: N) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn as_abstract_name(&self) -> Option<&[u8]> {
        None
    }
}

/// `listen(2)`.
///
/// # Errors
///
/// As the system call.
pub(crate) fn listen(fd: RawFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: the arguments are numbers.
    let result = unsafe { libc::listen(fd, backlog) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Not known.
pub(crate) fn errno_place() -> Option<std::ptr::NonNull<c_int>> {
    None
}

/// Whether there is epoll.
pub(crate) const EPOLL: bool = false;

/// There is no epoll, so it is not precise.
pub(crate) fn epoll_precise_probe() -> bool {
    false
}

/// Always `Unsupported`.
pub(crate) fn epoll_watch_level(_epoll: RawFd, _fd: RawFd, _token: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Always `Unsupported`.
///
/// # Safety
///
/// None is needed.
pub(crate) unsafe fn epoll_wait(
    _epoll: RawFd,
    _events: *mut RawEvent,
    _events_max: usize,
    _timeout: Option<Duration>,
    _precise: bool,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Always `Unsupported`.
pub(crate) fn open_process(_pid: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Always `Unsupported`.
pub(crate) fn signal_process(_fd: RawFd, _signal: c_int) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// `waitpid(2)` with `options` besides `WNOHANG`. There is no way to look and leave it.
///
/// # Errors
///
/// Those of `waitpid(2)`; `Unsupported` for what it cannot do.
pub(crate) fn wait_id(which: Which, options: c_int) -> io::Result<Option<Change>> {
    if options & libc::WNOWAIT != 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let id = match which {
        Which::Any => -1,
        Which::Process(pid) => pid as c_int,
        Which::Group(group) => -(group as c_int),
        Which::Descriptor(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let options = options & !libc::WEXITED | libc::WNOHANG;
    let mut status = 0;
    // SAFETY: a place for the answer.
    match unsafe { libc::waitpid(id, &mut status, options) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(Change {
            pid: pid as u32,
            status,
        })),
    }
}

/// Always `EOPNOTSUPP`.
///
/// # Safety
///
/// None is needed.
pub(crate) unsafe fn read_now(
    _fd: RawFd,
    _slices: *const libc::iovec,
    _n: usize,
) -> io::Result<usize> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// Always `EOPNOTSUPP`.
///
/// # Safety
///
/// None is needed.
pub(crate) unsafe fn write_now(
    _fd: RawFd,
    _slices: *const libc::iovec,
    _n: usize,
) -> io::Result<usize> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// Waits until something has come for one of `entries`.
///
/// # Errors
///
/// Those of `poll(2)`, `EINTR` included.
pub(crate) fn poll_all(entries: &mut [libc::pollfd]) -> io::Result<()> {
    // SAFETY: as many entries as is said, ours to be written to.
    match unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as _, -1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Always `Unsupported`.
pub(crate) fn die_with_parent(_signal: c_int) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
