//! Runtimes: their workers, how they start, and how they end.
//!
//! # Three ways to have one
//!
//! - [`run`] makes the calling OS thread the one worker, and starts no other thread at all.
//! - The first spawn outside any runtime starts the global one: a worker for each CPU, or
//!   `GREENRT_WORKERS` of them. It lives until the process ends.
//! - [`Runtime::builder`] makes one of its own.
//!
//! # How one ends
//!
//! When an explicit runtime is dropped, or the closure of `run` has returned, its green threads
//! are cancelled and run on until all of them have ended, or a deadline passes. Those that are
//! left then are leaked, and a report says which: their stacks may hold what others borrow, so
//! they cannot be taken away. The global runtime ends with the process, as OS threads do.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use greenrt_arch::overflow::{self, AltStack};
use greenrt_arch::stack::Class;
use greenrt_arch::thread_block::Support;
use parking_lot::{Mutex, MutexGuard};

use crate::clock::Clock;
use crate::debug;
use crate::fork;
use crate::futex;
use crate::os_thread;
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{self, Episode, Target};
use crate::reactor::Slots;
use crate::record::{Kin, RecordRef, Start, arena, packet};
use crate::scheduler::idle::Search;
use crate::scheduler::worker::{Local, Shared};
use crate::scheduler::{self, Section, with_local};
use crate::thread::{Builder as ThreadBuilder, JoinHandle};
use crate::thread_locals::{self, ThreadLocals};

/// The stack of green threads, unless they or the runtime ask for another.
pub(crate) const STACK_SIZE: usize = 256 * 1024;
/// The stack of the closure of `run`: what a main thread has.
const MAIN_STACK_SIZE: usize = 8 * 1024 * 1024;
/// How long green threads may take to end when their runtime ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// 34 years; the system cannot add much more to the time.
const ENDLESS: Duration = Duration::from_secs(1 << 30);

/// What the workers of one runtime share.
pub(crate) struct Core {
    workers: Box<[Arc<Shared>]>,
    search: Search,
    clock: Clock,
    stack_class: Class,
    shutdown_timeout: Duration,
    /// Spawned by threads that are no workers of this runtime.
    n_spawned_outside: AtomicUsize,
    /// Where the next spawn from outside goes.
    /// What makes thread-locals for each green thread; `None`: they have the worker's.
    thread_locals: Option<&'static Support>,
    next_worker: AtomicUsize,
    /// The index of the one worker that has come along a fork, if there was one.
    survivor: OnceLock<usize>,
    /// The number of forks that had been when it was made, or came along.
    generation: AtomicU32,
    shutting_down: AtomicBool,
    shutdown_deadline: OnceLock<Instant>,
    manual: Mutex<ManualIdle>,
    exited: Mutex<Exited>,
}

/// How many workers have left their loop, and who waits for all of them.
#[derive(Default)]
struct Exited {
    n_workers: usize,
    dropper: Option<Target>,
}

/// What keeps other threads out while one forks.
pub(crate) struct Held<'a> {
    pub(crate) manual: MutexGuard<'a, ManualIdle>,
    pub(crate) slots: MutexGuard<'a, Slots>,
}

/// Which workers wait for a manual clock, and until when.
pub(crate) struct ManualIdle {
    waiting: Vec<Option<Option<u64>>>,
}

impl Core {
    fn new(n_workers: usize, options: &Options) -> io::Result<Arc<Core>> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        overflow::install(debug::describe_overflow)?;
        let thread_locals = thread_locals::choose(options.thread_locals)?;
        futex::hook::install();
        fork::install()?;
        let number = NUMBERS.fetch_add(1, Relaxed);
        let workers = (0..n_workers)
            .map(|index| Ok(Arc::new(Shared::new(index, number)?)))
            .collect::<io::Result<_>>()?;
        Ok(Arc::new(Core {
            workers,
            search: Search::new(),
            clock: options.clock.clone(),
            thread_locals,
            stack_class: stack_class(options.stack_size)?,
            shutdown_timeout: options.shutdown_timeout,
            n_spawned_outside: AtomicUsize::new(0),
            next_worker: AtomicUsize::new(0),
            survivor: OnceLock::new(),
            generation: AtomicU32::new(fork::generation()),
            shutting_down: AtomicBool::new(false),
            shutdown_deadline: OnceLock::new(),
            manual: Mutex::new(ManualIdle {
                waiting: vec![None; n_workers],
            }),
            exited: Mutex::new(Exited::default()),
        }))
    }

    #[inline]
    pub(crate) fn workers(&self) -> &[Arc<Shared>] {
        match self.survivor.get() {
            None => &self.workers,
            Some(&index) => &self.workers[index..=index],
        }
    }

    /// Whether it was left behind in the process of which this one is a fork.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.generation.load(Relaxed) != fork::generation()
    }

    /// Keeps other threads out of what worker `index` and the others share.
    pub(crate) fn hold(&self, index: usize) -> Held<'_> {
        Held {
            manual: self.manual.lock(),
            slots: self.workers[index].reactor.hold(),
        }
    }

    /// In the child of a fork: worker `index` alone has come along, with one green thread.
    pub(crate) fn survive(&self, index: usize, manual: &mut ManualIdle) {
        // Set by an earlier fork, to the same.
        let _ = self.survivor.set(index);
        self.generation.store(fork::generation(), Relaxed);
        // The others do not hold a manual clock back.
        manual.waiting.fill(Some(None));
        manual.waiting[index] = None;
    }

    pub(crate) fn search(&self) -> &Search {
        &self.search
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn stack_class(&self) -> Class {
        self.stack_class
    }

    pub(crate) fn thread_local_support(&self) -> Option<&'static Support> {
        self.thread_locals
    }

    /// Queues a thread from outside.
    #[expect(unsafe_code, reason = "hands a record to a worker")]
    pub(crate) fn spawn_from_outside(&self, record: RecordRef, worker: Option<usize>) {
        self.n_spawned_outside.fetch_add(1, Release);
        let index = worker.unwrap_or_else(|| {
            // Where the fewest are bound; equals take turns.
            let turn = self.next_worker.fetch_add(1, Relaxed);
            let workers = self.workers();
            let order = (0..workers.len()).map(|n| (turn + n) % workers.len());
            let least = order.min_by_key(|&index| workers[index].n_bound());
            least.unwrap_or(0)
        });
        // SAFETY: new, so in no queue; this is the scheduler's reference.
        unsafe { self.workers()[index].push_spawned(record) };
    }

    /// After a spawn: wakes a worker to search, if one sleeps and none searches.
    #[inline]
    pub(crate) fn wake_searcher(&self, spawner: &Shared) {
        if self.search.wants_wake() {
            self.wake_one(spawner.index);
        }
    }

    #[cold]
    fn wake_one(&self, not: usize) {
        let workers = self.workers();
        let n = workers.len();
        for offset in 1..n {
            let worker = &workers[(not + offset) % n];
            if worker.sleeper.notify() {
                return worker.reactor.wake();
            }
        }
    }

    /// How many green threads have been spawned and not ended.
    pub(crate) fn n_live(&self) -> usize {
        // First all that ended, then all that were spawned. Both only grow, so if the sums are
        // equal they were equal at the moment between: nothing was alive then.
        let ended: usize = self.workers.iter().map(|w| w.n_ended()).sum();
        let spawned: usize = self.workers.iter().map(|w| w.n_spawned()).sum();
        (spawned + self.n_spawned_outside.load(Acquire)).saturating_sub(ended)
    }

    // The end.

    #[inline]
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Relaxed)
    }

    /// Whether the workers should stop: all green threads have ended, or the time is up.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_shutting_down() && self.is_over_slow()
    }

    #[cold]
    fn is_over_slow(&self) -> bool {
        // Pairs with the release in `begin_shutdown`: what was spawned from outside before is
        // counted.
        fence(Acquire);
        let over = self.n_live() == 0 || self.time_left() == Some(Duration::ZERO);
        if over {
            self.workers().iter().for_each(|worker| worker.notify());
        }
        over
    }

    /// How long the green threads may still take to end; `None` while nobody asked them to.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let deadline = self.shutdown_deadline.get()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Asks every green thread of this runtime to end.
    fn begin_shutdown(&self) {
        let deadline = Instant::now() + self.shutdown_timeout.min(ENDLESS);
        self.shutdown_deadline.get_or_init(|| deadline);
        self.shutting_down.store(true, Release);
        self.cancel_all();
        self.workers().iter().for_each(|worker| worker.notify());
    }

    /// Asks every started green thread of this runtime to end. Those that start later see that it
    /// shuts down. One that starts at this very moment on another worker may escape both looks:
    /// whoever waits for the end calls this again.
    fn cancel_all(&self) {
        if self.n_live() > 0 {
            self.live().for_each(|record| scheduler::cancel(&record));
        }
    }

    /// The started green threads of this runtime.
    fn live(&self) -> impl Iterator<Item = RecordRef> + '_ {
        let workers = |record: &RecordRef| {
            self.workers
                .iter()
                .any(|worker| std::ptr::eq(&raw const **worker, record.worker()))
        };
        arena::live()
            .into_iter()
            .filter(move |record| workers(record) && !record.is_done())
    }

    /// Says which green threads are left when the time is up.
    fn report_leaked(&self) {
        eprintln!(
            "greenrt: runtime ended with {} green threads that did not end within {:?} after they \
             were cancelled; they are leaked",
            self.n_live(),
            self.shutdown_timeout,
        );
        for record in self.live().take(10) {
            eprintln!("  {}", debug::ThreadInfo::of(&record));
        }
    }

    // The manual clock.

    /// Worker `index` has nothing to run before `nearest`. If all workers wait, time jumps, and
    /// those whose deadline came are woken. Whether the caller should sleep.
    pub(crate) fn wait_on_manual_clock(&self, index: usize, nearest: Option<u64>) -> bool {
        let Some(clock) = self.clock.manual() else {
            return true;
        };
        let mut idle = self.manual.lock();
        idle.waiting[index] = Some(nearest);
        if nearest.is_some_and(|at| at <= clock.now_ns()) {
            return false;
        }
        let quiet = self.workers().iter().all(|w| {
            // Our own descriptors too: a sibling may have written since we looked.
            let waits = !w.has_mail() && w.fresh.is_empty() && !w.reactor.has_events();
            waits && (w.index == index || w.sleeper.is_sleeping())
        });
        let all: Option<Vec<Option<u64>>> = idle.waiting.iter().copied().collect();
        let (true, Some(all)) = (quiet, all) else {
            return true;
        };
        let Some(next) = all.iter().flatten().min() else {
            return true;
        };
        clock.jump_to(*next);
        for (worker, nearest) in self.workers.iter().zip(&all) {
            if worker.index != index && nearest.is_some_and(|at| at <= *next) {
                idle.waiting[worker.index] = None;
                worker.notify();
            }
        }
        nearest.is_none_or(|at| at > *next)
    }

    /// Worker `index` does not wait any more.
    pub(crate) fn runs_on_manual_clock(&self, index: usize) {
        self.manual.lock().waiting[index] = None;
    }
}

/// The stack class for a size in bytes.
pub(crate) fn stack_class(bytes: usize) -> io::Result<Class> {
    let largest = Class::ALL[Class::COUNT - 1].slot_bytes();
    let with_block = bytes.saturating_add(thread_locals::extra_bytes());
    let bytes = bytes.max(with_block.min(largest));
    Class::for_size(bytes).ok_or_else(|| {
        let message = format!("stack of {bytes} bytes is above the maximum of {largest}");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

#[derive(Clone, Debug)]
struct Options {
    n_workers: Option<usize>,
    stack_size: usize,
    thread_locals: Option<ThreadLocals>,
    clock: Clock,
    shutdown_timeout: Duration,
    name: String,
}

impl Options {
    fn from_env() -> Self {
        Options {
            n_workers: None,
            stack_size: number_from_env("GREENRT_STACK_SIZE").unwrap_or(STACK_SIZE),
            thread_locals: ThreadLocals::from_env(),
            clock: Clock::System,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            name: "greenrt".into(),
        }
    }
}

/// A number from the environment; what cannot be read as one is reported and ignored.
pub(crate) fn number_from_env(name: &str) -> Option<usize> {
    let value = std::env::var_os(name)?;
    let number = value
        .to_str()
        .and_then(|text| text.trim().parse().ok())
        .filter(|&n| n > 0);
    if number.is_none() {
        eprintln!("greenrt: {name}={value:?} is not a number above zero; ignored");
    }
    number
}

/// How many workers a runtime has if nobody says.
fn default_workers() -> usize {
    number_from_env("GREENRT_WORKERS")
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// A runtime of its own: workers that run green threads, until it is dropped.
///
/// Most programs need none: [`spawn`](crate::spawn) starts the global one, and [`run`] is a
/// runtime on the calling thread.
///
/// Dropping it cancels its green threads and waits until they have ended, at most for the time
/// set by [`RuntimeBuilder::shutdown_timeout`]; what is left then is leaked, with a report on
/// standard error. A green thread of another runtime that drops it parks meanwhile. Dropped by one
/// of its own green threads, it does not wait.
///
/// # Examples
///
/// ```
/// let runtime = greenrt::Runtime::builder().workers(2).build()?;
/// let sum = runtime.run(|| {
///     let parts: Vec<_> = (0..10).map(|n| greenrt::spawn(move || n * n)).collect();
///     parts.into_iter().map(|part| part.join().unwrap()).sum::<u32>()
/// });
/// assert_eq!(sum, 285);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    core: Arc<Core>,
    /// The OS threads of its workers.
    threads: Vec<std::thread::JoinHandle<()>>,
    /// The number of forks that had been when it was made.
    generation: u32,
}

impl Runtime {
    /// Begins to configure a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            options: Options::from_env(),
        }
    }

    /// Spawns a green thread on this runtime.
    ///
    /// # Panics
    ///
    /// If no stack can be had; use [`Builder`](ThreadBuilder) to recover from that.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        ThreadBuilder::new()
            .spawn_on(self, f)
            .expect("failed to spawn a green thread")
    }

    /// Runs `f` in a green thread of this runtime and waits for it.
    ///
    /// The stack of that thread is 8 MiB. The calling OS thread blocks; a calling green thread,
    /// which must then be one of another runtime, parks.
    ///
    /// # Panics
    ///
    /// With whatever `f` panics with.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let main = ThreadBuilder::new()
            .name("main".into())
            .stack_size(MAIN_STACK_SIZE);
        let handle = main
            .spawn_on(self, f)
            .expect("failed to spawn a green thread");
        handle
            .join()
            .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }

    /// How many workers it has.
    pub fn n_workers(&self) -> usize {
        self.core.workers().len()
    }

    /// Whether its green threads have thread-locals of their own.
    pub fn thread_locals(&self) -> ThreadLocals {
        match self.core.thread_locals {
            Some(_) => ThreadLocals::Private,
            None => ThreadLocals::Shared,
        }
    }

    /// How many of its green threads have been spawned and not ended.
    pub fn n_threads(&self) -> usize {
        self.core.n_live()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Runtime {
    /// Waits until every worker has left its loop; `false`: one of them does not come to it.
    fn wait_exited(&self) -> bool {
        let _section = Section::enter_green();
        let left = self.core.time_left().unwrap_or_default() + Duration::from_millis(100);
        let give_up = Instant::now() + left.min(ENDLESS);
        loop {
            if self.core.exited.lock().n_workers == self.threads.len() {
                return true;
            }
            // A worker that computes does not look at the time, and is left behind.
            if give_up <= Instant::now() {
                return false;
            }
            self.core.cancel_all();
            let ends = Ends {
                by_token: false,
                by_cancel: false,
            };
            let Ok(episode) = Episode::open(Reason::SHUTDOWN, ends) else {
                continue;
            };
            self.core.exited.lock().dropper = Some(episode.target());
            if self.core.exited.lock().n_workers < self.threads.len() {
                // Not on a manual clock, which this would make run ahead.
                let system = with_local(|local| local.clock().manual().is_none()).unwrap_or(true);
                let slice = system.then(|| park::deadline_after(Duration::from_millis(10)));
                let _ended = episode.park(slice.flatten());
            } else {
                drop(episode);
            }
            self.core.exited.lock().dropper = None;
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("n_workers", &self.n_workers())
            .field("n_threads", &self.n_threads())
            .finish_non_exhaustive()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // They have not come along a fork, and libc knows nothing of them.
            std::mem::forget(std::mem::take(&mut self.threads));
        }
        if self.core.is_lost() {
            return std::mem::forget(Arc::clone(&self.core));
        }
        self.core.begin_shutdown();
        if with_local(|local| Arc::ptr_eq(local.runtime(), &self.core)) == Some(true) {
            // Dropped by one of its own green threads, which cannot wait for itself to end. The
            // workers end when their threads have.
            return;
        }
        if self.wait_exited() {
            // They have nothing left to do but to go, taking their descriptors along.
            self.threads
                .drain(..)
                .for_each(|thread| drop(thread.join()));
        }
        if self.core.n_live() > 0 {
            self.core.report_leaked();
            // What others make runnable later still goes to these workers' inboxes.
            std::mem::forget(Arc::clone(&self.core));
        }
    }
}

/// Configures a [`Runtime`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RuntimeBuilder {
    options: Options,
}

impl RuntimeBuilder {
    /// The number of workers. By default `GREENRT_WORKERS`, or one for each CPU.
    pub fn workers(mut self, n: usize) -> Self {
        self.options.n_workers = Some(n.max(1));
        self
    }

    /// The stack of its green threads in bytes, unless they ask for another. By default
    /// `GREENRT_STACK_SIZE`, or 256 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.options.stack_size = bytes;
        self
    }

    /// Whether its green threads have thread-locals of their own. By default
    /// `GREENRT_THREAD_LOCALS`, `private` or `shared`, or private ones where they can be had.
    pub fn thread_locals(mut self, thread_locals: ThreadLocals) -> Self {
        self.options.thread_locals = Some(thread_locals);
        self
    }

    /// The clock for its sleeps and timeouts. By default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.options.clock = clock;
        self
    }

    /// How long its green threads may take to end when it is dropped. By default a second.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.options.shutdown_timeout = timeout;
        self
    }

    /// What the names of its OS threads begin with. By default `greenrt`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// If a descriptor, a thread or memory cannot be had; nothing is left behind then. Or if the
    /// stack size is above the largest class, 8 MiB. `Unsupported` if private thread-locals are
    /// asked for and cannot be had here; the message says why.
    pub fn build(self) -> io::Result<Runtime> {
        let n_workers = self.options.n_workers.unwrap_or_else(default_workers);
        let core = Core::new(n_workers, &self.options)?;
        let mut runtime = Runtime {
            core,
            threads: Vec::with_capacity(n_workers),
            generation: fork::generation(),
        };
        for index in 0..n_workers {
            let core = Arc::clone(&runtime.core);
            let name = format!("{}-{index}", self.options.name);
            let thread = os_thread::spawn(name, move || work(core, index))?;
            runtime.threads.push(thread);
        }
        Ok(runtime)
    }
}

/// The body of a worker's OS thread.
fn work(core: Arc<Core>, index: usize) {
    // Without one a stack overflow still ends the process, but without a report.
    let alt_stack = AltStack::install().ok();
    let local = Local::new(Arc::clone(&core), index);
    local.run();
    core.workers[index].reactor.close();
    if core.n_live() > 0 {
        // Its parked threads stay where they are, and may be woken in vain.
        std::mem::forget(local);
    }
    drop(alt_stack);
    let wake = {
        let mut exited = core.exited.lock();
        exited.n_workers += 1;
        exited
            .dropper
            .as_ref()
            .and_then(|dropper| dropper.claim(CLAIM_WOKEN))
    };
    if let Some(wake) = wake {
        wake.wake();
    }
}

/// The global runtime, started now if it does not run yet.
///
/// # Errors
///
/// If it cannot be started; the next call tries again.
pub(crate) fn global() -> io::Result<&'static Runtime> {
    if let Some(runtime) = known_global() {
        return Ok(runtime);
    }
    let _section = Section::enter_green();
    let _starting = STARTING.lock();
    if let Some(runtime) = known_global() {
        return Ok(runtime);
    }
    let runtime = Box::leak(Box::new(Runtime::builder().build()?));
    // Release: pairs with the acquire in `known_global`.
    GLOBAL.store(runtime, Release);
    Ok(runtime)
}

/// Null before it starts. Never freed.
static GLOBAL: AtomicPtr<Runtime> = AtomicPtr::new(ptr::null_mut());
static STARTING: Mutex<()> = Mutex::new(());

#[inline]
#[expect(unsafe_code, reason = "a static that the child of a fork forgets")]
fn known_global() -> Option<&'static Runtime> {
    // SAFETY: null, or what `global` has leaked.
    unsafe { GLOBAL.load(Acquire).as_ref() }
}

/// Keeps others from starting the global runtime.
pub(crate) fn hold_starting() -> MutexGuard<'static, ()> {
    STARTING.lock()
}

/// In the child of a fork: the next one who needs the global runtime starts another, unless a worker
/// of it has come along.
pub(crate) fn forget_lost_global() {
    if known_global().is_some_and(|global| global.core.is_lost()) {
        GLOBAL.store(ptr::null_mut(), Relaxed);
    }
}

/// Runs `f` as the first green thread of a runtime whose one worker is the calling OS thread.
///
/// No other OS thread is started. Green threads that `f` spawns run on this thread too, whenever
/// one of them waits; exactly one runs at a time, and only a call that waits or yields lets
/// another one run. When `f` has returned the others are cancelled (see
/// [`Runtime`] for how a runtime ends), and `run` returns what `f` did.
///
/// The stack of `f` is 8 MiB.
///
/// # Panics
///
/// With whatever `f` panics with. If called from a green thread: its worker is already one. If the
/// system cannot supply what a runtime needs (three descriptors, a stack; with
/// `GREENRT_THREAD_LOCALS=private`, thread-locals for each green thread).
///
/// # Examples
///
/// ```
/// let order = greenrt::run(|| {
///     let (sender, receiver) = std::sync::mpsc::channel();
///     let threads: Vec<_> = ["A", "B"].map(|name| {
///         let sender = sender.clone();
///         greenrt::spawn(move || {
///             for n in 1..=2 {
///                 sender.send(format!("{n}{name}")).unwrap();
///                 greenrt::yield_now();
///             }
///         })
///     }).into();
///     threads.into_iter().for_each(|thread| thread.join().unwrap());
///     receiver.try_iter().collect::<Vec<_>>().join(" ")
/// });
/// assert_eq!(order, "1A 1B 2A 2B");
/// ```
#[track_caller]
#[expect(
    unsafe_code,
    reason = "the closure borrows, and is joined before this returns"
)]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    assert!(
        with_local(|_| ()).is_none(),
        "greenrt::run called from a green thread, whose worker runs already"
    );
    let options = Options {
        n_workers: Some(1),
        ..Options::from_env()
    };
    let core = Core::new(1, &options).expect("failed to start a runtime");
    let alt_stack = AltStack::install().ok();
    let local = Local::new(Arc::clone(&core), 0);
    let class = stack_class(MAIN_STACK_SIZE).expect("the largest class");
    local
        .reserve_stack(class)
        .expect("failed to map the stack of the main green thread");
    let start = Start {
        name: Some("main".into()),
        stack_class: class,
        site: Location::caller(),
        placed: true,
    };
    // SAFETY: this frame outlives the thread: the loop below returns when it has ended, and not
    // before.
    let (record, handle) = unsafe { packet::new(f, (), start) };
    // What it borrows need not be `Send`, and may depend on the caller's thread-locals.
    record.set_kin(Kin::Caller);
    local.set_main(&record);
    local.spawn(record);
    local
        .run_main()
        .expect("failed to map the thread-locals of the loop");
    assert!(
        handle.is_done(),
        "greenrt: the loop of `run` ended before its main thread"
    );
    core.begin_shutdown();
    if core.n_live() > 0 {
        // Not without memory: then they are leaked.
        let _ = local.run_main();
    }
    core.workers[0].reactor.close();
    if core.n_live() > 0 {
        core.report_leaked();
        std::mem::forget(local);
    }
    drop(alt_stack);
    // SAFETY: `f` returns `T`; the handle is ours, and the thread has ended.
    let result = unsafe { packet::take_result::<T>(&handle) };
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}
