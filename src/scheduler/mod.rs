//! The scheduler: which green thread runs, on which worker, and when.
//!
//! # Cast
//!
//! - A *worker* is an OS thread that runs green threads. Its part that only it touches is
//!   [`Local`] (`worker.rs`); the part that others may touch is `Shared`.
//! - A *green thread* is a record (`record/`), and, once it has started, a frame at the top of its
//!   stack (`switch.rs`).
//!
//! # Pinned after the first run
//!
//! A spawn is a closure without a stack. It goes to the `fresh` queue of its spawner's worker,
//! from which idle workers may steal it, and leaves a marker in the worker's run queue. When it
//! first runs it gets a stack, and stays on that worker for life. So whatever a thread keeps that
//! belongs to an OS thread stays right, and the run queue needs no atomics. Wake-ups from
//! elsewhere go through the worker's inbox.
//!
//! A worker without siblings has nobody who could steal: there a spawn goes to the run queue
//! itself.
//!
//! # The round
//!
//! A worker runs up to `n` green threads in a row, then looks at timers, inbox and descriptors.
//! `n` is between 1 and 256 and follows one clock reading per round, so that a round takes about
//! half a millisecond. Calls that succeed without parking spend credits and yield when they have
//! none left, so a peer that never stops sending does not keep a thread running for ever.
//!
//! # Placement
//!
//! A long-lived thread stays where it started, so connections accepted by one worker would all
//! stay there. A spawn goes to a sibling instead when the spawner's worker has more started
//! threads than that sibling by a margin; short-lived threads never reach the margin and stay.
//!
//! # Considered and left out
//!
//! - Moving started threads between workers: thread-locals, lock guards and cached addresses of
//!   both would break; this is where other runtimes of the kind are unsound.
//! - Running a spawned thread at once, parking the spawner: order becomes last in, first out.

#![expect(
    unsafe_code,
    reason = "the worker's own part is found through a thread-local"
)]

pub(crate) mod fresh;
pub(crate) mod idle;
pub(crate) mod inbox;
pub(crate) mod run_queue;
pub(crate) mod switch;
pub(crate) mod worker;

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::cancel::Limits;
use crate::futex;
use crate::park::reason::Reason;
use crate::park::word::WaitWord;
use crate::record::{Record, RecordRef};
use crate::thread_data;
use worker::Local;

thread_local! {
    /// The worker that the calling thread is. The same for all green threads of a worker, also
    /// when each has thread-locals of its own.
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// Runs `f` with the calling worker, on a green thread or not; `None` on other threads.
///
/// `f` must not switch. It counts as inside the runtime, so no lock that it waits for makes it.
#[inline]
pub(crate) fn with_local<R>(f: impl FnOnce(&Local) -> R) -> Option<R> {
    with_unmarked(|local| {
        let _inside = Inside::enter(local);
        f(local)
    })
}

/// As [`with_local`], for closures that cannot wait for anything.
#[inline]
fn with_unmarked<R>(f: impl FnOnce(&Local) -> R) -> Option<R> {
    let local = LOCAL.get();
    // SAFETY: set for the time in which the worker's loop runs, by `Installed`, whose owner keeps
    // the worker where it is. A green thread of a worker runs only inside that loop.
    (!local.is_null()).then(|| f(unsafe { &*local }))
}

/// Says which worker a green thread with new thread-locals runs on.
///
/// # Safety
///
/// The caller runs inside the loop of `local` for as long as it looks at thread-locals.
unsafe fn set_local(local: *const Local) {
    LOCAL.set(local);
}

/// Marks the running thread as inside the runtime, until dropped.
struct Inside<'a>(&'a Local);

impl<'a> Inside<'a> {
    #[inline]
    fn enter(local: &'a Local) -> Self {
        local.enter();
        Inside(local)
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Makes a worker the calling OS thread's, until dropped.
pub(crate) struct Installed<'a> {
    _local: &'a Local,
}

impl<'a> Installed<'a> {
    pub(crate) fn new(local: &'a Local) -> Self {
        LOCAL.set(local);
        futex::hook::worker_starts();
        Installed { _local: local }
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        LOCAL.set(ptr::null());
    }
}

/// Whether the caller is a green thread that shares its worker's thread-locals.
#[inline]
pub(crate) fn shares_thread_locals() -> bool {
    with_unmarked(|local| local.current().is_some() && !local.has_blocks()).unwrap_or(false)
}

/// Whether the caller is a green thread.
#[inline]
pub(crate) fn on_green_thread() -> bool {
    with_unmarked(|local| local.current().is_some()).unwrap_or(false)
}

/// The place of the calling worker in its runtime.
#[inline]
pub(crate) fn worker_index() -> Option<usize> {
    with_unmarked(|local| local.shared().index)
}

/// Whether the caller is the user's code on a green thread, and not the runtime's own; nor a signal
/// handler on a stack of its own, from which nobody may be switched away.
#[inline]
pub(crate) fn in_user_code() -> bool {
    let of_user = with_unmarked(|local| {
        let record = local.current().filter(|_| !local.is_inside())?;
        // SAFETY: the scheduler holds a reference to the record of a thread that runs.
        let record = unsafe { record.as_ref() };
        Some(is_on_stack_of(record) || is_on_another_stack_of_ours())
    });
    of_user.flatten() == Some(true)
}

/// Whether the caller runs on the stack of `record`, and not on a generator's or a signal handler's.
#[inline]
fn is_on_stack_of(record: &Record) -> bool {
    let sp = greenrt_arch::context::registers().sp;
    // SAFETY: null, or the frame of a thread that runs, which is there until it has ended.
    let frame = unsafe { record.frame.get().as_ref() };
    frame.is_some_and(|frame| frame.has_below(sp))
}

/// A generator's.
#[cold]
fn is_on_another_stack_of_ours() -> bool {
    greenrt_arch::stack::find(greenrt_arch::context::registers().sp).is_some()
}

/// The runtime section: a green thread is inside the runtime.
///
/// Every entry from user code passes here. While a section is open the thread is marked, so that
/// what the runtime itself calls (its locks, its system calls) is never taken for a call of the
/// user's. Sections nest; a switch inside one keeps the mark for this thread only.
pub(crate) struct Section {
    local: NonNull<Local>,
    record: NonNull<Record>,
}

impl Section {
    /// Opens a section if the caller is a green thread.
    #[inline]
    pub(crate) fn enter_green() -> Option<Section> {
        with_unmarked(|local| {
            let record = local.current()?;
            local.enter();
            Some(Section {
                local: NonNull::from(local),
                record,
            })
        })
        .flatten()
    }

    /// The worker.
    #[inline]
    pub(crate) fn local(&self) -> &Local {
        // SAFETY: a section belongs to a green thread, which runs only inside its worker's loop.
        unsafe { self.local.as_ref() }
    }

    /// The green thread.
    #[inline]
    pub(crate) fn record(&self) -> NonNull<Record> {
        self.record
    }

    #[inline]
    fn record_ref(&self) -> &Record {
        // SAFETY: the scheduler holds a reference to the record of a thread that runs.
        unsafe { self.record.as_ref() }
    }

    #[inline]
    pub(crate) fn word(&self) -> &WaitWord {
        &self.record_ref().word
    }

    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        // SAFETY: a thread that runs has a frame.
        unsafe { &(*self.record_ref().frame.get()).limits }
    }

    /// What is kept for the thread where thread-locals are shared.
    pub(crate) fn thread_data(&self) -> &thread_data::Slot {
        // SAFETY: a thread that runs has a frame.
        unsafe { &(*self.record_ref().frame.get()).data }
    }

    /// Whether no other green thread has the same thread-locals.
    pub(crate) fn has_own_thread_locals(&self) -> bool {
        // SAFETY: a thread that runs has a frame.
        unsafe { &*self.record_ref().frame.get() }.is_alone()
    }

    /// Switches away; comes back when whoever claimed the open episode has made the thread
    /// runnable, or when `deadline` has claimed it.
    #[inline(always)]
    pub(crate) fn park(&self, reason: Reason, deadline: Option<u64>) {
        self.local().park(self.record_ref(), reason, deadline);
    }

    /// As [`make_runnable`], without allocating.
    ///
    /// # Safety
    ///
    /// As [`make_runnable`].
    pub(crate) unsafe fn make_runnable(&self, record: NonNull<Record>) {
        let local = self.local();
        // SAFETY: until it is made runnable the thread cannot go on, so its record stays.
        let worker = unsafe { record.as_ref() }.worker();
        let is_ours = ptr::eq(&raw const **local.shared(), worker);
        if !is_ours || !local.push_if_room(record) {
            // SAFETY: the caller's promise.
            unsafe { hand_in(record) };
        }
    }

    /// Whether the caller runs on the stack of the green thread, and not on a generator's or a
    /// signal handler's.
    pub(crate) fn is_on_own_stack(&self) -> bool {
        is_on_stack_of(self.record_ref())
    }

    /// Spends a credit of the thread, and yields when there are none left.
    #[inline(always)]
    pub(crate) fn spend_credit(&self) {
        if !self.local().spend_credit() {
            self.yield_now();
        }
    }

    /// Switches away and stays runnable.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        self.local().yield_now(self.record);
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        self.local().leave();
    }
}

/// Puts the owner of a claimed episode into the run queue of its worker.
///
/// # Safety
///
/// The caller claimed the episode of `record`, a green thread that has started, and has not done
/// this before.
#[inline]
pub(crate) unsafe fn make_runnable(record: NonNull<Record>) {
    // SAFETY: until it is made runnable the thread cannot go on, so its record stays.
    let worker = unsafe { record.as_ref() }.worker();
    let done = with_local(|local| {
        if ptr::eq(&raw const **local.shared(), worker) {
            local.push(record);
            return true;
        }
        // SAFETY: as above, and a thread that has not ended keeps its worker's runtime.
        let shared = unsafe { &*worker };
        if local.is_sibling(shared) {
            // SAFETY: claimed by the caller, so in no other queue. Our own loop keeps the
            // runtime, and so its workers, whatever the thread does next.
            unsafe { shared.push(record) };
            return true;
        }
        false
    });
    if done != Some(true) {
        // SAFETY: the caller's promise.
        unsafe { hand_in(record) };
    }
}

/// As [`make_runnable`], always through the inbox: for callers that may have come in the middle of
/// anything that the worker does.
///
/// # Safety
///
/// As [`make_runnable`].
pub(crate) unsafe fn hand_in(record: NonNull<Record>) {
    // SAFETY: until it is made runnable the thread cannot go on, so its record stays.
    let worker = unsafe { record.as_ref() }.worker();
    // SAFETY: `worker` comes from an `Arc` that lives at least until the thread can go on.
    unsafe { Arc::increment_strong_count(worker) };
    // SAFETY: counted just now. Ours, so that it outlives the push.
    let shared = unsafe { Arc::from_raw(worker) };
    // SAFETY: claimed by the caller, so in no other queue.
    unsafe { shared.push(record) };
}

/// Who calls a function of libc that we stand in for.
pub(crate) enum Caller {
    /// User code on a green thread; the section is open from here on.
    User(Section),
    /// The runtime itself, on a worker.
    Runtime,
    /// An OS thread that is no worker.
    Other,
}

impl Caller {
    #[inline]
    pub(crate) fn now() -> Caller {
        let of_user = with_unmarked(|local| local.current().is_some() && !local.is_inside());
        match of_user {
            None => Caller::Other,
            Some(false) => Caller::Runtime,
            Some(true) => Section::enter_green().map_or(Caller::Runtime, Caller::User),
        }
    }
}

/// Destroys the thread-locals of the calling green thread, whose closure has returned, unless others
/// have the same ones.
#[inline]
pub(crate) fn drop_thread_locals(record: &Record) {
    // SAFETY: a thread that runs has a frame.
    let frame = unsafe { &*record.frame.get() };
    // SAFETY: the caller is that thread.
    unsafe { frame.drop_thread_locals() };
}

/// Makes a token available to a green thread.
#[inline]
pub(crate) fn unpark(record: &RecordRef) {
    if record.word.unpark() {
        // SAFETY: `unpark` has claimed its episode; a thread that parks has started.
        unsafe { make_runnable(record.as_ptr()) };
    }
}

/// Asks a green thread to end.
pub(crate) fn cancel(record: &RecordRef) {
    if record.word.cancel() {
        // SAFETY: `cancel` has claimed its episode; a thread that parks has started.
        unsafe { make_runnable(record.as_ptr()) };
    }
}

/// Spends one of the credits of the calling green thread, and yields when there are none left.
#[inline]
pub(crate) fn spend_credit() {
    // On a worker's own stack they are nobody's, and nothing is lost.
    if with_unmarked(Local::spend_credit) == Some(false) {
        yield_out_of_credit();
    }
}

#[cold]
fn yield_out_of_credit() {
    if let Some(section) = Section::enter_green() {
        section.yield_now();
    }
}
