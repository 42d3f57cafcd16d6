//! Asking a thread to end early, and limits of time.
//!
//! A thread that is cancelled, or whose time limit has passed, unwinds from the call in which it
//! waits: destructors run, no panic message is printed, and the payload tells the two apart from
//! each other and from panics. Both are level-triggered: code that swallows the payload meets it
//! again at its next point.
//!
//! # Points
//!
//! A *point* is a call that may unwind so: every call of greenrt that parks, except the end of a
//! scope, [`park`](crate::park) and [`yield_now`](crate::yield_now), which code that is sound
//! on std relies on not to unwind.
//!
//! While a thread unwinds, and inside [`shield`], nothing interrupts it: calls wait as if nobody
//! had asked, except that I/O is given one second and then fails with `ECANCELED`.
//!
//! # Limits
//!
//! [`timeout`] keeps its deadline in its own frame, linked to the limits around it. A wait ends at
//! the nearest of them all, and what is thrown names the frame that must stop it; frames between
//! let it pass. So an outer limit that passes first is not mistaken for an inner one.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::park::{self, OsThread};
use crate::record::Record;
use crate::scheduler::Section;
use crate::thread::Thread;

/// How long I/O may go on in a thread that unwinds because it was cancelled.
const GRACE: Duration = Duration::from_secs(1);

/// The payload with which a cancelled thread unwinds; `join` returns it as its error.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let sleeper = greenrt::spawn(|| greenrt::sleep(Duration::from_secs(1000)));
/// greenrt::lowlevel::cancel(sleeper.thread());
/// let error = sleeper.join().unwrap_err();
/// assert!(error.is::<greenrt::Cancelled>());
/// ```
pub struct Cancelled {
    _private: (),
}

impl Cancelled {
    pub(crate) fn new() -> Self {
        Cancelled { _private: () }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancelled")
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("green thread was cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// The error of [`timeout`]: the time was up before the closure had returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    _private: (),
}

impl fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elapsed")
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time limit elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// What a thread unwinds with when a limit has passed. Private: only `timeout` may stop it.
struct LimitPassed {
    limit: u64,
}

/// Why a wait ended against the will of who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The thread was cancelled.
    Cancelled,
    /// The limit with this number has passed.
    Elapsed(u64),
}

impl Interrupt {
    /// Unwinds to whoever stops it: the root of the thread, or the limit's frame.
    pub(crate) fn unwind(self) -> ! {
        match self {
            Interrupt::Cancelled => unwind(Cancelled::new()),
            Interrupt::Elapsed(limit) => unwind(LimitPassed { limit }),
        }
    }
}

/// Whether a payload is that of an interrupt, and not of a panic.
pub(crate) fn is_interrupt(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Cancelled>() || payload.is::<LimitPassed>()
}

/// Unwinds without a panic message.
pub(crate) fn unwind(payload: impl Any + Send) -> ! {
    panic::resume_unwind(Box::new(payload))
}

/// Whether a thread that is about to start should not.
pub(crate) fn pending_at_start(record: &Record) -> bool {
    record.word.is_cancelled() && cfg!(panic = "unwind")
}

/// One limit, in the frame of `timeout`.
struct Limit {
    deadline: u64,
    number: u64,
    outer: Option<(u64, u64)>,
}

/// The limits around what a thread does now.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Deadline and number of the nearest.
    nearest: Cell<Option<(u64, u64)>>,
    n_shields: Cell<u32>,
}

// SAFETY is not at stake: each thread touches only its own. An `OsThread` is shared so that
// others can wake it, and they do not look at its limits.
#[expect(unsafe_code, reason = "the limits of an OS thread are in its shared part")]
// SAFETY: only the thread whose limits these are calls their methods (`OsThread::current`).
unsafe impl Sync for Limits {}

impl Limits {
    pub(crate) const fn new() -> Self {
        Limits { nearest: Cell::new(None), n_shields: Cell::new(0) }
    }

    /// The deadline that comes first, and the number of its limit.
    #[inline]
    pub(crate) fn nearest(&self) -> Option<(u64, u64)> {
        self.nearest.get()
    }

    /// Whether a wait may be interrupted now.
    #[inline]
    pub(crate) fn may_interrupt(&self) -> bool {
        // On shared thread-locals a sibling that parked while it unwinds makes this answer true;
        // then our own interrupt waits until it has gone on.
        self.n_shields.get() == 0 && cfg!(panic = "unwind") && !std::thread::panicking()
    }

    fn enter(&self, deadline: u64, number: u64) -> Limit {
        let outer = self.nearest.get();
        if outer.is_none_or(|(nearest, _)| deadline < nearest) {
            self.nearest.set(Some((deadline, number)));
        }
        Limit { deadline, number, outer }
    }

    fn leave(&self, limit: &Limit) {
        self.nearest.set(limit.outer);
    }
}

/// Runs `f` with the limits of the calling thread.
fn with_limits<R>(f: impl FnOnce(&Limits) -> R) -> R {
    match Section::enter_green() {
        Some(section) => f(section.limits()),
        None => f(OsThread::current().limits()),
    }
}

/// Runs `f`, for at most `limit`.
///
/// When the time is up, the call in which `f` waits unwinds; destructors run, and `timeout`
/// returns [`Elapsed`]. If `f` catches the unwinding it meets it again at its next point. If `f`
/// returns first, its value is returned, however late. Code that computes is not interrupted.
///
/// Limits nest: each acts where it was set, the nearest first. The time is that of the runtime's
/// clock. On an OS thread the limit acts on greenrt's own waits, and not on those of the system.
///
/// # Errors
///
/// [`Elapsed`] if this limit passed and interrupted `f`.
///
/// # Panics
///
/// With whatever `f` panics with.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use greenrt::{sleep, timeout};
///
/// greenrt::run(|| {
///     assert_eq!(timeout(Duration::from_secs(1), || 7), Ok(7));
///     assert!(timeout(Duration::from_millis(5), || sleep(Duration::from_secs(9))).is_err());
/// });
/// ```
pub fn timeout<T>(limit: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let Some(deadline) = park::deadline_after(limit) else {
        return Ok(f());
    };
    let number = NUMBERS.fetch_add(1, Relaxed);
    let limit = with_limits(|limits| limits.enter(deadline, number));
    debug_assert_eq!(limit.deadline, deadline);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    with_limits(|limits| limits.leave(&limit));
    match result {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast_ref::<LimitPassed>() {
            Some(passed) if passed.limit == limit.number => Err(Elapsed { _private: () }),
            _ => panic::resume_unwind(payload),
        },
    }
}

/// Runs `f` with cancellation and limits held back until it has returned.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use greenrt::{shield, sleep, timeout};
///
/// greenrt::run(|| {
///     let done = timeout(Duration::from_millis(1), || {
///         shield(|| sleep(Duration::from_millis(5)));
///         7
///     });
///     assert_eq!(done, Ok(7)); // No point after the shield, so nothing was interrupted.
/// });
/// ```
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    struct Shield;
    impl Drop for Shield {
        fn drop(&mut self) {
            with_limits(|limits| limits.n_shields.set(limits.n_shields.get() - 1));
        }
    }
    with_limits(|limits| limits.n_shields.set(limits.n_shields.get() + 1));
    let _shield = Shield;
    f()
}

/// Asks a green thread to end; see [`lowlevel::cancel`](crate::lowlevel::cancel).
pub(crate) fn cancel(thread: &Thread) {
    if let Some(record) = thread.record() {
        crate::scheduler::cancel(record);
    }
}

/// The deadline that I/O gets on top of its own because the thread unwinds after a cancel.
pub(crate) fn io_grace() -> Option<u64> {
    let cancelled = Section::enter_green().is_some_and(|section| {
        section.word().is_cancelled() && section.limits().n_shields.get() == 0
    });
    if cancelled && std::thread::panicking() { park::deadline_after(GRACE) } else { None }
}
