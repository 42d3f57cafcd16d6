//! Children, and pipes that nobody waits for.

#![expect(unsafe_code, reason = "makes system calls")]

use std::ffi::{c_int, c_uint};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::super::raw::call;
use super::Timespec;
use crate::process::{Change, Which};

/// A descriptor that means the process `pid`, and is readable when that has ended.
///
/// # Errors
///
/// Those of `pidfd_open(2)`.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the arguments are numbers.
    let fd = unsafe { call(libc::SYS_pidfd_open, [pid as usize, 0, 0, 0, 0, 0]) }?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends `signal` to the process that `fd` means.
///
/// # Errors
///
/// Those of `pidfd_send_signal(2)`.
pub(crate) fn signal_process(fd: RawFd, signal: c_int) -> io::Result<()> {
    let args = [fd as usize, signal as usize, 0, 0, 0, 0];
    // SAFETY: numbers, and no further information, which is null.
    unsafe { call(libc::SYS_pidfd_send_signal, args) }.map(drop)
}

/// `waitid(2)` with `options` besides `WNOHANG`.
///
/// # Errors
///
/// Those of `waitid(2)`.
pub(crate) fn wait_id(which: Which, options: c_int) -> io::Result<Option<Change>> {
    let (kind, id): (c_uint, usize) = match which {
        Which::Any => (libc::P_ALL, 0),
        Which::Process(pid) => (libc::P_PID, pid as usize),
        Which::Group(group) => (libc::P_PGID, group as usize),
        Which::Descriptor(fd) => (libc::P_PIDFD, fd as usize),
    };
    // SAFETY: it has integers and pointers only.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let args = [
        kind as usize,
        id,
        ptr::from_mut(&mut info).expose_provenance(),
        (options | libc::WNOHANG) as usize,
        0,
        0,
    ];
    // SAFETY: a place for the answer; the use of resources is not asked for.
    unsafe { call(libc::SYS_waitid, args) }?;
    // SAFETY: the kernel has filled it for `SIGCHLD`, or it is all zeros.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let number = unsafe { info.si_status() };
    Ok(Some(Change {
        pid: pid as u32,
        status: match info.si_code {
            libc::CLD_EXITED => (number & 0xff) << 8,
            libc::CLD_KILLED => number & 0x7f,
            libc::CLD_DUMPED => number & 0x7f | 0x80,
            libc::CLD_CONTINUED => 0xffff,
            // Stopped, or trapped.
            _ => (number & 0xff) << 8 | 0x7f,
        },
    }))
}

/// Reads what is there: `EAGAIN` if that is nothing, `EOPNOTSUPP` if the file or the kernel has no
/// such thing.
///
/// # Errors
///
/// Those of `preadv2(2)`.
///
/// # Safety
///
/// At `slices` are `n` slices, each of memory that may be written to.
pub(crate) unsafe fn read_now(
    fd: RawFd,
    slices: *const libc::iovec,
    n: usize,
) -> io::Result<usize> {
    // From where the file is, and not from an offset; both halves of that number.
    let here = -1_isize as usize;
    let flags = libc::RWF_NOWAIT as usize;
    let args = [
        fd as usize,
        slices.expose_provenance(),
        n,
        here,
        here,
        flags,
    ];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_preadv2, args) }
}

/// Writes what there is room for; otherwise as [`read_now`].
///
/// # Errors
///
/// Those of `pwritev2(2)`.
///
/// # Safety
///
/// At `slices` are `n` slices, each of memory that may be read.
pub(crate) unsafe fn write_now(
    fd: RawFd,
    slices: *const libc::iovec,
    n: usize,
) -> io::Result<usize> {
    let here = -1_isize as usize;
    let flags = libc::RWF_NOWAIT as usize;
    let args = [
        fd as usize,
        slices.expose_provenance(),
        n,
        here,
        here,
        flags,
    ];
    // SAFETY: the caller's promise.
    unsafe { call(libc::SYS_pwritev2, args) }
}

/// Waits until something has come for one of `entries`.
///
/// # Errors
///
/// Those of `poll(2)`, `EINTR` included.
pub(crate) fn poll_all(entries: &mut [libc::pollfd]) -> io::Result<()> {
    let args = [
        entries.as_mut_ptr().expose_provenance(),
        entries.len(),
        ptr::null_mut::<Timespec>().expose_provenance(),
        0,
        0,
        0,
    ];
    // SAFETY: as many entries as is said, ours to be written to; no timeout and no mask.
    unsafe { call(libc::SYS_ppoll, args) }.map(drop)
}

/// Has the calling process sent `signal` when the thread that has forked it ends.
///
/// # Errors
///
/// Those of `prctl(2)`.
pub(crate) fn die_with_parent(signal: c_int) -> io::Result<()> {
    let args = [libc::PR_SET_PDEATHSIG as usize, signal as usize, 0, 0, 0, 0];
    // SAFETY: the arguments are numbers.
    unsafe { call(libc::SYS_prctl, args) }.map(drop)
}
