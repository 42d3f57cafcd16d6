//! What all sockets have in common: a descriptor that waits for nobody, and what its user believes
//! of it.
//!
//! # Mode
//!
//! | socket                        | `O_NONBLOCK` of the descriptor is | an operation does not wait, because    |
//! |-------------------------------|-----------------------------------|----------------------------------------|
//! | stream, datagrams             | what its user asked for           | each call says so (`MSG_DONTWAIT`)     |
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
use std::net::{self, Shutdown};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as unix;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use greenrt::lowlevel::{self, Io, Pause, Retry};

/// An operation that did as many bytes as this may have stopped for another reason than that there
/// were no more: the kernel limits what one call does.
const BYTES_MAX: usize = 1 << 30;

/// So may one that was given more slices than every system takes at once.
const SLICES_MAX: usize = 16;

/// std's sockets, which do the work.
pub(crate) trait Inner: AsFd + From<OwnedFd> + Into<OwnedFd> {
    /// Whether one that was opened here is in non-blocking mode, whatever its user asked for.
    const IS_FORCED: bool;
    /// How the runtime is to watch it.
    const WRAP: fn(Self) -> Io<Self>;

    /// std's method of that name.
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
}

macro_rules! inner {
    ($Socket:ty, $is_forced:literal, $wrap:path) => {
        impl Inner for $Socket {
            const IS_FORCED: bool = $is_forced;
            const WRAP: fn(Self) -> Io<Self> = $wrap;

            fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.set_nonblocking(nonblocking)
            }
        }
    };
}

inner!(net::TcpStream, false, Io::new);
inner!(net::TcpListener, true, Io::new);
inner!(net::UdpSocket, false, Io::read_first);
inner!(unix::UnixStream, false, Io::read_in_parts);
inner!(unix::UnixListener, true, Io::new);
inner!(unix::UnixDatagram, false, Io::read_first);

/// See the module's documentation.
pub(crate) struct Socket<T: Inner> {
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
    /// Whether doing less than asked says that the next operation would block: so with streams, and
    /// not with datagrams.
    is_stream: bool,
    /// Whether reading was shut down, of which a socket for datagrams of the Unix domain tells
    /// nothing to those who do not wait.
    is_deaf: AtomicBool,
    /// The clones that there are, and perhaps some that are gone.
    clones: Mutex<Vec<Retry>>,
}

impl Settings {
    /// Of a socket that was opened here. Those of datagrams are asked for no streams.
    fn new(is_forced: bool) -> Self {
        Settings {
            nonblocking: AtomicBool::new(false),
            forced: Mutex::new(is_forced),
            read_timeout: Timeout::new(None),
            write_timeout: Timeout::new(None),
            is_stream: true,
            is_deaf: AtomicBool::new(false),
            clones: Mutex::default(),
        }
    }

    fn clones(&self) -> MutexGuard<'_, Vec<Retry>> {
        self.clones.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(crate) enum Direction {
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
    pub(crate) fn new(io: Io<T>) -> Self {
        Socket {
            io,
            settings: OnceLock::new(),
        }
    }

    /// As `new`, of a socket of which nobody knows yet.
    pub(crate) fn of(inner: T) -> Self {
        Self::new(T::WRAP(inner))
    }

    /// Takes a descriptor from elsewhere, and asks what its user believes of it.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        // std asks any descriptor for its timeouts; one that is no socket has none.
        let socket = net::TcpStream::from(fd);
        let settings = Settings {
            nonblocking: AtomicBool::new(lowlevel::is_nonblocking(socket.as_fd()).unwrap_or(false)),
            forced: Mutex::new(false),
            read_timeout: Timeout::new(socket.read_timeout().ok().flatten()),
            write_timeout: Timeout::new(socket.write_timeout().ok().flatten()),
            is_stream: lowlevel::is_stream_socket(socket.as_fd()),
            is_deaf: AtomicBool::new(false),
            clones: Mutex::default(),
        };
        let io = T::WRAP(T::from(socket.into()));
        // Whoever had it may have kept duplicates.
        io.mark_shared();
        Socket {
            io,
            settings: OnceLock::from(Arc::new(settings)),
        }
    }

    /// A duplicate of the descriptor, with the settings in common.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.io.mark_shared();
        let io = T::WRAP(T::from(self.io.as_fd().try_clone_to_owned()?));
        io.mark_shared();
        let settings = Arc::clone(self.settings());
        let mut clones = settings.clones();
        clones.retain(Retry::is_alive);
        if clones.is_empty() {
            clones.push(self.io.retry());
        }
        clones.push(io.retry());
        drop(clones);
        Ok(Socket {
            io,
            settings: OnceLock::from(settings),
        })
    }

    /// What a socket of the Unix domain needs when `how` was shut down, or is about to be: the
    /// system does not announce all of it to those who wait.
    pub(crate) fn was_shut_down(&self, how: Shutdown) {
        if how != Shutdown::Write {
            self.settings().is_deaf.store(true, Relaxed);
        }
        self.io.retry().all();
        if let Some(settings) = self.settings.get() {
            // Not under the lock, which those who are woken may want.
            let clones = settings.clones().clone();
            clones.iter().for_each(Retry::all);
        }
    }

    /// What is wrapped, for calls that never block.
    pub(crate) fn get(&self) -> &T {
        self.io.get_ref()
    }

    /// What is wrapped, for users who may duplicate the descriptor.
    pub(crate) fn expose(&self) -> &T {
        self.io.mark_shared();
        self.io.get_ref()
    }

    /// Unwraps it, in the mode that its user asked for, in which its clones have it from now on too.
    pub(crate) fn into_inner(self) -> T {
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

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let settings = self.settings();
        let forced = settings.forced();
        if !*forced {
            self.get().set_nonblocking(nonblocking)?;
        }
        settings.nonblocking.store(nonblocking, Relaxed);
        Ok(())
    }

    pub(crate) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) {
        self.settings().timeout(direction).set(timeout);
    }

    /// Accepts by `accept`, and waits if its user allows.
    pub(crate) fn accept_with<R>(
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
    pub(crate) fn read_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        match self.settings.get() {
            None => self.io.read_with(None, operation),
            Some(settings) if settings.nonblocking.load(Relaxed) => self.io.try_with(operation),
            Some(settings) => self.io.read_with(settings.read_timeout.get(), operation),
        }
    }

    /// Receives a datagram of the Unix domain, and waits if its user allows; `end` is what there is
    /// once reading was shut down.
    pub(crate) fn receive_datagram<R>(
        &self,
        mut operation: impl FnMut(&T) -> io::Result<R>,
        end: impl Fn() -> io::Result<R>,
    ) -> io::Result<R> {
        let is_deaf = || match self.settings.get() {
            Some(settings) => settings.is_deaf.load(Relaxed),
            None => false,
        };
        let timeout = match self.settings.get() {
            None => None,
            Some(settings) if settings.nonblocking.load(Relaxed) => {
                return self.io.try_with(operation);
            }
            Some(settings) => settings.read_timeout.get(),
        };
        self.io
            .read_with(timeout, |socket| match operation(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_deaf() => end(),
                done => done,
            })
    }

    /// Does something that writes, and waits if its user allows.
    pub(crate) fn write_with<R>(
        &self,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        match self.settings.get() {
            None => self.io.write_with(None, operation),
            Some(settings) if settings.nonblocking.load(Relaxed) => self.io.try_with(operation),
            Some(settings) => self.io.write_with(settings.write_timeout.get(), operation),
        }
    }

    /// Reads bytes into room for `len`, and waits if its user allows.
    #[inline]
    pub(crate) fn read_bytes(
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

    /// As `read_bytes`, of a stream of the Unix domain: the operation says also whether it has stopped
    /// before there was no more, if it must.
    #[inline]
    pub(crate) fn read_unix_bytes(
        &self,
        len: usize,
        mut operation: impl FnMut(&T, bool) -> io::Result<(usize, bool)>,
    ) -> io::Result<usize> {
        let len = len.min(BYTES_MAX);
        let mut simply = |socket: &T| operation(socket, false).map(|(n, _)| n);
        match self.settings.get() {
            None => self.io.read_part_with(None, len, operation),
            Some(settings) if settings.nonblocking.load(Relaxed) => self.io.try_with(simply),
            Some(settings) if settings.is_stream => {
                let timeout = settings.read_timeout.get();
                self.io.read_part_with(timeout, len, operation)
            }
            Some(settings) => self.io.read_with(settings.read_timeout.get(), &mut simply),
        }
    }

    /// Sends a datagram, and waits if its user allows.
    ///
    /// It may not find room for two reasons: its own buffer is full, or the queue of the receiver,
    /// of which nothing tells when there is room again unless the two are connected.
    pub(crate) fn send_datagram(
        &self,
        mut operation: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let timeout = match self.settings.get() {
            None => None,
            Some(settings) if settings.nonblocking.load(Relaxed) => {
                return self.io.try_with(operation);
            }
            Some(settings) => settings.write_timeout.get(),
        };
        let mut pause = Pause::new(timeout);
        loop {
            let sent = self
                .io
                .write_with(pause.left(), |socket| match operation(socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        match lowlevel::is_ready(socket.as_fd(), true)? {
                            true => Ok(None),
                            false => Err(error),
                        }
                    }
                    sent => sent.map(Some),
                })?;
            match sent {
                Some(n) => return Ok(n),
                None if pause.wait() => {}
                None => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }

    /// Writes `len` bytes, and waits if its user allows.
    #[inline]
    pub(crate) fn write_bytes(
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
pub(crate) fn len_of_all<'a>(slices: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
    if slices.len() > SLICES_MAX {
        0
    } else {
        slices.map(<[u8]>::len).sum()
    }
}

/// Reading and writing of a stream, as of a reference to it.
macro_rules! by_reference {
    ($Stream:ident) => {
        impl std::io::Read for $Stream {
            #[inline]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buf)
            }

            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }

        impl std::io::Write for $Stream {
            #[inline]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                (&*self).write(buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            #[inline]
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// The methods that all sockets but listeners have in common.
macro_rules! socket_settings {
    ($Socket:ident, $std:literal) => {
        impl $Socket {
            #[doc = concat!("Makes another handle of the same socket, as [`", $std, "::try_clone`].")]
            ///
            /// # Errors
            ///
            /// As std's.
            pub fn try_clone(&self) -> std::io::Result<$Socket> {
                let socket = self.socket.try_clone()?;
                Ok($Socket { socket })
            }

            #[doc = concat!("Sets how long reading may wait, as [`", $std, "::set_read_timeout`].")]
            ///
            /// When the time is up the operation fails with `WouldBlock`. Clones share the timeout.
            ///
            /// # Errors
            ///
            /// As std's: of kind `InvalidInput` if the timeout is zero.
            ///
            /// # Differences from std
            ///
            /// The time is exact, where std's is rounded up to a few milliseconds by the system.
            /// Reading with a timeout costs no further system call.
            pub fn set_read_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.socket.get().set_read_timeout(timeout)?;
                self.socket
                    .set_timeout($crate::net::socket::Direction::Read, timeout);
                Ok(())
            }

            #[doc = concat!("Sets how long writing may wait, as [`", $std, "::set_write_timeout`].")]
            ///
            /// # Errors
            ///
            /// As std's: of kind `InvalidInput` if the timeout is zero.
            ///
            /// # Differences from std
            ///
            #[doc = concat!("As [`set_read_timeout`](", stringify!($Socket), "::set_read_timeout).")]
            pub fn set_write_timeout(
                &self,
                timeout: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.socket.get().set_write_timeout(timeout)?;
                self.socket
                    .set_timeout($crate::net::socket::Direction::Write, timeout);
                Ok(())
            }

            #[doc = concat!("How long reading may wait, as [`", $std, "::read_timeout`].")]
            ///
            /// # Errors
            ///
            /// As std's.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                self.socket.get().read_timeout()
            }

            #[doc = concat!("How long writing may wait, as [`", $std, "::write_timeout`].")]
            ///
            /// # Errors
            ///
            /// As std's.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                self.socket.get().write_timeout()
            }

            #[doc = concat!("Takes the error that waits at the socket, as [`", $std, "::take_error`].")]
            ///
            /// # Errors
            ///
            /// As std's.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.socket.get().take_error()
            }

            /// Says whether operations wait, or fail with `WouldBlock`.
            ///
            #[doc = concat!("As [`", $std, "::set_nonblocking`]; clones share the mode.")]
            /// A thread that tries again and again yields now and then, so its siblings run too.
            ///
            /// # Errors
            ///
            /// As std's.
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.socket.set_nonblocking(nonblocking)
            }
        }
    };
}

pub(crate) use {by_reference, socket_settings};
