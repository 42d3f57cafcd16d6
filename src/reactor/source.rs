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
//! | tick        | how many events there were                        | an event   |                       |
//!
//! READ and WRITE are set at first: nobody knows yet. An operation reads the word, makes its system
//! call, and clears its bit only if the tick is still the one it read: an event in between keeps
//! the bit. Who finds the bit clear parks without a system call, and registering, which happens
//! then at the latest, reports what is ready already. So no edge is lost.
//!
//! A short read of a stream socket clears READ without seeing `EAGAIN`: the kernel had no more,
//! and will send an edge when it has. That is untrue only if the end, an error or urgent data came
//! together with the data, for no edge follows these; so while READ_END is set a short read clears
//! nothing.
//!
//! # Many waiters
//!
//! An edge wakes one waiter of a direction; when its operation has succeeded and the bit is still
//! set, it wakes the next. The end and errors wake all.
//!
//! # Locks
//!
//! `register` and `deregister` take the lock of the reactor's slots, `on_event` is called under it
//! and takes ours; so ours is never held while calling them.

#![expect(unsafe_code, reason = "waiters are queued by address")]

use std::io;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use parking_lot::Mutex;

use super::Readiness;
use crate::park::reason::Reason;
use crate::park::word::Ends;
use crate::park::{Ended, Episode, Wake};
use crate::scheduler::worker::Shared;
use crate::scheduler::with_local;
use crate::wait_queue::{WaitList, Waiter};

const READ: u32 = 1;
const WRITE: u32 = 1 << 1;
const READ_END: u32 = 1 << 2;
const WRITE_END: u32 = 1 << 3;
const HAS_READERS: u32 = 1 << 4;
const HAS_WRITERS: u32 = 1 << 5;
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

/// See the module's documentation.
pub(crate) struct Source {
    fd: RawFd,
    readiness: AtomicU32,
    state: Mutex<State>,
}

struct State {
    readers: WaitList,
    writers: WaitList,
    /// The worker whose reactor has it, and its token there.
    home: Option<(Arc<Shared>, u64)>,
    /// Waits in a row from one other worker.
    n_foreign: u32,
    closed: bool,
}

impl State {
    fn list(&mut self, direction: Direction) -> &mut WaitList {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }
}

impl Source {
    pub(crate) fn new(fd: RawFd) -> Arc<Source> {
        Arc::new(Source {
            fd,
            readiness: AtomicU32::new(READ | WRITE),
            state: Mutex::new(State {
                readers: WaitList::new(),
                writers: WaitList::new(),
                home: None,
                n_foreign: 0,
                closed: false,
            }),
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// What an operation should try with; `None`: it would block.
    #[inline]
    pub(crate) fn ready(&self, direction: Direction) -> Option<Seen> {
        // Acquire: pairs with the release in `on_event`.
        let seen = self.readiness.load(Acquire);
        (seen & (direction.bit() | direction.end()) != 0).then_some(Seen(seen))
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
            match self.readiness.compare_exchange_weak(now, now & !bits, AcqRel, Relaxed) {
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
        let wake = self.state.lock().list(direction).wake_one();
        if let Some(wake) = wake {
            wake.wake();
        }
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
        let before = self.readiness.fetch_update(AcqRel, Relaxed, |now| {
            Some((now | bits).wrapping_add(TICK))
        });
        let (Ok(before) | Err(before)) = before;
        if before & (HAS_READERS | HAS_WRITERS) == 0 {
            return;
        }
        let mut state = self.state.lock();
        if event.end {
            // Everybody, one after the other: a waiter that was woken looks for itself.
            loop {
                let wake = match state.readers.wake_one() {
                    Some(wake) => wake,
                    None => match state.writers.wake_one() {
                        Some(wake) => wake,
                        None => return,
                    },
                };
                wake.wake();
            }
        }
        let reader = if bits & READ != 0 { state.readers.wake_one() } else { None };
        let writer = if bits & WRITE != 0 { state.writers.wake_one() } else { None };
        drop(state);
        [reader, writer].into_iter().flatten().for_each(Wake::wake);
    }

    /// Parks until the direction may be ready, at the latest at `deadline`.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be registered.
    pub(crate) fn wait(
        self: &Arc<Self>,
        direction: Direction,
        deadline: Option<u64>,
    ) -> io::Result<Ended> {
        let reason = match direction {
            Direction::Read => Reason::readable(self.fd),
            Direction::Write => Reason::writable(self.fd),
        };
        self.settle()?;
        let episode = match Episode::open(reason, Ends { by_token: false, by_cancel: true }) {
            Ok(episode) => episode,
            Err(ended) => return Ok(ended),
        };
        let waiter = pin!(Waiter::new(episode.target(), 0));
        let waiter = Queued { source: self, direction, waiter: waiter.as_ref() };
        if !waiter.queue() {
            return Ok(Ended::Woken(0));
        }
        let ended = episode.park(deadline);
        drop(waiter);
        Ok(ended)
    }

    /// Makes sure that the reactor of the calling worker, or another one, has it.
    fn settle(self: &Arc<Self>) -> io::Result<()> {
        let Some(here) = with_local(|local| Arc::clone(local.shared())) else { return Ok(()) };
        let old = {
            let mut state = self.state.lock();
            match &state.home {
                Some((home, _)) if Arc::ptr_eq(home, &here) => {
                    state.n_foreign = 0;
                    return Ok(());
                }
                Some(_) => {
                    state.n_foreign += 1;
                    if state.n_foreign < MOVE_AFTER {
                        return Ok(());
                    }
                    state.n_foreign = 0;
                    state.home.take()
                }
                None => None,
            }
        };
        if let Some((old, token)) = old {
            old.reactor.deregister(token, self.fd, false);
        }
        // What is ready now is reported as an event, so nothing that came between is lost.
        let token = here.reactor.register(self)?;
        let mut state = self.state.lock();
        if state.home.is_none() && !state.closed {
            state.home = Some((here, token));
        } else {
            // Somebody else was faster.
            drop(state);
            here.reactor.deregister(token, self.fd, false);
        }
        Ok(())
    }

    /// Takes it out of its reactor and wakes everybody who waits. `last`: the descriptor is closed
    /// next, and has no duplicates.
    pub(crate) fn close(&self, last: bool) {
        let mut state = self.state.lock();
        state.closed = true;
        let home = state.home.take();
        while let Some(wake) = state.readers.wake_one() {
            wake.wake();
        }
        while let Some(wake) = state.writers.wake_one() {
            wake.wake();
        }
        drop(state);
        if let Some((home, token)) = home {
            home.reactor.deregister(token, self.fd, last);
        }
    }

    /// The worker that has it registered.
    #[cfg(test)]
    pub(crate) fn home(&self) -> Option<usize> {
        self.state.lock().home.as_ref().map(|(home, _)| home.index)
    }
}

/// A waiter in one of the lists; leaves it when dropped.
struct Queued<'a> {
    source: &'a Source,
    direction: Direction,
    waiter: Pin<&'a Waiter>,
}

impl Queued<'_> {
    /// `false`: the direction is ready after all.
    fn queue(&self) -> bool {
        let mut state = self.source.state.lock();
        // SAFETY: `drop` removes it, under the same lock.
        unsafe { state.list(self.direction).push(self.waiter) };
        // AcqRel, one word: either we see the bits of an event, or the event sees that we wait.
        let before = self.source.readiness.fetch_or(self.direction.waiting(), AcqRel);
        before & (self.direction.bit() | self.direction.end()) == 0
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.source.state.lock();
        let list = state.list(self.direction);
        list.remove(self.waiter);
        if list.is_empty() {
            self.source.readiness.fetch_and(!self.direction.waiting(), AcqRel);
        }
    }
}
