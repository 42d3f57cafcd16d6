//! The record of a green thread: what outlives its stack.
//!
//! One allocation per green thread holds its record, and behind it (`packet.rs`) first the closure
//! and then the result. Handles share it by counting references. What is needed only while the
//! thread has a stack lies at the top of that stack instead (`scheduler/switch.rs`), in a page that
//! is touched anyway.
//!
//! # The registry
//!
//! Records come from an arena (`arena.rs`) whose memory never stops being records: a free one is a
//! record with no references. So the arena is the registry of all green threads, at no cost when
//! they come and go: whoever wants to see them walks the arena and tries to take a reference to
//! each, which fails on the free ones.

#![expect(
    unsafe_code,
    reason = "records are counted by hand and live in an arena"
)]

pub(crate) mod arena;
pub(crate) mod packet;

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence};

use greenrt_arch::context::Registers;
use greenrt_arch::stack::Class;

use crate::park::reason::Reason;
use crate::park::word::WaitWord;
use crate::scheduler::inbox::Linked;
use crate::scheduler::switch::Frame;
use crate::scheduler::worker::Shared;
use crate::thread::id;
use crate::thread_data::{Keeps, Kept};
use packet::Vtable;

/// Nobody waits for the end, and it has not come.
const JOIN_EMPTY: usize = 0;
/// The result is there.
const JOIN_DONE: usize = 1;
/// The result is there, and the finisher is looking at the waiter.
const JOIN_BUSY: usize = 2;
/// The handle is gone; the result goes with the thread.
const JOIN_DETACHED: usize = 3;

/// Instead of a founder's address: the OS thread that called `run`.
const KIN_OF_CALLER: usize = 1;

/// Whose thread-locals a thread that has not started is to have.
pub(crate) enum Kin {
    /// Its own.
    Nobody,
    /// Those of the OS thread that called `run`.
    Caller,
    /// Those of this founder, which counts it already.
    Of(NonNull<Frame>),
}

/// See the module's documentation. The fields that `debug::dump` reads are atomic; the others are
/// written by `init`, before anybody else can hold a reference, and never again.
///
/// The first cache line is what waking, switching and parking touch.
#[repr(C)]
pub(crate) struct Record {
    /// Who may end its wait, and who did.
    pub(crate) word: WaitWord,
    refs: AtomicU32,
    /// The worker it runs on for life, from its first run on.
    worker: AtomicPtr<Shared>,
    /// The top of its stack, while it has one.
    pub(crate) frame: Cell<*mut Frame>,
    reason: AtomicU64,
    sp: AtomicUsize,
    /// Before it starts: whose thread-locals it gets, see `set_kin`.
    fp: AtomicUsize,
    ip: AtomicUsize,
    link: AtomicPtr<Record>,
    // The second line: spawn, join, and the dump.
    /// | value    | meaning                                     | left by                |
    /// |----------|---------------------------------------------|------------------------|
    /// | EMPTY    | running, nobody waits for the end           | joiner, drop, finisher |
    /// | a waiter | running, somebody waits (`JoinWaiter`)      | joiner, finisher       |
    /// | DETACHED | running, the handle was dropped             | finisher               |
    /// | BUSY     | ended, the finisher still reads the waiter  | finisher               |
    /// | DONE     | ended, the result is there                  |                        |
    join: AtomicUsize,
    id: AtomicU64,
    /// This and the table are `None` only in memory that has never been a live record.
    site: Cell<Option<&'static Location<'static>>>,
    vtable: Cell<Option<&'static Vtable>>,
    name: UnsafeCell<Option<Box<Box<str>>>>,
    memory_class: Cell<u8>,
    stack_class: Cell<Class>,
    placed: Cell<bool>,
}

// SAFETY: see the type: what is not atomic is written before the record is shared, except `frame`,
// which only the record's own worker touches.
unsafe impl Send for Record {}
// SAFETY: as above.
unsafe impl Sync for Record {}

impl Linked for Record {
    fn link(&self) -> &AtomicPtr<Record> {
        &self.link
    }
}

/// What a record is made with.
pub(crate) struct Start {
    pub(crate) name: Option<Box<str>>,
    pub(crate) stack_class: Class,
    pub(crate) site: &'static Location<'static>,
    /// Placed on one worker: not to be stolen.
    pub(crate) placed: bool,
}

impl Record {
    /// Makes the free record at `at` a live one with two references: the scheduler's and the
    /// handle's.
    ///
    /// # Safety
    ///
    /// `at` was handed out by the arena for `memory_class` and is the caller's alone.
    unsafe fn init(at: NonNull<Record>, memory_class: u8, vtable: &'static Vtable, start: Start) {
        // SAFETY: the arena's memory always holds a record, if a free one; its fields other than
        // the atomics are read only by holders of a reference, and there are none.
        let record = unsafe { at.as_ref() };
        record.word.reset();
        record.worker.store(ptr::null_mut(), Relaxed);
        record.frame.set(ptr::null_mut());
        record.join.store(JOIN_EMPTY, Relaxed);
        record.sp.store(0, Relaxed);
        record.fp.store(0, Relaxed);
        record.ip.store(0, Relaxed);
        record.reason.store(Reason::FRESH.to_bits(), Relaxed);
        record.site.set(Some(start.site));
        record.vtable.set(Some(vtable));
        record.memory_class.set(memory_class);
        record.stack_class.set(start.stack_class);
        record.placed.set(start.placed);
        if let Some(name) = start.name {
            // SAFETY: no reference exists yet, so nobody reads the name.
            unsafe { *record.name.get() = Some(Box::new(name)) };
        }
        record.id.store(id::next(), Relaxed);
        // Release: pairs with the acquire in `try_ref`, so whoever finds the record in the arena
        // sees all of the above.
        record.refs.store(2, Release);
    }

    #[inline]
    fn vtable(&self) -> &'static Vtable {
        self.vtable
            .get()
            .expect("greenrt: a live record without its functions")
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        // SAFETY: written before the first reference existed, dropped after the last is gone.
        let name = unsafe { &*self.name.get() };
        name.as_deref().map(|name| &**name)
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
            .get()
            .expect("greenrt: a live record without a spawn site")
    }

    pub(crate) fn stack_class(&self) -> Class {
        self.stack_class.get()
    }

    pub(crate) fn is_placed(&self) -> bool {
        self.placed.get()
    }

    /// The worker it runs on; null until it has started.
    #[inline]
    pub(crate) fn worker(&self) -> *const Shared {
        self.worker.load(Relaxed)
    }

    /// The address is that of the `Arc`, so that its count can be reached from it.
    pub(crate) fn set_worker(&self, worker: &Arc<Shared>) {
        self.worker.store(Arc::as_ptr(worker).cast_mut(), Relaxed);
    }

    /// Says, before it starts, that it gets the thread-locals of others, and not its own.
    pub(crate) fn set_kin(&self, kin: Kin) {
        let word = match kin {
            Kin::Nobody => 0,
            Kin::Caller => KIN_OF_CALLER,
            Kin::Of(founder) => founder.as_ptr().expose_provenance(),
        };
        self.fp.store(word, Relaxed);
    }

    /// What `set_kin` said, when it starts.
    #[inline]
    pub(crate) fn take_kin(&self) -> Kin {
        let word = self.fp.load(Relaxed);
        self.fp.store(0, Relaxed);
        match NonNull::new(ptr::with_exposed_provenance_mut(word)) {
            None => Kin::Nobody,
            Some(_) if word == KIN_OF_CALLER => Kin::Caller,
            Some(founder) => Kin::Of(founder),
        }
    }

    /// As `set_kin`, where thread-locals are shared: says whose data it has.
    pub(crate) fn set_kept(&self, kept: Rc<Kept>) {
        let at = Rc::into_raw(kept);
        self.fp.store(at.expose_provenance(), Relaxed);
    }

    /// What `set_kept` or `set_kin` said, when it starts, where thread-locals are shared.
    #[inline]
    pub(crate) fn take_kept(&self) -> Keeps {
        match self.fp.load(Relaxed) {
            0 => Keeps::Nothing,
            KIN_OF_CALLER => {
                self.fp.store(0, Relaxed);
                Keeps::InThreadLocals
            }
            at => {
                self.fp.store(0, Relaxed);
                // SAFETY: from `set_kept`, where thread-locals are shared, and taken back once. A
                // thread that is spawned so stays on its spawner's worker.
                Keeps::Own(unsafe { Rc::from_raw(ptr::with_exposed_provenance(at)) })
            }
        }
    }

    /// Notes why it waits, and where.
    #[inline]
    pub(crate) fn note(&self, reason: Reason, registers: Registers) {
        self.reason.store(reason.to_bits(), Relaxed);
        self.sp.store(registers.sp, Relaxed);
        self.fp.store(registers.fp, Relaxed);
        self.ip.store(registers.ip, Relaxed);
    }

    #[inline]
    pub(crate) fn set_reason(&self, reason: Reason) {
        self.reason.store(reason.to_bits(), Relaxed);
    }

    /// Whoever it is, it never goes on: the process was forked by another thread.
    pub(crate) fn lose(&self) {
        self.word.lose();
        self.set_reason(Reason::LOST);
    }

    /// Whoever waits for its end was lost.
    pub(crate) fn lose_joiner(&self) {
        let join = self.join.load(Relaxed);
        if !matches!(join, JOIN_EMPTY | JOIN_DETACHED | JOIN_DONE | JOIN_BUSY) {
            self.join.store(JOIN_EMPTY, Relaxed);
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        Reason::from_bits(self.reason.load(Relaxed))
    }

    /// Where its stack ended when it switched away last.
    #[inline]
    pub(crate) fn stack_pointer(&self) -> usize {
        self.sp.load(Relaxed)
    }

    pub(crate) fn registers(&self) -> Registers {
        Registers {
            sp: self.sp.load(Relaxed),
            fp: self.fp.load(Relaxed),
            ip: self.ip.load(Relaxed),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        // Acquire: pairs with the release of the finisher, so the result is visible.
        matches!(self.join.load(Acquire), JOIN_DONE | JOIN_BUSY)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id())
            .field("word", &self.word)
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

/// A counted reference to a record.
pub(crate) struct RecordRef(NonNull<Record>);

// SAFETY: a record is meant to be shared between threads (see there), and the count is atomic.
unsafe impl Send for RecordRef {}
// SAFETY: as above.
unsafe impl Sync for RecordRef {}

impl RecordRef {
    /// Takes over a reference that was counted before.
    ///
    /// # Safety
    ///
    /// The caller owns one counted reference to a live record, and gives it up.
    #[inline]
    pub(crate) unsafe fn from_raw(record: NonNull<Record>) -> Self {
        RecordRef(record)
    }

    /// Gives up the reference without counting down.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<Record> {
        let record = self.0;
        std::mem::forget(self);
        record
    }

    /// The address of the record.
    #[inline]
    pub(crate) fn as_ptr(&self) -> NonNull<Record> {
        self.0
    }

    /// Takes a reference to a record found in the arena, unless it is free.
    ///
    /// # Safety
    ///
    /// `at` points to arena memory.
    unsafe fn try_ref(at: NonNull<Record>) -> Option<RecordRef> {
        // SAFETY: arena memory always holds a record, and the count is atomic.
        let refs = unsafe { &(*at.as_ptr()).refs };
        // Acquire: pairs with the release in `init`.
        refs.fetch_update(Acquire, Relaxed, |n| (n > 0).then(|| n + 1))
            .ok()?;
        Some(RecordRef(at))
    }
}

impl Deref for RecordRef {
    type Target = Record;

    #[inline]
    fn deref(&self) -> &Record {
        // SAFETY: the reference that we count keeps the record live.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for RecordRef {
    #[inline]
    fn clone(&self) -> Self {
        let before = self.refs.fetch_add(1, Relaxed);
        if before > u32::MAX / 2 {
            // Only leaked handles get here; wrapping around would free a live record.
            std::process::abort();
        }
        RecordRef(self.0)
    }
}

impl Drop for RecordRef {
    #[inline]
    fn drop(&mut self) {
        // Release: our use of the record comes before its end. Pairs with the fence below.
        if self.refs.fetch_sub(1, Release) == 1 {
            fence(Acquire);
            // SAFETY: that was the last reference.
            unsafe { free(self.0) };
        }
    }
}

/// # Safety
///
/// The last reference is gone.
unsafe fn free(at: NonNull<Record>) {
    // SAFETY: the caller had the last reference, so nobody reads the name.
    let name = unsafe { at.as_ref() }.name.get();
    // SAFETY: as above.
    let name = unsafe { &mut *name };
    *name = None;
    // SAFETY: arena memory; atomics and cells only.
    let class = unsafe { at.as_ref() }.memory_class.get();
    // SAFETY: the record came from the arena for this class, and is free.
    unsafe { arena::give_back(at, class) };
}
