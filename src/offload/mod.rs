//! Calls that cannot yield, made on OS threads.
//!
//! A call that has no form that does not wait (looking up a name, reading a file, C code) is made on
//! a thread of a small pool (`pool.rs`), while the green thread that wants its result parks.
//!
//! # Who keeps what
//!
//! Closure and result belong to the call, not to the frame that waits for it: both are in the job,
//! and the slot for the result is shared. So whoever is interrupted may leave at once, and the
//! closure goes on. A closure that borrows must not be left behind: for it there is a wait that is no point
//! of cancellation ([`offload_borrowing`]).

#![expect(
    unsafe_code,
    reason = "closures that borrow are run by threads that know nothing of it"
)]

mod pool;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use parking_lot::Mutex;

use self::pool::Job;
use crate::cancel;
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{Ended, Episode, Target};
use crate::scheduler::{self, Section};
use crate::thread::Result;

/// Which of the pools makes a call: each has threads of its own, so that what one waits for does
/// not hold up the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Lane {
    /// Files, C code, computations: at most 32 threads, or `GREENRT_OFFLOAD_THREADS`.
    General,
    /// Looking up names: 16 threads, and up to 256 while some of them wait for servers that do not
    /// answer. A call that has been queued for 10 ms gets a thread of its own, as long as there may be
    /// another.
    Dns,
}

/// Makes a call that blocks, or computes for long, on an OS thread of a small pool.
///
/// The calling green thread parks, and its worker runs others meanwhile. Off a green thread `f` is
/// called right here.
///
/// The pool has at most 32 threads (`GREENRT_OFFLOAD_THREADS`); further calls wait for one. So a call
/// should not wait for what another one has yet to do. Threads are started when there is something to do,
/// and end when there was nothing for two seconds.
///
/// `f` has the thread-locals of the OS thread that runs it, `errno` among them. Where no thread can be
/// started it is run here, and blocks the worker.
///
/// # Cancellation
///
/// A point: a cancelled green thread unwinds from here, and so does one whose time limit passes. Before
/// `f` has been handed to the pool it is dropped then; afterwards it goes on to its end, keeps what it
/// owns until then, and its result is dropped on the pool's thread.
///
/// # Panics
///
/// With whatever `f` panics with.
///
/// # Examples
///
/// ```
/// greenrt::run(|| {
///     let hosts = greenrt::offload(|| std::fs::read_to_string("/etc/hosts"));
///     assert!(hosts.is_ok());
/// });
/// ```
pub fn offload<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    offload_to(Lane::General, f)
}

/// As [`offload`](crate::offload), in a lane of one's choice.
///
/// # Panics
///
/// With whatever `f` panics with.
pub fn offload_to<F, T>(lane: Lane, f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Section::enter_green() {
        None => return f(),
        Some(section) => cancel::check(&section),
    }
    // SAFETY: neither closure nor result borrows.
    unsafe { call(lane, f, true) }
}

/// As [`offload_to`], for closures that may borrow: not a point of cancellation, and not ended by
/// limits, so that it never returns before `f` has.
///
/// # Panics
///
/// With whatever `f` panics with.
///
/// # Examples
///
/// ```
/// use greenrt::lowlevel::{Lane, offload_borrowing};
///
/// greenrt::run(|| {
///     let mut line = String::new();
///     offload_borrowing(Lane::General, || line.push_str("read"));
///     assert_eq!(line, "read");
/// });
/// ```
pub fn offload_borrowing<F, T>(lane: Lane, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if !scheduler::on_green_thread() {
        return f();
    }
    // SAFETY: it is no point, so it does not return or unwind before the call has ended.
    unsafe { call(lane, f, false) }
}

/// Makes the call and waits for its result.
///
/// # Safety
///
/// If closure or result borrow, `is_point` is false: then `f` has been called, and its result taken,
/// when this returns or unwinds.
unsafe fn call<F, T>(lane: Lane, f: F, is_point: bool) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let slot = Arc::new(Slot::default());
    let filled = Arc::clone(&slot);
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        // What is seen of a broken state is seen by the caller, to whom the panic is passed on.
        filled.fill(panic::catch_unwind(AssertUnwindSafe(f)));
        // Nobody may be there to take the result. Whatever its destructor does, the thread goes on.
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(filled))) {
            std::mem::forget(payload);
        }
    });
    // SAFETY: the caller's promise: what is borrowed stays until `f` has returned and the result was
    // taken out of the slot. What is left of the job then is an empty slot.
    let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
    pool::submit(lane, job);
    slot.take(is_point)
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Where the result comes.
struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    result: Option<Result<T>>,
    /// Whoever leaves the wait takes this out first, so a target that is here is valid.
    waiter: Option<Target>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot(Mutex::new(State {
            result: None,
            waiter: None,
        }))
    }
}

impl<T> Slot<T> {
    /// Called once, on any thread.
    fn fill(&self, result: Result<T>) {
        let _section = Section::enter_green();
        let wake = {
            let mut state = self.0.lock();
            state.result = Some(result);
            let waiter = state.waiter.take();
            waiter.and_then(|waiter| waiter.claim(CLAIM_WOKEN))
        };
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    /// Waits for the result.
    fn take(&self, is_point: bool) -> Result<T> {
        let ends = Ends {
            by_token: false,
            by_cancel: is_point,
        };
        loop {
            let ended = match Episode::open(Reason::OFFLOAD, ends) {
                Err(ended) => ended,
                Ok(episode) => {
                    {
                        let mut state = self.0.lock();
                        if let Some(result) = state.result.take() {
                            return result;
                        }
                        state.waiter = Some(episode.target());
                    }
                    episode.park(None)
                }
            };
            let result = {
                let _section = Section::enter_green();
                let mut state = self.0.lock();
                state.waiter = None;
                state.result.take()
            };
            // What has come is not lost, and a cancel comes back at the next point.
            match (result, ended) {
                (Some(result), _) => return result,
                (None, Ended::Interrupted(interrupt)) => interrupt.unwind(),
                (None, _) => {}
            }
        }
    }
}
