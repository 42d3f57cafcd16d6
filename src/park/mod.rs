//! The waist: the one way to stop a thread.
//!
//! Every blocking operation is: try; if it would block, open an [`Episode`], put a waiter where
//! the waker will look, and park; then try again. The waiter leaves its queue by `Drop`. Whoever
//! ends the episode (a waker, the deadline, `unpark`, `cancel`) claims it in the wait word
//! (`word.rs`), so exactly one of them does, however many queues the thread waits in.
//!
//! Nothing here unwinds. [`Episode::park`] says how it ended, and the callers turn an
//! [`Interrupt`] into an unwinding or an error (`cancel.rs`).
//!
//! An OS thread that waits in greenrt goes through the same door: it has a wait word too, and
//! stops in a condition variable instead of switching (`os_thread.rs`).

#![expect(unsafe_code, reason = "waiters point to records")]

mod os_thread;
pub(crate) mod reason;
pub(crate) mod word;

use std::ptr::NonNull;
use std::sync::Arc;

pub(crate) use self::os_thread::{OsThread, os_sleep, os_yield};
use self::reason::Reason;
use self::word::{
    CLAIM_AGAIN, CLAIM_CANCEL, CLAIM_DEADLINE, CLAIM_TOKEN, CLAIM_WOKEN, Claim, Ends, WaitWord,
};
use crate::cancel::{self, Interrupt, Limits};
use crate::clock;
use crate::record::Record;
use crate::scheduler::{self, Section};

/// How a wait ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Ended {
    /// A waiter was woken; the number is its tag, for those who wait in several queues.
    Woken(u32),
    /// `unpark` was called.
    Token,
    /// The caller's deadline passed.
    Deadline,
    /// Nothing has happened, but the wait must begin anew.
    Again,
    /// The thread is asked to end, or a limit around it has passed.
    Interrupted(Interrupt),
}

/// Whom to wake.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A green thread. Valid while its episode is open: it is stopped, or about to stop.
    Green(NonNull<Record>),
    /// An OS thread.
    Os(Arc<OsThread>),
}

// SAFETY: a record is shared between threads by design; whoever holds a target holds it under
// the rule of the place where the waiter is queued (see `Target::claim`).
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// Ends the episode of the thread that waits, unless somebody else did. The caller then must
    /// wake it, when it has let go of its locks.
    ///
    /// The waiter that holds this target must be protected from going away by the caller: it is
    /// queued, and leaves the queue under the lock that the caller holds. Once it is claimed it
    /// may go away, and is not touched any more.
    pub(crate) fn claim(&self, claim: Claim) -> Option<Wake> {
        match self {
            Target::Green(record) => {
                // SAFETY: the waiter is queued, so its thread has not left the wait, so the
                // scheduler still holds its reference to the record.
                let word = unsafe { &(*record.as_ptr()).word };
                word.claim(claim).then_some(Wake::Green(*record))
            }
            Target::Os(thread) => {
                // Counted before: an OS thread whose deadline passes sees the claim without being
                // woken, and the waiter that this target lies in goes away.
                let thread = Arc::clone(thread);
                thread.word().claim(claim).then_some(Wake::Os(thread))
            }
        }
    }

    /// Whether both are the same thread.
    pub(crate) fn is(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Green(one), Target::Green(other)) => one == other,
            (Target::Os(one), Target::Os(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// A claimed episode whose owner must be made runnable.
#[derive(Debug)]
#[must_use]
pub(crate) enum Wake {
    Green(NonNull<Record>),
    Os(Arc<OsThread>),
}

impl Wake {
    /// Makes the owner of the claimed episode runnable.
    pub(crate) fn wake(self) {
        match self {
            // SAFETY: claimed by us, so it cannot go on, and its record not go away, before this.
            Wake::Green(record) => unsafe { scheduler::make_runnable(record) },
            Wake::Os(thread) => thread.wake(),
        }
    }

    /// As `wake`, for a caller in whose section this is. Allocates nothing.
    pub(crate) fn wake_in(self, section: &Section) {
        match self {
            // SAFETY: claimed by us, so it cannot go on, and its record not go away, before this.
            Wake::Green(record) => unsafe { section.make_runnable(record) },
            Wake::Os(thread) => thread.wake(),
        }
    }

    /// As `wake`, from anywhere inside the runtime, or from a signal handler that has interrupted
    /// it: touches nothing that the calling worker may have borrowed.
    pub(crate) fn wake_through_inbox(self) {
        match self {
            // SAFETY: claimed by us, so it cannot go on, and its record not go away, before this.
            Wake::Green(record) => unsafe { scheduler::hand_in(record) },
            Wake::Os(thread) => thread.wake(),
        }
    }
}

/// The thread that calls: green, or not.
enum Who {
    Green(Section),
    Os(Arc<OsThread>),
}

/// A wait, from the moment when it can be ended by others.
///
/// Dropping it without parking closes it.
#[must_use]
pub(crate) struct Episode {
    who: Who,
    reason: Reason,
    /// Whether cancellation and limits end it.
    point: bool,
    /// It would be a point, but the thread may be unwinding (`cancel.rs`).
    deaf: bool,
    open: bool,
}

impl Episode {
    /// Opens the wait of the calling thread, or says what ended it before it began.
    #[inline]
    pub(crate) fn open(reason: Reason, ends: Ends) -> Result<Episode, Ended> {
        match Section::enter_green() {
            Some(section) => Self::open_green(section, reason, ends),
            None => Self::open_as(Who::Os(OsThread::current()), reason, ends, true),
        }
    }

    /// As `open`, for a caller that knows that it is a green thread.
    #[inline(always)]
    pub(crate) fn open_green(section: Section, reason: Reason, ends: Ends) -> Result<Self, Ended> {
        Self::open_as(Who::Green(section), reason, ends, true)
    }

    /// As `open`, for a caller that holds a short lock, and gives way itself if it does not begin
    /// (`cancel::give_way`). `section` is that of the caller, if it is a green thread.
    #[inline(always)]
    pub(crate) fn open_locked(
        section: Option<Section>,
        reason: Reason,
        ends: Ends,
    ) -> Result<Self, Ended> {
        let who = match section {
            Some(section) => Who::Green(section),
            None => Who::Os(OsThread::current()),
        };
        Self::open_as(who, reason, ends, false)
    }

    #[inline(always)]
    fn open_as(who: Who, reason: Reason, ends: Ends, gives_way: bool) -> Result<Episode, Ended> {
        let (word, limits) = who.word_and_limits();
        let mut point = ends.by_cancel && limits.is_open();
        let deaf = point && std::thread::panicking();
        point &= !deaf;
        match word.open(Ends {
            by_token: ends.by_token,
            by_cancel: point,
        }) {
            Ok(()) => {
                if deaf {
                    who.is_deaf(true);
                }
                Ok(Episode {
                    who,
                    reason,
                    point,
                    deaf,
                    open: true,
                })
            }
            Err(CLAIM_TOKEN) => Err(Ended::Token),
            Err(_) => {
                if let (Who::Green(section), true) = (&who, gives_way) {
                    cancel::give_way(section);
                }
                Err(Ended::Interrupted(Interrupt::Cancelled))
            }
        }
    }

    /// Whom a waker must claim and wake.
    #[inline]
    pub(crate) fn target(&self) -> Target {
        match &self.who {
            Who::Green(section) => Target::Green(section.record()),
            Who::Os(thread) => Target::Os(Arc::clone(thread)),
        }
    }

    /// Stops until somebody ends the episode, at the latest at `deadline` (`clock.rs`).
    #[inline(always)]
    pub(crate) fn park(mut self, deadline: Option<u64>) -> Ended {
        self.open = false;
        let (_, limits) = self.who.word_and_limits();
        let limit = if self.point { limits.nearest() } else { None };
        let until = match (deadline, limit) {
            (Some(own), Some((limit, _))) => Some(own.min(limit)),
            (Some(own), None) => Some(own),
            (None, Some((limit, _))) => Some(limit),
            (None, None) => None,
        };
        match &self.who {
            Who::Green(section) => section.park(self.reason, until),
            Who::Os(thread) => thread.park(until),
        }
        if self.deaf {
            self.who.is_deaf(false);
        }
        self.ended(deadline, limit, until)
    }

    /// How it ended.
    #[inline(always)]
    fn ended(&self, deadline: Option<u64>, limit: Option<(u64, u64)>, until: Option<u64>) -> Ended {
        let (word, _) = self.who.word_and_limits();
        match word
            .outcome()
            .expect("greenrt: resumed with its episode open")
        {
            CLAIM_AGAIN => Ended::Again,
            CLAIM_TOKEN => Ended::Token,
            CLAIM_CANCEL => Ended::Interrupted(Interrupt::Cancelled),
            CLAIM_DEADLINE => match (deadline, limit) {
                (Some(own), _) if Some(own) == until => Ended::Deadline,
                (_, Some((_, limit))) => Ended::Interrupted(Interrupt::Elapsed(limit)),
                _ => Ended::Deadline,
            },
            claim => Ended::Woken(claim - CLAIM_WOKEN),
        }
    }
}

impl Episode {
    /// Closes it without stopping; `Some`: somebody has ended it before.
    pub(crate) fn give_up(mut self) -> Option<Ended> {
        self.open = false;
        if self.close() {
            return None;
        }
        Some(self.ended(None, None, None))
    }
}

impl Drop for Episode {
    #[inline]
    fn drop(&mut self) {
        if self.open {
            self.close();
        }
    }
}

impl Episode {
    /// `false`: it was ended by somebody.
    #[cold]
    fn close(&self) -> bool {
        if self.deaf {
            self.who.is_deaf(false);
        }
        let (word, _) = self.who.word_and_limits();
        let closed = word.close();
        if !closed {
            // Claimed meanwhile: the claimer has made us runnable, or is about to.
            match &self.who {
                Who::Green(section) => section.park(self.reason, None),
                Who::Os(_) => {}
            }
        }
        closed
    }
}

impl Who {
    /// A green thread that may be unwinding is woken when nobody on its worker is. An OS thread
    /// knows for itself.
    #[cold]
    fn is_deaf(&self, deaf: bool) {
        if let Who::Green(section) = self {
            section.local().set_deaf(section.record(), deaf);
        }
    }

    #[inline]
    fn word_and_limits(&self) -> (&WaitWord, &Limits) {
        match self {
            Who::Green(section) => (section.word(), section.limits()),
            Who::Os(thread) => (thread.word(), thread.limits()),
        }
    }
}

/// After an episode that did not begin, because the caller is asked to end: lets others run, for
/// whoever swallows what it unwinds with comes back soon.
#[cold]
pub(crate) fn give_way() {
    if let Some(section) = Section::enter_green() {
        cancel::give_way(&section);
    }
}

/// Stops the calling thread until `deadline`, a cancel or a limit.
pub(crate) fn until(reason: Reason, deadline: Option<u64>) -> Ended {
    match Episode::open(
        reason,
        Ends {
            by_token: false,
            by_cancel: true,
        },
    ) {
        Ok(episode) => episode.park(deadline),
        Err(ended) => ended,
    }
}

/// `timeout` from now, on the clock of the calling thread.
pub(crate) fn deadline_after(timeout: std::time::Duration) -> Option<u64> {
    clock::add(now(), timeout)
}

/// The time on the clock of the calling thread.
pub(crate) fn now() -> u64 {
    scheduler::with_local(|local| local.clock().now()).unwrap_or_else(clock::monotonic)
}
