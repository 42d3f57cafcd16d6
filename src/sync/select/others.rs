//! Arms for times, ends of threads, and descriptors.

#![expect(unsafe_code, reason = "waiters are queued by address")]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenrt_arch::fd;

use super::arm::{Arm, Operation, Place, Private, Who};
use crate::JoinHandle;
use crate::clock;
use crate::lowlevel::Io;
use crate::park;
use crate::reactor::source::{Direction, Source};
use crate::record::packet::JoinWaiter;
use crate::scheduler::Section;

/// Is chosen when a time has come, if no other arm was chosen before.
#[derive(Debug)]
pub struct TimeArm {
    deadline: Option<u64>,
}

impl TimeArm {
    /// `timeout` after this call.
    pub fn after(timeout: Duration) -> Self {
        TimeArm {
            deadline: park::deadline_after(timeout),
        }
    }

    /// At a moment of the runtime's clock.
    pub fn at(deadline: Instant) -> Self {
        TimeArm {
            deadline: clock::from_instant(deadline),
        }
    }
}

impl Arm for TimeArm {}

impl Operation for TimeArm {
    fn attempt(&self, _: Private) -> bool {
        false
    }

    fn queue(&self, _: &Who<'_>, _: Private) -> bool {
        true
    }

    fn leave(&self, _: Private) {}

    fn woken(&self, _: Private) -> bool {
        false
    }

    fn deadline(&self, _: Private) -> Option<u64> {
        self.deadline
    }
}

/// Is chosen when a green thread has ended: its [`join`](JoinHandle::join) will not wait.
pub struct JoinArm<'a, T> {
    handle: &'a mut JoinHandle<T>,
    waiter: UnsafeCell<Option<JoinWaiter>>,
    queued: Cell<bool>,
}

impl<'a, T> JoinArm<'a, T> {
    /// Waits for the end of the thread of `handle`.
    pub fn new(handle: &'a mut JoinHandle<T>) -> Self {
        JoinArm {
            handle,
            waiter: UnsafeCell::new(None),
            queued: Cell::new(false),
        }
    }
}

impl<T> Arm for JoinArm<'_, T> {}

impl<T> Operation for JoinArm<'_, T> {
    fn attempt(&self, _: Private) -> bool {
        self.handle.is_finished()
    }

    fn queue(&self, who: &Who<'_>, _: Private) -> bool {
        let waiter = JoinWaiter {
            target: who.target.clone(),
            tag: who.tag,
        };
        // SAFETY: the last one has left, and nobody else has a reference to what is the arm's.
        let place = unsafe { &mut *self.waiter.get() };
        *place = Some(waiter);
        // SAFETY: as above; it is shared from here on, until it has left.
        let waiter = unsafe { &*self.waiter.get() }.as_ref();
        let waiter = waiter.expect("greenrt: a waiter made just now");
        // SAFETY: the select calls `leave`, and keeps the arm in place until then. The handle is the
        // only one, and borrowed mutably.
        let queued = unsafe { waiter.queue(self.handle.record()) };
        self.queued.set(queued);
        queued
    }

    fn leave(&self, _: Private) {
        // SAFETY: replaced only by `queue`, which is not called meanwhile.
        if let Some(waiter) = unsafe { &*self.waiter.get() }
            && self.queued.replace(false)
        {
            waiter.leave(self.handle.record());
        }
    }

    fn woken(&self, _: Private) -> bool {
        self.handle.is_finished()
    }
}

impl<T> fmt::Debug for JoinArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinArm")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// Is chosen when a descriptor can be read or written: one operation on it may succeed, or fail,
/// without waiting. Several threads may learn that of one descriptor; only one of them may find it
/// so.
pub struct ReadyArm<'a> {
    fd: BorrowedFd<'a>,
    source: &'a Arc<Source>,
    direction: Direction,
    place: Place<()>,
}

impl<'a> ReadyArm<'a> {
    /// Waits until `io` can be read, or has met its end or an error.
    pub fn readable<T: AsFd>(io: &'a Io<T>) -> Self {
        ReadyArm::new(io, Direction::Read)
    }

    /// Waits until `io` can be written, or has met an error.
    pub fn writable<T: AsFd>(io: &'a Io<T>) -> Self {
        ReadyArm::new(io, Direction::Write)
    }

    fn new<T: AsFd>(io: &'a Io<T>, direction: Direction) -> Self {
        ReadyArm {
            fd: io.as_fd(),
            source: io.source(),
            direction,
            place: Place::new(),
        }
    }
}

impl Arm for ReadyArm<'_> {}

impl Operation for ReadyArm<'_> {
    fn attempt(&self, _: Private) -> bool {
        // Seen before the system is asked: an event that comes later is not cleared.
        let seen = self.source.ready(self.direction);
        let writable = self.direction == Direction::Write;
        // The operation itself will meet the error.
        let ready = fd::wait(self.fd, writable, Some(Duration::ZERO)).unwrap_or(true);
        if let (Some(seen), false) = (seen, ready) {
            self.source.would_block(self.direction, seen);
        }
        ready
    }

    fn queue(&self, who: &Who<'_>, _: Private) -> bool {
        let _section = Section::enter_green();
        // SAFETY: the last one has left; the select keeps the arm in place until this one has.
        let waiter = unsafe { self.place.make(who, ()) };
        // SAFETY: the select calls `leave`.
        let queued = unsafe { self.source.queue(self.direction, waiter) };
        // What cannot be watched is always ready.
        queued.unwrap_or(false)
    }

    fn leave(&self, _: Private) {
        let _section = Section::enter_green();
        if let Some(waiter) = self.place.waiter() {
            self.source.leave(self.direction, waiter);
        }
    }

    fn woken(&self, private: Private) -> bool {
        // An edge wakes one waiter. This one may not do the operation that would wake the next.
        let _section = Section::enter_green();
        self.source.pass_on(self.direction);
        self.attempt(private)
    }
}

impl fmt::Debug for ReadyArm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyArm")
            .field("fd", &self.fd)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
