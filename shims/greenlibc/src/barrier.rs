//! Where C code waits for others: barriers, and what is done once. Both are ours for threads of every kind,
//! unless other processes share them.

use std::ffi::{c_int, c_uint};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

use greenrt::lowlevel;
use libc::{pthread_barrier_t, pthread_barrierattr_t, pthread_once_t};

use crate::condition::{is_shared, share, unshare};
use crate::lock::word;
use crate::symbol::{Symbol, interpose};

interpose! {
    /// `pthread_barrier_init(3)`.
    all fn pthread_barrier_init(
        barrier: *mut pthread_barrier_t,
        attributes: *const pthread_barrierattr_t,
        n: c_uint,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let error = unsafe { real::pthread_barrier_init(barrier, attributes, n) };
        if error != 0 {
            return error;
        }
        let mut shared = libc::PTHREAD_PROCESS_PRIVATE;
        if !attributes.is_null() {
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_barrierattr_getpshared(attributes, &raw mut shared) };
        }
        if shared == libc::PTHREAD_PROCESS_SHARED {
            share(barrier.addr());
            return 0;
        }
        unshare(barrier.addr());
        // SAFETY: the caller's, to be initialised.
        unsafe { ptr::write_bytes(barrier, 0, 1) };
        // SAFETY: as above.
        unsafe { Barrier::at(barrier) }.n_wanted.store(n, Release);
        0
    }

    /// `pthread_barrier_destroy(3)`.
    all fn pthread_barrier_destroy(barrier: *mut pthread_barrier_t) -> c_int {
        if is_shared(barrier.addr()) {
            unshare(barrier.addr());
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_barrier_destroy(barrier) };
        }
        // SAFETY: as the caller promises.
        let barrier = unsafe { Barrier::at(barrier) };
        while barrier.n_inside.load(Acquire) != 0 {
            greenrt::yield_now();
        }
        0
    }

    /// `pthread_barrier_wait(3)`: parks.
    all fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
        if is_shared(barrier.addr()) {
            Symbol::pthread_barrier_wait.blocks();
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_barrier_wait(barrier) };
        }
        Symbol::pthread_barrier_wait.is_green();
        // SAFETY: as the caller promises.
        unsafe { Barrier::at(barrier) }.wait()
    }

    /// `pthread_once(3)`: who comes second parks.
    all fn pthread_once(once: *mut pthread_once_t, routine: extern "C" fn()) -> c_int {
        /// As libc has it.
        const DONE: u32 = 2;
        // SAFETY: as the caller promises.
        let state = unsafe { word(once.cast()) };
        loop {
            match state.compare_exchange(0, RUNS, AcqRel, Acquire) {
                Ok(_) => {
                    routine();
                    state.store(DONE, Release);
                    lowlevel::futex_wake_at(once.addr(), usize::MAX);
                    return 0;
                }
                Err(DONE) => return 0,
                Err(now) => {
                    Symbol::pthread_once.is_green();
                    // Begun before the patch, by libc, it ends without a word to us.
                    let again = (now != RUNS).then(|| lowlevel::deadline_after(Duration::from_millis(1)));
                    lowlevel::futex_wait(state, now, again.flatten());
                }
            }
        }
    }
}

/// What is to be done once is being done. Libc has other numbers for that, with the last bit set too.
const RUNS: u32 = u32::MAX;

/// A barrier of ours.
struct Barrier<'a> {
    /// How many rounds there were.
    round: &'a AtomicU32,
    n_wanted: &'a AtomicU32,
    /// How many are here, in this round; [`LOCKED`]: somebody is counting.
    n_here: &'a AtomicU32,
    /// How many have not left yet.
    n_inside: &'a AtomicU32,
}

const LOCKED: u32 = u32::MAX;

impl Barrier<'_> {
    /// # Safety
    ///
    /// It is alive for as long as this is used.
    unsafe fn at(barrier: *mut pthread_barrier_t) -> Self {
        let words = barrier.cast::<u32>();
        // SAFETY: the caller's promise, here and below.
        let at = |n| unsafe { word(words.wrapping_add(n).cast()) };
        Barrier {
            round: at(0),
            n_wanted: at(1),
            n_here: at(2),
            n_inside: at(3),
        }
    }

    fn wait(&self) -> c_int {
        self.n_inside.fetch_add(1, AcqRel);
        let n_here = loop {
            let n = self.n_here.load(Relaxed);
            let free = n != LOCKED;
            if free
                && self
                    .n_here
                    .compare_exchange(n, LOCKED, Acquire, Relaxed)
                    .is_ok()
            {
                break n + 1;
            }
            // For a few instructions of an OS thread, or nobody: no green thread stops in there.
            std::hint::spin_loop();
        };
        let round = self.round.load(Relaxed);
        let is_last = n_here == self.n_wanted.load(Relaxed);
        if is_last {
            self.round.store(round.wrapping_add(1), Release);
            self.n_here.store(0, Release);
            lowlevel::futex_wake_at(self.round.as_ptr().addr(), usize::MAX);
        } else {
            self.n_here.store(n_here, Release);
            while self.round.load(Acquire) == round {
                lowlevel::futex_wait(self.round, round, None);
            }
        }
        self.n_inside.fetch_sub(1, Release);
        if is_last {
            libc::PTHREAD_BARRIER_SERIAL_THREAD
        } else {
            0
        }
    }
}

/// The words are in it.
const _: () = assert!(size_of::<pthread_barrier_t>() >= 16);
