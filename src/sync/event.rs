//! A flag that threads wait for.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use super::lock::Lock;
use super::wait::{self, POINT, Until, Waited};
use crate::park::reason::Reason;
use crate::scheduler::Section;
use crate::wait_queue::WaitList;

/// A flag that any number of threads may wait for.
///
/// # Examples
///
/// ```
/// use greenrt::sync::Event;
///
/// static READY: Event = Event::new();
///
/// greenrt::run(|| {
///     let threads = [(); 3].map(|()| greenrt::spawn(|| READY.wait()));
///     READY.set();
///     threads.into_iter().for_each(|thread| thread.join().unwrap());
///     READY.wait(); // As long as it is set nobody waits.
///     READY.reset();
///     assert!(!READY.is_set());
/// });
/// ```
pub struct Event {
    is_set: AtomicBool,
    state: Lock<State>,
}

struct State {
    /// How often it was set.
    n_set: u64,
    /// Each with how often it had been set when it came: it is woken by the next time.
    waiters: WaitList<u64>,
}

impl Event {
    /// Not set.
    pub const fn new() -> Self {
        Event {
            is_set: AtomicBool::new(false),
            state: Lock::new(State {
                n_set: 0,
                waiters: WaitList::new(),
            }),
        }
    }

    /// Sets it and wakes everybody who waits, also if it is reset before they run. What was written
    /// before is visible to them. `false`: it was set already.
    pub fn set(&self) -> bool {
        let _section = Section::enter_green();
        let n_set = {
            // Under the lock: who is about to wait sees it, or is in the list.
            let mut state = self.state.lock();
            // Release: pairs with the acquire in `is_set`.
            if self.is_set.swap(true, Release) {
                return false;
            }
            state.n_set += 1;
            state.n_set
        };
        loop {
            let woken = self
                .state
                .lock()
                .waiters
                .wake_one_if(|&n| (n < n_set).then_some(()));
            match woken {
                Some((wake, ())) => wake.wake(),
                None => return true,
            }
        }
    }

    /// Takes it back: who waits from now on, waits. `false`: it was not set.
    pub fn reset(&self) -> bool {
        let _section = Section::enter_green();
        let _state = self.state.lock();
        self.is_set.swap(false, Release)
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        // Acquire: pairs with the release in `set`.
        self.is_set.load(Acquire)
    }

    /// Waits until it is set.
    ///
    /// If it is, this spends a credit. A cancelled green thread unwinds from here.
    #[inline]
    pub fn wait(&self) {
        self.wait_until(Until::Done, Reason::EVENT);
    }

    /// As [`wait`](Event::wait), for at most `timeout`; whether it was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Until::After(timeout), Reason::EVENT)
    }

    /// As [`wait`](Event::wait), until `deadline` on the runtime's clock; whether it was set.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Until::instant(deadline), Reason::EVENT)
    }

    #[inline(always)]
    pub(super) fn wait_until(&self, until: Until, reason: Reason) -> bool {
        let waited = wait::in_list(
            &self.state,
            |state| &mut state.waiters,
            (reason, POINT),
            until,
            |state| {
                if self.is_set() {
                    Ok(())
                } else {
                    Err(state.n_set)
                }
            },
            |_, _| false,
        );
        !matches!(waited, Waited::TimedOut)
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish_non_exhaustive()
    }
}
