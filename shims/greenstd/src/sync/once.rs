//! What is to be done once.
//!
//! | value      | meaning                                        | left by                    |
//! |------------|------------------------------------------------|----------------------------|
//! | INCOMPLETE | nobody has begun, or who began was cancelled   | `call`                     |
//! | POISONED   | who began has panicked                         | `call` by force            |
//! | RUNNING    | somebody runs it                               | that one                   |
//! | COMPLETE   | it is done                                     |                            |
//! | .. + QUEUED| the same, and others may wait for a change     | whoever changes it         |

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;

use greenrt::lowlevel::{futex_wait, futex_wake, unwinds_by_panic};

const INCOMPLETE: u32 = 0;
const POISONED: u32 = 1;
const RUNNING: u32 = 2;
const COMPLETE: u32 = 3;
const QUEUED: u32 = 4;

/// Something that is done once, by whichever thread comes first.
///
/// As [`std::sync::Once`], for threads of both kinds. Those who come while it is done wait; a green
/// thread parks, and none of the waits is a point of cancellation. If the thread that does it is
/// cancelled on the way, the next one that comes does it.
///
/// # Examples
///
/// ```
/// use greenstd::sync::Once;
///
/// static START: Once = Once::new();
/// START.call_once(|| println!("once"));
/// START.call_once(|| unreachable!());
/// ```
pub struct Once {
    state: AtomicU32,
}

/// What [`Once::call_once_force`] tells of the calls before it; as [`std::sync::OnceState`].
pub struct OnceState {
    is_poisoned: bool,
    /// Not to be shared, as std's.
    _alone: PhantomData<Cell<()>>,
}

/// As `std::sync::ONCE_INIT`.
#[deprecated(since = "0.1.0", note = "the `Once::new()` function is now preferred")]
#[expect(
    clippy::declare_interior_mutable_const,
    reason = "a value to begin with, as in std"
)]
pub const ONCE_INIT: Once = Once::new();

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// Says how it has ended, also if that was by unwinding.
struct Running<'a> {
    once: &'a Once,
    /// The state before.
    before: u32,
    was_panicking: bool,
    is_done: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let then = if self.is_done {
            COMPLETE
        } else if self.was_panicking || unwinds_by_panic() {
            POISONED
        } else {
            self.before
        };
        // Release: pairs with the acquire of whoever finds it complete.
        if self.once.state.swap(then, Release) & QUEUED != 0 {
            futex_wake(&self.once.state, usize::MAX);
        }
    }
}

impl Once {
    /// Nothing was done yet, as [`std::sync::Once::new`].
    #[inline]
    #[must_use]
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    pub const fn new() -> Once {
        Once {
            state: AtomicU32::new(INCOMPLETE),
        }
    }

    /// Runs `f`, if this is the first call; returns when it is done. As
    /// [`std::sync::Once::call_once`].
    ///
    /// # Panics
    ///
    /// If a closure that was run by this `Once` has panicked, or if `f` panics.
    #[inline]
    #[track_caller]
    pub fn call_once<F>(&self, f: F)
    where
        F: FnOnce(),
    {
        if self.is_completed() {
            return;
        }
        let mut f = Some(f);
        self.call(false, &mut |_| f.take().expect("called once")());
    }

    /// As [`call_once`](Once::call_once), also after a panic; as
    /// [`std::sync::Once::call_once_force`].
    ///
    /// # Panics
    ///
    /// If `f` panics.
    #[inline]
    pub fn call_once_force<F>(&self, f: F)
    where
        F: FnOnce(&OnceState),
    {
        if self.is_completed() {
            return;
        }
        let mut f = Some(f);
        self.call(true, &mut |state| f.take().expect("called once")(state));
    }

    /// Whether it is done, as [`std::sync::Once::is_completed`].
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Acquire: pairs with the release in `Running`.
        self.state.load(Acquire) == COMPLETE
    }

    /// Waits until it is done, as [`std::sync::Once::wait`].
    ///
    /// # Panics
    ///
    /// If a closure that was run by this `Once` has panicked.
    pub fn wait(&self) {
        self.wait_done(false);
    }

    /// Waits until it is done, also after a panic; as [`std::sync::Once::wait_force`].
    pub fn wait_force(&self) {
        self.wait_done(true);
    }

    #[track_caller]
    fn wait_done(&self, ignores_poison: bool) {
        // Acquire: pairs with the release in `Running`.
        let mut state = self.state.load(Acquire);
        while state != COMPLETE {
            if state & !QUEUED == POISONED && !ignores_poison {
                panic_poisoned();
            }
            state = self.wait_change(state);
        }
    }

    // The state of one that nobody else can use.
    #[inline]
    pub(super) fn is_completed_mut(&mut self) -> bool {
        *self.state.get_mut() == COMPLETE
    }

    pub(super) fn complete_mut(&mut self) {
        *self.state.get_mut() = COMPLETE;
    }

    pub(super) fn poison_mut(&mut self) {
        *self.state.get_mut() = POISONED;
    }

    #[cold]
    #[track_caller]
    fn call(&self, ignores_poison: bool, f: &mut dyn FnMut(&OnceState)) {
        // Acquire: pairs with the release in `Running`.
        let mut state = self.state.load(Acquire);
        loop {
            let before = state & !QUEUED;
            match before {
                COMPLETE => return,
                POISONED if !ignores_poison => panic_poisoned(),
                RUNNING => state = self.wait_change(state),
                _ => {
                    let running = RUNNING | (state & QUEUED);
                    // Acquire: as above.
                    let begun = self
                        .state
                        .compare_exchange_weak(state, running, Acquire, Acquire);
                    match begun {
                        Ok(_) => return self.run(before, f),
                        Err(now) => state = now,
                    }
                }
            }
        }
    }

    fn run(&self, before: u32, f: &mut dyn FnMut(&OnceState)) {
        let mut running = Running {
            once: self,
            before,
            was_panicking: thread::panicking(),
            is_done: false,
        };
        f(&OnceState {
            is_poisoned: before == POISONED,
            _alone: PhantomData,
        });
        running.is_done = true;
    }

    /// Waits until the state may be another one; the new state.
    fn wait_change(&self, state: u32) -> u32 {
        let queued = state | QUEUED;
        // Acquire: as in `call`.
        if state != queued
            && let Err(now) = self.state.compare_exchange(state, queued, Relaxed, Acquire)
        {
            return now;
        }
        futex_wait(&self.state, queued, None);
        self.state.load(Acquire)
    }
}

#[cold]
#[track_caller]
fn panic_poisoned() -> ! {
    panic!("Once instance has previously been poisoned");
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl OnceState {
    /// Whether a call before this has panicked, as [`std::sync::OnceState::is_poisoned`].
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState")
            .field("poisoned", &self.is_poisoned())
            .finish()
    }
}
