//! Children, looked at without waiting; and pipes, read and written without waiting.
//!
//! Nothing here waits but [`wait_readable`], and nothing changes a descriptor's mode: `O_NONBLOCK`
//! belongs to the open file description, which a child may share.

#![expect(unsafe_code, reason = "hands buffers and numbers to the kernel")]

use std::ffi::c_int;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::fd;
use crate::os;

/// How many slices the system takes at once, as std has it.
const SLICES_MAX: usize = 1024;

/// What a pipe that can be written to has room for at least, in whole: POSIX's least `PIPE_BUF`.
const PIPE_BUF_LEAST: usize = 512;

/// Numbers of signals.
pub mod signal {
    /// Asks to end; a terminal that has gone.
    pub const HANGUP: i32 = libc::SIGHUP;
    /// Asks to end; what Ctrl-C sends.
    pub const INTERRUPT: i32 = libc::SIGINT;
    /// Ends it, whatever it does.
    pub const KILL: i32 = libc::SIGKILL;
    /// Asks to end.
    pub const TERMINATE: i32 = libc::SIGTERM;
    /// Stops it, whatever it does.
    pub const STOP: i32 = libc::SIGSTOP;
    /// Lets one that was stopped go on.
    pub const CONTINUE: i32 = libc::SIGCONT;
}

/// Which children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Which {
    /// All of this process.
    Any,
    /// The one with this number.
    Process(u32),
    /// Those of this process group.
    Group(u32),
    /// The one that a descriptor of [`open`] means.
    Descriptor(RawFd),
}

/// What of a child is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct States {
    /// It has ended.
    pub ended: bool,
    /// It was stopped by a signal.
    pub stopped: bool,
    /// It was stopped, and goes on.
    pub continued: bool,
}

impl States {
    /// Only whether it has ended.
    pub const ENDED: States = States {
        ended: true,
        stopped: false,
        continued: false,
    };

    fn options(self) -> c_int {
        let option = |wanted, option| if wanted { option } else { 0 };
        option(self.ended, libc::WEXITED)
            | option(self.stopped, libc::WSTOPPED)
            | option(self.continued, libc::WCONTINUED)
    }
}

/// What has become of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Change {
    /// Which one.
    pub pid: u32,
    /// As `wait(2)` encodes it.
    pub status: i32,
}

/// A descriptor that means the process `pid`. It is readable when that has ended, and never means
/// another process that gets the same number later.
///
/// # Errors
///
/// Those of `pidfd_open(2)`; `Unsupported` where there is no such thing.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    os::open_process(pid)
}

/// Sends a signal to the process that a descriptor of [`open`] means; 0 sends none.
///
/// # Errors
///
/// Those of `pidfd_send_signal(2)`; `ESRCH` if it has ended and somebody knows of it.
pub fn signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    os::signal_process(process.as_raw_fd(), signal)
}

/// Sends a signal to a process by its number, which the caller keeps from being another's by not
/// having asked for its end yet.
///
/// # Errors
///
/// Those of `kill(2)`; `InvalidInput` for numbers that mean more than one process.
pub fn signal_pid(pid: u32, signal: i32) -> io::Result<()> {
    kill(positive(pid)?, signal)
}

/// Sends a signal to all processes of a group.
///
/// # Errors
///
/// Those of `kill(2)`; `InvalidInput` for numbers that mean more than one group.
pub fn signal_group(group: u32, signal: i32) -> io::Result<()> {
    match positive(group)? {
        1 => Err(io::ErrorKind::InvalidInput.into()),
        group => kill(-group, signal),
    }
}

fn positive(number: u32) -> io::Result<c_int> {
    let number = c_int::try_from(number).ok().filter(|&number| number > 0);
    number.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn kill(whom: c_int, signal: i32) -> io::Result<()> {
    // SAFETY: the arguments are numbers.
    match unsafe { libc::kill(whom, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Looks whether something has become of one of these children, and never waits for it.
///
/// What is seen is taken, and nobody sees it again; unless `keep` leaves it there, for whom it
/// concerns.
///
/// # Errors
///
/// Those of `waitid(2)`: `ECHILD` if there are no such children.
pub fn look(which: Which, states: States, keep: bool) -> io::Result<Option<Change>> {
    let keep = if keep { libc::WNOWAIT } else { 0 };
    os::wait_id(which, states.options() | keep)
}

/// For the child of a fork, before it becomes another program: it gets `signal` when the thread that
/// has forked it ends. `parent` is the process of that thread; if it has ended already, the signal
/// comes at once.
///
/// Async-signal-safe.
///
/// # Errors
///
/// Those of `prctl(2)`; `Unsupported` where there is no such thing.
pub fn die_with_parent(signal: i32, parent: u32) -> io::Result<()> {
    os::die_with_parent(signal)?;
    // SAFETY: no arguments.
    if unsafe { libc::getppid() }.cast_unsigned() != parent {
        os::raise(signal);
    }
    Ok(())
}

// Pipes.

/// Reads what is there, of kind `WouldBlock` if that is nothing, in any mode.
///
/// For pipes, terminals and sockets. Where the system cannot read so, it is asked whether there is
/// something first; somebody else who reads the same pipe may then be faster, and this waits. What is
/// always readable, such as a file on a disk, is read.
///
/// # Errors
///
/// Those of `read(2)`.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    read_vectored(fd, &mut [IoSliceMut::new(buffer)])
}

/// As [`read`], into several buffers in turn.
///
/// # Errors
///
/// Those of `readv(2)`.
pub fn read_vectored(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let n = buffers.len().min(SLICES_MAX);
    // An `IoSliceMut` has the layout of an `iovec`.
    let slices: *const libc::iovec = buffers.as_mut_ptr().cast();
    // SAFETY: as many slices as there are, or fewer, all ours to be written to.
    match unsafe { os::read_now(fd.as_raw_fd(), slices, n) } {
        Err(error) if cannot_so(&error) => read_if_ready(fd, buffers),
        done => done,
    }
}

/// Where the system has no read that does not wait.
#[cold]
fn read_if_ready(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    if !fd::wait(fd, false, Some(Duration::ZERO))? {
        return Err(crate::errno::would_block());
    }
    let n = buffers.len().min(SLICES_MAX) as c_int;
    // SAFETY: as many slices as there are, or fewer, all ours to be written to.
    count(unsafe { libc::readv(fd.as_raw_fd(), buffers.as_mut_ptr().cast(), n) })
}

/// Writes what there is room for, of kind `WouldBlock` if that is nothing, in any mode; otherwise as
/// [`read`]. Up to `PIPE_BUF` bytes go into a pipe in one piece or not at all.
///
/// # Errors
///
/// Those of `write(2)`.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    write_vectored(fd, &[IoSlice::new(bytes)])
}

/// As [`write()`], of several buffers in turn.
///
/// # Errors
///
/// Those of `writev(2)`.
pub fn write_vectored(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let n = buffers.len().min(SLICES_MAX);
    let slices: *const libc::iovec = buffers.as_ptr().cast();
    // SAFETY: as many slices as there are, or fewer, which are only read.
    match unsafe { os::write_now(fd.as_raw_fd(), slices, n) } {
        Err(error) if cannot_so(&error) => write_if_ready(fd, buffers),
        done => done,
    }
}

#[cold]
fn write_if_ready(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    if !fd::wait(fd, true, Some(Duration::ZERO))? {
        return Err(crate::errno::would_block());
    }
    let Some(first) = buffers.iter().find(|buffer| !buffer.is_empty()) else {
        return Ok(0);
    };
    // More might not have room, and then it would wait.
    let n = first.len().min(PIPE_BUF_LEAST);
    // SAFETY: there are as many bytes as is said.
    count(unsafe { libc::write(fd.as_raw_fd(), first.as_ptr().cast(), n) })
}

/// Whether this file, or this system, has no operation that does not wait. Filters of system calls
/// say so too.
fn cannot_so(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)
    )
}

fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Blocks the calling OS thread until one of two descriptors can be read, or has met its end.
///
/// # Errors
///
/// Those of `poll(2)` without `EINTR`.
pub fn wait_readable(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    let mut entries = [one, other].map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        match os::poll_all(&mut entries) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;
