//! The word under [`Mutex`](super::Mutex): a fair lock in 32 bits.
//!
//! | value     | meaning                            | left by             |
//! |-----------|------------------------------------|---------------------|
//! | FREE      | nobody has it                      | `lock`, `try_lock`  |
//! | LOCKED    | somebody has it, nobody waits      | `unlock`, a waiter  |
//! | CONTENDED | somebody has it, others may wait   | `unlock`            |
//!
//! An unlock that finds somebody waiting sets the word free and wakes the first one, so that whoever
//! comes along meanwhile keeps the lock busy. If that one has waited for long, or had this happen to
//! it before, the word stays as it is and the lock is its own
//! ([`futex_hand_over`](greenrt::lowlevel::futex_hand_over)).

use std::hint;

use greenrt::lowlevel::{
    FutexWait, futex_hand_over, futex_wait, futex_wait_again, on_green_thread, spend_credit,
};

use super::atomic::AtomicU32;
use super::atomic::Ordering::{Acquire, Relaxed, Release};

const FREE: u32 = 0;
const LOCKED: u32 = 1;
const CONTENDED: u32 = 2;

/// How often an OS thread looks before it waits. A green thread does not: the owner may need its
/// worker.
const SPINS: u32 = 100;

pub(super) struct RawMutex(AtomicU32);

impl RawMutex {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        RawMutex(AtomicU32::new(FREE))
    }

    /// In a model (greenrt's `sync/loom_tests`).
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        RawMutex(AtomicU32::new(FREE))
    }

    /// Takes the lock on behalf of user code, at the price of a credit.
    #[inline]
    pub(super) fn lock(&self) {
        // Before the lock is ours, so that nobody waits for one who has yielded.
        spend_credit();
        self.acquire();
    }

    /// Takes the lock.
    #[inline]
    pub(super) fn acquire(&self) {
        if !self.try_acquire() {
            self.acquire_contended();
        }
    }

    #[inline]
    pub(super) fn try_acquire(&self) -> bool {
        // Acquire: pairs with the release of whoever set it free.
        let taken = self.0.compare_exchange(FREE, LOCKED, Acquire, Relaxed);
        taken.is_ok()
    }

    /// As `try_acquire` on behalf of user code: whoever tries until it succeeds lets others run.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        let taken = self.try_acquire();
        if !taken {
            spend_credit();
        }
        taken
    }

    #[cold]
    fn acquire_contended(&self) {
        if !on_green_thread() && self.spin() {
            return;
        }
        let mut wait: fn(&_, _, _) -> FutexWait = futex_wait;
        // Acquire: as above. What hands the lock over makes visible what its owner did.
        while self.0.swap(CONTENDED, Acquire) != FREE {
            match wait(&self.0, CONTENDED, None) {
                FutexWait::HandedOver => return,
                FutexWait::Woken => wait = futex_wait_again,
                _ => {}
            }
        }
    }

    /// Looks whether the lock comes free in a moment, unless others wait for it.
    fn spin(&self) -> bool {
        for _ in 0..SPINS {
            match self.0.load(Relaxed) {
                FREE if self.try_acquire() => return true,
                CONTENDED => return false,
                _ => hint::spin_loop(),
            }
        }
        false
    }

    /// Gives the lock back; called by whoever has it.
    #[inline]
    pub(super) fn release(&self) {
        // Release: pairs with the acquire of the next owner.
        let released = self.0.compare_exchange(LOCKED, FREE, Release, Relaxed);
        if released.is_err() {
            self.release_contended();
        }
    }

    #[cold]
    fn release_contended(&self) {
        futex_hand_over(&self.0, FREE);
    }
}
