//! The wait word: who may end a wait, and who did.
//!
//! Every green thread (and every OS thread that waits in greenrt) has one word. A wait opens an
//! *episode* in it; whoever ends the episode claims it, and exactly one does: the one whose
//! compare-and-swap clears `PARKED`.
//!
//! | bit            | meaning                                          | set by          | cleared by            |
//! |----------------|--------------------------------------------------|-----------------|-----------------------|
//! | PARKED         | an episode is open: stopped, or about to stop    | `open`          | `close` or the claim  |
//! | TOKEN          | an `unpark` came that no `park` has used         | `unpark`        | `open` of a `park`    |
//! | CANCEL         | the thread was asked to end                      | `cancel`        | never                 |
//! | ENDS_BY_TOKEN  | this episode ends by `unpark`                    | `open`          | with PARKED           |
//! | ENDS_BY_CANCEL | this episode ends by `cancel`                    | `open`          | with PARKED           |
//! | claim (24 bit) | what ended the last episode                      | the claim       | the next `open`       |
//!
//! # Rule
//!
//! `PARKED` is set *before* the owner switches away, and even before it joins any wait queue. A
//! claim in between makes the owner runnable while it still runs; that is harmless, because a
//! green thread is pinned: only its own worker resumes it, and that worker is busy running it.
//! So the owner of a claimed episode always switches away once, and finds itself resumed.
//!
//! The token is a bit of its own, so an `unpark` that arrives while the owner waits for a lock
//! stays for its next `park`.
//!
//! # Considered and left out
//!
//! - A second state "armed, not yet switched away": one more atomic operation per wait, and
//!   needed only where another worker could resume a thread that still runs.
//! - A generation in the word: waiters leave their queues before the next episode opens, and
//!   `unpark` ends only episodes that say so, where a spurious return is allowed.

use std::fmt;

use crate::primitive::atomic::AtomicU32;
use crate::primitive::atomic::Ordering::{AcqRel, Acquire, Relaxed};

const PARKED: u32 = 1;
const TOKEN: u32 = 1 << 1;
const CANCEL: u32 = 1 << 2;
const ENDS_BY_TOKEN: u32 = 1 << 3;
const ENDS_BY_CANCEL: u32 = 1 << 4;
const CLAIM_SHIFT: u32 = 8;

/// What ended an episode, as a number that fits the word.
pub(crate) type Claim = u32;

/// The deadline passed.
pub(crate) const CLAIM_DEADLINE: Claim = 1;
/// `cancel` was called.
pub(crate) const CLAIM_CANCEL: Claim = 2;
/// `unpark` was called.
pub(crate) const CLAIM_TOKEN: Claim = 3;
/// The thread should look again whether it may be interrupted.
pub(crate) const CLAIM_AGAIN: Claim = 4;
/// The first claim that waiters in wait queues may use; the tag of a waiter is added to it.
pub(crate) const CLAIM_WOKEN: Claim = 16;

/// What may end an episode besides a deadline and a wait queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    /// `unpark` ends it, and a token that is there already prevents it.
    pub(crate) by_token: bool,
    /// `cancel` ends it, and a cancel that came already prevents it.
    pub(crate) by_cancel: bool,
}

impl Ends {
    #[inline]
    fn bits(self) -> u32 {
        (if self.by_token { ENDS_BY_TOKEN } else { 0 })
            | (if self.by_cancel { ENDS_BY_CANCEL } else { 0 })
    }
}

/// See the module's documentation.
pub(crate) struct WaitWord(AtomicU32);

impl WaitWord {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        WaitWord(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        WaitWord(AtomicU32::new(0))
    }

    /// Forgets everything, for a record that is used again.
    #[cfg(not(loom))]
    pub(crate) fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    /// Opens an episode, or says what ended it before it began.
    ///
    /// Only the owner calls this, with no episode open.
    #[inline]
    pub(crate) fn open(&self, ends: Ends) -> Result<(), Claim> {
        let mut seen = self.0.load(Relaxed);
        loop {
            debug_assert_eq!(seen & PARKED, 0, "greenrt: an episode is open already");
            let (next, over) = if ends.by_cancel && seen & CANCEL != 0 {
                (seen, Some(CLAIM_CANCEL))
            } else if ends.by_token && seen & TOKEN != 0 {
                (seen & !TOKEN, Some(CLAIM_TOKEN))
            } else {
                (seen & (TOKEN | CANCEL) | PARKED | ends.bits(), None)
            };
            // Acquire: pairs with the release in `unpark`, so whatever the unparker wrote before
            // is visible when `park` returns by a token that was there.
            // Release: pairs with the acquire of the claims, so a claimer sees which worker the
            // record names.
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return over.map_or(Ok(()), Err),
                Err(now) => seen = now,
            }
        }
    }

    /// Closes the episode without stopping. `false`: somebody has claimed it, and the owner must
    /// switch away once.
    #[inline]
    pub(crate) fn close(&self) -> bool {
        let mut seen = self.0.load(Relaxed);
        while seen & PARKED != 0 {
            let next = seen & (TOKEN | CANCEL);
            match self.0.compare_exchange_weak(seen, next, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Ends the open episode. `true`: the caller did, and must make the owner runnable.
    #[inline]
    pub(crate) fn claim(&self, claim: Claim) -> bool {
        let mut seen = self.0.load(Relaxed);
        while seen & PARKED != 0 {
            let next = seen & (TOKEN | CANCEL) | claim << CLAIM_SHIFT;
            // Release: pairs with the acquire in `outcome`, so what the claimer wrote for the
            // waiter is visible to it.
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Closes the episode for good, for an owner that never goes on.
    #[cfg(not(loom))]
    pub(crate) fn lose(&self) {
        self.0.fetch_and(TOKEN | CANCEL, Relaxed);
    }

    /// Leaves a token, or ends an episode that waits for one. `true`: the caller must make the
    /// owner runnable.
    #[inline]
    pub(crate) fn unpark(&self) -> bool {
        let mut seen = self.0.load(Relaxed);
        loop {
            let waits = seen & (PARKED | ENDS_BY_TOKEN) == PARKED | ENDS_BY_TOKEN;
            let next = if waits {
                seen & (TOKEN | CANCEL) | CLAIM_TOKEN << CLAIM_SHIFT
            } else {
                seen | TOKEN
            };
            // Written even when nothing changes: the owner's acquire must see the last unparker.
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return waits,
                Err(now) => seen = now,
            }
        }
    }

    /// Asks the owner to end, now and at every later point. `true`: the caller must make the
    /// owner runnable.
    pub(crate) fn cancel(&self) -> bool {
        let mut seen = self.0.load(Relaxed);
        loop {
            let waits = seen & (PARKED | ENDS_BY_CANCEL) == PARKED | ENDS_BY_CANCEL;
            let next = if waits {
                seen & TOKEN | CANCEL | CLAIM_CANCEL << CLAIM_SHIFT
            } else {
                seen | CANCEL
            };
            match self.0.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                Ok(_) => return waits,
                Err(now) => seen = now,
            }
        }
    }

    /// What ended the last episode; `None` while it is still open.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<Claim> {
        // Acquire: pairs with the release of the claim.
        let seen = self.0.load(Acquire);
        (seen & PARKED == 0).then_some(seen >> CLAIM_SHIFT)
    }

    /// Whether the owner was asked to end.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed) & CANCEL != 0
    }

    /// Whether an episode is open.
    #[inline]
    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Relaxed) & PARKED != 0
    }
}

impl fmt::Debug for WaitWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitWord({:#x})", self.0.load(Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
