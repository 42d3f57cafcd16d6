//! One descriptor that is waited for.
//!
//! # Readiness
//!
//! | bit         | meaning                                           | set by     | cleared by            |
//! |-------------|---------------------------------------------------|------------|-----------------------|
//! | READ        | a read may succeed                                | an event   | `EAGAIN`, short read  |
//! | WRITE       | a write may succeed                               | an event   | `EAGAIN`, short write |
//! | READ_END    | a read meets the end, an error or urgent data     | an event   | `EAGAIN`              |
//! | WRITE_END   | a write meets an error                            | an event   | `EAGAIN`              |
//! | HAS_READERS | somebody waits to read                            | a waiter   | the last one to go    |
//! | HAS_WRITERS | somebody waits to write                           | a waiter   | the last one to go    |
//! | LEVEL       | events for reading come as long as there is more  | `settle`   | see below             |
//! | tick        | how many events there were                        | an event   |                       |
//!
//! READ and WRITE are set at first: nobody knows yet. An operation reads the word, makes its system
//! call, and clears its bit only if the tick is still the one it read: an event in between keeps
//! the bit. Who finds the bit clear parks without a system call, and registering, which happens
//! then at the latest, reports what is ready already. So no edge is lost. An operation that writes
//! makes its system call once all the same (`io.rs`): sockets announce room when a good part of it is
//! free, and take what fits into less.
//!
//! A short read of a stream socket clears READ without seeing `EAGAIN`: the kernel had no more,
//! and will send an edge when it has. That is untrue only if the end, an error or urgent data came
//! together with the data, for no edge follows these; so while READ_END is set a short read clears
//! nothing.
//!
//! # Streams that come in parts
//!
//! A read of a stream of the Unix domain stops where a message with descriptors ends, so that a
//! short one proves nothing: there may be more, for which no edge comes. What tells is `recvmsg`, which
//! takes longer than `recv` does. So such a stream is watched
//! level-triggered: after a short read it may be taken for empty, for if it is not, the next look says
//! so. That lasts until an event comes with READ set, one that nobody needed yet: it would come at
//! each look, and keep an idle worker from sleeping. From then on the stream is watched for edges, and
//! a read must tell whether it stopped early ([`Seen::must_tell`]).
//!
//! LEVEL is set after the registration and cleared before it is changed, which has the next look report
//! what is there. So who has seen LEVEL, and the tick after a short read as before it, may rely on a
//! look to come that finds what that read has left.
//!
//! # Many waiters
//!
//! An edge wakes one waiter of a direction; when its operation has succeeded and the bit is still
//! set, it wakes the next. The end and errors wake all.
//!
//! Nearly always there is one waiter at most. It is noted here by its record alone, so that an
//! event touches the source and the record, two or three cache lines, and nothing of the stack
//! that it wakes; only those who come after it queue in a list. With a thousand connections every
//! line is a miss.
//!
//! # Locks
//!
//! `register` and `deregister` take the lock of the reactor's slots, `on_event` is called under it
//! and takes ours; so ours is never held while calling them.

#![expect(unsafe_code, reason = "waiters are queued by address")]

use std::io;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};

use greenrt_arch::{context, epoll};
use parking_lot::{Mutex, MutexGuard};

use super::{Reactor, Readiness, Watch};
use crate::fork;
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{Ended, Episode, Target, Wake};
use crate::record::Record;
use crate::scheduler::worker::Shared;
use crate::scheduler::{Section, with_local};
use crate::wait_queue::{WaitList, Waiter};

const READ: u32 = 1;
const WRITE: u32 = 1 << 1;
const READ_END: u32 = 1 << 2;
const WRITE_END: u32 = 1 << 3;
const HAS_READERS: u32 = 1 << 4;
const HAS_WRITERS: u32 = 1 << 5;
const LEVEL: u32 = 1 << 6;
const TICK: u32 = 1 << 8;

/// A descriptor that is waited for from another worker this often in a row moves there.
const MOVE_AFTER: u32 = 8;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn bit(self) -> u32 {
        match self {
            Direction::Read => READ,
            Direction::Write => WRITE,
        }
    }

    fn end(self) -> u32 {
        match self {
            Direction::Read => READ_END,
            Direction::Write => WRITE_END,
        }
    }

    fn waiting(self) -> u32 {
        match self {
            Direction::Read => HAS_READERS,
            Direction::Write => HAS_WRITERS,
        }
    }
}

/// The readiness that an operation found before its system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u32);

impl Seen {
    /// Whether a read of a stream that comes in parts must tell if it stopped where a part ends.
    #[inline]
    pub(crate) fn must_tell(self) -> bool {
        self.0 & LEVEL == 0
    }
}

/// See the module's documentation.
#[repr(C, align(64))]
pub(crate) struct Source {
    fd: RawFd,
    readiness: AtomicU32,
    /// Who waited last to read; only to fetch its memory ahead.
    last_reader: AtomicPtr<Record>,
    /// Nobody has waited to write yet, and until then no reactor is to tell when one could. Changed
    /// under the lock.
    reads_only: AtomicBool,
    /// How it is to be watched at first.
    watch: Watch,
    state: Mutex<State>,
}

/// Who waits for one direction, in the order in which they came.
struct Waiting {
    /// The first, while it is the only one, or was when it came.
    first: Option<NonNull<Record>>,
    more: WaitList,
}

impl Waiting {
    const fn new() -> Self {
        Waiting {
            first: None,
            more: WaitList::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }
}

#[repr(C)]
struct State {
    readers: Waiting,
    /// The worker whose reactor has it, and its token there.
    home: Option<(Arc<Shared>, u64)>,
    /// Waits in a row from one other worker.
    n_foreign: u32,
    /// Somebody is registering it, or taking it from its old home.
    moving: bool,
    closed: bool,
    /// The number of forks that had been when it was registered, or waited for, last.
    generation: u32,
    writers: Waiting,
}

// SAFETY: the records are touched under the lock that the state lies behind, and through their
// atomics only; the lists are made for it.
unsafe impl Send for State {}

impl State {
    /// Whether a reactor has it, and it should stay there while the calling worker waits.
    #[inline]
    fn is_home(&mut self) -> bool {
        let Some((home, _)) = &self.home else {
            // Whoever registers it now will have an event for what is ready.
            return self.moving || self.closed;
        };
        let here = with_local(|local| ptr::eq(&raw const **local.shared(), &raw const **home));
        if here == Some(true) {
            self.n_foreign = 0;
            return true;
        }
        self.n_foreign += 1;
        self.n_foreign < MOVE_AFTER || self.moving
    }

    /// Whether all that it says is about the process of which this one is a fork.
    #[inline]
    fn is_parents(&self) -> bool {
        self.generation != fork::generation()
    }

    fn waiting(&mut self, direction: Direction) -> &mut Waiting {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }
}

impl Source {
    pub(crate) fn new(fd: RawFd, watch: Watch) -> Arc<Source> {
        let watch = match watch {
            Watch::Level if !epoll::supported() => Watch::Reads,
            watch => watch,
        };
        Arc::new(Source {
            fd,
            readiness: AtomicU32::new(READ | WRITE),
            last_reader: AtomicPtr::new(ptr::null_mut()),
            reads_only: AtomicBool::new(watch != Watch::All),
            watch,
            state: Mutex::new(State {
                readers: Waiting::new(),
                writers: Waiting::new(),
                home: None,
                n_foreign: 0,
                moving: false,
                closed: false,
                generation: fork::generation(),
            }),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// In the child of a fork: whoever waits has not come along, and where it is registered nobody
    /// looks. What can be done is not known again.
    #[cold]
    fn forget_parent(&self, state: &mut State) {
        state.generation = fork::generation();
        state.readers = Waiting::new();
        state.writers = Waiting::new();
        state.n_foreign = 0;
        state.moving = false;
        if let Some(home) = state.home.take() {
            // Its last reference might close descriptors of a reactor that somebody is in.
            std::mem::forget(home);
        }
        self.readiness.store(READ | WRITE, Relaxed);
    }

    /// The state, of this process.
    #[inline]
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.is_parents() {
            self.forget_parent(&mut state);
        }
        state
    }

    /// What an operation should try with; `None`: it would block.
    #[inline]
    pub(crate) fn ready(&self, direction: Direction) -> Option<Seen> {
        // Acquire: pairs with the release in `on_event`.
        let seen = self.readiness.load(Acquire);
        (seen & (direction.bit() | direction.end()) != 0).then_some(Seen(seen))
    }

    /// For an operation that tries although it may block.
    pub(crate) fn seen(&self) -> Seen {
        // Acquire: as in `ready`.
        Seen(self.readiness.load(Acquire))
    }

    /// The operation would have blocked.
    pub(crate) fn would_block(&self, direction: Direction, seen: Seen) {
        self.clear(direction.bit() | direction.end(), seen);
    }

    /// The operation on a stream socket did less than it was asked to.
    #[inline]
    pub(crate) fn was_short(&self, direction: Direction, seen: Seen) {
        if seen.0 & direction.end() == 0 {
            self.clear(direction.bit(), seen);
        }
    }

    /// Clears bits, unless an event has come since `seen`.
    #[inline]
    fn clear(&self, bits: u32, seen: Seen) {
        let mut now = self.readiness.load(Relaxed);
        // The bits below the tick may change under us; the tick may not.
        while now / TICK == seen.0 / TICK && now & bits != 0 {
            match self
                .readiness
                .compare_exchange_weak(now, now & !bits, AcqRel, Relaxed)
            {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    /// After an operation that succeeded: if more can, and somebody waits, it is their turn.
    #[inline]
    pub(crate) fn pass_on(&self, direction: Direction) {
        let now = self.readiness.load(Relaxed);
        if now & direction.waiting() != 0 && now & (direction.bit() | direction.end()) != 0 {
            self.wake_one(direction);
        }
    }

    #[cold]
    fn wake_one(&self, direction: Direction) {
        let _section = Section::enter_green();
        let wake = self.next_waiter(&mut self.state(), direction);
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    /// Takes the next waiter of a direction out of its list.
    #[inline]
    fn next_waiter(&self, state: &mut State, direction: Direction) -> Option<Wake> {
        let waiting = state.waiting(direction);
        let first = waiting.first.take().filter(|record| {
            // SAFETY: a thread that is noted here stays in its wait until it is claimed, or has
            // taken itself out under the lock.
            unsafe { record.as_ref() }.word.claim(CLAIM_WOKEN)
        });
        let wake = match first {
            Some(record) => Some(Wake::Green(record)),
            None => waiting.more.wake_one(),
        };
        if waiting.is_empty() {
            self.readiness.fetch_and(!direction.waiting(), AcqRel);
        }
        wake
    }

    /// Fetches its own memory.
    #[inline]
    pub(super) fn prefetch(&self) {
        let at = ptr::from_ref(self).addr();
        context::prefetch(at);
        context::prefetch(at + 64);
    }

    /// Fetches the record of who probably waits to read.
    #[inline]
    pub(super) fn prefetch_reader(&self) {
        context::prefetch(self.last_reader.load(Relaxed).addr());
    }

    /// Called by the worker that has it registered.
    #[inline]
    pub(super) fn on_event(&self, event: Readiness) {
        let mut bits = 0;
        if event.readable || event.read_end || event.end {
            bits |= READ;
        }
        if event.writable || event.end {
            bits |= WRITE;
        }
        if event.read_end || event.end {
            bits |= READ_END;
        }
        if event.end {
            bits |= WRITE_END;
        }
        let before = self
            .readiness
            .fetch_update(AcqRel, Relaxed, |now| Some((now | bits).wrapping_add(TICK)));
        let (Ok(before) | Err(before)) = before;
        if before & bits & READ != 0 && before & LEVEL != 0 {
            self.watch_edges();
        }
        if before & (HAS_READERS | HAS_WRITERS) == 0 {
            return;
        }
        let mut state = self.state();
        if event.end {
            return self.wake_all(&mut state);
        }
        let turn = |bit, waiting| bits & bit != 0 && before & waiting != 0;
        let reader = if turn(READ, HAS_READERS) {
            self.next_waiter(&mut state, Direction::Read)
        } else {
            None
        };
        let writer = if turn(WRITE, HAS_WRITERS) {
            self.next_waiter(&mut state, Direction::Write)
        } else {
            None
        };
        drop(state);
        [reader, writer].into_iter().flatten().for_each(Wake::wake);
    }

    /// Parks until the direction may be ready, at the latest at `deadline`.
    ///
    /// The frames between here and the switch are what each waiting thread keeps in the cache; so
    /// the usual way is short, and all the others are calls.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be registered.
    #[inline]
    pub(crate) fn wait(
        self: &Arc<Self>,
        direction: Direction,
        deadline: Option<u64>,
    ) -> io::Result<Ended> {
        if direction == Direction::Write && self.reads_only.load(Relaxed) {
            self.watch_writes()?;
        }
        loop {
            let episode = match self.open(direction) {
                Ok(episode) => episode,
                Err(ended) => return Ok(ended),
            };
            let queued = Queued {
                source: self,
                direction,
                record: green(&episode),
                waiter: None,
            };
            match queued.queue() {
                Queue::Waits => return Ok(queued.park(episode, deadline)),
                Queue::Ready => return Ok(Ended::Woken(0)),
                Queue::NotFirst => {
                    std::mem::forget(queued);
                    drop(episode);
                    return self.wait_behind(direction, deadline);
                }
                Queue::Homeless => {
                    std::mem::forget(queued);
                    drop(episode);
                    self.settle()?;
                }
            }
        }
    }

    /// As `wait`, where somebody waits already.
    #[cold]
    #[inline(never)]
    fn wait_behind(
        self: &Arc<Self>,
        direction: Direction,
        deadline: Option<u64>,
    ) -> io::Result<Ended> {
        loop {
            let episode = match self.open(direction) {
                Ok(episode) => episode,
                Err(ended) => return Ok(ended),
            };
            let waiter = pin!(Waiter::new(episode.target(), 0));
            let queued = Queued {
                source: self,
                direction,
                record: green(&episode),
                waiter: Some(waiter.as_ref()),
            };
            match queued.queue() {
                Queue::Waits => return Ok(queued.park(episode, deadline)),
                Queue::Ready => return Ok(Ended::Woken(0)),
                Queue::NotFirst => unreachable!("greenrt: a waiter with a place in the list"),
                Queue::Homeless => {
                    std::mem::forget(queued);
                    drop(episode);
                    self.settle()?;
                }
            }
        }
    }

    /// Puts the waiter of a select, of a thread of any kind, behind those who wait for a direction.
    /// `false`: it does not wait, because the direction may be ready.
    ///
    /// # Safety
    ///
    /// The waiter leaves (`leave`) before it goes away.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be registered, or there is no reactor for it.
    pub(crate) unsafe fn queue(
        self: &Arc<Self>,
        direction: Direction,
        waiter: Pin<&Waiter>,
    ) -> io::Result<bool> {
        if direction == Direction::Write && self.reads_only.load(Relaxed) {
            self.watch_writes()?;
        }
        loop {
            let mut state = self.state();
            if state.home.is_none() && !state.moving && !state.closed {
                drop(state);
                match with_local(|local| Arc::clone(local.shared())) {
                    Some(here) => self.settle_at(here)?,
                    // An OS thread has no reactor: the global runtime has one.
                    None => {
                        self.settle_at(Arc::clone(&crate::runtime::global()?.core().workers()[0]))?
                    }
                }
                continue;
            }
            // SAFETY: the caller's promise.
            unsafe { state.waiting(direction).more.push(waiter) };
            // AcqRel, one word: either we see the bits of an event, or the event sees that we wait.
            let before = self.readiness.fetch_or(direction.waiting(), AcqRel);
            return Ok(before & (direction.bit() | direction.end()) == 0);
        }
    }

    /// Takes the waiter of a select out, if it is still in.
    pub(crate) fn leave(&self, direction: Direction, waiter: Pin<&Waiter>) {
        let mut state = self.state();
        let waiting = state.waiting(direction);
        waiting.more.remove(waiter);
        if waiting.is_empty() {
            self.readiness.fetch_and(!direction.waiting(), AcqRel);
        }
    }

    #[inline]
    fn open(&self, direction: Direction) -> Result<Episode, Ended> {
        let reason = match direction {
            Direction::Read => Reason::readable(self.fd),
            Direction::Write => Reason::writable(self.fd),
        };
        let ends = Ends {
            by_token: false,
            by_cancel: true,
        };
        Episode::open(reason, ends)
    }

    /// Gives it to the reactor of the calling worker, taking it from another one.
    ///
    /// The new registration comes first, so there always is one, and what is ready at that moment
    /// comes as an event. `moving` keeps others from registering anew what is about to be removed.
    #[cold]
    fn settle(self: &Arc<Self>) -> io::Result<()> {
        let _section = Section::enter_green();
        let Some(here) = with_local(|local| Arc::clone(local.shared())) else {
            return Ok(());
        };
        self.settle_at(here)
    }

    fn settle_at(self: &Arc<Self>, here: Arc<Shared>) -> io::Result<()> {
        {
            let mut state = self.state();
            if state.moving || state.closed {
                return Ok(());
            }
            state.moving = true;
        }
        let watch = match self.reads_only.load(Relaxed) {
            true => self.watch,
            false => Watch::All,
        };
        let registered = here.reactor.register(self, watch);
        let mut state = self.state.lock();
        state.n_foreign = 0;
        if registered.is_ok() && watch == Watch::Level && self.reads_only.load(Relaxed) {
            self.readiness.fetch_or(LEVEL, AcqRel);
        }
        if let Ok(token) = registered
            && watch != Watch::All
            && !self.reads_only.load(Relaxed)
        {
            // Somebody wants to write since.
            if let Err(error) = here.reactor.watch(token, self.fd, Watch::All, false) {
                state.moving = false;
                self.wake_all(&mut state);
                drop(state);
                here.reactor.deregister(token, self.fd, false);
                return Err(error);
            }
        }
        let superfluous = match registered {
            Ok(token) if state.closed => Some((here, token)),
            Ok(token) => state.home.replace((here, token)),
            Err(error) => {
                state.moving = false;
                if state.home.is_none() {
                    // Those who queued meanwhile try for themselves.
                    self.wake_all(&mut state);
                }
                return Err(error);
            }
        };
        drop(state);
        if let Some((worker, token)) = superfluous {
            worker.reactor.deregister(token, self.fd, false);
        }
        self.state.lock().moving = false;
        Ok(())
    }

    /// From now on there are events for writing too.
    #[cold]
    fn watch_writes(&self) -> io::Result<()> {
        let _section = Section::enter_green();
        let state = self.state();
        if !self.reads_only.load(Relaxed) {
            return Ok(());
        }
        self.rewatch(&state, Watch::All)?;
        // Whoever is registering it looks again under the lock.
        self.reads_only.store(false, Relaxed);
        Ok(())
    }

    /// From now on there are events for reading only when something has changed.
    #[cold]
    fn watch_edges(&self) {
        let state = self.state();
        // While it moves, the next event of this kind will do; so it will if this fails.
        if !state.moving && self.readiness.load(Relaxed) & LEVEL != 0 {
            let _ = self.rewatch(&state, Watch::Reads);
        }
    }

    /// Has its reactor, if it has one, watch it for other things, but no more level-triggered.
    fn rewatch(&self, state: &State, watch: Watch) -> io::Result<()> {
        let before = self.readiness.fetch_and(!LEVEL, AcqRel);
        if let Some((home, token)) = &state.home
            && let Err(error) = home.reactor.watch(*token, self.fd, watch, false)
        {
            self.readiness.fetch_or(before & LEVEL, AcqRel);
            return Err(error);
        }
        Ok(())
    }

    /// Its reactor ends.
    pub(super) fn lose_home(&self, reactor: &Reactor) {
        let mut state = self.state.lock();
        state
            .home
            .take_if(|(home, _)| ptr::eq(&raw const home.reactor, reactor));
        self.wake_all(&mut state);
    }

    fn wake_all(&self, state: &mut State) {
        for direction in [Direction::Read, Direction::Write] {
            while let Some(wake) = self.next_waiter(state, direction) {
                wake.wake();
            }
        }
    }

    /// Has everybody who waits try again, although no event has come.
    pub(crate) fn retry_all(&self) {
        let _section = Section::enter_green();
        let again = |now: u32| Some((now | READ | WRITE).wrapping_add(TICK));
        // AcqRel: as in `on_event`.
        let before = self.readiness.fetch_update(AcqRel, Relaxed, again);
        let (Ok(before) | Err(before)) = before;
        if before & (HAS_READERS | HAS_WRITERS) != 0 {
            self.wake_all(&mut self.state());
        }
    }

    /// As `close`, and those who wait, or are about to, try once more.
    pub(crate) fn retire(&self, last: bool) {
        // As an event: who has tried before does not clear it.
        let all = READ | WRITE | READ_END | WRITE_END;
        let retire = |now: u32| Some((now | all).wrapping_add(TICK));
        let _ = self.readiness.fetch_update(AcqRel, Relaxed, retire);
        self.close(last);
    }

    /// Takes it out of its reactor and wakes everybody who waits. `last`: the descriptor is closed
    /// next, and has no duplicates.
    pub(crate) fn close(&self, last: bool) {
        let _section = Section::enter_green();
        let mut state = self.state();
        state.closed = true;
        let home = state.home.take();
        self.wake_all(&mut state);
        drop(state);
        if let Some((home, token)) = home {
            // Somebody may have got a duplicate in a message, which would keep the registration.
            // Edges of that are nothing; a level would be told of at each look, for ever.
            let last = last && self.readiness.load(Relaxed) & LEVEL == 0;
            home.reactor.deregister(token, self.fd, last);
        }
    }

    #[cfg(test)]
    pub(super) fn has_reader(&self) -> bool {
        self.readiness.load(Acquire) & HAS_READERS != 0
    }

    #[cfg(test)]
    pub(super) fn is_level(&self) -> bool {
        self.readiness.load(Acquire) & LEVEL != 0
    }

    /// The worker that has it registered.
    #[cfg(test)]
    pub(super) fn home(&self) -> Option<usize> {
        self.state.lock().home.as_ref().map(|(home, _)| home.index)
    }
}

/// The green thread that waits.
#[inline]
fn green(episode: &Episode) -> NonNull<Record> {
    let Target::Green(record) = episode.target() else {
        unreachable!("greenrt: an OS thread waits for a descriptor in poll(2)")
    };
    record
}

/// Somebody who waits for a direction; leaves it when dropped.
struct Queued<'a> {
    source: &'a Source,
    direction: Direction,
    record: NonNull<Record>,
    /// Its place in the list, for those who are not the first.
    waiter: Option<Pin<&'a Waiter>>,
}

/// What became of a thread that wanted to queue.
enum Queue {
    /// It is queued.
    Waits,
    /// It is queued, but the direction is ready after all.
    Ready,
    /// It is not queued: it is not the first, and has no place in the list.
    NotFirst,
    /// It is not queued: no reactor watches the descriptor, or this worker's should.
    Homeless,
}

impl Queued<'_> {
    #[inline]
    fn queue(&self) -> Queue {
        let mut state = self.source.state();
        if self.waiter.is_none() && !state.waiting(self.direction).is_empty() {
            return Queue::NotFirst;
        }
        if !state.is_home() {
            return Queue::Homeless;
        }
        let waiting = state.waiting(self.direction);
        if waiting.is_empty() {
            waiting.first = Some(self.record);
            if self.direction == Direction::Read {
                self.source.last_reader.store(self.record.as_ptr(), Relaxed);
            }
        } else {
            let waiter = self
                .waiter
                .expect("greenrt: a waiter without a place in the list");
            // SAFETY: `drop` removes it, under the same lock, unless somebody else has.
            unsafe { waiting.more.push(waiter) };
        }
        // AcqRel, one word: either we see the bits of an event, or the event sees that we wait.
        let before = self
            .source
            .readiness
            .fetch_or(self.direction.waiting(), AcqRel);
        if before & (self.direction.bit() | self.direction.end()) == 0 {
            Queue::Waits
        } else {
            Queue::Ready
        }
    }

    #[inline]
    fn park(self, episode: Episode, deadline: Option<u64>) -> Ended {
        let ended = episode.park(deadline);
        if matches!(ended, Ended::Woken(_)) {
            // Whoever woke it has taken it out.
            std::mem::forget(self);
        }
        ended
    }
}

impl Drop for Queued<'_> {
    #[cold]
    fn drop(&mut self) {
        let mut state = self.source.state();
        let waiting = state.waiting(self.direction);
        if waiting.first == Some(self.record) {
            waiting.first = None;
        } else if let Some(waiter) = self.waiter {
            waiting.more.remove(waiter);
        }
        if waiting.is_empty() {
            self.source
                .readiness
                .fetch_and(!self.direction.waiting(), AcqRel);
        }
    }
}
