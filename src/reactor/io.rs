//! Operations on a descriptor that park instead of blocking.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use greenrt_arch::{errno, fd};

use super::Watch;
use super::source::{Direction, Seen, Source};
use crate::cancel;
use crate::fork;
use crate::park::{self, Ended};
use crate::scheduler::{self, Section};

/// A descriptor whose operations wait without blocking the worker.
///
/// What it is given as an operation must not wait itself: either the descriptor is in non-blocking
/// mode, or the call says so ([`lowlevel::socket`](crate::lowlevel::socket)). That mode is nothing
/// to be set on a descriptor from elsewhere: others may share it and not expect it.
///
/// On a green thread an operation that would block parks; elsewhere it blocks the OS thread in
/// `poll(2)`. Any number of threads may use it at once.
///
/// Each operation first makes its system call. Only when that says `WouldBlock` is the descriptor
/// registered, once, with the reactor of the calling worker, where it stays until this is dropped.
///
/// If what it wraps is [`Read`] or [`Write`], so is this, and its operations park: a C library's
/// socket, a serial line, an `inotify`, whatever is [`AsFd`] and does not wait itself.
/// [`nonblocking`](Io::nonblocking) sees to the mode of descriptors that are your own.
///
/// # Cancellation
///
/// Every operation is a point: a cancelled green thread unwinds from it, before the system call or
/// while it waits. While a cancelled thread unwinds, operations may wait for one second in all,
/// and then fail with `ECANCELED`.
///
/// # Fairness
///
/// An operation that succeeds at once spends a credit; after 128 of them the thread yields.
pub struct Io<T: AsFd> {
    registration: Registration,
    inner: T,
}

/// Has green threads that wait for the descriptor of an [`Io`] try again, although nothing has come.
///
/// For what the system announces to nobody, such as the end of writing to a full stream of the Unix
/// domain. The handle keeps nothing alive, and does nothing once the `Io` is gone. OS threads, which
/// wait in `poll(2)`, are not reached.
#[derive(Clone, Debug)]
pub struct Retry(Weak<Source>);

impl Retry {
    /// Has those who wait try again, in both directions.
    pub fn all(&self) {
        if let Some(source) = self.0.upgrade() {
            source.retry_all();
        }
    }

    /// Whether the descriptor is still there.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// Keeps the source until the descriptor goes.
struct Registration {
    source: Arc<Source>,
    /// The descriptor may have duplicates, so that closing it does not end its registration.
    shared: AtomicBool,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let may_be_shared = self.shared.load(Relaxed) || fork::has_forked();
        self.source.close(!may_be_shared);
    }
}

impl<T: AsFd> Io<T> {
    /// Wraps a descriptor. Its mode stays as it is.
    pub fn new(inner: T) -> Self {
        Io::of(inner, Watch::All)
    }

    /// As [`new`](Io::new), for a descriptor that tells after each message that there is room for
    /// another, as sockets of UDP and of the Unix domain do: until somebody has to wait for room, it
    /// is watched for what can be read only. So nobody is woken for nothing.
    pub fn read_first(inner: T) -> Self {
        Io::of(inner, Watch::Reads)
    }

    /// As [`read_first`](Io::read_first), for a stream whose reads may stop before there is no more, as
    /// those of the Unix domain do where a message with descriptors ends. For
    /// [`read_part_with`](Io::read_part_with).
    pub fn read_in_parts(inner: T) -> Self {
        Io::of(inner, Watch::Level)
    }

    fn of(inner: T, watch: Watch) -> Self {
        let source = Source::new(inner.as_fd().as_raw_fd(), watch);
        Io {
            registration: Registration {
                source,
                shared: AtomicBool::new(false),
            },
            inner,
        }
    }

    /// Wraps a descriptor that you have opened and that nobody else uses, and puts it into
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// Those of `fcntl(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use greenrt::lowlevel::Io;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// greenrt::run(|| {
    ///     let (near, far) = UnixStream::pair()?;
    ///     let (mut near, mut far) = (Io::nonblocking(near)?, Io::nonblocking(far)?);
    ///     let echo = greenrt::spawn(move || {
    ///         let mut room = [0; 4];
    ///         far.read_exact(&mut room)?;
    ///         far.write_all(&room)
    ///     });
    ///     near.write_all(b"ping")?;
    ///     let mut room = [0; 4];
    ///     near.read_exact(&mut room)?;
    ///     assert_eq!(&room, b"ping");
    ///     echo.join().unwrap()
    /// })
    /// # }
    /// ```
    pub fn nonblocking(inner: T) -> io::Result<Self> {
        fd::set_nonblocking(inner.as_fd(), true)?;
        Ok(Io::new(inner))
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.registration.source
    }

    /// What is wrapped.
    ///
    /// Whoever duplicates the descriptor through this should say so with
    /// [`mark_shared`](Io::mark_shared).
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Says that the descriptor has, or may have, duplicates: then it is taken out of the reactor
    /// before it is closed, which is one more system call.
    pub fn mark_shared(&self) {
        self.registration.shared.store(true, Relaxed);
    }

    /// A handle that has those who wait for this descriptor try again; see [`Retry`].
    pub fn retry(&self) -> Retry {
        Retry(Arc::downgrade(&self.registration.source))
    }

    /// Takes it out of the reactor for good, before somebody else closes the descriptor. Whoever
    /// waits tries its operation once more, which must not use the descriptor then.
    pub fn stop_watching(&self) {
        let shared = self.registration.shared.load(Relaxed);
        self.registration.source.retire(!shared);
    }

    /// Unwraps it, no longer registered.
    pub fn into_inner(self) -> T {
        self.mark_shared();
        let Io {
            registration,
            inner,
        } = self;
        drop(registration);
        inner
    }

    /// Does something that reads, such as `read`, `accept` or `recv_from`.
    ///
    /// `operation` is called until it returns something else than `WouldBlock`; between the calls
    /// the thread waits until the descriptor may be readable.
    ///
    /// # Errors
    ///
    /// Those of `operation`; `WouldBlock` after `timeout`, as std's sockets.
    pub fn read_with<R>(
        &self,
        timeout: Option<Duration>,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.run(Direction::Read, timeout, operation, |_| false)
    }

    /// Does something that writes, such as `write`, `connect` or `send_to`; otherwise as
    /// [`read_with`](Io::read_with).
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    pub fn write_with<R>(
        &self,
        timeout: Option<Duration>,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.run(Direction::Write, timeout, operation, |_| false)
    }

    /// Reads up to `len` bytes of a *stream socket*: a read of fewer means that there are no more,
    /// and the next one waits without trying. Not for ancillary data, `MSG_PEEK` or descriptors of
    /// another kind.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    #[inline]
    pub fn read_stream_with(
        &self,
        timeout: Option<Duration>,
        len: usize,
        operation: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // Nothing read is the end, after which there is no edge.
        self.run(Direction::Read, timeout, operation, |&n| 0 < n && n < len)
    }

    /// Reads up to `len` bytes of a stream that [`read_in_parts`](Io::read_in_parts) has wrapped.
    ///
    /// `operation` returns how many bytes it has read, and whether it knows that it stopped for another
    /// reason than that there were no more. It is told whether it must know that; else it may say no
    /// without looking.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    #[inline]
    pub fn read_part_with(
        &self,
        timeout: Option<Duration>,
        len: usize,
        mut operation: impl FnMut(&T, bool) -> io::Result<(usize, bool)>,
    ) -> io::Result<usize> {
        let read = run(
            &self.registration.source,
            Direction::Read,
            timeout,
            &self.inner,
            |inner, must_tell| operation(inner, must_tell),
            // Nothing read is the end, after which there is no edge.
            |&(n, stopped)| 0 < n && n < len && !stopped,
        );
        read.map(|(n, _)| n)
    }

    /// Writes up to `len` bytes to a *stream socket*: a write of fewer means that there is no more
    /// room; otherwise as [`read_stream_with`](Io::read_stream_with).
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    #[inline]
    pub fn write_stream_with(
        &self,
        timeout: Option<Duration>,
        len: usize,
        operation: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.run(Direction::Write, timeout, operation, |&n| n < len)
    }

    /// Calls `operation` once and returns what it did, without waiting: for users who asked for
    /// non-blocking mode, and for calls that never block but may be made for ever.
    ///
    /// A point as the others are. It always spends a credit, also if the operation would have
    /// blocked, so whoever tries again and again starves nobody.
    pub fn try_with<R>(&self, operation: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        let section = Section::enter_green();
        if let Some(section) = &section {
            cancel::check(section);
        }
        let done = operation(&self.inner);
        scheduler::spend_credit();
        done
    }

    /// Waits until a write may succeed, whatever happened before: for a `connect` that is on its
    /// way.
    ///
    /// # Errors
    ///
    /// `TimedOut` after `timeout`; or if the descriptor cannot be registered.
    pub fn wait_connected(&self, timeout: Option<Duration>) -> io::Result<()> {
        let source = &self.registration.source;
        if !scheduler::on_green_thread() {
            return match fd::wait(self.inner.as_fd(), true, timeout)? {
                true => Ok(()),
                false => Err(errno::timed_out()),
            };
        }
        // The edge may have come before this call; one that comes from now on has another tick.
        let seen = source.ready(Direction::Write);
        if fd::wait(self.inner.as_fd(), true, Some(Duration::ZERO))? {
            return Ok(());
        }
        if let Some(seen) = seen {
            source.would_block(Direction::Write, seen);
        }
        let mut limit = Limit::new(timeout);
        while source.ready(Direction::Write).is_none() {
            if !limit.wait(source, Direction::Write)? {
                // As in `run`: the answer may have come, and nobody has looked yet.
                return match fd::wait(self.inner.as_fd(), true, Some(Duration::ZERO))? {
                    true => Ok(()),
                    false => Err(errno::timed_out()),
                };
            }
        }
        Ok(())
    }

    #[inline]
    fn run<R>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        let source = &self.registration.source;
        run(
            source,
            direction,
            timeout,
            &self.inner,
            |inner, _| operation(inner),
            is_short,
        )
    }

    fn run_mut<R>(
        &mut self,
        direction: Direction,
        mut operation: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let source = &self.registration.source;
        run(
            source,
            direction,
            None,
            &mut self.inner,
            |inner, _| operation(inner),
            |_| false,
        )
    }
}

/// Calls `operation` until it returns something else than `WouldBlock`, and waits between the calls.
/// It is told whether a short read must know why it is short ([`Seen::must_tell`]).
#[inline]
fn run<I: AsFd, R>(
    source: &Arc<Source>,
    direction: Direction,
    timeout: Option<Duration>,
    mut inner: I,
    mut operation: impl FnMut(&mut I, bool) -> io::Result<R>,
    is_short: impl Fn(&R) -> bool,
) -> io::Result<R> {
    let Some(section) = Section::enter_green() else {
        return run_blocking(direction, timeout, inner, operation);
    };
    cancel::check(&section);
    let mut limit = Limit::new(timeout);
    loop {
        let seen = match source.ready(direction) {
            Some(seen) => Some(seen),
            None if limit.wait(source, direction)? => continue,
            // The time is up. What came before that may be an event that nobody has looked at
            // yet, so it is tried once more.
            None => None,
        };
        let turn = Turn { source, direction };
        match operation(&mut inner, seen.is_none_or(Seen::must_tell)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match seen {
                Some(seen) => source.would_block(direction, seen),
                None => return Err(errno::would_block()),
            },
            done => {
                if let Some(seen) = seen
                    && done.as_ref().is_ok_and(&is_short)
                {
                    source.was_short(direction, seen);
                }
                drop(turn);
                scheduler::spend_credit();
                return done;
            }
        }
    }
}

/// On an OS thread: its own `poll(2)` tells when to try again.
fn run_blocking<I: AsFd, R>(
    direction: Direction,
    timeout: Option<Duration>,
    mut inner: I,
    mut operation: impl FnMut(&mut I, bool) -> io::Result<R>,
) -> io::Result<R> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        match operation(&mut inner, false) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if !fd::wait(inner.as_fd(), direction == Direction::Write, left)? {
            return Err(errno::would_block());
        }
    }
}

impl<T: AsFd + Read> Read for Io<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.run_mut(Direction::Read, |inner| inner.read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.run_mut(Direction::Read, |inner| inner.read_vectored(bufs))
    }
}

impl<T: AsFd + Write> Write for Io<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.run_mut(Direction::Write, |inner| inner.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.run_mut(Direction::Write, |inner| inner.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run_mut(Direction::Write, |inner| inner.flush())
    }
}

impl<T: AsFd> Read for &Io<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(None, |mut inner| inner.read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(None, |mut inner| inner.read_vectored(bufs))
    }
}

impl<T: AsFd> Write for &Io<T>
where
    for<'a> &'a T: Write,
{
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(None, |mut inner| inner.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(None, |mut inner| inner.write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_with(None, |mut inner| inner.flush())
    }
}

/// Waits until `fd` is readable (or `writable`); `false` after `timeout`.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    direction: Direction,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let writable = direction == Direction::Write;
    match Section::enter_green() {
        Some(section) => cancel::check(&section),
        None => return fd::wait(fd, writable, timeout),
    }
    // A wait that need not be one, as on everything that no reactor takes, such as files.
    if fd::wait(fd, writable, Some(Duration::ZERO))? {
        scheduler::spend_credit();
        return Ok(true);
    }
    // The descriptor's owner may have it registered. A duplicate has a registration of its own, and
    // nothing of it is left when the wait ends.
    let io = Io::new(fd.try_clone_to_owned()?);
    io.mark_shared();
    let look = |fd: &OwnedFd| match fd::wait(fd.as_fd(), writable, Some(Duration::ZERO))? {
        true => Ok(true),
        false => Err(errno::would_block()),
    };
    match io.run(direction, timeout, look, |_| false) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        done => done,
    }
}

impl<T: AsFd> AsFd for Io<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Io<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Whoever was woken passes the turn on after its operation, also if that panics. After
/// `WouldBlock` there is nothing to pass on.
struct Turn<'a> {
    source: &'a Source,
    direction: Direction,
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.source.pass_on(self.direction);
    }
}

/// How long one operation may wait: its timeout, read from the clock only when it must wait.
struct Limit {
    timeout: Option<Duration>,
    deadline: Option<u64>,
}

impl Limit {
    #[inline]
    fn new(timeout: Option<Duration>) -> Self {
        Limit {
            timeout,
            deadline: None,
        }
    }

    /// Waits once. `false`: the time is up.
    #[inline]
    fn wait(&mut self, source: &Arc<Source>, direction: Direction) -> io::Result<bool> {
        if let Some(timeout) = self.timeout.take() {
            self.deadline = park::deadline_after(timeout);
        }
        let grace = cancel::io_grace();
        let deadline = match (self.deadline, grace) {
            (Some(own), Some(grace)) => Some(own.min(grace)),
            (own, grace) => own.or(grace),
        };
        match source.wait(direction, deadline)? {
            Ended::Woken(_) | Ended::Token | Ended::Again => Ok(true),
            Ended::Deadline if grace.is_some() && deadline == grace => Err(errno::canceled()),
            Ended::Deadline => Ok(false),
            Ended::Interrupted(interrupt) => interrupt.unwind(),
        }
    }
}

#[cfg(test)]
mod tests;
