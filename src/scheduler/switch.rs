//! The switch: from a worker's stack to a green thread's, and back.
//!
//! The only file that knows corosensei. A worker *resumes* a green thread, and the thread
//! *suspends* back to its worker; two green threads never switch to each other directly. What the
//! two sides need while the thread has a stack is its [`Frame`], at the top of that stack:
//!
//! ```text
//! +-----------------+ <- top of the slot, less its cache colour
//! | thread-locals   |    if they are private: the block of a family's founder
//! +-----------------+
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
//! # Thread-locals
//!
//! With private thread-locals the worker installs a thread's block before it resumes it, and its own
//! before it does anything else than resume the next (`worker.rs`). Compilers take the address of a
//! thread-local for the same everywhere in a function. It is: a green thread is resumed with the
//! block with which it suspended, and the worker's loop looks at thread-locals only where its own
//! are installed.

#![expect(unsafe_code, reason = "stacks are switched here")]

use std::cell::{Cell, UnsafeCell};
use std::mem;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use corosensei::stack::{Stack, StackPointer};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use greenrt_arch::stack::Slot;
use greenrt_arch::thread_block::Block;

use super::worker::Local;
use crate::cancel::Limits;
use crate::record::{Record, packet};
use crate::thread_data::{self, Keeps};

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

/// Whose thread-locals a thread has (`thread_locals.rs`).
pub(crate) enum Family {
    /// Those of the worker, as all the others; and what is kept beside them.
    Shared(Keeps),
    /// This block, which is on its stack, and which it shares with those that it spawns locally.
    Own(Block),
    /// The same, but the block is that of the OS thread that called `run`, and stays.
    Caller(Block),
    /// Those of the thread whose frame this is, which counts it as a member already.
    Of(NonNull<Frame>),
}

/// What a green thread has as long as it has a stack.
#[repr(C, align(64))]
pub(crate) struct Frame {
    // One cache line: what each switch touches, and whether there are limits at all.
    coroutine: UnsafeCell<Coroutine<(), (), (), Bounds>>,
    yielder: Cell<*const Yielder<(), ()>>,
    /// Its thread-locals; `None` are the worker's.
    block: Option<Block>,
    pub(crate) limits: Limits,
    /// Who founded its family; itself, if it did. `None` if all share the worker's.
    founder: Option<NonNull<Frame>>,
    /// Of a founder: how many threads have its thread-locals, itself included while it lives.
    n_members: Cell<u32>,
    /// Of a founder: whether they end with the last of them.
    destroys: bool,
    /// What is kept for it where thread-locals are shared.
    pub(crate) data: thread_data::Slot,
    slot: Slot,
}

impl Frame {
    /// Puts a frame at the top of `slot`, ready to run `record`'s closure when it is resumed.
    ///
    /// # Safety
    ///
    /// `record` stays live until the frame has been taken down, and its closure was not yet run.
    /// The thread runs inside the loop of `local` only. A block is that of `slot`.
    pub(crate) unsafe fn build(
        slot: Slot,
        record: NonNull<Record>,
        family: Family,
        local: *const Local,
    ) -> NonNull<Frame> {
        slot.set_owner(record.as_ptr().expose_provenance());
        let at = (slot.top() - mem::size_of::<Frame>()) & !(mem::align_of::<Frame>() - 1);
        let limit = slot.limit();
        let frame: *mut Frame = std::ptr::with_exposed_provenance_mut(at);
        let bounds = Bounds {
            base: NonZeroUsize::new(at).expect("a stack is not at address zero"),
            limit: NonZeroUsize::new(limit).expect("a stack is not at address zero"),
        };
        let begins = matches!(family, Family::Own(_));
        let body = move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: the frame is there until the coroutine is done.
            unsafe { &*frame }.yielder.set(yielder);
            if begins {
                // SAFETY: the thread has a block, which is installed, and begins here.
                unsafe { Block::begin() };
            }
            // SAFETY: this thread runs inside the loop of its worker only, says our caller.
            unsafe { super::set_local(local) };
            // SAFETY: the caller of `build` keeps the record live; a coroutine starts once.
            unsafe { packet::run_thread(record) };
        };
        // SAFETY: `body` borrows nothing: it holds pointers that the caller keeps valid.
        let coroutine = unsafe { Coroutine::with_stack_unchecked(bounds, body) };
        let mut keeps = Keeps::InThreadLocals;
        let (block, founder) = match family {
            Family::Shared(kept) => {
                keeps = kept;
                (None, None)
            }
            Family::Own(block) | Family::Caller(block) => (Some(block), NonNull::new(frame)),
            // SAFETY: a founder that has members is there.
            Family::Of(founder) => (unsafe { founder.as_ref() }.block, Some(founder)),
        };
        let value = Frame {
            coroutine: UnsafeCell::new(coroutine),
            yielder: Cell::new(std::ptr::null()),
            block,
            limits: Limits::default(),
            founder,
            n_members: Cell::new(1),
            destroys: begins,
            data: thread_data::Slot::new(keeps),
            slot,
        };
        // SAFETY: the top of a slot that is ours; aligned above.
        unsafe { frame.write(value) };
        // SAFETY: not null, it is in a stack.
        unsafe { NonNull::new_unchecked(frame) }
    }

    /// The thread-locals that must be installed when it is resumed; `None` are the worker's.
    #[inline(always)]
    pub(crate) fn block(&self) -> Option<Block> {
        self.block
    }

    /// Whether an address is on the thread's stack. What lies below the stack is somebody else's, such
    /// as the stack of signal handlers.
    #[inline]
    pub(crate) fn has_below(&self, address: usize) -> bool {
        (self.slot.limit()..std::ptr::from_ref(self).addr()).contains(&address)
    }

    /// Counts a new member of its family, and returns the founder.
    pub(crate) fn join_family(&self) -> Option<NonNull<Frame>> {
        let founder = self.founder?;
        let n_members = self.n_members_of(founder);
        n_members.set(n_members.get() + 1);
        Some(founder)
    }

    /// Whether no other thread has its thread-locals.
    pub(crate) fn is_alone(&self) -> bool {
        self.founder
            .is_some_and(|founder| self.n_members_of(founder).get() == 1)
    }

    #[inline]
    fn n_members_of(&self, founder: NonNull<Frame>) -> &Cell<u32> {
        debug_assert_eq!(self.founder, Some(founder));
        // SAFETY: our founder, whose frame is there as long as it has members, such as us.
        unsafe { &(*founder.as_ptr()).n_members }
    }

    /// Runs the destructors of thread-locals, if nobody else in the family needs them. Nothing
    /// interrupts them.
    ///
    /// # Safety
    ///
    /// Called by the green thread whose frame this is, after its closure.
    #[inline]
    pub(crate) unsafe fn drop_thread_locals(&self) {
        let Some(founder) = self.founder else {
            return self.data.end(|| self.limits.shield_for_good());
        };
        // SAFETY: the founder's frame is there as long as it has members, such as us.
        let destroys = unsafe { founder.as_ref() }.destroys;
        if destroys && self.n_members_of(founder).get() == 1 {
            self.limits.shield_for_good();
            // SAFETY: a thread that runs has its block installed, and its user's code has ended.
            unsafe { Block::run_destructors() };
        }
    }

    /// Runs the green thread until it suspends (`false`) or has ended (`true`).
    ///
    /// # Safety
    ///
    /// The thread is not running, has not ended, and was built on this worker. Its thread-locals
    /// are installed.
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

    /// Takes the frame of an ended thread down, and that of its founder if this was the last of
    /// the family to end. What comes free are their stacks.
    ///
    /// # Safety
    ///
    /// `resume` has said that the thread has ended, and nobody uses the frame any more. Its
    /// thread-locals are not installed.
    #[inline]
    pub(crate) unsafe fn take_down(frame: NonNull<Frame>) -> (Option<Slot>, Option<Slot>) {
        // SAFETY: the frame is still there.
        let founder = unsafe { frame.as_ref() }.founder;
        let Some(founder) = founder else {
            // SAFETY: the frame is still there.
            unsafe { frame.as_ref() }.data.clear();
            // SAFETY: as the caller promises; nobody has its thread-locals.
            return (Some(unsafe { Self::into_slot(frame) }), None);
        };
        // SAFETY: a founder is there until its last member, which may be itself, has ended.
        let n_members = unsafe { &(*founder.as_ptr()).n_members };
        n_members.set(n_members.get() - 1);
        let is_last = n_members.get() == 0;
        if founder == frame {
            // SAFETY: as the caller promises; and nobody else has its thread-locals.
            return (is_last.then(|| unsafe { Self::into_slot(frame) }), None);
        }
        // SAFETY: as the caller promises.
        let own = unsafe { Self::into_slot(frame) };
        // SAFETY: the founder has ended too, and so have all the others.
        let founders = is_last.then(|| unsafe { Self::into_slot(founder) });
        (Some(own), founders)
    }

    /// # Safety
    ///
    /// The thread has ended, nobody uses the frame any more, nor a block on its stack.
    #[inline]
    unsafe fn into_slot(frame: NonNull<Frame>) -> Slot {
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
        let (limit, top) = Self::bounds(&slot);
        let bounds = Bounds {
            base: NonZeroUsize::new(top).expect("a stack is not at address zero"),
            limit: NonZeroUsize::new(limit).expect("a stack is not at address zero"),
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
