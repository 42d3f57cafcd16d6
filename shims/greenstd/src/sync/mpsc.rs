//! std's channels: many senders, one receiver.
//!
//! As [`std::sync::mpsc`], for threads of both kinds. What waits parks the calling green thread; none
//! of the waits is a point of cancellation. The errors are std's own. Below is a channel of
//! [`greenrt::sync::channel`], which is where the arguments are.
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

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use greenrt::sync::channel as green;

/// Makes a channel without a bound, as [`std::sync::mpsc::channel`].
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = green::unbounded();
    (Sender(sender), Receiver::of(receiver))
}

/// Makes a channel whose senders wait while it holds `bound` messages, as
/// [`std::sync::mpsc::sync_channel`]; with a bound of zero, until the message is taken.
#[must_use]
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (sender, receiver) = green::bounded(bound);
    (SyncSender(sender), Receiver::of(receiver))
}

/// The sending half of a [`channel`]; as [`std::sync::mpsc::Sender`].
pub struct Sender<T>(green::Sender<T>);

/// The sending half of a [`sync_channel`]; as [`std::sync::mpsc::SyncSender`].
pub struct SyncSender<T>(green::Sender<T>);

/// The receiving half of a channel; as [`std::sync::mpsc::Receiver`].
pub struct Receiver<T> {
    green: green::Receiver<T>,
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
        self.0.send_uncancelled(t)
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
        self.0.send_uncancelled(t)
    }

    /// Puts a message into the channel if there is room, as
    /// [`std::sync::mpsc::SyncSender::try_send`]; with a bound of zero, if the receiver waits.
    ///
    /// # Errors
    ///
    /// The message, if there is no room or no receiver any more.
    pub fn try_send(&self, t: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(t)
    }
}

impl<T> Receiver<T> {
    fn of(green: green::Receiver<T>) -> Self {
        Receiver {
            green,
            alone: PhantomData,
        }
    }

    /// Takes a message out if there is one, as [`std::sync::mpsc::Receiver::try_recv`].
    ///
    /// # Errors
    ///
    /// If there is none, or can be none any more.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.green.try_recv()
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
        self.green.recv_uncancelled(None).map_err(|_| RecvError)
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
        self.green.recv_uncancelled(Some(timeout))
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
        Sender(self.0.clone())
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> SyncSender<T> {
        SyncSender(self.0.clone())
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
