//! What all sockets have in common: a descriptor that waits for nobody, and what its user believes
//! of it.
//!
//! # Mode
//!
//! | socket                        | `O_NONBLOCK` of the descriptor is | an operation does not wait, because    |
//! |-------------------------------|-----------------------------------|----------------------------------------|
//! | stream                        | what its user asked for           | each call says so (`MSG_DONTWAIT`)     |
//! | listener opened here          | on                                | of that: no call of `accept` says so   |
//! | listener from elsewhere       | what its user asked for           | it asks first whether there is anybody |
//!
//! The flag belongs to the open file description. That of a descriptor from elsewhere may be shared
//! with other processes, which would see it; so it is set there for nobody but its user. In the last
//! line another may take the connection between question and call. Those that share the settings
//! are kept from it by a lock; nothing keeps off other processes.
//!
//! What its user asked for is kept here as well, and so are the timeouts: the kernel's copy answers
//! the getters and goes along when the descriptor leaves, ours is read by the operations, so that
//! these need no system call. The kernel keeps them for the open socket and not for the descriptor,
//! so clones share them here too. Most sockets have neither clones nor settings, and then nothing
//! is allocated.

use std::io;
use std::net;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use greenrt::lowlevel::{self, Io};

/// An operation that did as many bytes as this may have stopped for another reason than that there
/// were no more: the kernel limits what one call does.
const BYTES_MAX: usize = 1 << 30;

/// So may one that was given more slices than every system takes at once.
const SLICES_MAX: usize = 16;

/// std's sockets, which do the work.
pub(super) trait Inner: AsFd + From<OwnedFd> + Into<OwnedFd> {
    /// Whether one that was opened here is in non-blocking mode, whatever its user asked for.
    const IS_FORCED: bool;

    /// std's method of that name.
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
}

impl Inner for net::TcpStream {
    const IS_FORCED: bool = false;

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.set_nonblocking(nonblocking)
    }
}

impl Inner for net::TcpListener {
    const IS_FORCED: bool = true;

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.set_nonblocking(nonblocking)
    }
}

/// See the module's documentation.
pub(super) struct Socket<T: Inner> {
    io: Io<T>,
    settings: OnceLock<Arc<Settings>>,
}

/// What the clones of a socket share.
struct Settings {
    /// What the user asked for.
    nonblocking: AtomicBool,
    /// Whether the descriptor is in non-blocking mode all the same. Locked while that changes, and
    /// by each `accept`.
    forced: Mutex<bool>,
    read_timeout: Timeout,
    write_timeout: Timeout,
    /// Whether doing less than asked says that the next operation would block.
    is_stream: bool,
}

impl Settings {
    /// Of a socket that was opened here.
    fn new(is_forced: bool) -> Self {
        Settings {
            nonblocking: AtomicBool::new(false),
            forced: Mutex::new(is_forced),
            read_timeout: Timeout::new(None),
            write_timeout: Timeout::new(None),
            is_stream: true,
        }
    }

    fn forced(&self) -> MutexGuard<'_, bool> {
        self.forced.lock().unwrap_or_else(PoisonError::into_inner)
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

impl<T: Inner> Socket<T> {
    /// Takes a socket that was opened here, of which nobody has asked anything yet.
    pub(super) fn new(io: Io<T>) -> Self {
        Socket {
            io,
            settings: OnceLock::new(),
        }
    }

    /// Takes a descriptor from elsewhere, and asks what its user believes of it.
    pub(super) fn adopt(fd: OwnedFd) -> Self {
        // std asks any descriptor for its timeouts; one that is no socket has none.
        let socket = net::TcpStream::from(fd);
        let settings = Settings {
            nonblocking: AtomicBool::new(lowlevel::is_nonblocking(socket.as_fd()).unwrap_or(false)),
            forced: Mutex::new(false),
            read_timeout: Timeout::new(socket.read_timeout().ok().flatten()),
            write_timeout: Timeout::new(socket.write_timeout().ok().flatten()),
            is_stream: lowlevel::is_stream_socket(socket.as_fd()),
        };
        let io = Io::new(T::from(socket.into()));
        // Whoever had it may have kept duplicates.
        io.mark_shared();
        Socket {
            io,
            settings: OnceLock::from(Arc::new(settings)),
        }
    }

    /// A duplicate of the descriptor, with the settings in common.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.io.mark_shared();
        let io = Io::new(T::from(self.io.as_fd().try_clone_to_owned()?));
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

    /// Unwraps it, in the mode that its user asked for, in which its clones have it from now on too.
    pub(super) fn into_inner(self) -> T {
        let inner = self.io.into_inner();
        // No descriptor refuses the mode; and nothing could be done about it.
        match self.settings.into_inner() {
            None if T::IS_FORCED => _ = inner.set_nonblocking(false),
            None => {}
            Some(settings) => {
                let mut forced = settings.forced();
                if *forced {
                    let _ = inner.set_nonblocking(settings.nonblocking.load(Relaxed));
                    *forced = false;
                }
            }
        }
        inner
    }

    fn settings(&self) -> &Arc<Settings> {
        self.settings
            .get_or_init(|| Arc::new(Settings::new(T::IS_FORCED)))
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let settings = self.settings();
        let forced = settings.forced();
        if !*forced {
            self.get().set_nonblocking(nonblocking)?;
        }
        settings.nonblocking.store(nonblocking, Relaxed);
        Ok(())
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) {
        self.settings().timeout(direction).set(timeout);
    }

    /// Accepts by `accept`, and waits if its user allows.
    pub(super) fn accept_with<R>(
        &self,
        mut accept: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let Some(settings) = self.settings.get() else {
            return self.io.read_with(None, accept);
        };
        self.read_with(|socket| {
            let forced = settings.forced();
            let never_waits = *forced || settings.nonblocking.load(Relaxed);
            if !never_waits && !lowlevel::is_ready(socket.as_fd(), false)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            accept(socket)
        })
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
