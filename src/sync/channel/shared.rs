//! What the two ends of a channel share.
//!
//! # Rule
//!
//! Under the lock, no message lies in the queue while a receiver waits, and there is no room in the
//! queue while a sender waits. Who comes when somebody waits on the other side hands the message
//! over, or takes it, under the lock and before that thread can go on; so a wake-up *is* the
//! operation, nobody tries again, and nobody who comes along can be faster than those who wait.
//!
//! - A message is in one place at any time: with its sender, in the queue, in the slot of a waiter,
//!   or with its receiver. The slot of a waiting sender is emptied before its wait is claimed; if
//!   something else was faster (its deadline, a cancel, another arm of its select) the message is
//!   put back. The slot of a waiting receiver is filled in the same way. So a wait that ends by a
//!   claim from here has done its operation, and any other wait has not.
//! - A woken receiver without a message, and a woken sender with one, have learned that the channel
//!   is closed.
//!
//! A waiter whose thread was woken by something else stays in the list until that thread comes to
//! take it out. Its claim fails, and the next one is taken: it counts for nothing.
//!
//! # Considered and left out
//!
//! - A ring without a lock: the lock costs less than the switch, and waiting threads with `select!`
//!   need one anyway. Without a switch, within one worker, a lock that nobody wants costs 10 ns.
//! - Waking a receiver to let it look for itself: another one may be faster, so waking is
//!   unbounded, order among those who wait is lost, and there is one more acquisition of the lock.

#![expect(
    unsafe_code,
    reason = "waiters are linked through the frames of those who wait"
)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, TrySendError};

use super::SendTimeoutError;
use crate::park::reason::Reason;
use crate::park::word::Ends;
use crate::park::{Ended, Episode, Target, Wake};
use crate::scheduler::Section;
use crate::sync::lock::Lock;
use crate::sync::wait::{self, Until};
use crate::wait_queue::{WaitList, Waiter};

/// The message of a waiting sender, or the place for that of a waiting receiver.
pub(crate) type Slot<T> = Cell<Option<T>>;

/// Memory for so many messages is kept, even if there are none.
const KEPT: usize = 64;

/// See the module's documentation.
pub(crate) struct Channel<T> {
    state: Lock<State<T>>,
    /// How many messages the queue has room for.
    capacity: usize,
    n_senders: AtomicUsize,
    n_receivers: AtomicUsize,
}

struct State<T> {
    queue: VecDeque<T>,
    receivers: WaitList<Slot<T>>,
    senders: WaitList<Slot<T>>,
    /// Whether messages may still be sent.
    open: bool,
}

/// What became of a message.
enum Sent<T> {
    Done(Option<Wake>),
    Full(T),
    Closed(T),
}

/// What there was.
enum Received<T> {
    Message(T, Option<Wake>),
    Nothing,
    Closed,
}

impl<T> State<T> {
    #[inline(always)]
    fn send(&mut self, mut message: T, capacity: usize) -> Sent<T> {
        if !self.open {
            return Sent::Closed(message);
        }
        if !self.receivers.is_empty() {
            let given = self.receivers.wake_one_with(
                message,
                |slot, message| slot.set(Some(message)),
                |slot, ()| slot.take().expect("greenrt: a message was lost"),
            );
            match given {
                Ok((wake, ())) => return Sent::Done(Some(wake)),
                Err(back) => message = back,
            }
        }
        if self.queue.len() == capacity {
            return Sent::Full(message);
        }
        self.queue.push_back(message);
        Sent::Done(None)
    }

    #[inline(always)]
    fn receive(&mut self) -> Received<T> {
        if let Some(message) = self.queue.pop_front() {
            let wake = self.refill();
            return Received::Message(message, wake);
        }
        if !self.senders.is_empty()
            && let Some((wake, message)) = self.take_from_sender()
        {
            return Received::Message(message, Some(wake));
        }
        if self.open {
            Received::Nothing
        } else {
            Received::Closed
        }
    }

    /// There is room for one more: the first sender that waits has sent its message.
    #[inline(always)]
    fn refill(&mut self) -> Option<Wake> {
        if self.queue.len() < self.queue.capacity() / 4 && self.queue.capacity() > KEPT {
            self.shrink();
        }
        if self.senders.is_empty() {
            return None;
        }
        let (wake, message) = self.take_from_sender()?;
        self.queue.push_back(message);
        Some(wake)
    }

    #[cold]
    fn shrink(&mut self) {
        self.queue.shrink_to(self.queue.capacity() / 2);
    }

    fn take_from_sender(&mut self) -> Option<(Wake, T)> {
        let taken = self.senders.wake_one_with(
            (),
            |slot, ()| slot.take().expect("greenrt: a sender without a message"),
            |slot, message| slot.set(Some(message)),
        );
        taken.ok()
    }
}

impl<T> Channel<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Channel {
            state: Lock::new(State {
                queue: VecDeque::new(),
                receivers: WaitList::new(),
                senders: WaitList::new(),
                open: true,
            }),
            capacity,
            n_senders: AtomicUsize::new(1),
            n_receivers: AtomicUsize::new(1),
        }
    }

    #[inline(always)]
    pub(super) fn send(
        &self,
        message: T,
        mut until: Until,
        ends: Ends,
    ) -> Result<(), SendTimeoutError<T>> {
        let section = wait::begin_as(ends);
        let mut state = self.state.lock();
        match state.send(message, self.capacity) {
            Sent::Done(wake) => {
                drop(state);
                wait::wake(wake);
                wait::end(section);
                Ok(())
            }
            Sent::Closed(message) => Err(SendTimeoutError::Disconnected(message)),
            Sent::Full(message) => {
                let episode = match Episode::open_locked(section, Reason::send(ends), ends) {
                    Ok(episode) => episode,
                    Err(ended) => {
                        drop(state);
                        drop(message);
                        wait::refused(ended);
                    }
                };
                let waiter = pin!(Waiter::with(episode.target(), 0, Slot::new(Some(message))));
                let waiter = waiter.into_ref();
                // SAFETY: removed below unless it was woken. `park` does not unwind.
                unsafe { state.senders.push(waiter) };
                drop(state);
                let ended = episode.park(until.deadline());
                self.has_sent(waiter, ended, until, ends)
            }
        }
    }

    /// A wait of a sender is over.
    #[inline(always)]
    fn has_sent(
        &self,
        waiter: Pin<&Waiter<Slot<T>>>,
        ended: Ended,
        until: Until,
        ends: Ends,
    ) -> Result<(), SendTimeoutError<T>> {
        if let Ended::Woken(_) = ended {
            return match waiter.data().take() {
                None => Ok(()),
                Some(message) => Err(SendTimeoutError::Disconnected(message)),
            };
        }
        self.has_not_sent(waiter, ended, until, ends)
    }

    #[cold]
    #[inline(never)]
    fn has_not_sent(
        &self,
        waiter: Pin<&Waiter<Slot<T>>>,
        ended: Ended,
        until: Until,
        ends: Ends,
    ) -> Result<(), SendTimeoutError<T>> {
        self.leave_senders(waiter);
        let message = waiter.data().take();
        let message = message.expect("greenrt: a message is gone that nobody took");
        match ended {
            Ended::Deadline => Err(SendTimeoutError::Timeout(message)),
            // Nothing has happened, but the wait must begin anew.
            Ended::Again | Ended::Token | Ended::Woken(_) => self.send(message, until, ends),
            Ended::Interrupted(interrupt) => {
                drop(message);
                interrupt.unwind()
            }
        }
    }

    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let section = Section::enter_green();
        let result = self.attempt_send(message);
        wait::end(section);
        result
    }

    /// Sends if that needs no waiting; spends nothing. A section is open.
    #[inline]
    pub(crate) fn attempt_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let sent = self.state.lock().send(message, self.capacity);
        match sent {
            Sent::Done(wake) => {
                wait::wake(wake);
                Ok(())
            }
            Sent::Full(message) => Err(TrySendError::Full(message)),
            Sent::Closed(message) => Err(TrySendError::Disconnected(message)),
        }
    }

    #[inline(always)]
    pub(super) fn receive(&self, mut until: Until, ends: Ends) -> Result<T, RecvTimeoutError> {
        let section = wait::begin_as(ends);
        let mut state = self.state.lock();
        match state.receive() {
            Received::Message(message, wake) => {
                drop(state);
                wait::wake(wake);
                wait::end(section);
                Ok(message)
            }
            Received::Closed => Err(RecvTimeoutError::Disconnected),
            Received::Nothing => {
                let episode = match Episode::open_locked(section, Reason::receive(ends), ends) {
                    Ok(episode) => episode,
                    Err(ended) => {
                        drop(state);
                        wait::refused(ended);
                    }
                };
                let waiter = pin!(Waiter::with(episode.target(), 0, Slot::new(None)));
                let waiter = waiter.into_ref();
                // SAFETY: removed below unless it was woken. `park` does not unwind.
                unsafe { state.receivers.push(waiter) };
                drop(state);
                match episode.park(until.deadline()) {
                    Ended::Woken(_) => waiter.data().take().ok_or(RecvTimeoutError::Disconnected),
                    ended => self.has_not_received(waiter, ended, until, ends),
                }
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn has_not_received(
        &self,
        waiter: Pin<&Waiter<Slot<T>>>,
        ended: Ended,
        until: Until,
        ends: Ends,
    ) -> Result<T, RecvTimeoutError> {
        self.leave_receivers(waiter);
        match ended {
            Ended::Deadline => Err(RecvTimeoutError::Timeout),
            Ended::Again | Ended::Token | Ended::Woken(_) => self.receive(until, ends),
            Ended::Interrupted(interrupt) => interrupt.unwind(),
        }
    }

    pub(super) fn try_receive(&self) -> Result<T, TryRecvError> {
        let section = Section::enter_green();
        let result = self.attempt_receive();
        wait::end(section);
        result
    }

    /// Receives if that needs no waiting; spends nothing. A section is open.
    #[inline]
    pub(crate) fn attempt_receive(&self) -> Result<T, TryRecvError> {
        let received = self.state.lock().receive();
        match received {
            Received::Message(message, wake) => {
                wait::wake(wake);
                Ok(message)
            }
            Received::Nothing => Err(TryRecvError::Empty),
            Received::Closed => Err(TryRecvError::Disconnected),
        }
    }

    // What a select does.

    /// Whether a sender in a select must not wait; otherwise it waits.
    ///
    /// # Safety
    ///
    /// The waiter leaves (`leave_senders`) before it goes away.
    pub(crate) unsafe fn queue_sender(
        &self,
        waiter: Pin<&Waiter<Slot<T>>>,
        target: &Target,
    ) -> bool {
        let _section = Section::enter_green();
        let mut state = self.state.lock();
        let ready = !state.open
            || state.queue.len() < self.capacity
            || state.receivers.has_other_than(target);
        if !ready {
            // SAFETY: the caller's promise.
            unsafe { state.senders.push(waiter) };
        }
        ready
    }

    /// Whether a receiver in a select must not wait; otherwise it waits.
    ///
    /// # Safety
    ///
    /// The waiter leaves (`leave_receivers`) before it goes away.
    pub(crate) unsafe fn queue_receiver(
        &self,
        waiter: Pin<&Waiter<Slot<T>>>,
        target: &Target,
    ) -> bool {
        let _section = Section::enter_green();
        let mut state = self.state.lock();
        let ready = !state.open || !state.queue.is_empty() || state.senders.has_other_than(target);
        if !ready {
            // SAFETY: the caller's promise.
            unsafe { state.receivers.push(waiter) };
        }
        ready
    }

    pub(crate) fn leave_senders(&self, waiter: Pin<&Waiter<Slot<T>>>) {
        let _section = Section::enter_green();
        self.state.lock().senders.remove(waiter);
    }

    pub(crate) fn leave_receivers(&self, waiter: Pin<&Waiter<Slot<T>>>) {
        let _section = Section::enter_green();
        self.state.lock().receivers.remove(waiter);
    }

    // Ends.

    /// No more messages. Who waits to send gets its message back.
    pub(super) fn close(&self) -> bool {
        let was_open = {
            let _section = Section::enter_green();
            std::mem::replace(&mut self.state.lock().open, false)
        };
        if was_open {
            wait::wake_all(&self.state, |state| &mut state.receivers);
            wait::wake_all(&self.state, |state| &mut state.senders);
        }
        was_open
    }

    pub(super) fn add_sender(&self) {
        add(&self.n_senders);
    }

    pub(super) fn add_receiver(&self) {
        add(&self.n_receivers);
    }

    pub(super) fn remove_sender(&self) {
        // AcqRel: whoever closes comes after all that was sent.
        if self.n_senders.fetch_sub(1, AcqRel) == 1 {
            self.close();
        }
    }

    /// Nobody will take what lies in the queue: it is dropped now, by the last receiver.
    pub(super) fn remove_receiver(&self) {
        // AcqRel: as above.
        if self.n_receivers.fetch_sub(1, AcqRel) == 1 {
            self.close();
            let rest = {
                let _section = Section::enter_green();
                std::mem::take(&mut self.state.lock().queue)
            };
            drop(rest);
        }
    }

    // What can be seen.

    pub(super) fn len(&self) -> usize {
        let _section = Section::enter_green();
        self.state.lock().queue.len()
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    pub(super) fn is_open(&self) -> bool {
        let _section = Section::enter_green();
        self.state.lock().open
    }
}

fn add(count: &AtomicUsize) {
    if count.fetch_add(1, Relaxed) > usize::MAX / 2 {
        // Only leaked handles get here; wrapping around would close a channel in use.
        std::process::abort();
    }
}
