//! What all operations here share: until when they wait, what may end that, and the wait in a list.

#![expect(
    unsafe_code,
    reason = "waiters are linked through the frames of those who wait"
)]

use std::pin::pin;
use std::time::{Duration, Instant};

use super::lock::{Guard, Lock};
use crate::cancel;
use crate::clock;
use crate::park::reason::Reason;
use crate::park::word::Ends;
use crate::park::{self, Ended, Episode, Wake};
use crate::scheduler::{self, Section};
use crate::wait_queue::{WaitList, Waiter};

/// A wait that cancellation and limits end.
pub(super) const POINT: Ends = Ends {
    by_token: false,
    by_cancel: true,
};

/// A wait that they do not end.
pub(super) const NOT_A_POINT: Ends = Ends {
    by_token: false,
    by_cancel: false,
};

/// Until when an operation waits. The clock is read only by those that must wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// As long as it takes.
    Done,
    /// Not at all.
    Now,
    /// So long from the moment when it begins to wait.
    After(Duration),
    /// A moment on the clock of the caller.
    At(u64),
}

impl Until {
    /// A moment that is too late to be told is never.
    pub(super) fn instant(at: Instant) -> Self {
        clock::from_instant(at).map_or(Until::Done, Until::At)
    }

    /// The moment. Asked again, it is still the same.
    #[inline]
    pub(super) fn deadline(&mut self) -> Option<u64> {
        match *self {
            Until::Done => None,
            Until::Now => Some(0),
            Until::At(at) => Some(at),
            Until::After(timeout) => {
                let at = park::deadline_after(timeout);
                *self = at.map_or(Until::Done, Until::At);
                at
            }
        }
    }
}

/// An operation begins: a point, for green threads, also if it need not wait.
#[inline(always)]
pub(super) fn begin() -> Option<Section> {
    let section = Section::enter_green();
    if let Some(section) = &section {
        cancel::check(section);
    }
    section
}

/// As `begin`, for an operation that is a point or not.
#[inline(always)]
pub(super) fn begin_as(ends: Ends) -> Option<Section> {
    if ends.by_cancel {
        begin()
    } else {
        Section::enter_green()
    }
}

/// An operation was done without waiting.
#[inline(always)]
pub(super) fn end(section: Option<Section>) {
    if let Some(section) = section {
        section.spend_credit();
    }
}

/// A wait did not begin, because the thread is asked to end. The caller holds no lock.
#[cold]
pub(super) fn refused(ended: Ended) -> ! {
    park::give_way();
    match ended {
        Ended::Interrupted(interrupt) => interrupt.unwind(),
        _ => unreachable!("greenrt: a wait that nothing has refused"),
    }
}

/// Wakes whoever waits in a list, one after the other.
#[cold]
pub(super) fn wake_all<S, D>(lock: &Lock<S>, list: impl Fn(&mut S) -> &mut WaitList<D>) {
    let _section = Section::enter_green();
    loop {
        let wake = list(&mut lock.lock()).wake_one();
        match wake {
            Some(wake) => wake.wake(),
            None => return,
        }
    }
}

/// Wakes somebody, if there is somebody.
#[inline(always)]
pub(super) fn wake(wake: Option<Wake>) {
    if let Some(wake) = wake {
        wake.wake();
    }
}

/// When a thread begins to wait, as exact as it need be to tell who has waited for long.
pub(super) fn rough_time() -> u64 {
    scheduler::with_local(|local| local.round_began()).unwrap_or_else(clock::monotonic)
}

/// How a wait in a list has ended.
pub(super) enum Waited<R> {
    /// It did not begin.
    Not(R),
    /// Somebody has woken the thread, having done what it waited for.
    Woken,
    /// The time is up.
    TimedOut,
}

/// Waits in a list, unless `attempt`, under the lock, succeeds first; its error is what the waiter
/// says. `left` is called, still under the lock, if the wait was ended by something else than a wake-up
/// from the list, also before it began; it says whether what was waited for has come all the same.
#[inline(always)]
pub(super) fn in_list<S, D, R>(
    lock: &Lock<S>,
    list: impl Fn(&mut S) -> &mut WaitList<D>,
    (reason, ends): (Reason, Ends),
    mut until: Until,
    mut attempt: impl FnMut(&mut S) -> Result<R, D>,
    left: impl Fn(Guard<'_, S>, &D) -> bool,
) -> Waited<R> {
    loop {
        let section = begin_as(ends);
        let mut state = lock.lock();
        let data = match attempt(&mut state) {
            Ok(done) => {
                drop(state);
                end(section);
                return Waited::Not(done);
            }
            Err(data) => data,
        };
        let episode = match Episode::open_locked(section, reason, ends) {
            Ok(episode) => episode,
            Err(ended) => {
                // What `attempt` has noted of it is taken back.
                let section = Section::enter_green();
                left(state, &data);
                drop(section);
                refused(ended);
            }
        };
        let waiter = pin!(Waiter::with(episode.target(), 0, data));
        let waiter = waiter.into_ref();
        // SAFETY: removed below unless it was woken. `park` does not unwind.
        unsafe { list(&mut state).push(waiter) };
        drop(state);
        let ended = episode.park(until.deadline());
        if let Ended::Woken(_) = ended {
            return Waited::Woken;
        }
        let has_come = {
            let _section = Section::enter_green();
            let mut state = lock.lock();
            list(&mut state).remove(waiter);
            left(state, waiter.data())
        };
        match ended {
            Ended::Interrupted(interrupt) => interrupt.unwind(),
            _ if has_come => return Waited::Woken,
            Ended::Deadline => return Waited::TimedOut,
            Ended::Again | Ended::Token | Ended::Woken(_) => {}
        }
    }
}
