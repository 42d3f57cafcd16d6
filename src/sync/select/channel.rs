//! Arms that send and receive.

#![expect(unsafe_code, reason = "waiters are queued by address")]

use std::cell::Cell;
use std::fmt;

use super::arm::{Arm, Operation, Place, Private, Who};
use crate::sync::channel::{
    Receiver, RecvError, SendError, Sender, Slot, TryRecvError, TrySendError,
};

/// Receives from a channel, when its select chooses it.
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    place: Place<Slot<T>>,
    result: Cell<Option<Result<T, RecvError>>>,
}

impl<'a, T> RecvArm<'a, T> {
    /// Receives from `receiver`.
    pub fn new(receiver: &'a Receiver<T>) -> Self {
        RecvArm {
            receiver,
            place: Place::new(),
            result: Cell::new(None),
        }
    }

    /// What was received; `None` if this arm was not chosen, or was asked before.
    pub fn result(&mut self) -> Option<Result<T, RecvError>> {
        self.result.take()
    }
}

impl<T> Arm for RecvArm<'_, T> {}

impl<T> Operation for RecvArm<'_, T> {
    fn attempt(&self, _: Private) -> bool {
        let result = match self.receiver.channel().attempt_receive() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Err(TryRecvError::Empty) => return false,
        };
        self.result.set(Some(result));
        true
    }

    fn queue(&self, who: &Who<'_>, _: Private) -> bool {
        // SAFETY: the last one has left; the select keeps the arm in place until this one has.
        let waiter = unsafe { self.place.make(who, Slot::new(None)) };
        // SAFETY: the select calls `leave`.
        let ready = unsafe { self.receiver.channel().queue_receiver(waiter, who.target) };
        !ready
    }

    fn leave(&self, _: Private) {
        if let Some(waiter) = self.place.waiter() {
            self.receiver.channel().leave_receivers(waiter);
        }
    }

    fn woken(&self, _: Private) -> bool {
        let message = self.place.waiter().and_then(|waiter| waiter.data().take());
        // Woken without a message: the channel was closed.
        self.result.set(Some(message.ok_or(RecvError)));
        true
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvArm").finish_non_exhaustive()
    }
}

/// Sends to a channel, when its select chooses it.
///
/// If another arm is chosen it still has its message ([`into_message`](SendArm::into_message)).
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    place: Place<Slot<T>>,
    message: Cell<Option<T>>,
    result: Cell<Option<Result<(), SendError<T>>>>,
}

impl<'a, T> SendArm<'a, T> {
    /// Sends `message` to `sender`.
    pub fn new(sender: &'a Sender<T>, message: T) -> Self {
        SendArm {
            sender,
            place: Place::new(),
            message: Cell::new(Some(message)),
            result: Cell::new(None),
        }
    }

    /// Whether it was sent; `None` if this arm was not chosen, or was asked before.
    pub fn result(&mut self) -> Option<Result<(), SendError<T>>> {
        self.result.take()
    }

    /// The message, if it was not sent.
    pub fn into_message(self) -> Option<T> {
        match self.result.into_inner() {
            Some(Err(SendError(message))) => Some(message),
            _ => self.message.into_inner(),
        }
    }
}

impl<T> Arm for SendArm<'_, T> {}

impl<T> Operation for SendArm<'_, T> {
    fn attempt(&self, _: Private) -> bool {
        let Some(message) = self.message.take() else {
            return false;
        };
        let result = match self.sender.channel().attempt_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(message)) => Err(SendError(message)),
            Err(TrySendError::Full(message)) => {
                self.message.set(Some(message));
                return false;
            }
        };
        self.result.set(Some(result));
        true
    }

    fn queue(&self, who: &Who<'_>, _: Private) -> bool {
        let message = self.message.take();
        if message.is_none() {
            // It was sent by an earlier select, and is not chosen again.
            return true;
        }
        // SAFETY: the last one has left; the select keeps the arm in place until this one has.
        let waiter = unsafe { self.place.make(who, Slot::new(message)) };
        // SAFETY: the select calls `leave`.
        let ready = unsafe { self.sender.channel().queue_sender(waiter, who.target) };
        !ready
    }

    fn leave(&self, _: Private) {
        if let Some(waiter) = self.place.waiter() {
            self.sender.channel().leave_senders(waiter);
            if let Some(message) = waiter.data().take() {
                self.message.set(Some(message));
            }
        }
    }

    fn woken(&self, _: Private) -> bool {
        // Woken with its message: the channel was closed.
        let result = self
            .message
            .take()
            .map_or(Ok(()), |message| Err(SendError(message)));
        self.result.set(Some(result));
        true
    }
}

impl<T> fmt::Debug for SendArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendArm").finish_non_exhaustive()
    }
}
