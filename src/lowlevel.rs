//! What shims and other libraries build on.
//!
//! Everything here is safe and stays so; it is lower than the rest only in that it speaks of
//! descriptors, credits and cancellation, where the rest of the crate speaks of threads.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

pub use greenrt_arch::errno::is_bad_descriptor;
pub use greenrt_arch::socket;

use crate::cancel;
use crate::clock;
use crate::futex::{self, Waited};
pub use crate::offload::{Lane, offload_borrowing, offload_to};
use crate::park;
pub use crate::pause::Pause;
use crate::reactor;
pub use crate::reactor::io::{Io, Retry};
use crate::reactor::source::Direction;
pub use crate::sync::poison::{Poison, PoisonWatch};
use crate::thread::Thread;
pub use crate::thread_data::{ThreadData, thread_data};
use crate::thread_locals::ThreadLocals;

/// Whether the caller is a green thread.
#[inline]
pub fn on_green_thread() -> bool {
    crate::scheduler::on_green_thread()
}

/// Whether the caller may block: an OS thread that no [`timeout`](crate::timeout) limits.
///
/// For those who mirror calls that block: they make the call itself then, and wait by [`Io`] otherwise.
#[inline]
pub fn may_block() -> bool {
    !on_green_thread() && !cancel::has_limits()
}

/// Whether the caller is the user's code on a green thread, and not the runtime's own; nor a signal
/// handler on a stack of its own.
///
/// For those who stand in for functions of libc: what the runtime itself calls, on a green thread
/// or not, is meant for the system, and must not come back to the runtime.
#[inline]
pub fn in_user_code() -> bool {
    crate::scheduler::in_user_code()
}

/// Which of its runtime's workers the caller runs on, from 0; `None` on an OS thread that is none.
///
/// For statistics that workers keep apart, so as not to wait for each other's caches.
#[inline]
pub fn worker_index() -> Option<usize> {
    crate::scheduler::worker_index()
}

/// Whether the caller is a green thread that shares the thread-locals of its worker with others.
///
/// Then [`thread_data`] keeps what is to belong to the green thread. A few instructions.
#[inline]
pub fn shares_thread_locals() -> bool {
    crate::scheduler::shares_thread_locals()
}

/// Spends one of the calling green thread's 128 credits, and yields when there are none left.
///
/// For operations that can succeed for ever without waiting: call it on each success, and whoever
/// loops on them starves nobody. On an OS thread it does nothing.
#[inline]
pub fn spend_credit() {
    crate::scheduler::spend_credit();
}

/// Asks a green thread to end.
///
/// If it waits at a point it unwinds from there, with [`Cancelled`](crate::Cancelled) as payload;
/// otherwise at its next point, and if it swallows that, at the one after. If it has not started
/// its closure is dropped without being run. An OS thread is not affected.
///
/// # Examples
///
/// See [`Cancelled`](crate::Cancelled).
pub fn cancel(thread: &Thread) {
    cancel::cancel(thread);
}

/// Whether green threads of the global runtime have, or will have, thread-locals of their own.
///
/// # Errors
///
/// Why not.
pub fn has_private_thread_locals() -> io::Result<()> {
    if ThreadLocals::from_env() == Some(ThreadLocals::Shared) {
        let message = "GREENRT_THREAD_LOCALS=shared asks for shared ones";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    crate::thread_locals::choose(Some(ThreadLocals::Private)).map(drop)
}

/// Runs `f`, and makes an error of the unwinding by which cancellation or a time limit ends it:
/// `ECANCELED`, or `ETIMEDOUT`. For those who are called by frames that must not be unwound.
///
/// Both come back at the next point. A panic goes on.
///
/// # Errors
///
/// Those of `f`, and these two.
#[inline]
pub fn interrupts_as_errors<T>(f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    cancel::as_errors(f)
}

/// Says by which number the calling green thread knows itself, instead of by libc's `pthread_self`;
/// zero: by that.
///
/// For those who stand in for libc's functions of threads. `pthread_getattr_np` takes it then. It
/// belongs to the thread-locals of the caller.
pub fn set_pthread_self(number: usize) {
    greenrt_arch::thread_block::set_pthread_self(number);
}

/// Whether the calling thread unwinds because of a panic.
///
/// As [`std::thread::panicking`], but `false` while it unwinds because it was cancelled or because a
/// time limit of its has passed: that breaks nothing off that code has not provided for. Locks are
/// not poisoned by it. It is told by the payload, until that is dropped; one that comes from another
/// thread, by way of [`JoinHandle::join`](crate::JoinHandle::join), counts as a panic when it is
/// resumed.
#[inline]
pub fn unwinds_by_panic() -> bool {
    std::thread::panicking() && !cancel::unwinds_by_interrupt()
}

/// The moment `timeout` from now, on the clock of the calling thread's runtime; `None` if that is
/// later than can be told, which means never.
pub fn deadline_after(timeout: Duration) -> Option<Instant> {
    park::deadline_after(timeout).map(clock::to_instant)
}

/// Calls `listen(2)` on a listening socket again, with the largest backlog that the system allows.
///
/// # Errors
///
/// Those of `listen(2)`.
pub fn listen_max(fd: BorrowedFd<'_>) -> io::Result<()> {
    greenrt_arch::fd::listen_max(fd)
}

/// Whether a descriptor is in non-blocking mode (`O_NONBLOCK`).
///
/// # Errors
///
/// Those of `fcntl(2)`.
pub fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    greenrt_arch::fd::is_nonblocking(fd)
}

/// Whether `fd` can be read (or written) without waiting, asked of the system.
///
/// For descriptors in blocking mode whose operations have no form that does not wait.
///
/// # Errors
///
/// Those of `poll(2)`.
pub fn is_ready(fd: BorrowedFd<'_>, writable: bool) -> io::Result<bool> {
    greenrt_arch::fd::wait(fd, writable, Some(Duration::ZERO))
}

/// Waits until `fd` can be read without waiting; `false` after `timeout`.
///
/// For any descriptor that `poll(2)` takes, in any mode, whoever else waits for it: an eventfd, a
/// timer, the socket of a C library. Its mode stays as it is. A green thread parks; an OS thread
/// blocks in `poll(2)`. An end or an error counts: the next call on the descriptor says which. Somebody
/// else may read it first.
///
/// Where there is something to wait for, each call costs a duplicate of the descriptor and its
/// registration; [`Io`] registers once.
///
/// A point of cancellation.
///
/// # Errors
///
/// Those of `poll(2)`; if there are no descriptors left.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
/// use greenrt::lowlevel::wait_readable;
///
/// # fn main() -> std::io::Result<()> {
/// greenrt::run(|| {
///     let (mut reader, mut writer) = std::io::pipe()?;
///     assert!(!wait_readable(reader.as_fd(), Some(Duration::from_millis(1)))?);
///     greenrt::spawn(move || writer.write_all(b"a"));
///     assert!(wait_readable(reader.as_fd(), None)?);
///     reader.read_exact(&mut [0])
/// })
/// # }
/// ```
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    reactor::io::wait(fd, Direction::Read, timeout)
}

/// Waits until something can be written to `fd` without waiting; otherwise as [`wait_readable`].
///
/// How much is not said: of a pipe, `PIPE_BUF` bytes (4096 on Linux).
///
/// # Errors
///
/// As [`wait_readable`].
pub fn wait_writable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    reactor::io::wait(fd, Direction::Write, timeout)
}

/// Whether a descriptor is a stream socket, such as TCP, so that
/// [`Io::read_stream_with`] and [`Io::write_stream_with`] are right for it.
pub fn is_stream_socket(fd: BorrowedFd<'_>) -> bool {
    greenrt_arch::fd::is_stream_socket(fd)
}

/// How a [`futex_wait`] has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FutexWait {
    /// It did not begin: the word was not as expected.
    Changed,
    /// By a [`futex_wake`] or a [`futex_hand_over`]; or for no reason, so look at the word again.
    Woken,
    /// By a [`futex_hand_over`] that has left the word as it was to this thread.
    HandedOver,
    /// The deadline has passed.
    TimedOut,
}

impl FutexWait {
    fn of(waited: Waited) -> Self {
        match waited {
            Waited::Changed => FutexWait::Changed,
            Waited::Woken => FutexWait::Woken,
            Waited::HandedOver => FutexWait::HandedOver,
            Waited::TimedOut => FutexWait::TimedOut,
        }
    }
}

/// What a [`futex_hand_over`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FutexHandOver {
    /// Nobody waited. The word was set.
    Nobody,
    /// The word was set, and one thread woken, which may try for it as everybody.
    Woken,
    /// The word was left as it was, and one thread told that it is for it.
    HandedOver,
}

/// Waits until somebody wakes the calling thread for `word`, unless the word is not `expected`.
///
/// Threads that wait for one word are woken in the order in which they came. What a waker wrote
/// before its [`futex_wake`] is visible when this returns by it. The deadline is one of the
/// runtime's clock, and is never early; when it passes at the same time as a wake, either the wait
/// ends by the wake, or the wake goes to another one.
///
/// A green thread parks; an OS thread blocks. Not a point of cancellation, and not ended by limits
/// or [`unpark`](crate::Thread::unpark).
///
/// The table of those who wait is not the kernel's: what waits by the system call `futex` on an OS
/// thread is not found by [`futex_wake`].
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use greenrt::lowlevel::{futex_wait, futex_wake};
///
/// static READY: AtomicU32 = AtomicU32::new(0);
/// greenrt::run(|| {
///     greenrt::spawn(|| {
///         READY.store(1, Relaxed);
///         futex_wake(&READY, 1);
///     });
///     while READY.load(Relaxed) == 0 {
///         futex_wait(&READY, 0, None);
///     }
/// });
/// ```
pub fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> FutexWait {
    futex_wait_as(word, expected, deadline, false)
}

/// As [`futex_wait`], for a thread that was woken for `word` and found that another one had been
/// faster: it waits in front of those who were not passed over, and the next
/// [`futex_hand_over`] is to it.
pub fn futex_wait_again(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> FutexWait {
    futex_wait_as(word, expected, deadline, true)
}

fn futex_wait_as(
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Instant>,
    passed_over: bool,
) -> FutexWait {
    // A deadline too late to be told is none.
    let deadline = deadline.and_then(clock::from_instant);
    let holds = || word.load(Relaxed) == expected;
    let address = word.as_ptr().addr();
    FutexWait::of(futex::wait(address, holds, u32::MAX, passed_over, deadline))
}

/// Wakes up to `n` threads that wait for `word`, those first who came first; how many.
///
/// Change the word first: a thread that is about to wait either sees the change, or is woken. It
/// costs some nanoseconds if nobody waits.
pub fn futex_wake(word: &AtomicU32, n: usize) -> usize {
    futex::wake(word.as_ptr().addr(), n)
}

/// As [`futex_wake`], for a word that may be gone when this is called: its address is looked for, and
/// nothing else.
pub fn futex_wake_at(address: usize, n: usize) -> usize {
    futex::wake(address, n)
}

/// Whether [`futex_wake_at`] might find somebody, asked by a caller who has changed the word by an
/// atomic read-modify-write just now. If not, there is nobody to wake.
///
/// Costs less than to wake nobody, and may be called in a signal handler.
#[inline]
pub fn futex_may_have_waiters(address: usize) -> bool {
    futex::may_have_after_swap(address)
}

/// Unlocks a lock without letting those who wait for it starve.
///
/// If the first thread that waits for `word` has waited for more than half a millisecond, or was
/// passed over ([`futex_wait_again`]), the word stays as it is, and that thread's wait ends with
/// [`FutexWait::HandedOver`]: it has the lock. Otherwise `free` is stored, with release ordering,
/// and the thread is woken to try for it; so a thread that comes along first keeps a lock busy that
/// would else stand idle until the other one runs. If nobody waits, `free` is stored.
///
/// A thread that is about to wait sees what this has stored, or is found by it.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::{Acquire, Relaxed, Release}};
/// use greenrt::lowlevel::{FutexWait, futex_hand_over, futex_wait, futex_wait_again};
///
/// /// 0: free, 1: locked, 2: locked, and somebody may wait.
/// fn lock(word: &AtomicU32) {
///     if word.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
///         return;
///     }
///     let mut wait: fn(&_, _, _) -> FutexWait = futex_wait;
///     while word.swap(2, Acquire) != 0 {
///         match wait(word, 2, None) {
///             FutexWait::HandedOver => return,
///             FutexWait::Woken => wait = futex_wait_again,
///             _ => {}
///         }
///     }
/// }
///
/// fn unlock(word: &AtomicU32) {
///     if word.compare_exchange(1, 0, Release, Relaxed).is_err() {
///         futex_hand_over(word, 0);
///     }
/// }
/// # let word = AtomicU32::new(0);
/// # lock(&word);
/// # unlock(&word);
/// # assert_eq!(word.load(Relaxed), 0);
/// ```
pub fn futex_hand_over(word: &AtomicU32, free: u32) -> FutexHandOver {
    match futex::hand_over(word.as_ptr().addr(), || word.store(free, Release)) {
        Waited::Woken => FutexHandOver::Woken,
        Waited::HandedOver => FutexHandOver::HandedOver,
        Waited::Changed | Waited::TimedOut => FutexHandOver::Nobody,
    }
}

/// Whether the calling thread is about to start an OS thread of the runtime's own, a worker or one of
/// the pool for [`offload`](crate::offload): for those who stand in for `pthread_create`.
pub fn wants_os_thread() -> bool {
    crate::os_thread::is_wanted()
}

/// Children, for those who build on them: what an interposed `waitpid`, `waitid` or `posix_spawn`
/// needs, and pipes that are read and written without waiting, in any mode.
pub mod process {
    use std::io;
    use std::time::Duration;

    pub use greenrt_arch::process::{
        Change, States, Which, look, open, read, read_vectored, wait_readable, write,
        write_vectored,
    };

    /// Runs `f` on an OS thread that starts children: these never end, so a signal at the parent's
    /// death ([`CommandExt`](crate::process::CommandExt)) does not come early, and whatever `f` waits
    /// for, no worker does.
    ///
    /// The caller parks until `f` has returned, and is not cancelled meanwhile: nothing that `f` has
    /// started is lost. Others wait for the same threads, so `f` should do little, and not call this.
    ///
    /// # Errors
    ///
    /// If the thread cannot be had.
    ///
    /// # Panics
    ///
    /// With whatever `f` panics with.
    pub fn on_spawning_thread<T: Send + 'static>(
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        crate::process::on_spawning_thread(f)
    }

    /// Waits until something has become of one of these children, for no longer than `timeout`;
    /// `None`: nothing has. As [`look`] otherwise.
    ///
    /// The end of one process, asked for by its number, wakes the caller at once. Nothing tells of the
    /// rest (any child, a group, a child that is stopped), nor of any where the system has no descriptors for processes or has
    /// none left: there the caller looks every 16 milliseconds, and more often at first.
    ///
    /// A point of cancellation.
    ///
    /// # Errors
    ///
    /// As [`look`].
    pub fn wait_for(
        which: Which,
        states: States,
        keep: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Option<Change>> {
        crate::process::wait_for(which, states, keep, timeout)
    }
}
