//! Waiting on an epoll descriptor with the precision of its clock.
//!
//! mio registers descriptors; this waits on mio's descriptor in its place, because mio's timeouts
//! are whole milliseconds and a worker's next deadline is not. What is to be watched level-triggered,
//! which mio does not do, is registered here too. The way from the kernel's array to
//! the reactor is one loop over [`Events::iter`], without allocation.

#![expect(unsafe_code, reason = "the kernel writes into the buffer")]

use std::env;
use std::fmt;
use std::io;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use crate::os;

/// Set to `0`, it makes [`precise`] false.
const ENV_PWAIT2: &str = "GREENRT_EPOLL_PWAIT2";

/// Whether this system has epoll. Without it [`wait`] returns `Unsupported`.
#[must_use]
pub const fn supported() -> bool {
    os::EPOLL
}

/// Whether timeouts are exact to the nanosecond, give or take the timer slack: `epoll_pwait2`,
/// Linux 5.11.
///
/// Otherwise they are rounded up to a millisecond. Found out once per process;
/// `GREENRT_EPOLL_PWAIT2=0` in the environment makes it false.
#[inline]
#[must_use]
pub fn precise() -> bool {
    static PRECISE: OnceLock<bool> = OnceLock::new();
    *PRECISE.get_or_init(|| {
        env::var_os(ENV_PWAIT2).is_none_or(|value| value != "0") && os::epoll_precise_probe()
    })
}

/// What a descriptor can do now. The bits are the kernel's, so that taking them over costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct Readiness(u32);

impl Readiness {
    /// A read would not block.
    pub const READABLE: Readiness = Readiness(0x001);
    /// There is urgent data (`EPOLLPRI`).
    pub const PRIORITY: Readiness = Readiness(0x002);
    /// A write would not block.
    pub const WRITABLE: Readiness = Readiness(0x004);
    /// The descriptor is in error. Reported whether asked for or not.
    pub const ERROR: Readiness = Readiness(0x008);
    /// Both directions are closed. Reported whether asked for or not.
    pub const HUP: Readiness = Readiness(0x010);
    /// The peer will send no more (`EPOLLRDHUP`).
    pub const READ_CLOSED: Readiness = Readiness(0x2000);

    /// Nothing.
    #[must_use]
    pub const fn empty() -> Readiness {
        Readiness(0)
    }

    /// From the kernel's bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Readiness {
        Readiness(bits)
    }

    /// The kernel's bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in here.
    #[must_use]
    pub const fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in here.
    #[must_use]
    pub const fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Readiness {
    type Output = Readiness;

    fn bitor(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }
}

impl BitOrAssign for Readiness {
    fn bitor_assign(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Readiness::READABLE, "READABLE"),
            (Readiness::WRITABLE, "WRITABLE"),
            (Readiness::READ_CLOSED, "READ_CLOSED"),
            (Readiness::HUP, "HUP"),
            (Readiness::ERROR, "ERROR"),
            (Readiness::PRIORITY, "PRIORITY"),
        ];
        let mut left = self.0;
        let mut separator = "";
        for (bit, name) in names {
            if self.contains(bit) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
                left &= !bit.0;
            }
        }
        if left != 0 || self.0 == 0 {
            write!(f, "{separator}{left:#x}")?;
        }
        Ok(())
    }
}

/// One descriptor's event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What the descriptor was registered with.
    pub token: u64,
    /// What it can do now.
    pub readiness: Readiness,
}

impl Event {
    /// A read would not block.
    #[inline]
    #[must_use]
    pub const fn readable(self) -> bool {
        self.readiness.intersects(Readiness::READABLE)
    }

    /// A write would not block.
    #[inline]
    #[must_use]
    pub const fn writable(self) -> bool {
        self.readiness.intersects(Readiness::WRITABLE)
    }

    /// The peer will send no more (`EPOLLRDHUP`).
    #[inline]
    #[must_use]
    pub const fn read_closed(self) -> bool {
        self.readiness.intersects(Readiness::READ_CLOSED)
    }

    /// Both directions are closed.
    #[inline]
    #[must_use]
    pub const fn hup(self) -> bool {
        self.readiness.intersects(Readiness::HUP)
    }

    /// The descriptor is in error.
    #[inline]
    #[must_use]
    pub const fn error(self) -> bool {
        self.readiness.intersects(Readiness::ERROR)
    }

    /// There is urgent data.
    #[inline]
    #[must_use]
    pub const fn priority(self) -> bool {
        self.readiness.intersects(Readiness::PRIORITY)
    }
}

/// An event as the kernel writes it: packed on x86-64 alone.
#[derive(Clone, Copy)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
pub(crate) struct RawEvent {
    readiness: u32,
    token: u64,
}

/// Room for events, and those of the last [`wait`].
pub struct Events {
    /// Never grows: its capacity is how many events one wait can bring.
    raw: Vec<RawEvent>,
}

impl Events {
    /// Room for `n` events from one wait, at least one. 12 bytes each on x86-64, 16 elsewhere.
    #[must_use]
    pub fn with_capacity(n: usize) -> Events {
        Events {
            raw: Vec::with_capacity(n.max(1)),
        }
    }

    /// The events of the last [`wait`].
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event> + '_ {
        self.raw.iter().map(|&RawEvent { readiness, token }| Event {
            token,
            readiness: Readiness(readiness),
        })
    }

    /// How many events the last [`wait`] brought.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether the last [`wait`] brought none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// How many events one wait can bring. When it brings that many, there may be more.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.raw.capacity()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Has `epoll` watch `fd` for reading, *level-triggered*: an event comes with every [`wait`] as long as
/// there is something to read, an error or the end. Replaces what it was watched for before.
///
/// mio, which registers everything else, is edge-triggered always.
///
/// # Errors
///
/// Those of `epoll_ctl(2)`; `Unsupported` where [`supported`] is false.
pub fn watch_level(epoll: BorrowedFd<'_>, fd: RawFd, token: u64) -> io::Result<()> {
    os::epoll_watch_level(epoll.as_raw_fd(), fd, token)
}

/// Waits until a descriptor registered with `epoll` has an event, or `timeout` has passed; `None`
/// waits for ever.
///
/// Replaces what is in `events`. They may be none: after the timeout, which is never early, and
/// after a signal. Touches no `errno`, allocates nothing.
///
/// # Errors
///
/// Those of `epoll_wait(2)` without `EINTR`; `Unsupported` where [`supported`] is false.
#[inline]
pub fn wait(
    epoll: BorrowedFd<'_>,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    events.raw.clear();
    // The kernel takes an `int`.
    let n_max = events
        .raw
        .capacity()
        .min(i32::MAX as usize / size_of::<RawEvent>());
    let room = events.raw.as_mut_ptr();
    // SAFETY: the vector has room for its capacity.
    match unsafe { os::epoll_wait(epoll.as_raw_fd(), room, n_max, timeout, precise()) } {
        Ok(n) => {
            // SAFETY: the kernel has written the first `n` events, and `n <= n_max`.
            unsafe { events.raw.set_len(n) };
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
