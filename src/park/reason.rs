//! Why a green thread is not running, in one word.

use std::fmt;
use std::os::fd::RawFd;

use super::word::Ends;

const KIND_SHIFT: u32 = 56;
const DETAIL: u64 = (1 << KIND_SHIFT) - 1;

macro_rules! kinds {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Reason {
            $(pub(crate) const $name: Reason = Reason(($number as u64) << KIND_SHIFT);)*

            fn text(self) -> &'static str {
                match self.0 >> KIND_SHIFT {
                    $($number => $text,)*
                    _ => "unknown",
                }
            }
        }
    };
}

/// Why a green thread is not running, and on what: a kind, and a number that belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason(u64);

kinds! {
    FRESH = 0, "not started";
    RUNNABLE = 1, "runnable";
    SLEEP = 2, "sleep";
    PARK = 3, "park";
    JOIN = 4, "join of green thread";
    SCOPE = 5, "end of scope, not cancellable here";
    READ = 6, "readable: fd";
    WRITE = 7, "writable: fd";
    RUNNING = 8, "running";
    ENDED = 9, "ended";
    STACK = 10, "a free stack";
    SHUTDOWN = 11, "end of a runtime, not cancellable here";
    FUTEX = 12, "a lock or the like (futex), not cancellable here";
    SEND = 16, "room in a channel";
    RECEIVE = 17, "a message";
    SELECT = 18, "select";
    MUTEX = 19, "a mutex";
    READ_LOCK = 20, "a lock, to read";
    WRITE_LOCK = 21, "a lock, to write";
    CONDVAR = 22, "a condition variable";
    SEMAPHORE = 23, "permits of a semaphore";
    EVENT = 24, "an event";
    WAIT_GROUP = 25, "a group to be done";
    BARRIER = 26, "a barrier";
    ONE_SHOT = 27, "a value to be set";
    RELOCK = 28, "a mutex, not cancellable here";
    LOST = 29, "nothing: it has not come along a fork";
    OFFLOAD = 30, "an offloaded call";
    SEND_HELD = 31, "room in a channel, not cancellable here";
    RECEIVE_HELD = 32, "a message, not cancellable here";
}

impl Reason {
    pub(crate) fn join(id: u64) -> Self {
        Reason(Self::JOIN.0 | id & DETAIL)
    }

    pub(crate) fn readable(fd: RawFd) -> Self {
        Reason(Self::READ.0 | u64::from(fd.cast_unsigned()))
    }

    pub(crate) fn writable(fd: RawFd) -> Self {
        Reason(Self::WRITE.0 | u64::from(fd.cast_unsigned()))
    }

    #[inline(always)]
    pub(crate) fn send(ends: Ends) -> Self {
        if ends.by_cancel {
            Self::SEND
        } else {
            Self::SEND_HELD
        }
    }

    #[inline(always)]
    pub(crate) fn receive(ends: Ends) -> Self {
        if ends.by_cancel {
            Self::RECEIVE
        } else {
            Self::RECEIVE_HELD
        }
    }

    /// Whether a thread with this reason has an open episode, unless it was just woken.
    pub(crate) fn is_wait(self) -> bool {
        let kind = Reason(self.0 & !DETAIL);
        !matches!(
            kind,
            Self::FRESH | Self::RUNNABLE | Self::RUNNING | Self::ENDED | Self::STACK | Self::LOST
        )
    }

    /// Whether it is a wait for a descriptor.
    #[inline]
    pub(crate) fn is_io(self) -> bool {
        matches!(Reason(self.0 & !DETAIL), Self::READ | Self::WRITE)
    }

    #[inline]
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Reason(bits)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match Reason(self.0 & !DETAIL) {
            Self::JOIN | Self::READ | Self::WRITE => write!(f, " {}", self.0 & DETAIL),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
