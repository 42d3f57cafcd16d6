//! What lies behind a record: first the closure, then the result.
//!
//! The record does not know their types; a table of functions made by `spawn` does. Whoever runs,
//! joins or detaches the thread goes through it.
//!
//! # Who drops the result
//!
//! User code must never run on a worker's own stack, where it could not park. So the result is
//! dropped by the joiner, by whoever drops the handle of an ended thread, or, if the handle went
//! first, by the green thread itself as its last act.

#![expect(
    unsafe_code,
    reason = "closure and result are stored without their types"
)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{JOIN_BUSY, JOIN_DETACHED, JOIN_DONE, JOIN_EMPTY, Record, RecordRef, Start, arena};
use crate::cancel::{self, Cancelled};
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{self, Ended, Episode, Target};
use crate::scheduler;

/// What `join` returns: the value, or the payload of the panic that ended the thread.
pub type Result<T> = std::result::Result<T, Box<dyn Any + Send + 'static>>;

/// The functions that know the types behind a record.
pub(crate) struct Vtable {
    run: unsafe fn(NonNull<Record>),
    take: unsafe fn(NonNull<Record>, *mut u8),
    drop_result: unsafe fn(NonNull<Record>),
}

/// Something to be told when a thread has ended and its result is stored.
pub(crate) trait Hook {
    fn ended(self, end: End);
}

impl Hook for () {
    fn ended(self, _end: End) {}
}

/// How a thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Returned,
    Panicked,
    Cancelled,
}

impl End {
    pub(crate) fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => End::Returned,
            Err(payload) if cancel::is_interrupt(&**payload) => End::Cancelled,
            Err(_) => End::Panicked,
        }
    }
}

/// How a result is stored: as it is, or boxed if it is large.
trait Store<T> {
    fn put(value: T) -> Self;
    fn get(self) -> T;
}

struct Inline<T>(T);

impl<T> Store<T> for Inline<T> {
    fn put(value: T) -> Self {
        Inline(value)
    }
    fn get(self) -> T {
        self.0
    }
}

impl<T> Store<T> for Box<T> {
    fn put(value: T) -> Self {
        Box::new(value)
    }
    fn get(self) -> T {
        *self
    }
}

#[repr(C)]
union Payload<F, S, H> {
    start: ManuallyDrop<(F, H)>,
    result: ManuallyDrop<Result<S>>,
}

#[repr(C)]
struct Packet<F, S, H> {
    record: Record,
    payload: UnsafeCell<Payload<F, S, H>>,
}

/// Makes a record with `f` behind it. The two references are the scheduler's and the handle's.
///
/// # Safety
///
/// `F`, `T` and `H` may borrow; the caller makes sure that the thread has ended, and its result
/// is taken or dropped, before what they borrow goes away.
#[inline]
pub(crate) unsafe fn new<F, T, H>(f: F, hook: H, start: Start) -> (RecordRef, RecordRef)
where
    F: FnOnce() -> T,
    H: Hook,
{
    if fits::<Packet<F, Inline<T>, H>>() {
        // SAFETY: the caller's promise.
        return unsafe { make::<F, T, Inline<T>, H>(f, hook, start) };
    }
    let f = Box::new(f);
    // SAFETY: the caller's promise.
    unsafe { make::<_, T, Box<T>, H>(f, hook, start) }
}

const fn fits<P>() -> bool {
    mem::size_of::<P>() <= arena::BYTES_MAX && mem::align_of::<P>() <= arena::ALIGN
}

#[inline]
unsafe fn make<F, T, S, H>(f: F, hook: H, start: Start) -> (RecordRef, RecordRef)
where
    F: FnOnce() -> T,
    S: Store<T>,
    H: Hook,
{
    const { assert!(mem::align_of::<H>() <= arena::ALIGN) };
    let class = arena::class_for(mem::size_of::<Packet<F, S, H>>());
    let at = arena::take(class);
    let packet = at.cast::<Packet<F, S, H>>();
    // SAFETY: the block is large enough for the packet and ours alone.
    let payload = unsafe { &raw const (*packet.as_ptr()).payload };
    let value = Payload {
        start: ManuallyDrop::new((f, hook)),
    };
    // SAFETY: as above; nobody else looks behind a free record.
    unsafe { UnsafeCell::raw_get(payload).write(value) };
    // SAFETY: taken from the arena for this class just now.
    unsafe { Record::init(at, class, table::<F, T, S, H>(), start) };
    // SAFETY: `init` counted two references; this is the first.
    let scheduler = unsafe { RecordRef::from_raw(at) };
    // SAFETY: and this the second.
    let handle = unsafe { RecordRef::from_raw(at) };
    (scheduler, handle)
}

fn table<F, T, S, H>() -> &'static Vtable
where
    F: FnOnce() -> T,
    S: Store<T>,
    H: Hook,
{
    const {
        &Vtable {
            run: run::<F, T, S, H>,
            take: take::<F, T, S, H>,
            drop_result: drop_result::<F, S, H>,
        }
    }
}

/// The body of a green thread: runs the closure, stores the result and tells whoever waits.
///
/// # Safety
///
/// Called once, on the thread's own stack, by the scheduler, which holds a reference.
#[inline]
pub(crate) unsafe fn run_thread(record: NonNull<Record>) {
    // SAFETY: the scheduler holds a reference.
    let vtable = unsafe { record.as_ref() }.vtable();
    // SAFETY: the table was made for what lies behind this record; called once says the caller.
    unsafe { (vtable.run)(record) }
}

unsafe fn run<F, T, S, H>(at: NonNull<Record>)
where
    F: FnOnce() -> T,
    S: Store<T>,
    H: Hook,
{
    let packet = at.cast::<Packet<F, S, H>>();
    // SAFETY: the table belongs to this packet, so this is its type, and it lives while the
    // scheduler's reference does.
    let packet = unsafe { packet.as_ref() };
    let payload = packet.payload.get();
    // SAFETY: nobody else touches the payload until the result is there; it holds the closure,
    // because `run` is called once.
    let payload_now = unsafe { &*payload };
    // SAFETY: it holds the closure still.
    let start = unsafe { &payload_now.start };
    // SAFETY: as above; the payload is overwritten below before anybody reads it again.
    let (f, hook) = ManuallyDrop::into_inner(unsafe { std::ptr::read(start) });

    let record = &packet.record;
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        if cancel::pending_at_start(record) {
            drop(f);
            cancel::unwind(Cancelled::new());
        }
        f()
    }));
    let end = End::of(&result);
    let result = result.map(S::put);
    // SAFETY: still ours alone, and empty.
    unsafe {
        payload.write(Payload {
            result: ManuallyDrop::new(result),
        })
    };
    let mut is_dropped = false;
    // Acquire: pairs with the release of whoever dropped the handle.
    if record.join.load(Acquire) == JOIN_DETACHED {
        // SAFETY: the handle is gone, so the result is ours to drop.
        unsafe { drop_result::<F, S, H>(at) };
        is_dropped = true;
    }
    // As on an OS thread: whoever joins finds the thread-locals destroyed.
    scheduler::drop_thread_locals(record);
    // AcqRel: the result becomes visible to whoever sees BUSY or DONE, and we see the waiter.
    match record.join.swap(JOIN_BUSY, AcqRel) {
        JOIN_EMPTY => record.join.store(JOIN_DONE, Release),
        JOIN_DETACHED => {
            if !is_dropped {
                // The handle went while thread-locals were destroyed. Not ended yet: the destructor
                // may wait.
                record.join.store(JOIN_DETACHED, Relaxed);
                // SAFETY: the handle is gone, so the result is ours to drop.
                unsafe { drop_result::<F, S, H>(at) };
                scheduler::drop_thread_locals(record);
            }
            record.join.store(JOIN_DONE, Release);
        }
        waiter => {
            // SAFETY: a waiter that is in the word stays valid until it takes itself out, which
            // it can do only while the word is not BUSY.
            let waiter = unsafe { &*(waiter as *const JoinWaiter) };
            let wake = waiter.target.claim(CLAIM_WOKEN + waiter.tag);
            record.join.store(JOIN_DONE, Release);
            if let Some(wake) = wake {
                wake.wake();
            }
        }
    }
    hook.ended(end);
}

unsafe fn take<F, T, S, H>(at: NonNull<Record>, out: *mut u8)
where
    S: Store<T>,
{
    let packet = at.cast::<Packet<F, S, H>>();
    // SAFETY: the table belongs to this packet; the caller holds a reference.
    let payload = unsafe { packet.as_ref() }.payload.get();
    // SAFETY: the caller saw DONE and is the only one who takes the result.
    let payload = unsafe { &*payload };
    // SAFETY: the thread is done, so this is what it holds.
    let result = unsafe { &payload.result };
    // SAFETY: as above; nobody reads it again.
    let result = ManuallyDrop::into_inner(unsafe { std::ptr::read(result) });
    let out = out.cast::<Result<T>>();
    // SAFETY: the caller's room is for a `Result<T>`.
    unsafe { out.write(result.map(S::get)) };
}

unsafe fn drop_result<F, S, H>(at: NonNull<Record>) {
    let packet = at.cast::<Packet<F, S, H>>();
    // SAFETY: the table belongs to this packet; the caller holds a reference.
    let payload = unsafe { packet.as_ref() }.payload.get();
    // SAFETY: the caller is the one who may drop the result, once.
    let payload = unsafe { &mut *payload };
    // SAFETY: the thread has stored it, and nobody has taken it.
    let result = unsafe { &mut payload.result };
    // It may wait, and a cancel must not look like a panic then.
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as above.
        cancel::shield(|| unsafe { ManuallyDrop::drop(result) });
    }));
    if dropped.is_err() {
        // As std: there is nobody left to tell.
        eprintln!("fatal runtime error: thread result panicked on drop, aborting");
        std::process::abort();
    }
}

/// Who waits for the end of a thread; in the joiner's frame.
pub(crate) struct JoinWaiter {
    pub(crate) target: Target,
    pub(crate) tag: u32,
}

impl JoinWaiter {
    /// Waits for the end of a thread, until `leave`. `false`: it has ended, or is about to say so.
    ///
    /// # Safety
    ///
    /// The waiter leaves before it goes away or moves. The caller has the only handle of the thread.
    pub(crate) unsafe fn queue(&self, record: &RecordRef) -> bool {
        let at = ptr::from_ref(self) as usize;
        let queued = record
            .join
            .compare_exchange(JOIN_EMPTY, at, AcqRel, Relaxed);
        queued.is_ok()
    }

    /// Ends what `queue` has begun, whether it did or not.
    pub(crate) fn leave(&self, record: &RecordRef) {
        let at = ptr::from_ref(self) as usize;
        let left = record
            .join
            .compare_exchange(at, JOIN_EMPTY, AcqRel, Relaxed);
        if left.is_err() {
            wait_while_busy(record);
        }
    }
}

/// Waits until the thread has ended.
#[inline(always)]
pub(crate) fn wait_end(record: &RecordRef, cancellable: bool, deadline: Option<u64>) -> Ended {
    // Acquire: pairs with the release of the finisher, so the result is visible.
    match record.join.load(Acquire) {
        JOIN_DONE => Ended::Woken(0),
        _ => wait_end_slow(record, cancellable, deadline),
    }
}

#[inline(always)]
fn wait_end_slow(record: &RecordRef, cancellable: bool, deadline: Option<u64>) -> Ended {
    while !record.is_done() {
        let reason = Reason::join(record.id());
        let ends = Ends {
            by_token: false,
            by_cancel: cancellable,
        };
        let episode = match Episode::open(reason, ends) {
            Ok(episode) => episode,
            Err(ended) => return ended,
        };
        let waiter = JoinWaiter {
            target: episode.target(),
            tag: 0,
        };
        let at = (&raw const waiter) as usize;
        let ended = if record
            .join
            .compare_exchange(JOIN_EMPTY, at, AcqRel, Relaxed)
            .is_ok()
        {
            let ended = episode.park(deadline);
            // The load spares the usual case, in which the thread has ended, a locked operation.
            if record.join.load(Relaxed) != at
                || record
                    .join
                    .compare_exchange(at, JOIN_EMPTY, AcqRel, Relaxed)
                    .is_err()
            {
                wait_while_busy(record);
            }
            ended
        } else {
            drop(episode);
            wait_while_busy(record);
            continue;
        };
        match ended {
            Ended::Woken(_) | Ended::Again => {}
            over => return over,
        }
    }
    wait_while_busy(record);
    Ended::Woken(0)
}

/// The finisher is between two of its instructions; it may have been descheduled there.
fn wait_while_busy(record: &Record) {
    let mut n_spins = 0;
    while record.join.load(Acquire) == JOIN_BUSY {
        n_spins += 1;
        if n_spins < 100 {
            std::hint::spin_loop();
        } else {
            park::os_yield();
        }
    }
}

/// Takes the result of a thread that has ended.
///
/// # Safety
///
/// `T` is the type that the thread was spawned with, and the caller owns its only handle, which
/// it neither uses nor drops as one afterwards.
pub(crate) unsafe fn take_result<T>(record: &RecordRef) -> Result<T> {
    debug_assert!(record.is_done(), "greenrt: result of a running thread");
    let mut out = MaybeUninit::<Result<T>>::uninit();
    // SAFETY: `out` has room for a `Result<T>`; the thread is done and the caller has the handle.
    unsafe { (record.vtable().take)(record.as_ptr(), out.as_mut_ptr().cast()) };
    // SAFETY: `take` has written it.
    unsafe { out.assume_init() }
}

/// Gives up the handle: the result is dropped by whoever comes last.
///
/// # Safety
///
/// The caller owns the only handle of the thread and has not taken the result.
pub(crate) unsafe fn detach(record: &RecordRef) {
    // AcqRel: if the thread has ended its result becomes visible to us.
    let seen = record
        .join
        .compare_exchange(JOIN_EMPTY, JOIN_DETACHED, AcqRel, Acquire);
    if seen.is_err() {
        // SAFETY: ended, and the handle with its right to the result is ours.
        unsafe { (record.vtable().drop_result)(record.as_ptr()) };
        // The word stays DONE or becomes it; nobody reads the result again.
    }
}
