//! Permits.

use std::fmt;
use std::time::{Duration, Instant};

use super::lock::Lock;
use super::wait::{self, POINT, Until, Waited};
use crate::park::Wake;
use crate::park::reason::Reason;
use crate::scheduler::Section;
use crate::wait_queue::WaitList;

/// A number of permits, which threads take and give back.
///
/// Who waits is served in the order of coming, also if somebody behind wants fewer. Who comes when
/// somebody waits, waits behind.
///
/// # Examples
///
/// ```
/// use greenrt::sync::Semaphore;
///
/// static CONNECTIONS: Semaphore = Semaphore::new(2);
///
/// greenrt::run(|| {
///     let threads: Vec<_> = (0..10)
///         .map(|_| greenrt::spawn(|| {
///             let _permit = CONNECTIONS.acquire();
///             greenrt::yield_now(); // At most two are here at a time.
///         }))
///         .collect();
///     threads.into_iter().for_each(|thread| thread.join().unwrap());
///     assert_eq!(CONNECTIONS.available(), 2);
/// });
/// ```
pub struct Semaphore {
    state: Lock<State>,
    max: usize,
}

struct State {
    n_free: usize,
    /// Each with how many it wants.
    waiters: WaitList<usize>,
}

impl State {
    /// Takes permits, if nobody was here before.
    #[inline(always)]
    fn take(&mut self, n: usize) -> bool {
        let can = self.waiters.is_empty() && n <= self.n_free;
        if can {
            self.n_free -= n;
        }
        can
    }

    /// Gives permits to the first one who waits, if there are enough.
    fn serve(&mut self) -> Option<Wake> {
        let n_free = self.n_free;
        let served = self.waiters.wake_one_if(|&n| (n <= n_free).then_some(n));
        let (wake, n) = served?;
        // Whoever was woken looks at this only under the lock.
        self.n_free -= n;
        Some(wake)
    }
}

impl Semaphore {
    /// With `n` permits. Any number may be added.
    pub const fn new(n: usize) -> Self {
        Semaphore {
            state: Lock::new(State {
                n_free: n,
                waiters: WaitList::new(),
            }),
            max: usize::MAX,
        }
    }

    /// With `n` permits, and never more: to add more than were taken is a mistake, which panics.
    pub const fn bounded(n: usize) -> Self {
        Semaphore {
            max: n,
            ..Semaphore::new(n)
        }
    }

    /// Takes a permit, waiting for it if there is none; dropping what is returned gives it back.
    ///
    /// A cancelled green thread unwinds from here, without a permit.
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.acquire_many(1)
    }

    /// Takes `n` permits at once, waiting until there are so many.
    ///
    /// As [`acquire`](Semaphore::acquire). If there never are so many this waits for ever, and all
    /// who come behind.
    #[inline]
    pub fn acquire_many(&self, n: usize) -> Permit<'_> {
        let taken = self.wait(n, Until::Done);
        debug_assert!(taken, "greenrt: a wait without a deadline has timed out");
        Permit { semaphore: self, n }
    }

    /// Takes `n` permits if that needs no waiting. Always spends a credit.
    pub fn try_acquire_many(&self, n: usize) -> Option<Permit<'_>> {
        let section = Section::enter_green();
        let taken = self.state.lock().take(n);
        wait::end(section);
        taken.then(|| Permit { semaphore: self, n })
    }

    /// Takes a permit if that needs no waiting. Always spends a credit.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// As [`acquire_many`](Semaphore::acquire_many), waiting for at most `timeout`.
    pub fn acquire_timeout(&self, n: usize, timeout: Duration) -> Option<Permit<'_>> {
        let taken = self.wait(n, Until::After(timeout));
        taken.then(|| Permit { semaphore: self, n })
    }

    /// As [`acquire_many`](Semaphore::acquire_many), waiting until `deadline` on the runtime's clock.
    pub fn acquire_deadline(&self, n: usize, deadline: Instant) -> Option<Permit<'_>> {
        let taken = self.wait(n, Until::instant(deadline));
        taken.then(|| Permit { semaphore: self, n })
    }

    /// Adds permits: new ones, or those that were forgotten ([`Permit::forget`]). Never waits.
    ///
    /// # Panics
    ///
    /// If there would be more than its bound, or than can be counted.
    #[track_caller]
    pub fn release(&self, n: usize) {
        let _section = Section::enter_green();
        let mut state = self.state.lock();
        let sum = state.n_free.checked_add(n).filter(|&sum| sum <= self.max);
        let Some(sum) = sum else {
            drop(state);
            panic!("a semaphore has got more permits than it may have");
        };
        state.n_free = sum;
        drop(state);
        self.serve();
    }

    /// How many permits are there now.
    pub fn available(&self) -> usize {
        let _section = Section::enter_green();
        self.state.lock().n_free
    }

    /// Serves all who can be.
    fn serve(&self) {
        loop {
            let wake = self.state.lock().serve();
            match wake {
                Some(wake) => wake.wake(),
                None => return,
            }
        }
    }

    /// `false`: the time is up.
    #[inline(always)]
    fn wait(&self, n: usize, until: Until) -> bool {
        let waited = wait::in_list(
            &self.state,
            |state| &mut state.waiters,
            (Reason::SEMAPHORE, POINT),
            until,
            |state| if state.take(n) { Ok(()) } else { Err(n) },
            // It may have kept those behind it waiting, who want fewer.
            |state, _| {
                drop(state);
                self.serve();
                false
            },
        );
        !matches!(waited, Waited::TimedOut)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// Permits of a [`Semaphore`], given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the permits back"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    n: usize,
}

impl Permit<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether it is for none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Does not give them back: they are gone, or come back by [`Semaphore::release`].
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.n);
    }
}
