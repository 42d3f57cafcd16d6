//! std's channels: many senders, one receiver.
//!
//! As [`std::sync::mpsc`], for threads of both kinds. What waits parks the calling green thread; none
//! of the waits is a point of cancellation. The errors are std's own.
//!
//! # Examples
//!
//! ```
//! use greenstd::sync::mpsc;
//! use greenstd::thread;
//!
//! let (sender, receiver) = mpsc::channel();
//! for n in 1..=10 {
//!     let sender = sender.clone();
//!     thread::spawn(move || sender.send(n).unwrap());
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<i32>(), 55);
//! ```

// How it works. All is behind one lock, which is held for some instructions and never while user
// code runs. The receiver waits for `arrivals` to change, and whoever puts something in changes it
// if the receiver has said, under the lock, that it waits. Senders wait for `room`, likewise.
//
// With a bound of zero a message is an offer. If the receiver waits the sender leaves it and goes:
// the receiver looks once more before it gives up, and nobody can drop it while it waits. Otherwise
// the sender stays until its offer is gone, or the receiver is; then it takes the offer back.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use greenrt::lowlevel::{
    FutexWait, WaitCell, deadline_after, futex_wait, futex_wait_again, futex_wake, spend_credit,
};

use super::lock::{Held, Lock};

/// A queue that was longer than this gives its memory back when it is empty.
const KEPT: usize = 1024;

/// On how many words senders wait who offer something. Those whose numbers are congruent are woken
/// together.
const N_OFFER_WORDS: usize = 8;

struct Channel<T> {
    queue: Lock<Queue<T>>,
    /// How many messages it holds before senders wait. `None`: they never do.
    bound: Option<usize>,
    n_senders: AtomicUsize,
    /// Changes when the receiver, which waits, has something to look at.
    arrivals: AtomicU32,
    /// Where the receiver waits.
    receiver: WaitCell,
    /// Changes when a sender that waits may have something to do; only the first one is for senders
    /// to a channel whose bound is not zero.
    room: [AtomicU32; N_OFFER_WORDS],
}

struct Queue<T> {
    messages: VecDeque<T>,
    /// Messages whose senders wait until they are taken, with increasing numbers.
    offers: VecDeque<(u64, T)>,
    n_offered: u64,
    /// The receiver waits, and was not told to look since.
    receiver_waits: bool,
    /// How many senders wait for room.
    n_senders_wait: usize,
    no_receiver: bool,
    no_senders: bool,
}

/// What has become of an attempt.
enum Sent<T> {
    Done,
    Full(T),
    Disconnected(T),
}

impl<T> Channel<T> {
    fn new(bound: Option<usize>) -> Arc<Self> {
        Arc::new(Channel {
            queue: Lock::new(Queue {
                messages: VecDeque::new(),
                offers: VecDeque::new(),
                n_offered: 0,
                receiver_waits: false,
                n_senders_wait: 0,
                no_receiver: false,
                no_senders: false,
            }),
            bound,
            n_senders: AtomicUsize::new(1),
            arrivals: AtomicU32::new(0),
            receiver: WaitCell::new(),
            room: [const { AtomicU32::new(0) }; N_OFFER_WORDS],
        })
    }

    /// Lets the receiver, if it waits, look at what was put in.
    #[inline]
    fn announce(&self, mut queue: Held<'_, Queue<T>>) {
        if !queue.receiver_waits {
            return;
        }
        queue.receiver_waits = false;
        // Changed under the lock, so nobody else does.
        let seen = self.arrivals.load(Relaxed);
        self.arrivals.store(seen.wrapping_add(1), Relaxed);
        drop(queue);
        self.receiver.wake();
    }

    #[inline]
    fn try_put(&self, message: T) -> Sent<T> {
        let mut queue = self.queue.lock();
        if queue.no_receiver {
            return Sent::Disconnected(message);
        }
        let has_room = match self.bound {
            None => true,
            Some(0) => queue.receiver_waits,
            Some(bound) => queue.messages.len() < bound,
        };
        if !has_room {
            return Sent::Full(message);
        }
        queue.messages.push_back(message);
        self.announce(queue);
        Sent::Done
    }

    #[inline]
    fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.try_put(message) {
            Sent::Done => {
                spend_credit();
                Ok(())
            }
            Sent::Disconnected(message) => Err(SendError(message)),
            Sent::Full(message) if self.bound == Some(0) => self.offer(message),
            Sent::Full(message) => self.send_waiting(message),
        }
    }

    #[cold]
    fn send_waiting(&self, message: T) -> Result<(), SendError<T>> {
        let room = &self.room[0];
        let mut wait: fn(&_, _, _) -> FutexWait = futex_wait;
        let mut queue = self.queue.lock();
        queue.n_senders_wait += 1;
        loop {
            let is_full = self
                .bound
                .is_some_and(|bound| queue.messages.len() >= bound);
            if queue.no_receiver || !is_full {
                break;
            }
            let seen = room.load(Relaxed);
            drop(queue);
            if wait(room, seen, None) == FutexWait::Woken {
                wait = futex_wait_again;
            }
            queue = self.queue.lock();
        }
        queue.n_senders_wait -= 1;
        if queue.no_receiver {
            return Err(SendError(message));
        }
        queue.messages.push_back(message);
        self.announce(queue);
        Ok(())
    }

    #[cold]
    fn offer(&self, message: T) -> Result<(), SendError<T>> {
        let mut queue = self.queue.lock();
        if queue.no_receiver {
            return Err(SendError(message));
        }
        if queue.receiver_waits {
            queue.messages.push_back(message);
            self.announce(queue);
            return Ok(());
        }
        let number = queue.n_offered;
        queue.n_offered += 1;
        queue.offers.push_back((number, message));
        let room = self.room_for(number);
        loop {
            let place = queue.offers.binary_search_by_key(&number, |offer| offer.0);
            let Ok(place) = place else {
                return Ok(());
            };
            if queue.no_receiver {
                let offer = queue.offers.remove(place);
                let (_, message) = offer.expect("it was there");
                return Err(SendError(message));
            }
            let seen = room.load(Relaxed);
            drop(queue);
            futex_wait(room, seen, None);
            queue = self.queue.lock();
        }
    }

    /// What the sender of an offer waits for.
    fn room_for(&self, number: u64) -> &AtomicU32 {
        &self.room[number as usize % N_OFFER_WORDS]
    }

    /// Takes a message out, and lets senders go on; or gives the lock back.
    #[inline]
    fn take<'a>(&self, mut queue: Held<'a, Queue<T>>) -> Result<T, Held<'a, Queue<T>>> {
        queue.receiver_waits = false;
        if let Some(message) = queue.messages.pop_front() {
            if queue.messages.is_empty() && queue.messages.capacity() > KEPT {
                queue.messages.shrink_to(KEPT / 2);
            }
            if queue.n_senders_wait > 0 {
                self.room[0].fetch_add(1, Relaxed);
                drop(queue);
                futex_wake(&self.room[0], 1);
            }
            return Ok(message);
        }
        let Some((number, message)) = queue.offers.pop_front() else {
            return Err(queue);
        };
        let room = self.room_for(number);
        room.fetch_add(1, Relaxed);
        drop(queue);
        futex_wake(room, usize::MAX);
        Ok(message)
    }

    fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.take(self.queue.lock()) {
            Ok(message) => {
                spend_credit();
                Ok(message)
            }
            Err(queue) if queue.no_senders => Err(TryRecvError::Disconnected),
            Err(queue) => {
                drop(queue);
                // Whoever tries until it succeeds lets others run.
                spend_credit();
                Err(TryRecvError::Empty)
            }
        }
    }

    /// Waits for a message, for at most `timeout`.
    #[inline]
    fn recv(&self, timeout: Option<Duration>) -> Result<T, RecvTimeoutError> {
        match self.take(self.queue.lock()) {
            Ok(message) => {
                spend_credit();
                Ok(message)
            }
            Err(queue) => self.recv_waiting(queue, timeout),
        }
    }

    #[inline]
    fn recv_waiting<'a>(
        &'a self,
        mut queue: Held<'a, Queue<T>>,
        timeout: Option<Duration>,
    ) -> Result<T, RecvTimeoutError> {
        let deadline: Option<Instant> = timeout.and_then(deadline_after);
        let mut timed_out = false;
        loop {
            if queue.no_senders {
                return Err(RecvTimeoutError::Disconnected);
            }
            if timed_out {
                return Err(RecvTimeoutError::Timeout);
            }
            queue.receiver_waits = true;
            let seen = self.arrivals.load(Relaxed);
            drop(queue);
            let must_wait = || self.arrivals.load(Relaxed) == seen;
            timed_out = self.receiver.wait(must_wait, deadline);
            queue = match self.take(self.queue.lock()) {
                Ok(message) => return Ok(message),
                Err(queue) => queue,
            };
        }
    }

    fn add_sender(&self) {
        // No overflow: each sender has a counted reference, of which there cannot be so many.
        self.n_senders.fetch_add(1, Relaxed);
    }

    fn remove_sender(&self) {
        // AcqRel: the last one comes after what the others did.
        if self.n_senders.fetch_sub(1, AcqRel) == 1 {
            let mut queue = self.queue.lock();
            queue.no_senders = true;
            self.announce(queue);
        }
    }

    fn remove_receiver(&self) {
        let mut queue = self.queue.lock();
        queue.no_receiver = true;
        let messages = mem::take(&mut queue.messages);
        let senders_wait = queue.n_senders_wait > 0 || !queue.offers.is_empty();
        drop(queue);
        if senders_wait {
            for room in &self.room {
                room.fetch_add(1, Relaxed);
                futex_wake(room, usize::MAX);
            }
        }
        drop(messages);
    }
}

/// Makes a channel without a bound, as [`std::sync::mpsc::channel`].
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Channel::new(None);
    let receiver = Receiver::of(&channel);
    (Sender { channel }, receiver)
}

/// Makes a channel whose senders wait while it holds `bound` messages, as
/// [`std::sync::mpsc::sync_channel`]; with a bound of zero, until the message is taken.
#[must_use]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let channel = Channel::new(Some(bound));
    let receiver = Receiver::of(&channel);
    (SyncSender { channel }, receiver)
}

/// The sending half of a [`channel`]; as [`std::sync::mpsc::Sender`].
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

/// The sending half of a [`sync_channel`]; as [`std::sync::mpsc::SyncSender`].
pub struct SyncSender<T> {
    channel: Arc<Channel<T>>,
}

/// The receiving half of a channel; as [`std::sync::mpsc::Receiver`].
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    /// Not `Sync`: there is one receiver.
    alone: PhantomData<Cell<()>>,
}

/// The messages of a channel, one after another; see [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// The messages that are in a channel now; see [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// The messages of a channel, one after another, by a receiver of its own.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for SyncSender<T> {}
impl<T> RefUnwindSafe for SyncSender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> Sender<T> {
    /// Puts a message into the channel and never waits, as [`std::sync::mpsc::Sender::send`].
    ///
    /// # Errors
    ///
    /// The message, if there is no receiver any more.
    #[inline]
    pub fn send(&self, t: T) -> Result<(), SendError<T>> {
        self.channel.send(t)
    }
}

impl<T> SyncSender<T> {
    /// Waits until there is room and puts a message into the channel, as
    /// [`std::sync::mpsc::SyncSender::send`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    ///
    /// # Errors
    ///
    /// The message, if there is no receiver any more.
    #[inline]
    pub fn send(&self, t: T) -> Result<(), SendError<T>> {
        self.channel.send(t)
    }

    /// Puts a message into the channel if there is room, as
    /// [`std::sync::mpsc::SyncSender::try_send`]; with a bound of zero, if the receiver waits.
    ///
    /// # Errors
    ///
    /// The message, if there is no room or no receiver any more.
    pub fn try_send(&self, t: T) -> Result<(), TrySendError<T>> {
        // Whoever tries until it succeeds lets others run.
        spend_credit();
        match self.channel.try_put(t) {
            Sent::Done => Ok(()),
            Sent::Full(message) => Err(TrySendError::Full(message)),
            Sent::Disconnected(message) => Err(TrySendError::Disconnected(message)),
        }
    }
}

impl<T> Receiver<T> {
    fn of(channel: &Arc<Channel<T>>) -> Self {
        Receiver {
            channel: Arc::clone(channel),
            alone: PhantomData,
        }
    }

    /// Takes a message out if there is one, as [`std::sync::mpsc::Receiver::try_recv`].
    ///
    /// # Errors
    ///
    /// If there is none, or can be none any more.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.try_recv()
    }

    /// Waits for a message and takes it out, as [`std::sync::mpsc::Receiver::recv`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    ///
    /// # Errors
    ///
    /// If there is none and no sender any more.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.channel.recv(None).map_err(|_| RecvError)
    }

    /// As [`recv`](Receiver::recv), for at most `timeout`; as
    /// [`std::sync::mpsc::Receiver::recv_timeout`].
    ///
    /// The time is that of the runtime's clock.
    ///
    /// # Errors
    ///
    /// If the time is up, or there is no message and no sender any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.channel.recv(Some(timeout))
    }

    /// The messages one after another, as they come, until there is no sender any more; as
    /// [`std::sync::mpsc::Receiver::iter`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// The messages that are there, until there is none; as
    /// [`std::sync::mpsc::Receiver::try_iter`].
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let channel = Arc::clone(&self.channel);
        channel.add_sender();
        Sender { channel }
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> SyncSender<T> {
        let channel = Arc::clone(&self.channel);
        channel.add_sender();
        SyncSender { channel }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.channel.remove_sender();
    }
}

impl<T> Drop for SyncSender<T> {
    fn drop(&mut self) {
        self.channel.remove_sender();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.remove_receiver();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
