//! The futex: the kernel's, and who may stand in for it.
//!
//! [`install`] gives every private futex operation that goes through libc's `syscall` to a function,
//! which answers it or leaves it to the kernel. What is odd about a call (an address that is not
//! aligned, a time that is none, an operation that is not known) is never answered but left to the
//! kernel, so errors are the kernel's own.
//!
//! The interposed symbol is in `syscall.rs`, on Linux x86-64 with glibc. Elsewhere nothing is
//! interposed, `install` is `false`, and [`wait`] and [`wake`] are what the system has, or a yield.

#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "enters the kernel; stands in for libc's `syscall`"
    )
)]

#[cfg(target_os = "linux")]
pub use self::linux::{wait, wake};
#[cfg(not(target_os = "linux"))]
pub use self::other::{wait, wake};

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod hook;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub use self::hook::{install, is_linked};

/// Has every private futex operation of the process answered by `hook`. `false`: that cannot be
/// had here.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
pub fn install(_hook: Hook) -> bool {
    false
}

/// Whether the futex calls of std come to us.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
pub fn is_linked() -> bool {
    false
}

/// Answers a futex operation.
///
/// It is called on any thread, in signal handlers too, and must not unwind. What it does to `errno`
/// is undone.
pub type Hook = fn(&Call) -> Answer;

/// A futex operation as it was asked of libc: a private one, with an aligned address.
#[derive(Debug)]
pub struct Call {
    /// As the kernel takes them.
    arguments: [usize; 6],
    operation: Operation,
}

/// What is to be done. Counts are at least 1, unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `FUTEX_WAIT`, `FUTEX_WAIT_BITSET`: wait if the word is as expected.
    Wait {
        /// What the word must be.
        expected: u32,
        /// Which wakes count.
        bits: u32,
        /// Whether it is `FUTEX_WAIT_BITSET`, which std uses.
        is_bitset: bool,
    },
    /// `FUTEX_WAKE`, `FUTEX_WAKE_BITSET`.
    Wake {
        /// How many at most.
        n: usize,
        /// Whom.
        bits: u32,
    },
    /// `FUTEX_REQUEUE`, `FUTEX_CMP_REQUEUE`: wake some, and let others wait for another word.
    Requeue {
        /// How many to wake at most; may be 0.
        n_wake: usize,
        /// How many to move at most; may be 0.
        n_move: usize,
        /// Where to.
        to: usize,
        /// What the word must be, if that matters.
        expected: Option<u32>,
    },
}

/// Until when to wait, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// From now on.
    After(u64),
    /// On the monotonic clock.
    Monotonic(u64),
    /// On the clock that people set.
    Realtime(u64),
}

/// An answer as the kernel gives it: a count, or the number of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer(isize);

impl Answer {
    /// A wait that was ended by a wake.
    pub const WOKEN: Answer = Answer(0);
    /// A wait that did not begin: the word is not as expected.
    pub const CHANGED: Answer = Answer(-(libc::EAGAIN as isize));
    /// A wait whose time was up.
    pub const TIMED_OUT: Answer = Answer(-(libc::ETIMEDOUT as isize));

    /// A wait that was ended by a signal.
    pub const INTERRUPTED: Answer = Answer(-(libc::EINTR as isize));

    /// So many were woken, or moved.
    #[must_use]
    pub fn of(n: usize) -> Answer {
        Answer(isize::try_from(n).unwrap_or(isize::MAX))
    }

    /// How many, if it is not an error.
    #[must_use]
    pub fn count(self) -> Option<usize> {
        usize::try_from(self.0).ok()
    }
}

/// The kernel's futex, as Linux has it on every CPU.
#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicU32;

    use crate::os::futex;

    /// Waits in the kernel while `word` is `expected`. May return for no reason.
    ///
    /// Never an interposed function; `errno` stays as it is.
    pub fn wait(word: &AtomicU32, expected: u32) {
        let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: a word that is there for the length of the call, and no time.
        unsafe {
            futex([
                word.as_ptr().expose_provenance(),
                op as usize,
                expected as usize,
                0,
                0,
                0,
            ])
        };
    }

    /// Wakes one that waits for `word` in the kernel.
    ///
    /// Never an interposed function; `errno` stays as it is.
    pub fn wake(word: &AtomicU32) {
        let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: reads no memory.
        unsafe { futex([word.as_ptr().expose_provenance(), op as usize, 1, 0, 0, 0]) };
    }
}

/// Where there is no futex.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::sync::atomic::AtomicU32;

    /// Lets other threads run.
    pub fn wait(_word: &AtomicU32, _expected: u32) {
        std::thread::yield_now();
    }

    /// Whoever waits looks again by itself.
    pub fn wake(_word: &AtomicU32) {}
}
