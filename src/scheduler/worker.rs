//! A worker: the loop that runs green threads, and what it runs them from.

#![expect(
    unsafe_code,
    reason = "runs and ends green threads; owns its queues without locks"
)]

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use greenrt_arch::context;
use greenrt_arch::stack::{Class, Slot};
use greenrt_arch::thread_block::{Block, Support};

use super::Installed;
use super::fresh::Fresh;
use super::idle::Sleeper;
use super::inbox::Inbox;
use super::run_queue::{Next, RunQueue};
use super::switch::{Family, Frame};
use crate::clock::Clock;
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_AGAIN, CLAIM_DEADLINE};
use crate::reactor::{Events, Reactor, Slots};
use crate::record::arena::Cache;
use crate::record::{Kin, Record, RecordRef};
use crate::runtime::{self, Core};
use crate::stack_pool::StackPool;
use crate::thread::id::IdBlock;
use crate::timer::Timers;

/// How many calls may succeed without parking before their thread yields.
const CREDITS: u32 = 128;
/// The most green threads that run between two looks at timers, inbox and descriptors.
const ROUND_MAX: u32 = 256;
/// How many woken threads run between two looks while they catch up with one who computes.
const CATCH_UP: u32 = 32;
/// How long a round should take, in nanoseconds.
const ROUND_NS: u64 = 200_000;
/// How long it may take before it is cut short. By then its threads take longer than they did, and
/// 256 of them would take as many times longer.
const ROUND_NS_MAX: u64 = 2 * ROUND_NS;
/// How many threads of a round may run without a look at the clock, which is 24 ns.
const LOOK_EVERY: u32 = 16;
/// How many events are taken at a time. What dispatching them brings into the cache is still there
/// when their threads run; between the first and the last of 256 requests the kernel alone moves
/// more than a cache holds. One more system call for 16 requests costs less than that.
const EVENTS_MAX: usize = 16;
/// How many cache lines of the stack of a thread that waits for a descriptor are fetched ahead: the
/// frames of its call. For others the last line is enough, and more would be slower: 1000 threads
/// that yield take 25 ns a switch with eight lines and 10 with one.
const IO_STACK_LINES: usize = 8;
/// How many threads' memory is fetched at a time, and from how many on: a few are in the cache.
const FETCHED_AHEAD: usize = 8;
const FETCHED_FROM: usize = 4;
/// The naps of a worker that searches for something to steal, in microseconds.
const NAPS_US: [u64; 7] = [20, 40, 80, 160, 320, 320, 320];
/// A nap after which a worker takes what it should rather leave to others.
const LONG_NAP_US: u64 = 320;
/// How often a worker whose spawned threads wait for a stack tries again.
const STACK_RETRY: Duration = Duration::from_millis(10);

/// What only its own worker touches.
///
/// # Rule
///
/// `with` is never called again on the same value from inside its closure, so there is one `&mut`
/// at a time. The closures in this file are a few lines and call nothing that comes back here.
struct Owned<T>(UnsafeCell<T>);

impl<T> Owned<T> {
    fn new(value: T) -> Self {
        Owned(UnsafeCell::new(value))
    }

    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: `Local` is not `Sync`, so there is one thread; the rule above says that there
        // is one caller.
        f(unsafe { &mut *self.0.get() })
    }
}

/// The part of a worker that others may touch.
pub(crate) struct Shared {
    pub(crate) index: usize,
    /// Which runtime it belongs to.
    runtime: u64,
    inbox: Inbox<Record>,
    pub(crate) fresh: Fresh<Record>,
    pub(crate) sleeper: Sleeper,
    pub(crate) reactor: Reactor,
    /// Spawned by this worker, and ended on it. Written by the worker alone.
    n_spawned: AtomicUsize,
    n_ended: AtomicUsize,
    /// Started here and not ended: what cannot move away. Written by the worker alone.
    n_started: AtomicUsize,
    /// Spawned by others, handed in, and not taken out of the inbox yet.
    n_handed_in: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(index: usize, runtime: u64) -> std::io::Result<Self> {
        Ok(Shared {
            index,
            runtime,
            inbox: Inbox::new(),
            fresh: Fresh::new(),
            sleeper: Sleeper::new(),
            reactor: Reactor::new()?,
            n_spawned: AtomicUsize::new(0),
            n_ended: AtomicUsize::new(0),
            n_started: AtomicUsize::new(0),
            n_handed_in: AtomicUsize::new(0),
        })
    }

    /// Hands a green thread to this worker from another thread, and wakes the worker if it
    /// sleeps.
    ///
    /// # Safety
    ///
    /// `record` belongs on this worker, is in no queue, and the scheduler's reference to it goes
    /// with it.
    pub(crate) unsafe fn push(&self, record: NonNull<Record>) {
        // SAFETY: the scheduler's reference keeps it; it is in no queue says the caller.
        unsafe { self.inbox.push(record.as_ptr()) };
        self.notify();
    }

    /// Hands a thread that was spawned just now to this worker.
    ///
    /// # Safety
    ///
    /// `record` is in no queue, and is the scheduler's reference.
    pub(crate) unsafe fn push_spawned(&self, record: RecordRef) {
        self.n_handed_in.fetch_add(1, Relaxed);
        // SAFETY: new, so in no queue; the scheduler's reference goes with it.
        unsafe { self.push(record.into_raw()) };
    }

    /// Wakes the worker if it sleeps.
    pub(crate) fn notify(&self) {
        if self.sleeper.notify() {
            self.reactor.wake();
        }
    }

    /// Whether other threads have handed something in.
    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub(crate) fn n_spawned(&self) -> usize {
        self.n_spawned.load(Acquire)
    }

    pub(crate) fn n_ended(&self) -> usize {
        self.n_ended.load(Acquire)
    }

    /// Whether this worker has more threads than another, by a margin.
    #[inline]
    fn has_more_than(&self, other: &Shared) -> bool {
        let theirs = other.n_bound();
        self.n_bound() > theirs + 8 + theirs / 32
    }

    /// How many threads are, or are about to be, bound to this worker.
    #[inline]
    pub(crate) fn n_bound(&self) -> usize {
        self.n_started.load(Relaxed) + self.n_handed_in.load(Relaxed)
    }
}

/// Fetches what the switches to the next threads of a queue touch, all at once: with thousands of
/// connections each of these lines is a miss, and each page's address has to be looked up in memory
/// too. One after another they cost more than the system calls do; together they overlap.
#[inline]
fn prefetch(queue: &RunQueue) {
    if queue.len() < FETCHED_FROM {
        return;
    }
    for record in (0..FETCHED_AHEAD).filter_map(|ahead| queue.peek(ahead)) {
        // SAFETY: what is in our queues is kept by the scheduler's reference.
        let record = unsafe { record.as_ref() };
        context::prefetch(record.frame.get().addr());
        context::prefetch(record.stack_pointer());
    }
    for record in (0..FETCHED_AHEAD).filter_map(|ahead| queue.peek(ahead)) {
        // SAFETY: as above.
        let record = unsafe { record.as_ref() };
        if record.reason().is_io() {
            let sp = record.stack_pointer();
            (1..IO_STACK_LINES).for_each(|line| context::prefetch(sp + line * 64));
        }
    }
    for record in (FETCHED_AHEAD..2 * FETCHED_AHEAD).filter_map(|ahead| queue.peek(ahead)) {
        context::prefetch(record.addr().get());
    }
}

/// Whether somebody with the thread-locals that are installed unwinds. Not inlined: see `switch.rs`.
#[inline(never)]
fn is_unwinding() -> bool {
    std::thread::panicking()
}

/// Adds to a counter that only one thread writes.
#[inline]
fn count(counter: &AtomicUsize, by: isize) {
    counter.store(counter.load(Relaxed).wrapping_add_signed(by), Release);
}

/// The part of a worker that only it touches.
pub(crate) struct Local {
    shared: Arc<Shared>,
    runtime: Arc<Core>,
    /// The green thread that runs now.
    current: Cell<Option<NonNull<Record>>>,
    /// How deep the running green thread is inside the runtime (`Section`).
    depth: Cell<u32>,
    /// For which word the running green thread was woken since it runs (`futex/hook.rs`).
    woken_for: Cell<usize>,
    /// When the round began, in nanoseconds of the runtime's clock.
    round_began: Cell<u64>,
    credits: Cell<u32>,
    /// The loop ends after the thread that runs now.
    stop: Cell<bool>,
    /// This is the child of a fork, and the loop's caller waits for a thread that has not come along.
    stray: Cell<bool>,
    /// The thread whose end stops the loop.
    main: Cell<Option<NonNull<Record>>>,
    ready: Owned<RunQueue>,
    /// What timers, descriptors and other threads have made runnable: first in the next round.
    woken: Owned<RunQueue>,
    timers: Owned<Timers>,
    stacks: Owned<StackPool>,
    events: Owned<Events>,
    /// Threads that wait without listening to cancellation, because they may be unwinding.
    deaf: Owned<Vec<NonNull<Record>>>,
    has_deaf: Cell<bool>,
    /// Spawned threads for which there was no stack.
    starved: Owned<VecDeque<NonNull<Record>>>,
    /// Where the fresh queue of each worker ended at the last look.
    seen: Owned<Vec<usize>>,
    records: Cache,
    ids: IdBlock,
    rng: Cell<u64>,
    /// How often more its last number is used (`seldom_random_below`).
    rng_left: Cell<u32>,
    /// If green threads have thread-locals of their own: what makes them.
    support: Option<&'static Support>,
    /// Then, while the loop runs: those of the OS thread, and those that are installed.
    own_block: Cell<Option<Block>>,
    installed: Cell<Option<Block>>,
    /// In the loop of `run`: those of its caller, which are those of its main thread.
    callers_block: Cell<Option<Block>>,
}

impl Local {
    pub(crate) fn new(runtime: Arc<Core>, index: usize) -> Self {
        let shared = Arc::clone(&runtime.workers()[index]);
        let n_workers = runtime.workers().len();
        let support = runtime.thread_local_support();
        Local {
            shared,
            runtime,
            current: Cell::new(None),
            depth: Cell::new(0),
            woken_for: Cell::new(0),
            round_began: Cell::new(0),
            credits: Cell::new(CREDITS),
            stop: Cell::new(false),
            stray: Cell::new(false),
            main: Cell::new(None),
            ready: Owned::new(RunQueue::new()),
            woken: Owned::new(RunQueue::new()),
            timers: Owned::new(Timers::new()),
            stacks: Owned::new(StackPool::new()),
            events: Owned::new(Events::with_capacity(EVENTS_MAX)),
            deaf: Owned::new(Vec::new()),
            has_deaf: Cell::new(false),
            starved: Owned::new(VecDeque::new()),
            seen: Owned::new(vec![0; n_workers]),
            records: Cache::new(),
            ids: IdBlock::new(),
            rng: Cell::new(0x9e37_79b9_7f4a_7c15 ^ (index as u64 + 1)),
            rng_left: Cell::new(0),
            support,
            own_block: Cell::new(None),
            installed: Cell::new(None),
            callers_block: Cell::new(None),
        }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn runtime(&self) -> &Arc<Core> {
        &self.runtime
    }

    #[inline]
    pub(crate) fn current(&self) -> Option<NonNull<Record>> {
        self.current.get()
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        self.runtime.clock()
    }

    /// Whether green threads have thread-locals of their own.
    #[inline]
    pub(crate) fn has_blocks(&self) -> bool {
        self.support.is_some()
    }

    pub(crate) fn records(&self) -> &Cache {
        &self.records
    }

    pub(crate) fn ids(&self) -> &IdBlock {
        &self.ids
    }

    #[inline]
    pub(crate) fn is_sibling(&self, other: &Shared) -> bool {
        other.runtime == self.shared.runtime
    }

    pub(super) fn enter(&self) {
        self.depth.set(self.depth.get() + 1);
    }

    pub(super) fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    /// Whether the running green thread is inside the runtime.
    #[inline]
    pub(super) fn is_inside(&self) -> bool {
        self.depth.get() > 0
    }

    /// The address of the futex for which the running green thread was woken since it was switched
    /// to; 0 if for none.
    #[inline]
    pub(crate) fn woken_for(&self) -> usize {
        self.woken_for.get()
    }

    #[inline]
    pub(crate) fn set_woken_for(&self, address: usize) {
        self.woken_for.set(address);
    }

    /// When the round began: the time, less half a millisecond or so, without looking.
    #[inline]
    pub(crate) fn round_began(&self) -> u64 {
        self.round_began.get()
    }

    /// `false`: there are none left, and the thread should yield.
    #[inline]
    pub(super) fn spend_credit(&self) -> bool {
        let left = self.credits.get();
        if left > 0 {
            self.credits.set(left - 1);
        }
        left > 0
    }

    // What green threads ask for.

    /// Makes a green thread of this worker runnable.
    #[inline]
    pub(super) fn push(&self, record: NonNull<Record>) {
        let queue = if self.current.get().is_some() {
            &self.ready
        } else {
            &self.woken
        };
        queue.with(|queue| queue.push(record));
    }

    /// Makes a green thread of this worker runnable, unless that needs memory.
    #[inline]
    pub(super) fn push_if_room(&self, record: NonNull<Record>) -> bool {
        self.ready.with(|ready| {
            let has_room = ready.has_room();
            if has_room {
                ready.push(record);
            }
            has_room
        })
    }

    #[inline(always)]
    pub(super) fn yield_now(&self, record: NonNull<Record>) {
        self.ready.with(|ready| ready.push(record));
        // SAFETY: the record of a thread that runs is kept by the scheduler.
        self.suspend(unsafe { record.as_ref() }, Reason::RUNNABLE);
    }

    #[inline(always)]
    pub(super) fn park(&self, record: &Record, reason: Reason, deadline: Option<u64>) {
        let Some(deadline) = deadline else {
            return self.suspend(record, reason);
        };
        let at = NonNull::from(record);
        let timer = self.timers.with(|timers| timers.insert(at, deadline));
        self.suspend(record, reason);
        self.timers.with(|timers| timers.remove(timer, at));
    }

    /// The one switch away from a green thread that has not ended.
    ///
    /// Inlined up to the public function: the processor predicts returns by the calls that it has
    /// seen, and a switch in the middle makes it wrong about every frame that is returned through
    /// afterwards, at about 20 cycles each.
    #[inline(always)]
    fn suspend(&self, record: &Record, reason: Reason) {
        record.note(reason, context::registers());
        let depth = self.depth.get();
        // SAFETY: a thread that runs has a frame.
        let frame = unsafe { &*record.frame.get() };
        // SAFETY: the running thread calls this on itself, so the frame is its own.
        unsafe { frame.suspend() };
        self.depth.set(depth);
    }

    /// Queues a thread that was spawned here.
    #[inline]
    pub(crate) fn spawn(&self, record: RecordRef) {
        count(&self.shared.n_spawned, 1);
        if self.runtime.workers().len() == 1 || record.is_placed() {
            return self.ready.with(|ready| ready.push(record.into_raw()));
        }
        if let Some(sibling) = self.less_loaded() {
            // SAFETY: new, so in no queue; the scheduler's reference goes with it.
            return unsafe { sibling.push_spawned(record) };
        }
        self.push_fresh(record.into_raw());
    }

    #[inline]
    fn push_fresh(&self, record: NonNull<Record>) {
        // SAFETY: only this worker pushes to its queue.
        unsafe { self.shared.fresh.push(record) };
        self.ready.with(RunQueue::push_marker);
        self.runtime.wake_searcher(&self.shared);
    }

    /// A sibling with so many fewer started threads that a spawn should go there.
    fn less_loaded(&self) -> Option<&Shared> {
        let workers = self.runtime.workers();
        let other = &workers[self.random_below(workers.len())];
        self.shared.has_more_than(other).then_some(&**other)
    }

    #[inline]
    pub(crate) fn random_below(&self, n: usize) -> usize {
        // Xorshift: only has to spread.
        let mut x = self.rng.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.rng.set(x);
        ((x >> 32) as usize * n) >> 32
    }

    /// As `random_below`, but of eight in a row all stand for the same part of the whole: as likely
    /// as any other, and without being a surprise to the processor each time.
    #[inline]
    pub(crate) fn seldom_random_below(&self, n: usize) -> usize {
        let left = self.rng_left.get();
        if left == 0 {
            self.rng_left.set(7);
            return self.random_below(n);
        }
        self.rng_left.set(left - 1);
        ((self.rng.get() >> 32) as usize * n) >> 32
    }

    /// Makes sure that a stack of this class is there.
    ///
    /// # Errors
    ///
    /// The system's, if no more stacks can be had.
    #[inline]
    pub(crate) fn reserve_stack(&self, class: Class) -> std::io::Result<()> {
        self.stacks.with(|stacks| stacks.reserve(class))
    }

    pub(crate) fn take_stack(&self, class: Class) -> std::io::Result<Slot> {
        self.stacks.with(|stacks| stacks.take(class))
    }

    #[inline(always)]
    pub(crate) fn put_stack(&self, slot: Slot) {
        self.stacks.with(|stacks| stacks.put(slot));
    }

    #[cold]
    fn put_founders_stack(&self, slot: Slot) {
        self.put_stack(slot);
    }

    /// Says that a thread, which the running one spawns, has the thread-locals of its spawner.
    pub(crate) fn share_thread_locals(&self, record: &Record) {
        if !self.has_blocks() {
            return self.share_thread_data(record);
        }
        let founder = self.current.get().and_then(|spawner| {
            // SAFETY: a thread that runs has a record.
            let frame = unsafe { spawner.as_ref() }.frame.get();
            // SAFETY: and a frame.
            unsafe { &*frame }.join_family()
        });
        if let Some(founder) = founder {
            record.set_kin(Kin::Of(founder));
        }
    }

    /// As above, where there is nothing but what is kept beside thread-locals.
    fn share_thread_data(&self, record: &Record) {
        let Some(spawner) = self.current.get() else {
            return record.set_kin(Kin::Caller);
        };
        // SAFETY: a thread that runs has a record.
        let frame = unsafe { spawner.as_ref() }.frame.get();
        // SAFETY: and a frame.
        match unsafe { &*frame }.data.kept() {
            None => record.set_kin(Kin::Caller),
            Some(kept) => record.set_kept(kept),
        }
    }

    /// In the child of a fork, called by the green thread that forked: it is the only one there is.
    ///
    /// # Safety
    ///
    /// There is no other thread, and `slots` are those of this worker's reactor.
    pub(crate) unsafe fn survive_fork(&self, current: NonNull<Record>, slots: &mut Slots) {
        self.ready.with(|ready| *ready = RunQueue::new());
        self.woken.with(|woken| *woken = RunQueue::new());
        self.timers.with(|timers| *timers = Timers::new());
        self.starved.with(VecDeque::clear);
        self.deaf.with(Vec::clear);
        self.has_deaf.set(false);
        while self.shared.fresh.take().is_some() {}
        self.shared.inbox.take().for_each(|_| ());
        self.shared.sleeper.awake();
        // SAFETY: the caller's promise; a green thread calls this, so its worker is not in there.
        unsafe { self.shared.reactor.renew(slots) };
        self.shared.n_handed_in.store(0, Relaxed);
        self.shared.n_started.store(1, Relaxed);
        // All have ended but this one.
        let n_lost = self.runtime.n_live() as isize - 1;
        count(&self.shared.n_ended, n_lost);
        self.stray.set(self.main.get() != Some(current));
    }

    // The loop.

    /// Makes `record` the thread whose end stops the loop.
    pub(crate) fn set_main(&self, record: &RecordRef) {
        self.main.set(Some(record.as_ptr()));
    }

    /// Runs green threads on the calling OS thread until the main thread has ended, or the
    /// runtime has shut down.
    ///
    /// The thread-locals of the OS thread are those of the main thread; the loop has others.
    ///
    /// # Errors
    ///
    /// If there is no memory for them.
    pub(crate) fn run_main(&self) -> std::io::Result<()> {
        let _installed = Installed::new(self);
        let Some(support) = self.support else {
            self.run();
            return Ok(());
        };
        // The smallest that has room for the block: nobody runs on it.
        let class = runtime::stack_class(Class::Kib64.slot_bytes())?;
        let slot = self.take_stack(class)?;
        let callers = Block::current();
        // SAFETY: of the OS thread, and installed.
        let own = unsafe { slot.dress(support, callers)? };
        self.callers_block.set(Some(callers));
        // SAFETY: complete; and what runs with it is a function that is not inlined.
        unsafe { own.install(callers) };
        self.run_with_own_block();
        // SAFETY: as above.
        unsafe { callers.install(own) };
        self.callers_block.set(None);
        self.put_stack(slot);
        Ok(())
    }

    #[inline(never)]
    fn run_with_own_block(&self) {
        self.run();
        // SAFETY: its own block is installed, for which there is no more use.
        unsafe { Block::run_destructors() };
    }

    /// Runs green threads on the calling OS thread until the runtime has shut down.
    pub(crate) fn run(&self) {
        let _installed = Installed::new(self);
        if self.support.is_some() {
            let own = Some(Block::current());
            self.own_block.set(own);
            self.installed.set(own);
        }
        self.stop.set(false);
        // How many to run in a row of either queue.
        let mut round = 64;
        let mut before = self.clock().now();
        // How long the last round took.
        let mut took_last = 0;
        loop {
            self.round_began.set(before);
            let mut ran = self.run_some(&self.woken, round, before.saturating_add(ROUND_NS_MAX));
            if took_last > ROUND_NS && !self.stop.get() {
                before = self.catch_up(before, took_last);
            }
            if !self.stop.get() {
                ran =
                    ran.max(self.run_some(&self.ready, round, before.saturating_add(ROUND_NS_MAX)));
            }
            if self.stop.get() || self.runtime.is_over() {
                return;
            }
            let now = self.clock().now();
            took_last = now.saturating_sub(before);
            if took_last > ROUND_NS {
                round = (ran / 2).clamp(1, round);
            } else if ran == round && took_last < ROUND_NS / 2 {
                round = (round * 2).min(ROUND_MAX);
            }
            before = now;
            self.fire_timers(now);
            self.take_inbox();
            if self.has_runnable() {
                if self.shared.reactor.has_sources() {
                    self.poll(Some(Duration::ZERO));
                }
                continue;
            }
            self.idle(now);
            before = self.clock().now();
        }
    }

    /// After a round that took too long, because some ready thread computes: runs those who are woken
    /// for as long as that took, or until there are none. Otherwise the ready thread would have its
    /// turn after each few of them, and a thousand connections wait for hundreds of its turns.
    ///
    /// Returns what the clock says then.
    #[cold]
    fn catch_up(&self, start: u64, took_last: u64) -> u64 {
        loop {
            let now = self.clock().now();
            if self.stop.get() || now.saturating_sub(start) >= took_last {
                return now;
            }
            self.fire_timers(now);
            self.take_inbox();
            if self.shared.reactor.has_sources() {
                self.poll(Some(Duration::ZERO));
            }
            if self.woken.with(|woken| woken.is_empty()) {
                return now;
            }
            self.run_some(&self.woken, CATCH_UP, now.saturating_add(ROUND_NS_MAX));
        }
    }

    #[inline]
    fn has_runnable(&self) -> bool {
        !self.ready.with(|ready| ready.is_empty()) || !self.woken.with(|woken| woken.is_empty())
    }

    /// Installs the thread-locals of who is resumed next; `None` are the worker's own.
    #[inline(always)]
    fn install(&self, block: Option<Block>) {
        let Some(own) = self.own_block.get() else {
            return;
        };
        let block = block.unwrap_or(own);
        if let Some(installed) = self.installed.get()
            && installed != block
        {
            // SAFETY: a block that somebody is resumed with is complete, and `installed` is what
            // is installed. The functions here that run while another block than the worker's is
            // installed look at no thread-local.
            unsafe { block.install(installed) };
            self.installed.set(Some(block));
        }
    }

    /// Runs up to `n` green threads of a queue, and not many more after `until`; how many there were.
    #[inline(always)]
    fn run_some(&self, queue: &Owned<RunQueue>, n: u32, until: u64) -> u32 {
        let ran = self.run_in_a_row(queue, n, until);
        self.install(None);
        ran
    }

    /// As `run_some`. The thread-locals of whoever ran last stay installed: one change less for each
    /// switch.
    #[inline(never)]
    fn run_in_a_row(&self, queue: &Owned<RunQueue>, n: u32, until: u64) -> u32 {
        let mut n_fetched = 0;
        for ran in 0..n {
            // Somebody may have begun to compute for long. Often at first, and then now and then.
            let looks = ran.is_power_of_two() || ran % LOOK_EVERY == 0;
            if looks && ran > 0 && self.clock().now() > until {
                return ran;
            }
            if n_fetched == 0 {
                queue.with(|queue| prefetch(queue));
                n_fetched = FETCHED_AHEAD;
            }
            n_fetched -= 1;
            let record = match queue.with(RunQueue::pop) {
                Some(Next::Thread(record)) => record,
                Some(Next::Fresh) => match self.shared.fresh.take() {
                    Some(record) => record,
                    None => continue,
                },
                None => {
                    self.install(None);
                    queue.with(RunQueue::shrink);
                    return ran;
                }
            };
            self.resume(record);
            if self.stop.get() {
                return ran;
            }
        }
        n
    }

    /// Runs one green thread until it parks, yields or ends.
    #[inline(always)]
    fn resume(&self, at: NonNull<Record>) {
        // SAFETY: what is in our queues is kept by the scheduler's reference.
        let record = unsafe { at.as_ref() };
        let frame = match NonNull::new(record.frame.get()) {
            Some(frame) => frame,
            None => match self.start(record, at) {
                Some(frame) => frame,
                None => return,
            },
        };
        record.set_reason(Reason::RUNNING);
        self.current.set(Some(at));
        self.credits.set(CREDITS);
        self.depth.set(0);
        self.woken_for.set(0);
        // SAFETY: the frame of a thread that has not ended is there.
        self.install(unsafe { frame.as_ref() }.block());
        // SAFETY: it was runnable, so it is not running and has not ended; its frame was built
        // here, because it is pinned.
        let ended = unsafe { Frame::resume(frame) };
        self.current.set(None);
        if ended {
            self.install(None);
            self.end(at, frame);
        }
        if self.has_deaf.get() {
            self.listen_again();
        }
    }

    /// Notes that a thread waits without listening, or does not any more.
    pub(crate) fn set_deaf(&self, record: NonNull<Record>, deaf: bool) {
        self.deaf.with(|all| {
            all.retain(|&other| other != record);
            if deaf {
                all.push(record);
            }
            self.has_deaf.set(!all.is_empty());
        });
    }

    /// Those who might have been unwinding wait anew, listening, if nobody who has the same
    /// thread-locals unwinds any more.
    #[cold]
    #[inline(never)]
    fn listen_again(&self) {
        let waiting = self.deaf.with(std::mem::take);
        let mut deaf = Vec::new();
        for record in waiting {
            // SAFETY: in the list, so it waits, and has a record and a frame.
            let record_ref = unsafe { record.as_ref() };
            // SAFETY: as above.
            self.install(unsafe { &*record_ref.frame.get() }.block());
            let unwinds = is_unwinding();
            self.install(None);
            if unwinds {
                deaf.push(record);
            } else if record_ref.word.claim(CLAIM_AGAIN) {
                self.push(record);
            }
        }
        self.has_deaf.set(!deaf.is_empty());
        self.deaf.with(|all| *all = deaf);
    }

    /// Gives a spawned thread its stack. From here on it is pinned.
    #[inline(always)]
    fn start(&self, record: &Record, at: NonNull<Record>) -> Option<NonNull<Frame>> {
        self.install(None);
        let Ok(slot) = self.take_stack(record.stack_class()) else {
            self.starve(record, at);
            return None;
        };
        let family = match (self.support, self.own_block.get()) {
            (Some(support), Some(own)) => match self.family(record, &slot, support, own) {
                Ok(family) => family,
                Err(_) => {
                    self.put_stack(slot);
                    self.starve(record, at);
                    return None;
                }
            },
            _ => Family::Shared(record.take_kept()),
        };
        record.set_worker(&self.shared);
        if self.runtime.is_shutting_down() {
            record.word.cancel();
        }
        // SAFETY: the scheduler's reference keeps the record until `end`; it has no frame yet,
        // so its closure was not run. It runs in our loop only.
        let frame = unsafe { Frame::build(slot, at, family, self) };
        record.frame.set(frame.as_ptr());
        count(&self.shared.n_started, 1);
        Some(frame)
    }

    /// Nothing is lost: it starts when a stack comes free.
    #[cold]
    fn starve(&self, record: &Record, at: NonNull<Record>) {
        record.set_reason(Reason::STACK);
        self.starved.with(|starved| starved.push_back(at));
    }

    /// The thread-locals for a thread that is about to start on `slot`.
    #[inline]
    fn family(
        &self,
        record: &Record,
        slot: &Slot,
        support: &Support,
        own: Block,
    ) -> std::io::Result<Family> {
        let callers = self.callers_block.get();
        Ok(match (record.take_kin(), callers) {
            (Kin::Of(founder), _) => Family::Of(founder),
            (Kin::Caller, Some(block)) => Family::Caller(block),
            // SAFETY: nobody runs on a spare slot; `own` is the OS thread's, unless there is a
            // caller's.
            _ => Family::Own(unsafe { slot.dress(support, callers.unwrap_or(own))? }),
        })
    }

    #[inline(always)]
    fn end(&self, at: NonNull<Record>, frame: NonNull<Frame>) {
        // SAFETY: the scheduler's reference was given to the queue and comes back here.
        let record = unsafe { RecordRef::from_raw(at) };
        record.set_reason(Reason::ENDED);
        record.frame.set(ptr::null_mut());
        // SAFETY: it has ended, and the only other user of the frame, the record, forgot it.
        let (slot, founders) = unsafe { Frame::take_down(frame) };
        if let Some(slot) = slot {
            self.put_stack(slot);
        }
        if let Some(slot) = founders {
            self.put_founders_stack(slot);
        }
        count(&self.shared.n_started, -1);
        count(&self.shared.n_ended, 1);
        if self.main.get() == Some(at) {
            self.main.set(None);
            self.stop.set(true);
        }
        if self.stray.get() && self.runtime.n_live() == 0 {
            // As where the last thread of a process ends.
            std::process::exit(0);
        }
        self.feed_starved();
    }

    /// A stack came free, or it is time to try again: spawned threads that wait for one may run.
    #[inline]
    fn feed_starved(&self) {
        self.starved.with(|starved| {
            if let Some(record) = starved.pop_front() {
                self.ready.with(|ready| ready.push(record));
            }
        });
    }

    /// Makes every green thread runnable whose deadline has passed.
    #[inline]
    fn fire_timers(&self, now: u64) {
        while let Some(record) = self.timers.with(|timers| timers.pop_due(now)) {
            // SAFETY: a timer that is set belongs to a thread that has not gone on.
            if unsafe { record.as_ref() }.word.claim(CLAIM_DEADLINE) {
                self.push(record);
            }
        }
    }

    /// Moves what other threads handed in to the run queue.
    #[inline]
    fn take_inbox(&self) {
        if self.shared.inbox.is_empty() {
            return;
        }
        let mut n_spawned = 0;
        for record in self.shared.inbox.take() {
            let Some(at) = NonNull::new(record) else {
                continue;
            };
            // SAFETY: handed in with the scheduler's reference.
            let record = unsafe { at.as_ref() };
            let started = !record.frame.get().is_null();
            if started {
                self.push(at);
                continue;
            }
            n_spawned += 1;
            if record.is_placed() || self.runtime.workers().len() == 1 {
                self.ready.with(|ready| ready.push(at));
            } else {
                self.push_fresh(at);
            }
        }
        if n_spawned > 0 {
            self.shared.n_handed_in.fetch_sub(n_spawned, Relaxed);
        }
    }

    /// Looks at the descriptors, waiting for at most `timeout`.
    fn poll(&self, timeout: Option<Duration>) {
        self.events
            .with(|events| self.shared.reactor.poll(events, timeout));
    }

    // Nothing to run.

    /// Waits until there may be something to run.
    fn idle(&self, mut now: u64) {
        if self.runtime.workers().len() > 1 {
            if self.search() {
                return;
            }
            now = self.clock().now();
        } else {
            self.shared.sleeper.prepare();
        }
        // The sleeper says SLEEPING: whoever pushes, or begins a shutdown, from now on wakes us.
        if !self.shared.has_mail() && !self.runtime.is_over() {
            match self.clock().manual() {
                None => self.poll(self.sleep_time(now)),
                Some(_) => self.sleep_on_manual_clock(),
            }
        }
        self.shared.sleeper.awake();
        if self.runtime.workers().len() > 1 {
            self.runtime.search().woken();
        }
        self.feed_starved();
    }

    /// How long the worker may sleep.
    fn sleep_time(&self, now: u64) -> Option<Duration> {
        let timer = self.timers.with(|timers| timers.nearest());
        let timer = timer.map(|at| Duration::from_nanos(at.saturating_sub(now)));
        let retry = self
            .starved
            .with(|starved| (!starved.is_empty()).then_some(STACK_RETRY));
        let over = self.runtime.time_left();
        [timer, retry, over].into_iter().flatten().min()
    }

    /// Looks for something to steal, with naps in between. `false`: there is nothing; the worker
    /// has said that it sleeps, and counts as sleeping.
    fn search(&self) -> bool {
        let search = self.runtime.search();
        search.begin();
        loop {
            let mut waiting = self.look();
            for nap in NAPS_US {
                if !waiting {
                    break;
                }
                self.shared.sleeper.prepare();
                if !self.shared.has_mail() {
                    self.poll(Some(self.nap(nap)));
                }
                self.shared.sleeper.awake();
                self.fire_timers(self.clock().now());
                self.take_inbox();
                if self.steal(nap) || self.has_runnable() {
                    if search.found() {
                        self.runtime.wake_searcher(&self.shared);
                    }
                    return true;
                }
                waiting = self.look();
            }
            self.shared.sleeper.prepare();
            search.give_up();
            if !self.look() || self.runtime.is_over() {
                return false;
            }
            self.shared.sleeper.awake();
            search.resume();
        }
    }

    /// Notes where each sibling's fresh queue ends; whether anything lies in one of them.
    fn look(&self) -> bool {
        self.seen.with(|seen| {
            let mut any = false;
            for (worker, tail_then) in self.runtime.workers().iter().zip(seen) {
                let (head, tail) = worker.fresh.span();
                *tail_then = tail;
                any |= head != tail && worker.index != self.shared.index;
            }
            any
        })
    }

    /// A nap, cut short by the next deadline.
    fn nap(&self, us: u64) -> Duration {
        let nap = Duration::from_micros(us);
        match self.clock().manual() {
            None => self
                .sleep_time(self.clock().now())
                .map_or(nap, |time| time.min(nap)),
            Some(_) => nap,
        }
    }

    /// Takes half of what has lain in a sibling's fresh queue since the last `look`: what its own
    /// worker, busy with something long, has not come to.
    ///
    /// A worker that has more threads already than the victim takes only what the longest naps did
    /// not see gone: threads that live long should be spread evenly.
    fn steal(&self, nap: u64) -> bool {
        let workers = self.runtime.workers();
        let first = self.random_below(workers.len());
        for offset in 0..workers.len() {
            let victim = &workers[(first + offset) % workers.len()];
            if victim.index == self.shared.index {
                continue;
            }
            if self.shared.has_more_than(victim) && nap < LONG_NAP_US {
                continue;
            }
            let (head, _) = victim.fresh.span();
            let tail_then = self.seen.with(|seen| seen[victim.index]);
            let aged = tail_then.wrapping_sub(head) as isize;
            let mut n = 0;
            while n < (aged + 1) / 2 {
                let Some(record) = victim.fresh.take() else {
                    break;
                };
                // To the run queue, and not to the fresh queue, where it would age once more.
                self.ready.with(|ready| ready.push(record));
                n += 1;
            }
            if n > 0 {
                return true;
            }
        }
        false
    }

    /// With a manual clock: when every worker waits, time jumps to the nearest deadline.
    fn sleep_on_manual_clock(&self) {
        // What is ready now comes before any time that has not passed yet.
        self.poll(Some(Duration::ZERO));
        // That look may have taken the event by which somebody wanted to wake us.
        let woken = !self.shared.sleeper.is_sleeping();
        if woken || self.has_runnable() || self.shared.has_mail() {
            return;
        }
        let nearest = self.timers.with(|timers| timers.nearest());
        if self
            .runtime
            .wait_on_manual_clock(self.shared.index, nearest)
        {
            let retry = self
                .starved
                .with(|starved| (!starved.is_empty()).then_some(STACK_RETRY));
            let time = [retry, self.runtime.time_left()]
                .into_iter()
                .flatten()
                .min();
            // Events are left where they are, for siblings to see, until we say that we run.
            self.shared.reactor.wait(time);
        }
        self.runtime.runs_on_manual_clock(self.shared.index);
        self.poll(Some(Duration::ZERO));
    }
}
