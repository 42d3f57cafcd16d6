//! What all sockets have in common: a descriptor in non-blocking mode, and what its user believes
//! of it.
//!
//! # Rule
//!
//! The descriptor is in non-blocking mode as long as it is here; the user's own idea of the mode is
//! a flag. The timeouts are kept twice: the kernel's copy answers the getters and goes along when
//! the descriptor leaves, ours is read by the operations, so that these need no system call.
//!
//! The kernel keeps both for the open socket and not for the descriptor, so clones share them here
//! too. Most sockets have neither clones nor settings, and then nothing is allocated.

use std::io;
use std::net;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenrt::lowlevel::{self, Io};

/// An operation that did as many bytes as this may have stopped for another reason than that there
/// were no more: the kernel limits what one call does.
const BYTES_MAX: usize = 1 << 30;

/// So may one that was given more slices than every system takes at once.
const SLICES_MAX: usize = 16;

/// See the module's documentation.
pub(super) struct Socket<T: AsFd> {
    io: Io<T>,
    settings: OnceLock<Arc<Settings>>,
}

/// What the clones of a socket share.
struct Settings {
    nonblocking: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
    /// Whether doing less than asked says that the next operation would block.
    is_stream: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nonblocking: AtomicBool::new(false),
            read_timeout: Timeout::new(None),
            write_timeout: Timeout::new(None),
            is_stream: true,
        }
    }
}

/// A timeout in nanoseconds; zero is none, which std does not accept as a timeout either.
struct Timeout(AtomicU64);

impl Timeout {
    fn new(timeout: Option<Duration>) -> Self {
        let new = Timeout(AtomicU64::new(0));
        new.set(timeout);
        new
    }

    fn get(&self) -> Option<Duration> {
        let ns = self.0.load(Relaxed);
        (ns > 0).then(|| Duration::from_nanos(ns))
    }

    fn set(&self, timeout: Option<Duration>) {
        let ns = timeout.map_or(0, |timeout| {
            timeout.as_nanos().try_into().unwrap_or(u64::MAX)
        });
        self.0.store(ns, Relaxed);
    }
}

/// Which of the two timeouts.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Settings {
    fn timeout(&self, direction: Direction) -> &Timeout {
        match direction {
            Direction::Read => &self.read_timeout,
            Direction::Write => &self.write_timeout,
        }
    }
}

impl<T: AsFd> Socket<T> {
    /// Takes a new stream socket or listener, of which nobody has asked anything yet.
    pub(super) fn new(io: Io<T>) -> Self {
        Socket {
            io,
            settings: OnceLock::new(),
        }
    }

    /// Takes a descriptor from elsewhere, to be wrapped by `wrap`, of which nothing is known.
    pub(super) fn adopt(fd: OwnedFd, wrap: impl FnOnce(OwnedFd) -> T) -> Self {
        // std asks any descriptor for its timeouts; one that is no socket has none.
        let socket = net::TcpStream::from(fd);
        let settings = Settings {
            nonblocking: AtomicBool::new(false),
            read_timeout: Timeout::new(socket.read_timeout().ok().flatten()),
            write_timeout: Timeout::new(socket.write_timeout().ok().flatten()),
            is_stream: lowlevel::is_stream_socket(socket.as_fd()),
        };
        // Every descriptor has the mode, so an error means that operations will fail as well.
        let _ = socket.set_nonblocking(true);
        let io = Io::new(wrap(socket.into()));
        // Whoever had it may have kept duplicates.
        io.mark_shared();
        Socket {
            io,
            settings: OnceLock::from(Arc::new(settings)),
        }
    }

    /// A duplicate of the descriptor, to be wrapped by `wrap`, with the settings in common.
    pub(super) fn try_clone(&self, wrap: impl FnOnce(OwnedFd) -> T) -> io::Result<Self> {
        self.io.mark_shared();
        let io = Io::new(wrap(self.io.as_fd().try_clone_to_owned()?));
        io.mark_shared();
        Ok(Socket {
            io,
            settings: OnceLock::from(Arc::clone(self.settings())),
        })
    }

    /// What is wrapped, for calls that never block.
    pub(super) fn get(&self) -> &T {
        self.io.get_ref()
    }

    /// What is wrapped, for users who may duplicate the descriptor.
    pub(super) fn expose(&self) -> &T {
        self.io.mark_shared();
        self.io.get_ref()
    }

    /// Unwraps it, and says whether its mode is to be a blocking one again.
    pub(super) fn into_inner(self) -> (T, bool) {
        let inner = self.io.into_inner();
        let blocking = self.settings.into_inner().is_none_or(|settings| {
            // Clones have their own descriptors of the same open socket, to which the mode
            // belongs; the last to leave decides.
            Arc::into_inner(settings).is_some_and(|settings| !settings.nonblocking.into_inner())
        });
        (inner, blocking)
    }

    fn settings(&self) -> &Arc<Settings> {
        self.settings.get_or_init(Arc::default)
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        if nonblocking || self.settings.get().is_some() {
            self.settings().nonblocking.store(nonblocking, Relaxed);
        }
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) {
        self.settings().timeout(direction).set(timeout);
    }

    /// Does something that reads, and waits if its user allows.
    pub(super) fn read_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        match self.settings.get() {
            None => self.io.read_with(None, operation),
            Some(settings) if settings.nonblocking.load(Relaxed) => self.io.try_with(operation),
            Some(settings) => self.io.read_with(settings.read_timeout.get(), operation),
        }
    }

    /// Reads bytes into room for `len`, and waits if its user allows.
    #[inline]
    pub(super) fn read_bytes(
        &self,
        len: usize,
        operation: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let len = len.min(BYTES_MAX);
        match self.settings.get() {
            None => self.io.read_stream_with(None, len, operation),
            Some(settings) if settings.nonblocking.load(Relaxed) => self.io.try_with(operation),
            Some(settings) if settings.is_stream => {
                self.io
                    .read_stream_with(settings.read_timeout.get(), len, operation)
            }
            Some(settings) => self.io.read_with(settings.read_timeout.get(), operation),
        }
    }

    /// Writes `len` bytes, and waits if its user allows.
    #[inline]
    pub(super) fn write_bytes(
        &self,
        len: usize,
        operation: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let len = len.min(BYTES_MAX);
        match self.settings.get() {
            None => self.io.write_stream_with(None, len, operation),
            Some(settings) if settings.nonblocking.load(Relaxed) => self.io.try_with(operation),
            Some(settings) if settings.is_stream => {
                self.io
                    .write_stream_with(settings.write_timeout.get(), len, operation)
            }
            Some(settings) => self.io.write_with(settings.write_timeout.get(), operation),
        }
    }
}

/// How many bytes a vectored operation must do to have done all; zero if a lower count would say
/// nothing, because the system may not look at every slice.
pub(super) fn len_of_all<'a>(slices: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
    if slices.len() > SLICES_MAX {
        0
    } else {
        slices.map(<[u8]>::len).sum()
    }
}
