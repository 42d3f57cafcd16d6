//! Conditions of C libraries: std's are the futex's, which greenrt answers.
//!
//! Libc's cannot be waited for but by waiting. So a condition that is not shared with other processes
//! is ours, for threads of every kind: all calls for it come here.
//!
//! | word | meaning                                                     |
//! |------|-------------------------------------------------------------|
//! | 0    | how often it was signalled                                  |
//! | 1    | how many threads are in `wait`; `destroy` waits for them    |
//! | 2    | 1: its times are those of the monotonic clock               |
//!
//! One that was initialised statically is zero, here as in libc.

use std::collections::HashSet;
use std::ffi::c_int;
use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Instant;

use greenrt::lowlevel::{self, FutexWait};
use libc::{clockid_t, pthread_cond_t, pthread_condattr_t, pthread_mutex_t, timespec};
use parking_lot::Mutex;

use crate::lock::{deadline_of, pthread_mutex_unlock, wake, word};
use crate::symbol::{Symbol, interpose};

interpose! {
    /// `pthread_cond_init(3)`.
    all fn pthread_cond_init(cond: *mut pthread_cond_t, attributes: *const pthread_condattr_t) -> c_int {
        // SAFETY: as the caller promises.
        let error = unsafe { real::pthread_cond_init(cond, attributes) };
        if error != 0 {
            return error;
        }
        let (mut shared, mut clock) = (libc::PTHREAD_PROCESS_PRIVATE, libc::CLOCK_REALTIME);
        if !attributes.is_null() {
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_condattr_getpshared(attributes, &raw mut shared) };
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_condattr_getclock(attributes, &raw mut clock) };
        }
        if shared == libc::PTHREAD_PROCESS_SHARED {
            share(cond.addr());
            return 0;
        }
        unshare(cond.addr());
        // SAFETY: the caller's, to be initialised.
        unsafe { ptr::write_bytes(cond, 0, 1) };
        // SAFETY: as above.
        let condition = unsafe { Condition::at(cond) };
        condition.monotonic.store((clock == libc::CLOCK_MONOTONIC).into(), Relaxed);
        0
    }

    /// `pthread_cond_destroy(3)`.
    all fn pthread_cond_destroy(cond: *mut pthread_cond_t) -> c_int {
        if is_shared(cond.addr()) {
            unshare(cond.addr());
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_cond_destroy(cond) };
        }
        // SAFETY: as the caller promises.
        let condition = unsafe { Condition::at(cond) };
        // Those who were woken are on their way.
        while condition.n_inside.load(Acquire) != 0 {
            greenrt::yield_now();
        }
        0
    }

    /// `pthread_cond_wait(3)`: parks.
    all fn pthread_cond_wait(cond: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
        if is_shared(cond.addr()) {
            Symbol::pthread_cond_wait.blocks();
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_cond_wait(cond, mutex) };
        }
        Symbol::pthread_cond_wait.is_green();
        // SAFETY: as the caller promises.
        unsafe { wait(cond, mutex, None) }
    }

    /// `pthread_cond_timedwait(3)`: parks.
    all fn pthread_cond_timedwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        until: *const timespec,
    ) -> c_int {
        if is_shared(cond.addr()) {
            Symbol::pthread_cond_timedwait.blocks();
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_cond_timedwait(cond, mutex, until) };
        }
        Symbol::pthread_cond_timedwait.is_green();
        // SAFETY: as the caller promises.
        let clock = match unsafe { Condition::at(cond) }.monotonic.load(Relaxed) {
            0 => libc::CLOCK_REALTIME,
            _ => libc::CLOCK_MONOTONIC,
        };
        match deadline_of(until, clock) {
            // SAFETY: as the caller promises.
            Some(deadline) => unsafe { wait(cond, mutex, Some(deadline)) },
            None => libc::EINVAL,
        }
    }

    /// `pthread_cond_clockwait(3)`: parks.
    all fn pthread_cond_clockwait(
        cond: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int {
        if is_shared(cond.addr()) {
            Symbol::pthread_cond_clockwait.blocks();
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_cond_clockwait(cond, mutex, clock, until) };
        }
        Symbol::pthread_cond_clockwait.is_green();
        match deadline_of(until, clock) {
            // SAFETY: as the caller promises.
            Some(deadline) => unsafe { wait(cond, mutex, Some(deadline)) },
            None => libc::EINVAL,
        }
    }

    /// `pthread_cond_signal(3)`.
    all fn pthread_cond_signal(cond: *mut pthread_cond_t) -> c_int {
        if is_shared(cond.addr()) {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_cond_signal(cond) };
        }
        // SAFETY: as the caller promises.
        unsafe { Condition::at(cond) }.signalled.fetch_add(1, SeqCst);
        wake(cond.cast(), 1);
        0
    }

    /// `pthread_cond_broadcast(3)`.
    all fn pthread_cond_broadcast(cond: *mut pthread_cond_t) -> c_int {
        if is_shared(cond.addr()) {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_cond_broadcast(cond) };
        }
        // SAFETY: as the caller promises.
        unsafe { Condition::at(cond) }.signalled.fetch_add(1, SeqCst);
        wake(cond.cast(), usize::MAX);
        0
    }
}

/// A condition of ours.
struct Condition<'a> {
    signalled: &'a AtomicU32,
    n_inside: &'a AtomicU32,
    monotonic: &'a AtomicU32,
}

impl Condition<'_> {
    /// # Safety
    ///
    /// It is alive for as long as this is used.
    unsafe fn at(cond: *mut pthread_cond_t) -> Self {
        let words = cond.cast::<u32>();
        // SAFETY: the caller's promise, here and below.
        let at = |n| unsafe { word(words.wrapping_add(n).cast()) };
        Condition {
            signalled: at(0),
            n_inside: at(1),
            monotonic: at(2),
        }
    }
}

/// # Safety
///
/// Both are alive, and the mutex is the caller's.
unsafe fn wait(
    cond: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    deadline: Option<Instant>,
) -> c_int {
    // SAFETY: the caller's promise; `destroy` waits for us to be out.
    let condition = unsafe { Condition::at(cond) };
    condition.n_inside.fetch_add(1, AcqRel);
    let seen = condition.signalled.load(SeqCst);
    // SAFETY: the caller's promise.
    let error = unsafe { pthread_mutex_unlock(mutex) };
    if error != 0 {
        condition.n_inside.fetch_sub(1, Release);
        return error;
    }
    let ended = lowlevel::futex_wait(condition.signalled, seen, deadline);
    condition.n_inside.fetch_sub(1, Release);
    // SAFETY: the caller's promise.
    let error = unsafe { libc::pthread_mutex_lock(mutex) };
    match ended {
        FutexWait::TimedOut if error == 0 => libc::ETIMEDOUT,
        _ => error,
    }
}

/// Conditions and barriers that are shared with other processes, by their addresses.
static SHARED: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);
static N_SHARED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn is_shared(address: usize) -> bool {
    N_SHARED.load(Acquire) != 0 && SHARED.lock().contains(&address)
}

pub(crate) fn share(address: usize) {
    if SHARED.lock().insert(address) {
        N_SHARED.fetch_add(1, Release);
    }
}

pub(crate) fn unshare(address: usize) {
    if N_SHARED.load(Acquire) != 0 && SHARED.lock().remove(&address) {
        N_SHARED.fetch_sub(1, Release);
    }
}

/// The words are in them.
const _: () = assert!(size_of::<pthread_cond_t>() >= 12 && size_of::<pthread_mutex_t>() >= 20);
