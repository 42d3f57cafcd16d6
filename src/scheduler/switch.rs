//! The switch: from a worker's stack to a green thread's, and back.
//!
//! The only file that knows corosensei. A worker *resumes* a green thread, and the thread
//! *suspends* back to its worker; two green threads never switch to each other directly. What the
//! two sides need while the thread has a stack is its [`Frame`], at the top of that stack:
//!
//! ```text
//! +-----------------+ <- top of the slot, less its cache colour
//! | Frame           |
//! +-----------------+ <- base of the coroutine's stack
//! | corosensei      |
//! | the closure ... |
//! ~                 ~
//! | guard           |
//! +-----------------+ <- lowest address of the slot
//! ```
//!
//! A suspended coroutine is never dropped: corosensei would unwind it, and a destructor that
//! suspends would abort the process. Green threads end by running to their end.
//!
//! Private thread-locals, when they come, are one more step in `resume` and in `suspend`.

#![expect(unsafe_code, reason = "stacks are switched here")]

use std::cell::{Cell, UnsafeCell};
use std::mem;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use greenrt_arch::stack::Slot;

use crate::cancel::Limits;
use crate::record::{Record, packet};

/// Where corosensei may put the stack: below the frame, in a slot that somebody else owns.
struct Bounds {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: the slot has a guard at its low end, more than the minimum between guard and frame, and
// is owned by the frame for as long as the coroutine is not done.
unsafe impl Stack for Bounds {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// What a green thread has as long as it has a stack.
#[repr(C, align(64))]
pub(crate) struct Frame {
    // One cache line: what each switch touches, and whether there are limits at all.
    coroutine: UnsafeCell<Coroutine<(), (), (), Bounds>>,
    yielder: Cell<*const Yielder<(), ()>>,
    slot: Slot,
    pub(crate) limits: Limits,
}

impl Frame {
    /// Puts a frame at the top of `slot`, ready to run `record`'s closure when it is resumed.
    ///
    /// # Safety
    ///
    /// `record` stays live until the frame has been taken down, and its closure was not yet run.
    pub(crate) unsafe fn build(slot: Slot, record: NonNull<Record>) -> NonNull<Frame> {
        slot.set_owner(record.as_ptr().expose_provenance());
        let at = (slot.top() - mem::size_of::<Frame>()) & !(mem::align_of::<Frame>() - 1);
        let limit = slot.limit();
        let frame: *mut Frame = std::ptr::with_exposed_provenance_mut(at);
        let bounds = Bounds {
            base: NonZeroUsize::new(at).expect("a stack is not at address zero"),
            limit: NonZeroUsize::new(limit).expect("a stack is not at address zero"),
        };
        let body = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: the frame is there until the coroutine is done.
            unsafe { &*frame }.yielder.set(yielder);
            // SAFETY: the caller of `build` keeps the record live; a coroutine starts once.
            unsafe { packet::run_thread(record) };
        };
        // SAFETY: `body` borrows nothing: it holds two pointers that the caller keeps valid.
        let coroutine = unsafe { Coroutine::with_stack_unchecked(bounds, body) };
        let value = Frame {
            coroutine: UnsafeCell::new(coroutine),
            yielder: Cell::new(std::ptr::null()),
            limits: Limits::default(),
            slot,
        };
        // SAFETY: the top of a slot that is ours; aligned above.
        unsafe { frame.write(value) };
        // SAFETY: not null, it is in a stack.
        unsafe { NonNull::new_unchecked(frame) }
    }

    /// Runs the green thread until it suspends (`false`) or has ended (`true`).
    ///
    /// # Safety
    ///
    /// The thread is not running, has not ended, and was built on this worker.
    #[inline(always)]
    pub(crate) unsafe fn resume(frame: NonNull<Frame>) -> bool {
        // SAFETY: the frame is there until it is taken down.
        let coroutine = unsafe { frame.as_ref() }.coroutine.get();
        // SAFETY: only a resume touches the coroutine, and the thread is not running.
        let coroutine = unsafe { &mut *coroutine };
        matches!(coroutine.resume(()), CoroutineResult::Return(()))
    }

    /// Switches from the green thread, which calls this, back to its worker.
    ///
    /// # Safety
    ///
    /// Called by the green thread whose frame this is.
    #[inline(always)]
    pub(crate) unsafe fn suspend(&self) {
        // SAFETY: set when the thread began to run; the yielder lives as long as it runs.
        let yielder = unsafe { &*self.yielder.get() };
        yielder.suspend(());
    }

    /// Takes the frame of an ended thread down and gives its stack back.
    ///
    /// # Safety
    ///
    /// `resume` has said that the thread has ended, and nobody uses the frame any more.
    #[inline]
    pub(crate) unsafe fn take_down(frame: NonNull<Frame>) -> Slot {
        // What else is in the frame owns nothing any more: a coroutine that is done has no state.
        // SAFETY: the frame is still there.
        let slot = unsafe { &raw mut (*frame.as_ptr()).slot };
        // SAFETY: written by `build`, read once, here.
        let slot = unsafe { slot.read() };
        slot.set_owner(0);
        slot
    }
}

/// A stack of its own that is resumed and suspended by hand, with values both ways; what a
/// generator is made of.
pub(crate) struct Plain<In, Out, Ret> {
    coroutine: mem::ManuallyDrop<Coroutine<In, Out, Ret, Bounds>>,
    slot: mem::ManuallyDrop<Slot>,
}

/// The suspending side of a [`Plain`].
pub(crate) type PlainYielder<In, Out> = Yielder<In, Out>;

impl<In: 'static, Out: 'static, Ret: 'static> Plain<In, Out, Ret> {
    pub(crate) fn new<F>(slot: Slot, body: F) -> Self
    where
        F: FnOnce(&PlainYielder<In, Out>, In) -> Ret + 'static,
    {
        slot.set_owner(GENERATOR);
        let bounds = Bounds {
            base: NonZeroUsize::new(slot.top()).expect("a stack is not at address zero"),
            limit: NonZeroUsize::new(slot.limit()).expect("a stack is not at address zero"),
        };
        let coroutine = Coroutine::with_stack(bounds, body);
        Plain {
            coroutine: mem::ManuallyDrop::new(coroutine),
            slot: mem::ManuallyDrop::new(slot),
        }
    }

    /// Runs it until it suspends (`Err`) or returns (`Ok`), or panics as it does.
    pub(crate) fn resume(&mut self, value: In) -> Result<Ret, Out> {
        match self.coroutine.resume(value) {
            CoroutineResult::Yield(value) => Err(value),
            CoroutineResult::Return(value) => Ok(value),
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.coroutine.started()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.coroutine.done()
    }

    /// Whether the caller runs on its stack.
    pub(crate) fn holds(slot: (usize, usize)) -> bool {
        let sp = greenrt_arch::context::registers().sp;
        slot.0 <= sp && sp < slot.1
    }

    /// From where to where its stack reaches.
    pub(crate) fn bounds(slot: &Slot) -> (usize, usize) {
        (slot.limit(), slot.top())
    }

    /// Its stack, if it has returned or never begun. A suspended one is leaked: what is on its
    /// stack may be in use.
    pub(crate) fn into_slot(self) -> Option<Slot> {
        if self.is_started() && !self.is_done() {
            return None;
        }
        // Drops the closure of one that never began, which runs on the caller's stack.
        drop(mem::ManuallyDrop::into_inner(self.coroutine));
        let slot = mem::ManuallyDrop::into_inner(self.slot);
        slot.set_owner(0);
        Some(slot)
    }
}

/// The owner word of a generator's stack; those of green threads are addresses.
pub(crate) const GENERATOR: usize = 1;
