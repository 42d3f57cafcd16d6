//! Channels: bounded, unbounded and rendezvous, for many senders and many receivers.
//!
//! The error types are those of [`std::sync::mpsc`], and what std lacks has the names that
//! crossbeam gave it.

mod iter;
mod shared;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

pub use self::iter::{IntoIter, Iter, TryIter};
pub(crate) use self::shared::{Channel, Slot};
use super::wait::{NOT_A_POINT, POINT, Until};

/// Makes a channel that holds up to `capacity` messages.
///
/// A sender that finds it full waits until there is room. With a capacity of 0 there never is: a
/// message goes from hand to hand, and each waits for the other (a *rendezvous*).
///
/// # Examples
///
/// ```
/// use greenrt::sync::channel;
///
/// greenrt::run(|| {
///     let (sender, receiver) = channel::bounded(2);
///     let producer = greenrt::spawn(move || (1..=4).for_each(|n| sender.send(n).unwrap()));
///     assert_eq!(receiver.iter().sum::<i32>(), 10);
///     producer.join().unwrap();
/// });
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    // So many would not fit anywhere, unless they are nothing, and then nobody counts so far.
    channel(capacity.min(usize::MAX - 1))
}

/// Makes a channel that holds any number of messages, so that nobody waits to send.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = greenrt::sync::channel::unbounded();
/// for n in 0..1000 {
///     sender.send(n).unwrap();
/// }
/// assert_eq!(receiver.len(), 1000);
/// assert_eq!(receiver.recv(), Ok(0));
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(usize::MAX)
}

fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel::new(capacity));
    let sender = Sender {
        channel: Arc::clone(&channel),
    };
    (sender, Receiver { channel })
}

/// Sends messages. Clones send to the same channel.
///
/// When the last one is dropped the channel is closed: receivers take what is left, and learn then
/// that there will be no more.
///
/// # Order
///
/// What one thread sends is received in its order. Who waits for room sends in the order in which
/// they came, before all who come later; who waits for a message receives in that order.
///
/// # Threads
///
/// Both ends may be used by green threads, of any runtime, and by OS threads. A green thread that
/// waits parks; an OS thread blocks.
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

/// Receives messages. Clones receive from the same channel; each message goes to one of them.
///
/// When the last one is dropped the channel is closed, and what lies in it is dropped. See
/// [`Sender`] for order and threads.
pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    pub(crate) fn channel(&self) -> &Channel<T> {
        &self.channel
    }

    /// Sends a message; if the channel is full, waits until there is room.
    ///
    /// A send that need not wait spends a credit ([`lowlevel::spend_credit`]).
    ///
    /// # Errors
    ///
    /// If the channel is closed, also while this waits; the message comes back in the error. `Ok`
    /// means that the channel has the message, and, in a rendezvous, that a receiver has.
    ///
    /// A cancelled green thread unwinds from here, at once or while it waits; its message was not
    /// sent, and is dropped.
    ///
    /// [`lowlevel::spend_credit`]: crate::lowlevel::spend_credit
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.channel.send(message, Until::Done, POINT) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError(error.into_inner())),
        }
    }

    /// As [`send`](Sender::send), but not a point: cancellation and limits wait until it has
    /// returned, as code that is sound on std expects.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send).
    #[inline]
    pub fn send_uncancelled(&self, message: T) -> Result<(), SendError<T>> {
        match self.channel.send(message, Until::Done, NOT_A_POINT) {
            Ok(()) => Ok(()),
            Err(error) => Err(SendError(error.into_inner())),
        }
    }

    /// Sends a message if there is room, or a receiver that waits. Never waits and never unwinds;
    /// always spends a credit, so who tries again and again starves nobody.
    ///
    /// # Errors
    ///
    /// If there is no room, or the channel is closed.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(message)
    }

    /// As [`send`](Sender::send), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`send`](Sender::send), or if the time is up; the message comes back.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.channel.send(message, Until::After(timeout), POINT)
    }

    /// As [`send`](Sender::send), waiting until `deadline`, on the runtime's clock.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Sender::send_timeout).
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.channel.send(message, Until::instant(deadline), POINT)
    }
}

impl<T> Receiver<T> {
    pub(crate) fn channel(&self) -> &Channel<T> {
        &self.channel
    }

    /// Receives a message; if there is none, waits for one.
    ///
    /// A receive that need not wait spends a credit ([`lowlevel::spend_credit`]).
    ///
    /// # Errors
    ///
    /// If the channel is empty and closed, also while this waits.
    ///
    /// A cancelled green thread unwinds from here, at once or while it waits. It has taken no
    /// message then.
    ///
    /// [`lowlevel::spend_credit`]: crate::lowlevel::spend_credit
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.channel.receive(Until::Done, POINT) {
            Ok(message) => Ok(message),
            Err(_) => Err(RecvError),
        }
    }

    /// As [`recv`](Receiver::recv), for at most `timeout` if there is one, but not a point:
    /// cancellation and limits wait until it has returned, as code that is sound on std expects.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv), or if the time is up.
    #[inline]
    pub fn recv_uncancelled(&self, timeout: Option<Duration>) -> Result<T, RecvTimeoutError> {
        let until = timeout.map_or(Until::Done, Until::After);
        self.channel.receive(until, NOT_A_POINT)
    }

    /// Receives a message if there is one, or a sender that waits. Never waits and never unwinds;
    /// always spends a credit, so who tries again and again starves nobody.
    ///
    /// # Errors
    ///
    /// If there is none; the error says whether there may be one later.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.try_receive()
    }

    /// As [`recv`](Receiver::recv), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Receiver::recv), or if the time is up.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.channel.receive(Until::After(timeout), POINT)
    }

    /// As [`recv`](Receiver::recv), waiting until `deadline`, on the runtime's clock.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Receiver::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.channel.receive(Until::instant(deadline), POINT)
    }

    /// The messages, until the channel is empty and closed. Waits as [`recv`](Receiver::recv).
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// The messages that are there, without waiting, as [`try_recv`](Receiver::try_recv).
    ///
    /// After [`close`](Receiver::close) this drains the channel.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter::new(self)
    }
}

/// What both ends can say and do.
macro_rules! either_end {
    ($End:ident, $add:ident, $remove:ident, $is_disconnected:literal, $disconnected:expr) => {
        impl<T> $End<T> {
            /// Closes the channel: no more messages can be sent, by any sender. Receivers take what
            /// is left; who waits to send gets its message back in an error. `false`: it was closed
            /// already.
            ///
            /// # Examples
            ///
            /// ```
            /// let (sender, receiver) = greenrt::sync::channel::unbounded();
            /// sender.send(1).unwrap();
            /// sender.send(2).unwrap();
            /// assert!(receiver.close());
            /// assert!(sender.send(3).is_err());
            /// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
            /// ```
            pub fn close(&self) -> bool {
                self.channel.close()
            }

            #[doc = $is_disconnected]
            pub fn is_disconnected(&self) -> bool {
                let is_disconnected: fn(&Channel<T>) -> bool = $disconnected;
                is_disconnected(&self.channel)
            }

            /// How many messages lie in the channel. Those of senders that wait do not.
            pub fn len(&self) -> usize {
                self.channel.len()
            }

            /// Whether no message lies in the channel; in a rendezvous none ever does.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether there is no room for another message; in a rendezvous there never is.
            pub fn is_full(&self) -> bool {
                self.capacity() == Some(self.len())
            }

            /// How many messages it has room for; `None` for any number.
            pub fn capacity(&self) -> Option<usize> {
                self.channel.capacity()
            }

            /// Whether both are ends of one channel, on the same side.
            pub fn same_channel(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.channel, &other.channel)
            }
        }

        impl<T> Clone for $End<T> {
            fn clone(&self) -> Self {
                self.channel.$add();
                $End {
                    channel: Arc::clone(&self.channel),
                }
            }
        }

        impl<T> Drop for $End<T> {
            fn drop(&mut self) {
                self.channel.$remove();
            }
        }

        impl<T> fmt::Debug for $End<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($End))
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .finish_non_exhaustive()
            }
        }

        // No operation can leave it half changed.
        impl<T> UnwindSafe for $End<T> {}
        impl<T> RefUnwindSafe for $End<T> {}
    };
}

either_end!(
    Sender,
    add_sender,
    remove_sender,
    "Whether nothing can be sent any more: all receivers are gone, or the channel was closed.",
    |channel| !channel.is_open()
);
either_end!(
    Receiver,
    add_receiver,
    remove_receiver,
    "Whether no message will come any more and none is left: all senders are gone, or the channel \
     was closed, and it is empty.",
    |channel| !channel.is_open() && channel.len() == 0
);

/// The error of [`Sender::send_timeout`], with the message that was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room, or no receiver, within the time.
    Timeout(T),
    /// The channel is closed.
    Disconnected(T),
}

impl<T> SendTimeoutError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Disconnected(message) => message,
        }
    }

    /// Whether the time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendTimeoutError::Timeout(_))
    }

    /// Whether the channel is closed.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendTimeoutError::Disconnected(_))
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "timed out sending on a channel",
            SendTimeoutError::Disconnected(_) => "sending on a closed channel",
        })
    }
}

impl<T> std::error::Error for SendTimeoutError<T> {}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(error: SendError<T>) -> Self {
        SendTimeoutError::Disconnected(error.0)
    }
}
