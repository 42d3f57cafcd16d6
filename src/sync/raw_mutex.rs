//! The lock under [`Mutex`](super::Mutex), without what it guards.
//!
//! | bit     | meaning                        | set by                    | cleared by                 |
//! |---------|--------------------------------|---------------------------|----------------------------|
//! | LOCKED  | somebody has it                | `lock`, a hand-over keeps | `unlock`                   |
//! | WAITERS | the list is not empty          | who queues                | whoever empties the list   |
//!
//! WAITERS changes only under the lock of the list. While it is set no fast path succeeds, so every
//! unlock looks at the list; and a free lock may be taken by whoever comes.
//!
//! # Fairness
//!
//! An unlock that finds somebody waiting sets the lock free and wakes the first one to try for it: a
//! thread that comes along first keeps a busy lock busy. But if that first one has waited for more
//! than half a millisecond, or was woken before and found another one faster, the lock stays locked
//! and is *handed over* to it.
//!
//! # No wake-up is lost
//!
//! A thread that was woken to try is in no list. If it is then cancelled, or out of time, it has
//! tried for the lock before; whoever had taken it meanwhile has found WAITERS as the list is, and
//! wakes the next. A hand-over is claimed under the lock of the list: it comes to one who waits, or
//! goes on to the next.

#![expect(
    unsafe_code,
    reason = "waiters are linked through the frames of those who wait"
)]

use std::cell::Cell;
use std::fmt;
use std::pin::pin;

use super::lock::Lock;
use super::wait::{self, POINT, Until};
use crate::park::reason::Reason;
use crate::park::word::Ends;
use crate::park::{Ended, Episode};
use crate::primitive::atomic::AtomicU32;
use crate::primitive::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::scheduler::Section;
use crate::wait_queue::{WaitList, Waiter};

const LOCKED: u32 = 1;
const WAITERS: u32 = 2;

/// Who has waited for so long, in nanoseconds, is not passed over.
const PATIENCE_NS: u64 = 500_000;

/// See the module's documentation.
pub(super) struct RawMutex {
    state: AtomicU32,
    waiters: Lock<WaitList<Waiting>>,
}

struct Waiting {
    since: u64,
    /// It was woken, and another one was faster.
    passed_over: bool,
    /// It has the lock.
    has_it: Cell<bool>,
}

impl RawMutex {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        RawMutex {
            state: AtomicU32::new(0),
            waiters: Lock::new(WaitList::new()),
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        RawMutex {
            state: AtomicU32::new(0),
            waiters: Lock::new(WaitList::new()),
        }
    }

    /// Takes it if nobody has it and nobody waits.
    #[inline(always)]
    pub(super) fn try_lock_fast(&self) -> bool {
        // Acquire: pairs with the release in `unlock`.
        let taken = self.state.compare_exchange(0, LOCKED, Acquire, Relaxed);
        taken.is_ok()
    }

    /// Takes it if nobody has it.
    pub(super) fn try_lock(&self) -> bool {
        let mut seen = self.state.load(Relaxed);
        while seen & LOCKED == 0 {
            // Acquire: as above.
            match self
                .state
                .compare_exchange_weak(seen, seen | LOCKED, Acquire, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Takes it; `false`: the time is up.
    #[inline(always)]
    pub(super) fn lock(&self, until: Until) -> bool {
        self.try_lock_fast() || self.lock_slow(until, (Reason::MUTEX, POINT))
    }

    /// Takes it, waiting as `how` says.
    #[inline(always)]
    pub(super) fn lock_slow(&self, mut until: Until, how: (Reason, Ends)) -> bool {
        let (reason, ends) = how;
        let mut passed_over = false;
        loop {
            let section = Section::enter_green();
            let mut waiters = self.waiters.lock();
            if !self.must_wait() {
                return true;
            }
            let episode = match Episode::open_locked(section, reason, ends) {
                Ok(episode) => episode,
                Err(ended) => {
                    self.note_waiters(&waiters);
                    drop(waiters);
                    wait::refused(ended);
                }
            };
            let waiting = Waiting {
                since: wait::rough_time(),
                passed_over,
                has_it: Cell::new(false),
            };
            let waiter = pin!(Waiter::with(episode.target(), 0, waiting));
            let waiter = waiter.into_ref();
            if passed_over {
                // SAFETY: removed below unless it was woken. `park` does not unwind.
                unsafe { waiters.push_front(waiter) };
            } else {
                // SAFETY: as above.
                unsafe { waiters.push(waiter) };
            }
            drop(waiters);
            let ended = episode.park(until.deadline());
            if let Ended::Woken(_) = ended {
                if waiter.data().has_it.get() {
                    return true;
                }
                passed_over = true;
                continue;
            }
            {
                let _section = Section::enter_green();
                let mut waiters = self.waiters.lock();
                waiters.remove(waiter);
                self.note_waiters(&waiters);
            }
            match ended {
                Ended::Deadline => return false,
                Ended::Interrupted(interrupt) => interrupt.unwind(),
                Ended::Again | Ended::Token | Ended::Woken(_) => {}
            }
        }
    }

    /// Takes it, or says that somebody waits. Under the lock of the list.
    fn must_wait(&self) -> bool {
        let mut seen = self.state.load(Relaxed);
        loop {
            let (next, waits) = match seen & LOCKED {
                0 => (seen | LOCKED, false),
                _ => (seen | WAITERS, true),
            };
            // Acquire: as above.
            match self
                .state
                .compare_exchange_weak(seen, next, Acquire, Relaxed)
            {
                Ok(_) => return waits,
                Err(now) => seen = now,
            }
        }
    }

    /// Somebody has left the list.
    #[cold]
    fn note_waiters(&self, waiters: &WaitList<Waiting>) {
        if waiters.is_empty() {
            self.state.fetch_and(!WAITERS, Relaxed);
        }
    }

    /// Gives it back. The caller has it.
    #[inline(always)]
    pub(super) fn unlock(&self) {
        // Release: pairs with the acquire of whoever takes it next.
        if self
            .state
            .compare_exchange(LOCKED, 0, Release, Relaxed)
            .is_err()
        {
            self.unlock_slow();
        }
    }

    #[inline(never)]
    fn unlock_slow(&self) {
        let _section = Section::enter_green();
        let now = wait::rough_time();
        let mut waiters = self.waiters.lock();
        let woken = waiters.wake_one_with(
            (),
            |waiting, ()| {
                let old = now.saturating_sub(waiting.since) > PATIENCE_NS;
                waiting.has_it.set(waiting.passed_over || old);
                waiting.has_it.get()
            },
            |waiting, _| waiting.has_it.set(false),
        );
        let locked = match &woken {
            Ok((_, true)) => LOCKED,
            _ => 0,
        };
        let rest = if waiters.is_empty() { 0 } else { WAITERS };
        // Nobody else changes it while it is locked and the list is ours. Release: as above.
        self.state.store(locked | rest, Release);
        drop(waiters);
        if let Ok((wake, _)) = woken {
            wake.wake();
        }
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawMutex").field(&self.state).finish()
    }
}
