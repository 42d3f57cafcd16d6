//! Linux.

#![expect(unsafe_code, reason = "makes system calls")]

mod process;

pub(crate) use self::process::*;

use std::ffi::{c_int, c_long};
use std::fs;
use std::io;
use std::iter;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

pub use std::os::linux::net::SocketAddrExt;

use super::raw::call;
use crate::epoll::RawEvent;

/// `NORESERVE`: only touched pages count. `STACK`: since 6.7 it means no huge pages, so that new
/// slabs have the flags of their older neighbours from the start, and the kernel merges them.
pub(crate) const MAP_FLAGS_STACK: c_int = libc::MAP_NORESERVE | libc::MAP_STACK;

/// `MADV_GUARD_INSTALL`, new in Linux 6.13.
const MADV_GUARD_INSTALL: c_int = 102;

/// Ranges that one `process_madvise` takes here. Measured: 64 cost 0.25 µs a range, 1024 cost 0.24,
/// one alone 0.43; and 64 of them are 1 KiB of stack, which a green thread can spare.
const BATCH: usize = 64;

/// From so many ranges on it pays to open a descriptor of ourselves for `process_madvise` (1 µs).
const BATCH_MIN: usize = 4;

/// The kernel's timespec, which has 64-bit fields everywhere.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl Timespec {
    fn new(duration: Duration) -> Timespec {
        Timespec {
            // More than the kernel can count is as good as for ever; it saturates too.
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(duration.subsec_nanos()),
        }
    }
}

// Memory.

/// Keeps huge pages out of `range`, where `MAP_STACK` does not do so yet. A kernel without them
/// refuses, rightly.
///
/// # Safety
///
/// `range` is a mapping that `map` made, whole.
pub(crate) unsafe fn keep_pages_small(range: Range<usize>) {
    // SAFETY: the advice changes no content; the caller owns the mapping.
    let _ = unsafe { advise(&range, libc::MADV_NOHUGEPAGE) };
}

/// Makes every access to `ranges` fault, without a mapping for each: the kernel marks their page
/// table entries.
///
/// # Errors
///
/// `Unsupported` before Linux 6.13, and on memory that `mlockall` holds; some ranges may be marked
/// even so. Otherwise those of `madvise(2)`.
///
/// # Safety
///
/// The ranges are whole pages of mappings that `map` made, and nobody uses what is in them.
pub(crate) unsafe fn guard(ranges: impl Iterator<Item = Range<usize>>) -> io::Result<()> {
    // SAFETY: the caller owns the pages and promises that nothing in them is used.
    let result = unsafe { advise_all(ranges, MADV_GUARD_INSTALL) };
    result.map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => io::ErrorKind::Unsupported.into(),
        _ => error,
    })
}

/// Gives the memory of `ranges` back. They stay mapped, read as zero, and keep their guards.
///
/// # Errors
///
/// Those of `madvise(2)`: `EINVAL` on memory that `mlockall` holds.
///
/// # Safety
///
/// The ranges are whole pages of mappings that `map` made, and nobody uses what is in them.
pub(crate) unsafe fn discard(ranges: impl Iterator<Item = Range<usize>>) -> io::Result<()> {
    // SAFETY: the caller owns the pages and promises that nothing in them is used.
    unsafe { advise_all(ranges, libc::MADV_DONTNEED) }
}

/// Has the memory of `ranges` there before it is touched, for less than a page fault each; or does
/// nothing, before Linux 5.14.
///
/// # Safety
///
/// The ranges are whole pages of mappings that `map` made.
pub(crate) unsafe fn populate(ranges: impl Iterator<Item = Range<usize>>) {
    // SAFETY: populating changes nothing that can be seen in memory. An error means that the pages
    // come one by one, when they are touched.
    let _ = unsafe { advise_all(ranges, libc::MADV_POPULATE_WRITE) };
}

/// Gives `advice` on every range, many to a system call where the kernel lets us.
///
/// The descriptor of ourselves is opened anew each time. A cached one would mean the parent after a
/// fork, and anything at all in a program that closes the descriptors it does not know.
///
/// # Safety
///
/// As `madvise(2)` with `advice` on each range.
unsafe fn advise_all(ranges: impl Iterator<Item = Range<usize>>, advice: c_int) -> io::Result<()> {
    let mut ranges = ranges.peekable();
    let mut this_process = None;
    while ranges.peek().is_some() {
        let mut batch = [const {
            libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            }
        }; BATCH];
        let mut n = 0;
        for (entry, range) in iter::zip(&mut batch, iter::from_fn(|| ranges.next())) {
            entry.iov_base = ptr::with_exposed_provenance_mut(range.start);
            entry.iov_len = range.len();
            n += 1;
        }
        if this_process.is_none() && n >= BATCH_MIN {
            this_process = open_this_process().ok();
        }
        let batch = &mut batch[..n];
        let n_done = match &this_process {
            // SAFETY: the caller answers for the advice on each range.
            Some(process) => unsafe { advise_batch(process, batch, advice) },
            None => 0,
        };
        for left in &batch[n_done..] {
            let start = left.iov_base.addr();
            // SAFETY: the caller answers for the advice on each range.
            unsafe { advise(&(start..start + left.iov_len), advice) }?;
        }
    }
    Ok(())
}

/// Gives `advice` on a batch and returns how many ranges, from the front, are done. The kernel may
/// stop early: after 2 GiB, at a range that fails, or before the first if it has no such call (6.12
/// and older refuse most advice in this form). In the middle of a range it leaves the rest of it in
/// the batch.
///
/// # Safety
///
/// As `madvise(2)` with `advice` on each range.
unsafe fn advise_batch(process: &OwnedFd, batch: &mut [libc::iovec], advice: c_int) -> usize {
    let mut first = 0;
    while first < batch.len() {
        let left = &batch[first..];
        let pidfd = process.as_raw_fd() as usize;
        let args = [
            pidfd,
            left.as_ptr().expose_provenance(),
            left.len(),
            advice as usize,
            0,
            0,
        ];
        // SAFETY: the descriptor is this very process and `left` holds that many entries; the
        // caller answers for the advice.
        let mut bytes = match unsafe { call(libc::SYS_process_madvise, args) } {
            Ok(bytes) if bytes > 0 => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return first,
        };
        while first < batch.len() && bytes >= batch[first].iov_len {
            bytes -= batch[first].iov_len;
            first += 1;
        }
        if bytes > 0 && first < batch.len() {
            let range = &mut batch[first];
            range.iov_base = range.iov_base.wrapping_byte_add(bytes);
            range.iov_len -= bytes;
        }
    }
    first
}

/// Gives `advice` on one range.
///
/// # Safety
///
/// As `madvise(2)` with `advice`.
unsafe fn advise(range: &Range<usize>, advice: c_int) -> io::Result<()> {
    let args = [range.start, range.len(), advice as usize, 0, 0, 0];
    loop {
        // SAFETY: the caller answers for the range and the advice.
        match unsafe { call(libc::SYS_madvise, args) } {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

/// A descriptor that means this process.
fn open_this_process() -> io::Result<OwnedFd> {
    // SAFETY: the call has no arguments.
    let pid = unsafe { call(libc::SYS_getpid, [0; 6]) }?;
    // SAFETY: the arguments are numbers.
    let fd = unsafe { call(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]) }?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `vm.max_map_count`.
pub(crate) fn mappings_max() -> Option<usize> {
    fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()?
        .trim()
        .parse()
        .ok()
}

// Signals. All of this but the first is async-signal-safe.

/// What a signal's frame takes: it grows with the CPU's registers.
pub(crate) fn signal_frame_bytes() -> usize {
    // SAFETY: the function only looks a number up.
    unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) as usize }
}

/// The kernel's number of the calling OS thread, whatever its thread control block says.
pub(crate) fn thread_id() -> usize {
    // SAFETY: the call has no arguments.
    unsafe { call(libc::SYS_gettid, [0; 6]) }.unwrap_or(usize::MAX)
}

/// Sends `signal` to the calling OS thread.
pub(crate) fn raise(signal: c_int) {
    // SAFETY: the call has no arguments.
    let pid = unsafe { call(libc::SYS_getpid, [0; 6]) }.unwrap_or(0);
    // SAFETY: the arguments are numbers; what the signal does, its sender has already decided.
    let _ = unsafe {
        call(
            libc::SYS_tgkill,
            [pid, thread_id(), signal as usize, 0, 0, 0],
        )
    };
}

/// Writes all of `text` to standard error; an error ends the writing, for there is nobody to tell.
pub(crate) fn write_stderr(mut text: &[u8]) {
    while !text.is_empty() {
        let args = [
            libc::STDERR_FILENO as usize,
            text.as_ptr().expose_provenance(),
            text.len(),
            0,
            0,
            0,
        ];
        // SAFETY: `text` is that many readable bytes.
        match unsafe { call(libc::SYS_write, args) } {
            Ok(n) if n > 0 => text = &text[n.min(text.len())..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Sleeps until the process ends. Signals are handled meanwhile.
pub(crate) fn wait_for_ever() -> ! {
    loop {
        // SAFETY: no descriptors, no timeout, no mask: all pointers are null.
        let _ = unsafe { call(libc::SYS_ppoll, [0; 6]) };
    }
}

// Descriptors.

/// Waits until one of `events` comes for `fd`, and returns what came: nothing after `timeout`.
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
    let mut timeout = timeout.map(Timespec::new);
    let timeout = timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let args = [
        ptr::from_mut(&mut entry).expose_provenance(),
        1,
        timeout.expose_provenance(),
        0,
        0,
        0,
    ];
    // SAFETY: one entry and a timespec or null, both ours to be written to; no signal mask.
    unsafe { call(libc::SYS_ppoll, args) }?;
    Ok(entry.revents)
}

/// `recv(2)`. libc's is a point of `pthread_cancel`, whose marks around it cost more than all that
/// greenrt does for a read.
///
/// # Errors
///
/// Those of `recv(2)`.
///
/// # Safety
///
/// `place` has room for `bytes`.
#[inline]
pub(crate) unsafe fn receive(
    fd: RawFd,
    place: *mut u8,
    bytes: usize,
    flags: c_int,
) -> io::Result<usize> {
    let args = [
        fd as usize,
        place.expose_provenance(),
        bytes,
        flags as usize,
        0,
        0,
    ];
    // SAFETY: the room is the caller's to be written to; no address of a sender is asked for.
    unsafe { call(libc::SYS_recvfrom, args) }
}

/// `send(2)`; otherwise as [`receive`].
///
/// # Errors
///
/// Those of `send(2)`.
///
/// # Safety
///
/// At `place` are `bytes` bytes.
#[inline]
pub(crate) unsafe fn send(
    fd: RawFd,
    place: *const u8,
    bytes: usize,
    flags: c_int,
) -> io::Result<usize> {
    let args = [
        fd as usize,
        place.expose_provenance(),
        bytes,
        flags as usize,
        0,
        0,
    ];
    // SAFETY: the bytes are there, says the caller; no address of a receiver is given.
    unsafe { call(libc::SYS_sendto, args) }
}

/// `recvfrom(2)`, with the sender's address; otherwise as [`receive`].
///
/// # Errors
///
/// Those of `recvfrom(2)`.
///
/// # Safety
///
/// `place` has room for `bytes`, and `name` for `*name_bytes`.
#[inline]
pub(crate) unsafe fn receive_from(
    fd: RawFd,
    place: *mut u8,
    bytes: usize,
    flags: c_int,
    name: *mut libc::sockaddr,
    name_bytes: *mut libc::socklen_t,
) -> io::Result<usize> {
    let args = [
        fd as usize,
        place.expose_provenance(),
        bytes,
        flags as usize,
        name.expose_provenance(),
        name_bytes.expose_provenance(),
    ];
    // SAFETY: all room is the caller's to be written to.
    unsafe { call(libc::SYS_recvfrom, args) }
}

/// `sendto(2)`, with the receiver's address; otherwise as [`receive`].
///
/// # Errors
///
/// Those of `sendto(2)`.
///
/// # Safety
///
/// At `place` are `bytes` bytes, and at `name` are `name_bytes`.
#[inline]
pub(crate) unsafe fn send_to(
    fd: RawFd,
    place: *const u8,
    bytes: usize,
    flags: c_int,
    name: *const libc::sockaddr,
    name_bytes: libc::socklen_t,
) -> io::Result<usize> {
    let args = [
        fd as usize,
        place.expose_provenance(),
        bytes,
        flags as usize,
        name.expose_provenance(),
        name_bytes as usize,
    ];
    // SAFETY: the bytes and the address are there, says the caller.
    unsafe { call(libc::SYS_sendto, args) }
}

/// `recvmsg(2)`; otherwise as [`receive`].
///
/// # Errors
///
/// Those of `recvmsg(2)`.
///
/// # Safety
///
/// The message names room that is the caller's to be written to.
#[inline]
pub(crate) unsafe fn receive_message(
    fd: RawFd,
    message: *mut libc::msghdr,
    flags: c_int,
) -> io::Result<usize> {
    let args = [
        fd as usize,
        message.expose_provenance(),
        flags as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the caller answers for what the message names.
    unsafe { call(libc::SYS_recvmsg, args) }
}

/// `sendmsg(2)`; otherwise as [`receive`].
///
/// # Errors
///
/// Those of `sendmsg(2)`.
///
/// # Safety
///
/// The message names bytes that are there.
#[inline]
pub(crate) unsafe fn send_message(
    fd: RawFd,
    message: *const libc::msghdr,
    flags: c_int,
) -> io::Result<usize> {
    let args = [
        fd as usize,
        message.expose_provenance(),
        flags as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the caller answers for what the message names.
    unsafe { call(libc::SYS_sendmsg, args) }
}

/// `listen(2)`.
///
/// # Errors
///
/// As the system call.
pub(crate) fn listen(fd: RawFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: the arguments are numbers.
    unsafe {
        call(
            libc::SYS_listen,
            [fd as usize, backlog as usize, 0, 0, 0, 0],
        )
    }
    .map(drop)
}

/// Where the calling thread's `errno` is.
pub(crate) fn errno_place() -> Option<ptr::NonNull<c_int>> {
    // SAFETY: no conditions.
    ptr::NonNull::new(unsafe { libc::__errno_location() })
}

/// Whether there is epoll.
pub(crate) const EPOLL: bool = true;

/// Whether the kernel has `epoll_pwait2` (Linux 5.11) and no filter forbids it.
pub(crate) fn epoll_precise_probe() -> bool {
    const NO_DESCRIPTOR: usize = -1_isize as usize;
    // SAFETY: no descriptor and no room for events: the call can only fail.
    let result = unsafe { call(libc::SYS_epoll_pwait2, [NO_DESCRIPTOR, 0, 1, 0, 0, 0]) };
    let error = result.err().and_then(|error| error.raw_os_error());
    !matches!(error, Some(libc::ENOSYS | libc::EPERM))
}

/// Waits for at most `events_max` events of `epoll`, and returns how many it has written to
/// `events`.
///
/// `precise` uses `epoll_pwait2`; without it the timeout is rounded up to a millisecond. A look
/// without waiting, which a busy worker takes often, needs no timespec: 90 ns in place of 126.
///
/// # Errors
///
/// Those of `epoll_wait(2)`, `EINTR` included.
///
/// # Safety
///
/// `events` has room for `events_max` events.
#[inline]
pub(crate) unsafe fn epoll_wait(
    epoll: RawFd,
    events: *mut RawEvent,
    events_max: usize,
    timeout: Option<Duration>,
    precise: bool,
) -> io::Result<usize> {
    let timespec;
    let (number, timeout) = match timeout {
        Some(timeout) if precise && !timeout.is_zero() => {
            timespec = Timespec::new(timeout);
            let place = ptr::from_ref(&timespec).expose_provenance();
            (libc::SYS_epoll_pwait2, place)
        }
        Some(timeout) => (EPOLL_WAIT_MS, ms_rounded_up(timeout) as usize),
        None => (EPOLL_WAIT_MS, -1_isize as usize),
    };
    let args = [
        epoll as usize,
        events.expose_provenance(),
        events_max,
        timeout,
        0,
        0,
    ];
    // SAFETY: the caller promises the room; the timespec lives until the end of this function; no
    // signal mask.
    unsafe { call(number, args) }
}

/// Watches `fd` for reading, level-triggered; whatever it was watched for before is replaced.
///
/// # Errors
///
/// Those of `epoll_ctl(2)`.
pub(crate) fn epoll_watch_level(epoll: RawFd, fd: RawFd, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32,
        u64: token,
    };
    let place = (&raw mut event).expose_provenance();
    let control = |operation: c_int| {
        let args = [epoll as usize, operation as usize, fd as usize, place, 0, 0];
        // SAFETY: the event is complete, and is read during the call only.
        unsafe { call(libc::SYS_epoll_ctl, args) }.map(drop)
    };
    match control(libc::EPOLL_CTL_ADD) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => control(libc::EPOLL_CTL_MOD),
        done => done,
    }
}

/// The call with a timeout in milliseconds. Newer architectures have the one with a mask only.
#[cfg(target_arch = "x86_64")]
const EPOLL_WAIT_MS: c_long = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const EPOLL_WAIT_MS: c_long = libc::SYS_epoll_pwait;

/// Milliseconds that are never shorter than `timeout`, up to the longest that the call takes (24
/// days).
fn ms_rounded_up(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}
