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
//! Whether a thread unwinds is told by `std::thread::panicking`. On shared thread-locals that is
//! true for a whole worker while one of its green threads waits in a destructor; the others are
//! deaf meanwhile, and listen again as soon as it has gone on (`Local::listen_again`).
//!
//! # Limits
//!
//! [`timeout`] keeps its deadline in its own frame, linked to the limits around it. A wait ends at
//! the nearest of them all, and what is thrown names the frame that must stop it; frames between
//! let it pass. So an outer limit that passes first is not mistaken for an inner one.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt_arch::errno;

use crate::park::{self, OsThread};
use crate::record::Record;
use crate::scheduler::{self, Section};
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
    _raised: Option<Raised>,
}

impl Cancelled {
    /// For a thread that has not begun, and holds nothing.
    pub(crate) fn new() -> Self {
        Cancelled { _raised: None }
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
    _raised: Raised,
}

/// Part of a payload: as long as it is there, the thread that has raised it unwinds by an
/// interrupt if it unwinds ([`unwinds_by_interrupt`]).
struct Raised(u64);

impl Raised {
    fn new(limits: &Limits) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Relaxed);
        limits.raised.set(number);
        Raised(number)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        Holder::current().with(|limits| {
            // Not so if it was raised by another thread, or if another one was raised since.
            if limits.raised.get() == self.0 {
                limits.raised.set(0);
            }
        });
    }
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
        // One second for all the I/O that destructors do on the way.
        let grace = park::deadline_after(GRACE);
        let raised = Holder::current().with(|limits| {
            limits.grace.set(grace);
            Raised::new(limits)
        });
        match self {
            Interrupt::Cancelled => unwind(Cancelled {
                _raised: Some(raised),
            }),
            Interrupt::Elapsed(limit) => unwind(LimitPassed {
                limit,
                _raised: raised,
            }),
        }
    }
}

/// Whether a payload is that of an interrupt, and not of a panic.
pub(crate) fn is_interrupt(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Cancelled>() || payload.is::<LimitPassed>()
}

/// Whether the calling thread, which unwinds, does so by an interrupt.
#[cold]
pub(crate) fn unwinds_by_interrupt() -> bool {
    Holder::current().with(|limits| limits.raised.get() != 0)
}

/// Unwinds without a panic message.
pub(crate) fn unwind(payload: impl Any + Send) -> ! {
    panic::resume_unwind(Box::new(payload))
}

/// Whether a thread that is about to start should not.
pub(crate) fn pending_at_start(record: &Record) -> bool {
    record.word.is_cancelled() && cfg!(panic = "unwind")
}

/// A limit as others see it: its deadline and its number.
pub(crate) type Nearest = Option<(u64, u64)>;

fn nearer(a: Nearest, b: Nearest) -> Nearest {
    match (a, b) {
        (Some(first), Some(second)) => Some(if second.0 < first.0 { second } else { first }),
        (one, None) | (None, one) => one,
    }
}

/// The limits and shields around what a thread does now.
///
/// Those that were set on the stack it runs on are `own`. A generator has its own, which come and
/// go with it; those of whoever resumes it are its `base`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Limits {
    /// Whether any of the rest says something. Nearly always not, and then it is not looked at.
    any: Cell<bool>,
    own: Cell<Nearest>,
    base: Cell<Nearest>,
    own_shields: Cell<u32>,
    base_shields: Cell<u32>,
    /// Until when I/O may go on in a thread that unwinds by an interrupt.
    grace: Cell<Option<u64>>,
    /// The number of the interrupt that was raised last; zero when its payload is gone.
    raised: Cell<u64>,
}

// SAFETY is not at stake: each thread touches only its own. An `OsThread` is shared so that
// others can wake it, and they do not look at its limits.
#[expect(
    unsafe_code,
    reason = "the limits of an OS thread are in its shared part"
)]
// SAFETY: only the thread whose limits these are calls their methods (`OsThread::current`).
unsafe impl Sync for Limits {}

impl Limits {
    /// Whether there are any, or shields.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.any.get()
    }

    /// The deadline that comes first, and the number of its limit.
    #[inline]
    pub(crate) fn nearest(&self) -> Nearest {
        if self.any.get() {
            nearer(self.own.get(), self.base.get())
        } else {
            None
        }
    }

    /// Sets the limits and shields of the stack that runs, and those of its resumers.
    fn set(&self, own: Nearest, base: Nearest, own_shields: u32, base_shields: u32) {
        self.own.set(own);
        self.base.set(base);
        self.own_shields.set(own_shields);
        self.base_shields.set(base_shields);
        self.any
            .set(own.is_some() || base.is_some() || own_shields + base_shields > 0);
    }

    fn set_own(&self, own: Nearest) {
        self.set(
            own,
            self.base.get(),
            self.own_shields.get(),
            self.base_shields.get(),
        );
    }

    fn set_own_shields(&self, n: u32) {
        self.set(self.own.get(), self.base.get(), n, self.base_shields.get());
    }

    /// Shields the thread until it has ended.
    pub(crate) fn shield_for_good(&self) {
        self.set_own_shields(self.own_shields.get() + 1);
    }

    /// Whether nothing shields the thread.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        cfg!(panic = "unwind")
            && (!self.any.get() || self.own_shields.get() + self.base_shields.get() == 0)
    }
}

/// What a generator keeps of its limits while it is suspended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspended {
    own: Nearest,
    shields: u32,
}

impl Suspended {
    /// Begins to run the generator: its limits are those of the calling thread, until `leave`.
    ///
    /// Nearly always neither has any, and then nothing is done.
    #[inline]
    pub(crate) fn enter(self) -> Option<Resumer> {
        let none = self.own.is_none() && self.shields == 0 && !has_limits();
        (!none).then(|| Resumer::enter(self))
    }

    /// The generator is suspended, or has ended.
    #[inline]
    pub(crate) fn leave(resumer: Option<Resumer>) -> Suspended {
        match resumer {
            Some(resumer) => resumer.leave(),
            None if has_limits() => Resumer::without().leave(),
            None => Suspended::default(),
        }
    }
}

/// Whether anything limits or shields the calling thread.
#[inline]
pub(crate) fn has_limits() -> bool {
    match Section::enter_green() {
        Some(section) => section.limits().any.get(),
        None => OsThread::has_limits(),
    }
}

/// What a resumer has of its limits while the generator runs.
pub(crate) struct Resumer {
    own: Nearest,
    base: Nearest,
    own_shields: u32,
    base_shields: u32,
    holder: Holder,
}

impl Resumer {
    /// Of a thread without limits.
    fn without() -> Self {
        let holder = Holder::current();
        Resumer {
            own: None,
            base: None,
            own_shields: 0,
            base_shields: 0,
            holder,
        }
    }

    /// The calling thread begins to run a generator.
    fn enter(generator: Suspended) -> Self {
        let holder = Holder::current();
        let (own, base, own_shields, base_shields) = holder.with(|limits| {
            let (own, base) = (limits.own.get(), limits.base.get());
            let (own_shields, base_shields) = (limits.own_shields.get(), limits.base_shields.get());
            let shields = own_shields + base_shields;
            limits.set(generator.own, nearer(own, base), generator.shields, shields);
            (own, base, own_shields, base_shields)
        });
        Resumer {
            own,
            base,
            own_shields,
            base_shields,
            holder,
        }
    }

    /// The generator is suspended, or has ended.
    fn leave(self) -> Suspended {
        self.holder.with(|limits| {
            let inside = Suspended {
                own: limits.own.get(),
                shields: limits.own_shields.get(),
            };
            limits.set(self.own, self.base, self.own_shields, self.base_shields);
            inside
        })
    }
}

/// The limits of whichever thread calls, which may be another one each time: a generator carries
/// its frames from thread to thread.
///
/// An OS thread whose thread-locals are gone is remembered here, so that what is raised on its
/// limits is taken down from the same.
struct Holder(Option<Arc<OsThread>>);

impl Holder {
    fn current() -> Self {
        let known = scheduler::on_green_thread() || OsThread::known().is_some();
        Holder((!known).then(OsThread::current))
    }

    fn with<R>(&self, f: impl FnOnce(&Limits) -> R) -> R {
        if let Some(section) = Section::enter_green() {
            return f(section.limits());
        }
        match OsThread::known().as_ref().or(self.0.as_ref()) {
            Some(thread) => f(thread.limits()),
            None => f(OsThread::current().limits()),
        }
    }
}

/// Runs `f`, for at most `limit`.
///
/// When the time is up, the call in which `f` waits unwinds; destructors run, and `timeout`
/// returns [`Elapsed`]. If `f` catches the unwinding it meets it again at its next point. If `f`
/// returns first, its value is returned, however late. Code that computes is not interrupted.
///
/// Limits nest: each acts where it was set, the nearest first. The time is that of the runtime's
/// clock. On an OS thread the limit acts likewise on the waits of greenrt and greenstd, descriptors
/// included; not on those of std and the system, nor on the looking up of names, which is the
/// system's there.
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
    let holder = Holder::current();
    let outer = holder.with(|limits| {
        let outer = limits.own.get();
        limits.set_own(nearer(outer, Some((deadline, number))));
        outer
    });
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    holder.with(|limits| {
        limits.set_own(outer);
        limits.grace.set(None);
    });
    match result {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast_ref::<LimitPassed>() {
            Some(passed) if passed.limit == number => Err(Elapsed { _private: () }),
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
    struct Shield(Holder);
    impl Drop for Shield {
        fn drop(&mut self) {
            self.0
                .with(|limits| limits.set_own_shields(limits.own_shields.get() - 1));
        }
    }
    let shield = Shield(Holder::current());
    shield
        .0
        .with(|limits| limits.set_own_shields(limits.own_shields.get() + 1));
    f()
}

/// See [`lowlevel::interrupts_as_errors`](crate::lowlevel::interrupts_as_errors).
#[inline]
pub(crate) fn as_errors<T>(f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => Err(as_error(payload)),
    }
}

#[cold]
fn as_error(payload: Box<dyn Any + Send>) -> io::Error {
    let error = if payload.is::<Cancelled>() {
        errno::canceled()
    } else if payload.is::<LimitPassed>() {
        errno::timed_out()
    } else {
        panic::resume_unwind(payload)
    };
    Holder::current().with(|limits| limits.grace.set(None));
    error
}

/// Asks a green thread to end; see [`lowlevel::cancel`](crate::lowlevel::cancel).
pub(crate) fn cancel(thread: &Thread) {
    if let Some(record) = thread.record() {
        crate::scheduler::cancel(record);
    }
}

/// A point that need not wait: unwinds if the thread was asked to end, or a limit has passed.
#[inline]
pub(crate) fn check(section: &Section) {
    if section.word().is_cancelled() || section.limits().any.get() {
        check_slow(section);
    }
}

/// The limit that acts first on the calling OS thread.
pub(crate) fn limit_off() -> Nearest {
    if !OsThread::has_limits() || std::thread::panicking() {
        return None;
    }
    Holder::current().with(|limits| limits.nearest().filter(|_| limits.is_open()))
}

/// As `check`, on an OS thread.
pub(crate) fn check_off() {
    if let Some((deadline, number)) = limit_off()
        && deadline <= park::now()
    {
        Interrupt::Elapsed(number).unwind();
    }
}

/// Whether the calling green thread has been cancelled, or is about to be, because its runtime ends.
pub(crate) fn pending() -> Option<Interrupt> {
    let section = Section::enter_green()?;
    let asked = section.word().is_cancelled() || section.local().runtime().is_shutting_down();
    let acts = section.limits().is_open() && !std::thread::panicking();
    (asked && acts).then_some(Interrupt::Cancelled)
}

#[cold]
fn check_slow(section: &Section) {
    let limits = section.limits();
    if !limits.is_open() || std::thread::panicking() {
        return;
    }
    let interrupt = match limits.nearest() {
        _ if section.word().is_cancelled() => Interrupt::Cancelled,
        Some((deadline, number)) if deadline <= park::now() => Interrupt::Elapsed(number),
        _ => return,
    };
    give_way(section);
    interrupt.unwind();
}

/// Whoever swallows what it unwinds with comes back soon: the others get their turn in between.
#[cold]
pub(crate) fn give_way(section: &Section) {
    section.yield_now();
}

/// The deadline that I/O gets on top of its own because the thread unwinds by an interrupt.
#[inline]
pub(crate) fn io_grace() -> Option<u64> {
    if std::thread::panicking() {
        io_grace_slow()
    } else {
        None
    }
}

#[cold]
fn io_grace_slow() -> Option<u64> {
    Holder::current().with(|limits| limits.grace.get().filter(|_| limits.is_open()))
}
