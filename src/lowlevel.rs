//! What shims and other libraries build on.
//!
//! Everything here is safe and stays so; it is lower than the rest only in that it speaks of
//! descriptors, credits and cancellation, where the rest of the crate speaks of threads.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

pub use greenrt_arch::socket;

use crate::cancel;
use crate::clock;
use crate::futex::{self, Waited};
use crate::park;
pub use crate::reactor::io::Io;
pub use crate::sync::poison::{Poison, PoisonWatch};
use crate::thread::Thread;
pub use crate::thread_data::{ThreadData, thread_data};

/// Whether the caller is a green thread.
#[inline]
pub fn on_green_thread() -> bool {
    crate::scheduler::on_green_thread()
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
