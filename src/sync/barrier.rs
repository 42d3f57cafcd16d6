//! A place where threads wait for each other.

use std::fmt;
use std::time::Duration;

use super::lock::Lock;
use super::wait::{self, POINT, Until, Waited};
use crate::park::reason::Reason;
use crate::scheduler::Section;
use crate::wait_queue::WaitList;

/// Lets threads wait until so many have come.
///
/// As [`std::sync::Barrier`], but those who wait can be cancelled, and have a deadline. Who leaves so
/// does not count any more: another one must come in its place.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use greenrt::sync::Barrier;
///
/// greenrt::run(|| {
///     let barrier = Arc::new(Barrier::new(3));
///     let threads = [(); 3].map(|()| {
///         let barrier = Arc::clone(&barrier);
///         greenrt::spawn(move || barrier.wait().is_leader())
///     });
///     let leaders = threads.into_iter().map(|thread| thread.join().unwrap());
///     assert_eq!(leaders.filter(|&leader| leader).count(), 1);
/// });
/// ```
pub struct Barrier {
    state: Lock<State>,
    n: usize,
}

struct State {
    /// How many wait.
    n_here: usize,
    /// How often all had come.
    round: u64,
    /// Each with its round.
    waiters: WaitList<u64>,
}

/// What [`Barrier::wait`] returns.
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the thread was the last to come. It is so for one in each round.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// For `n` threads. With 0, as with 1, nobody waits.
    pub const fn new(n: usize) -> Self {
        Barrier {
            state: Lock::new(State {
                n_here: 0,
                round: 0,
                waiters: WaitList::new(),
            }),
            n,
        }
    }

    /// Waits until as many threads wait as the barrier is for; then all go on, and the barrier can
    /// be used again.
    ///
    /// The last one to come does not wait, and spends a credit. A cancelled green thread unwinds
    /// from here, and does not count any more.
    pub fn wait(&self) -> BarrierWaitResult {
        BarrierWaitResult(self.wait_until(Until::Done) == Some(true))
    }

    /// As [`wait`](Barrier::wait), for at most `timeout`. `None`: not so many have come; the thread
    /// does not count any more.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(Until::After(timeout))
            .map(BarrierWaitResult)
    }

    /// Whether the thread was the last to come.
    fn wait_until(&self, until: Until) -> Option<bool> {
        let waited = wait::in_list(
            &self.state,
            |state| &mut state.waiters,
            (Reason::BARRIER, POINT),
            until,
            |state| {
                state.n_here += 1;
                if state.n_here < self.n {
                    return Err(state.round);
                }
                state.n_here = 0;
                state.round += 1;
                Ok(state.round)
            },
            |mut state, &round| {
                // If all have come meanwhile it was one of them.
                let have_come = state.round != round;
                state.n_here -= usize::from(!have_come);
                have_come
            },
        );
        match waited {
            Waited::Woken => Some(false),
            Waited::TimedOut => None,
            Waited::Not(round) => {
                self.release(round);
                Some(true)
            }
        }
    }
}

impl Barrier {
    /// Wakes all of a round that is over, and nobody of the next.
    fn release(&self, round: u64) {
        let _section = Section::enter_green();
        loop {
            let mut state = self.state.lock();
            let woken = state.waiters.wake_one_if(|&of| (of < round).then_some(()));
            drop(state);
            match woken {
                Some((wake, ())) => wake.wake(),
                None => return,
            }
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("n", &self.n)
            .finish_non_exhaustive()
    }
}
