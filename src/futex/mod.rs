//! The futex: what every lock of the process waits on, if it waits on a green thread.
//!
//! A futex is a word and the threads that wait until it changes. The kernel's stops OS threads, and
//! with a worker all its green threads; the one here parks the green thread. It is reached in two
//! ways:
//!
//! - [`wait`], [`wake`] and [`hand_over`] are what shims and libraries build locks on. Their
//!   waiters, green or not, are all in the table (`table.rs`).
//! - `hook.rs` answers for the kernel when std or a dependency asks it by libc's `syscall`. There
//!   OS threads wait in the kernel as ever, and green threads in the table.
//!
//! A wait here is no point of cancellation, is not ended by limits or `unpark`, and never unwinds:
//! code that is sound on std relies on that.
//!
//! # Rules
//!
//! - *Inside the runtime the kernel answers.* What the runtime itself waits for (a section is open,
//!   or its worker's own stack is in use) is never in the table: its locks are held for moments, and
//!   a switch in the middle of it would break rule 4 of the architecture.
//! - *A wake-up goes to both*, from wherever it comes. Inside the runtime, and in a signal handler
//!   that has interrupted it, those who are woken go through the inbox, which is nobody's to borrow.
//! - *Nothing here allocates*, or calls what may come back to the lock that somebody waits for.
//!   (A deadline does, when its worker's heap of timers must grow.)

#![expect(unsafe_code, reason = "waiters are queued by their address")]

pub(crate) mod hook;
mod lock;
mod table;

use std::pin::pin;

use self::table::{Claim, Handed, Table, Waiter};
use crate::clock;
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{Ended, Episode, Target, Wake};
use crate::scheduler::with_local;

/// A waiter that has waited for so long, in nanoseconds, should not be passed over.
const PATIENCE_NS: u64 = 500_000;

/// All words of the process.
static TABLE: Table<Target> = Table::new();

impl Claim for Target {
    type Wake = Wake;

    fn claim(&self, message: u32) -> Option<Wake> {
        Target::claim(self, CLAIM_WOKEN + message)
    }
}

/// How a wait has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    /// It did not begin: the word is not as expected.
    Changed,
    /// By a wake.
    Woken,
    /// By a wake that has left the word to this waiter.
    HandedOver,
    /// The deadline has passed.
    TimedOut,
}

/// Waits until somebody wakes the caller, if the word is as expected; on any thread.
///
/// `holds` says whether it is, and reads no more than the word. `deadline` is on the caller's clock.
pub(crate) fn wait(
    address: usize,
    holds: impl FnOnce() -> bool,
    bits: u32,
    passed_over: bool,
    deadline: Option<u64>,
) -> Waited {
    let Ok(episode) = Episode::open(Reason::FUTEX, Ends::default()) else {
        // Nothing but a token or a cancel can end it before it begins, and it takes neither.
        return Waited::Woken;
    };
    let waiter = pin!(Waiter::new(
        episode.target(),
        address,
        bits,
        rough_time(),
        passed_over
    ));
    let waiter = waiter.into_ref();
    // SAFETY: removed below unless it was woken. `park` does not unwind.
    let queued = unsafe { TABLE.enqueue(waiter, holds) };
    hook::catch_up();
    if !queued {
        return Waited::Changed;
    }
    match episode.park(deadline) {
        Ended::Woken(0) => Waited::Woken,
        Ended::Woken(_) => Waited::HandedOver,
        Ended::Deadline => {
            TABLE.remove(waiter);
            hook::catch_up();
            Waited::TimedOut
        }
        Ended::Token | Ended::Again | Ended::Interrupted(_) => {
            TABLE.remove(waiter);
            hook::catch_up();
            Waited::Woken
        }
    }
}

/// Wakes up to `n` who wait for a word in the table; how many. The caller has changed the word.
pub(crate) fn wake(address: usize, n: usize) -> usize {
    if n == 0 || !TABLE.may_have(address) {
        return 0;
    }
    let n_woken = TABLE.wake(address, n, u32::MAX, |woken| woken.wake.wake());
    hook::catch_up();
    n_woken
}

/// Whether somebody may wait for a word in the table. The caller has changed it by a read-modify-write.
#[inline]
pub(crate) fn may_have_after_swap(address: usize) -> bool {
    TABLE.may_have_after_swap(address)
}

/// In the child of a fork: those who wait are the parent's.
///
/// # Safety
///
/// As [`Table::forget_all`].
pub(crate) unsafe fn forget_all() {
    // SAFETY: the caller's promise.
    unsafe { TABLE.forget_all() };
}

/// Gives a word to whoever has waited too long, or else sets it free; see [`Table::hand_over`].
pub(crate) fn hand_over(address: usize, free: impl FnOnce()) -> Waited {
    let now = std::cell::OnceCell::new();
    let is_old = |since, passed_over| {
        passed_over || now.get_or_init(rough_time).saturating_sub(since) > PATIENCE_NS
    };
    let handed = TABLE.hand_over(address, is_old, free);
    hook::catch_up();
    match handed {
        Handed::Nobody => Waited::Changed,
        Handed::Woken(woken) => {
            woken.wake.wake();
            Waited::Woken
        }
        Handed::Over(woken) => {
            woken.wake.wake();
            Waited::HandedOver
        }
    }
}

/// The time, as exact as it need be to tell who has waited long: on a worker, when its round began.
fn rough_time() -> u64 {
    with_local(|local| local.round_began()).unwrap_or_else(clock::monotonic)
}
