//! What is known of each descriptor: its kind, and what the user believes of it.
//!
//! # Belief and truth
//!
//! The user's descriptors are in blocking mode, unless the user has set `O_NONBLOCK`; and they stay so.
//! A call on a green thread asks for one that does not wait (`MSG_DONTWAIT`, `RWF_NOWAIT`), and parks.
//! So what the kernel says of a descriptor is what the user believes, also in other processes, with
//! one exception: there is no accepting without waiting, and so a listening socket of this process
//! is set to non-blocking mode when a green thread first accepts on it. The user's belief is
//! kept here then, and `fcntl` and `ioctl` answer by it.
//!
//! For a call of the user's that would block we must know whether it should wait, and how long. Mode
//! and timeouts are read from the kernel, once, and again after the user has changed them. Those
//! of a descriptor with duplicates may be changed through another one, and are read each time; so is
//! the mode of what is no socket, for that may come from another process.
//!
//! # Numbers
//!
//! An entry belongs to a number until that is closed. Closing takes it out of the table first, and out
//! of the reactor; those who wait for it are woken and get `EBADF`. An entry that was left behind
//! (by a close that we did not see, inside of libc) goes when its number is given out again.
//!
//! # Locks
//!
//! Each number has one, held for a few instructions; nobody parks or calls libc meanwhile.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64};
use std::time::Duration;

use greenrt::lowlevel::{self, Io};
use parking_lot::Mutex;

use crate::errno;
use crate::{descriptor, socket};

/// Descriptors above `CHUNK * N_CHUNKS` block the worker.
const CHUNK: usize = 1024;
const N_CHUNKS: usize = 1024;

type Slot = Mutex<Option<Arc<Entry>>>;

static CHUNKS: [AtomicPtr<[Slot; CHUNK]>; N_CHUNKS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; N_CHUNKS];

/// What a descriptor is, as far as that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// TCP.
    Stream,
    /// A stream of another domain. In the Unix domain a read also ends where descriptors were passed, so
    /// one that was short does not say that there is no more.
    Local,
    /// Another socket.
    Socket,
    /// A regular file, a directory, a disk: never waits for somebody, but for the disk.
    File,
    /// A pipe, a terminal, an eventfd and so on.
    Other,
}

/// A number that is somebody else's.
#[derive(Debug)]
pub(crate) struct Number {
    number: RawFd,
    closed: AtomicBool,
}

impl Number {
    /// The number, unless it was closed.
    pub(crate) fn get(&self) -> io::Result<RawFd> {
        if self.closed.load(Acquire) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(self.number)
    }
}

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: not -1: the kernel gave an answer for it. It is the user's to keep open; if it is not,
        // what is asked of it fails, or speaks of another one, as with libc's own functions.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}

const UNKNOWN: u8 = 0;
const BLOCKING: u8 = 1;
const NONBLOCKING: u8 = 2;

const UNKNOWN_TIMEOUT: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) io: Io<Number>,
    pub(crate) kind: Kind,
    number: RawFd,
    /// What the user believes.
    mode: AtomicU8,
    /// It is in non-blocking mode, because we have set it.
    ours: AtomicBool,
    /// It has duplicates, through which mode and timeouts may be changed.
    shared: AtomicBool,
    /// It was made by this process to listen.
    listens: AtomicBool,
    /// There is no form of its operations that does not wait.
    no_nowait: AtomicBool,
    /// See `is_deaf`.
    deaf: AtomicBool,
    /// See `keep_error`; 0: none.
    error: AtomicI32,
    /// In nanoseconds; 0: none.
    receive_timeout: AtomicU64,
    send_timeout: AtomicU64,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Entry {
    fn new(number: RawFd, kind: Kind) -> Arc<Entry> {
        let of = Number {
            number,
            closed: AtomicBool::new(false),
        };
        // These tell after each message that there is room for another.
        let io = match kind {
            Kind::Local => Io::read_in_parts(of),
            Kind::Socket => Io::read_first(of),
            Kind::Stream | Kind::File | Kind::Other => Io::new(of),
        };
        Arc::new(Entry {
            io,
            kind,
            number,
            mode: AtomicU8::new(UNKNOWN),
            ours: AtomicBool::new(false),
            shared: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            no_nowait: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            error: AtomicI32::new(0),
            receive_timeout: AtomicU64::new(UNKNOWN_TIMEOUT),
            send_timeout: AtomicU64::new(UNKNOWN_TIMEOUT),
        })
    }

    pub(crate) fn is_socket(&self) -> bool {
        self.is_stream() || self.kind == Kind::Socket
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream | Kind::Local)
    }

    /// A call has met an error of the socket after it had done a part, which is what it returns. The
    /// kernel would have kept the error for the next one (and for `SO_ERROR`, which does not tell it now).
    pub(crate) fn keep_error(&self, error: &io::Error) {
        // These come again by themselves.
        let number = errno::number(error);
        if !matches!(number, libc::EAGAIN | libc::EPIPE | libc::EBADF) {
            self.error.store(number, Relaxed);
        }
    }

    /// The error that was kept, which is none afterwards.
    #[inline]
    pub(crate) fn kept_error(&self) -> io::Result<()> {
        match self.error.load(Relaxed) {
            0 => Ok(()),
            _ => self.take_error(),
        }
    }

    #[cold]
    fn take_error(&self) -> io::Result<()> {
        match self.error.swap(0, Relaxed) {
            0 => Ok(()),
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }

    /// It was shut down for reading, of which a socket for datagrams tells nothing to those who do not
    /// wait.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.load(Relaxed)
    }

    pub(crate) fn was_deafened(&self) {
        self.deaf.store(true, Relaxed);
    }

    /// Whether the user wants calls that do not wait.
    pub(crate) fn is_nonblocking(&self) -> bool {
        match self.mode.load(Relaxed) {
            BLOCKING => false,
            NONBLOCKING => true,
            _ => {
                let flags = descriptor::flags(self.number).unwrap_or(0);
                let nonblocking = flags & libc::O_NONBLOCK != 0 && !self.is_ours();
                // Pipes and terminals come from other processes, which may change their mode.
                if !self.shared.load(Relaxed) && self.is_socket() {
                    self.believe(nonblocking);
                }
                nonblocking
            }
        }
    }

    /// The user has set the mode.
    pub(crate) fn believe(&self, nonblocking: bool) {
        let mode = if nonblocking { NONBLOCKING } else { BLOCKING };
        let may_change = self.shared.load(Relaxed) || !self.is_socket();
        let mode = if may_change && !self.is_ours() {
            UNKNOWN
        } else {
            mode
        };
        self.mode.store(mode, Relaxed);
    }

    /// Whether its operations have no form that does not wait.
    pub(crate) fn has_no_nowait(&self) -> bool {
        self.no_nowait.load(Relaxed)
    }

    pub(crate) fn has_no_nowait_form(&self) {
        self.no_nowait.store(true, Relaxed);
    }

    /// Whether it is in non-blocking mode for our sake.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours.load(Relaxed)
    }

    /// Sets a listening socket of this process to non-blocking mode. `false`: it must be left as it is.
    pub(crate) fn make_nonblocking(&self) -> bool {
        if self.is_ours() {
            return true;
        }
        if !self.listens.load(Relaxed) || self.shared.load(Relaxed) {
            return false;
        }
        let nonblocking = self.is_nonblocking();
        let Ok(flags) = descriptor::flags(self.number) else {
            return false;
        };
        self.ours.store(true, Relaxed);
        self.mode
            .store(if nonblocking { NONBLOCKING } else { BLOCKING }, Relaxed);
        descriptor::set_flags(self.number, flags | libc::O_NONBLOCK).is_ok()
    }

    pub(crate) fn listens(&self) {
        self.listens.store(true, Relaxed);
    }

    /// It has a duplicate now.
    fn share(&self) {
        self.shared.store(true, Relaxed);
        if !self.is_ours() {
            self.mode.store(UNKNOWN, Relaxed);
        }
        self.forget_timeouts();
        self.io.mark_shared();
    }

    /// How long an operation may wait, by the options of the socket.
    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        if !self.is_socket() {
            return None;
        }
        let (known, option) = match direction {
            Direction::Read => (&self.receive_timeout, libc::SO_RCVTIMEO),
            Direction::Write => (&self.send_timeout, libc::SO_SNDTIMEO),
        };
        let mut ns = known.load(Relaxed);
        if ns == UNKNOWN_TIMEOUT {
            ns = timeout_option(self.number, option);
            if !self.shared.load(Relaxed) {
                known.store(ns, Relaxed);
            }
        }
        (ns != 0).then(|| Duration::from_nanos(ns))
    }

    /// They may have been changed.
    pub(crate) fn forget_timeouts(&self) {
        self.receive_timeout.store(UNKNOWN_TIMEOUT, Relaxed);
        self.send_timeout.store(UNKNOWN_TIMEOUT, Relaxed);
    }
}

/// The timeout of a socket in nanoseconds; 0: none.
fn timeout_option(fd: RawFd, option: c_int) -> u64 {
    // SAFETY: all zero is one.
    let mut time: libc::timeval = unsafe { mem::zeroed() };
    let mut bytes = size_of::<libc::timeval>() as libc::socklen_t;
    let place: *mut c_void = (&raw mut time).cast();
    // SAFETY: there is room for what is asked.
    let error = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, place, &raw mut bytes) };
    if error != 0 {
        return 0;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let microseconds = u64::try_from(time.tv_usec).unwrap_or(0);
    let ns = seconds.saturating_mul(1_000_000_000);
    ns.saturating_add(microseconds * 1000)
        .min(UNKNOWN_TIMEOUT - 1)
}

/// The place of a number; `None`: it is too large, or there is nothing yet and `make` is false.
fn slot(fd: RawFd, make: bool) -> Option<&'static Slot> {
    let index = usize::try_from(fd).ok()?;
    let chunk = CHUNKS.get(index / CHUNK)?;
    let mut known = chunk.load(Acquire);
    if known.is_null() {
        if !make {
            return None;
        }
        let new = Box::into_raw(Box::new([const { Mutex::new(None) }; CHUNK]));
        match chunk.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
            Ok(_) => known = new,
            Err(other) => {
                // SAFETY: made above, and seen by nobody.
                drop(unsafe { Box::from_raw(new) });
                known = other;
            }
        }
    }
    // SAFETY: what is stored there is never freed.
    let chunk = unsafe { &*known };
    Some(&chunk[index % CHUNK])
}

/// What is known of a number.
pub(crate) fn get(fd: RawFd) -> Option<Arc<Entry>> {
    slot(fd, false)?.lock().clone()
}

/// What is known of a number, found out if need be. `None`: it is none that is open, or too large.
/// `errno` stays.
pub(crate) fn entry(fd: RawFd) -> Option<Arc<Entry>> {
    if let Some(entry) = get(fd) {
        return Some(entry);
    }
    let before = errno::get();
    let kind = kind(fd);
    errno::set(before);
    Some(put(fd, Entry::new(fd, kind?)))
}

/// Notes a number that the kernel has just given out.
pub(crate) fn opened(fd: RawFd, kind: Kind, nonblocking: bool) {
    let entry = Entry::new(fd, kind);
    entry.believe(nonblocking);
    forget(fd);
    put(fd, entry);
}

/// As [`opened`], for a socket that was accepted: it has the listener's timeouts.
pub(crate) fn accepted(fd: RawFd, listener: &Entry, nonblocking: bool) {
    forget(fd);
    let entry = Entry::new(fd, listener.kind);
    entry.believe(nonblocking);
    let copy = |from: &AtomicU64, to: &AtomicU64| to.store(from.load(Relaxed), Relaxed);
    copy(&listener.receive_timeout, &entry.receive_timeout);
    copy(&listener.send_timeout, &entry.send_timeout);
    put(fd, entry);
}

/// Puts an entry in, unless there is one; which.
fn put(fd: RawFd, entry: Arc<Entry>) -> Arc<Entry> {
    match slot(fd, true) {
        Some(slot) => Arc::clone(slot.lock().get_or_insert(entry)),
        None => entry,
    }
}

/// A number is about to be closed, or was given out anew.
pub(crate) fn forget(fd: RawFd) {
    let Some(slot) = slot(fd, false) else { return };
    let entry = slot.lock().take();
    if let Some(entry) = entry {
        entry.io.get_ref().closed.store(true, Release);
        entry.io.stop_watching();
    }
}

/// Every number from `first` to `last` is about to be closed.
pub(crate) fn forget_range(first: u32, last: u32) {
    let last = last.min((CHUNK * N_CHUNKS) as u32 - 1);
    for fd in first..=last {
        if CHUNKS[fd as usize / CHUNK].load(Acquire).is_null() {
            continue;
        }
        forget(fd.cast_signed());
    }
}

/// Has those who wait for a descriptor, or for a duplicate of it, try again.
pub(crate) fn retry(entry: &Entry) {
    entry.io.retry().all();
    if !entry.shared.load(Relaxed) {
        return;
    }
    // Nobody notes which ones are duplicates of one another.
    for chunk in &CHUNKS {
        // SAFETY: what is stored there is never freed.
        let Some(chunk) = (unsafe { chunk.load(Acquire).as_ref() }) else {
            continue;
        };
        for slot in chunk {
            let other = slot.lock().clone();
            if let Some(other) = other
                && other.kind == entry.kind
                && other.shared.load(Relaxed)
            {
                other.io.retry().all();
            }
        }
    }
}

/// `new` is a duplicate of `old` now.
pub(crate) fn duplicated(old: RawFd, new: RawFd) {
    forget(new);
    if let Some(old) = entry(old) {
        old.share();
        let new = put(new, Entry::new(new, old.kind));
        new.share();
        if old.is_ours() {
            new.ours.store(true, Relaxed);
            new.mode.store(old.mode.load(Relaxed), Relaxed);
        }
    }
}

/// What a descriptor is; `None`: it is not open.
fn kind(fd: RawFd) -> Option<Kind> {
    // SAFETY: all zero is one.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: there is room for the answer.
    if unsafe { libc::fstat(fd, &raw mut stat) } != 0 {
        return None;
    }
    Some(match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => socket::kind(fd),
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Kind::File,
        _ => Kind::Other,
    })
}

/// What an entry does on a green thread, `errno` as libc has it: an operation that does not wait, tried
/// again when the descriptor may be ready.
pub(crate) fn wait<R>(
    entry: &Entry,
    direction: Direction,
    timeout: Option<Duration>,
    mut operation: impl FnMut(RawFd) -> io::Result<R>,
) -> io::Result<R> {
    lowlevel::interrupts_as_errors(|| {
        let operation = |number: &Number| operation(number.get()?);
        match direction {
            Direction::Read => entry.io.read_with(timeout, operation),
            Direction::Write => entry.io.write_with(timeout, operation),
        }
    })
}
