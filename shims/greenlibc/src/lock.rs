//! Locks of C libraries: std's are the futex's, which greenrt answers.
//!
//! # Mutexes, locks for reading and writing, semaphores
//!
//! Their state stays libc's. A green thread tries; if that fails it waits, in greenrt's table, for the
//! word that changes when the lock becomes free, and every `unlock` and `post` looks into that table when
//! libc has done its part. The word is read before trying, so an unlock in between is noticed.
//!
//! What is shared with other processes may be unlocked by one that knows nothing of us: there a
//! green thread asks again every millisecond. Mutexes that inherit priorities, or are robust, know
//! their owner by the kernel's number: those are libc's, and block the worker.
//!
//! # Allocators
//!
//! The runtime allocates. If the allocator of the program locks by these mutexes (jemalloc does), a green
//! thread that parks in the middle of it, holding one of them, would have its worker wait for it, for ever.
//! So it is looked whether the allocator does ([`allocator_locks`]), and if so these functions
//! stay libc's.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use greenrt::lowlevel::{self, FutexWait};
use libc::{clockid_t, pthread_mutex_t, pthread_rwlock_t, pthread_spinlock_t, sem_t, timespec};

use crate::errno;
use crate::sleep;
use crate::symbol::{Symbol, interpose};

interpose! {
    /// `pthread_mutex_lock(3)`: parks.
    green fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { lock_mutex(mutex, None, Symbol::pthread_mutex_lock) }
    }

    /// `pthread_mutex_timedlock(3)`: parks.
    green fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int {
        let Some(deadline) = deadline_of(until, libc::CLOCK_REALTIME) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_mutex_timedlock(mutex, until) };
        };
        // SAFETY: as the caller promises.
        unsafe { lock_mutex(mutex, Some(deadline), Symbol::pthread_mutex_timedlock) }
    }

    /// `pthread_mutex_clocklock(3)`: parks.
    green fn pthread_mutex_clocklock(
        mutex: *mut pthread_mutex_t,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int {
        let Some(deadline) = deadline_of(until, clock) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_mutex_clocklock(mutex, clock, until) };
        };
        // SAFETY: as the caller promises.
        unsafe { lock_mutex(mutex, Some(deadline), Symbol::pthread_mutex_clocklock) }
    }

    /// `pthread_mutex_unlock(3)`: wakes a green thread too.
    all fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
        // SAFETY: as the caller promises.
        let error = unsafe { real::pthread_mutex_unlock(mutex) };
        if error == 0 {
            if PROBES.get() {
                HAS_LOCKED.set(true);
            }
            wake(mutex.cast(), 1);
        }
        error
    }

    /// `pthread_rwlock_rdlock(3)`: parks.
    green fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int {
        // SAFETY: as the caller promises.
        let is_shared = unsafe { rwlock_is_shared(lock) };
        let attempt = || {
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_rwlock_tryrdlock(lock) }
        };
        // SAFETY: as the caller promises.
        unsafe { lock_when_free(lock.cast(), is_shared, None, attempt) }
    }

    /// `pthread_rwlock_wrlock(3)`: parks.
    green fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int {
        // SAFETY: as the caller promises.
        let is_shared = unsafe { rwlock_is_shared(lock) };
        let attempt = || {
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_rwlock_trywrlock(lock) }
        };
        // SAFETY: as the caller promises.
        unsafe { lock_when_free(lock.cast(), is_shared, None, attempt) }
    }

    /// `pthread_rwlock_timedrdlock(3)`: parks.
    green fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int {
        // SAFETY: as the caller promises.
        let is_shared = unsafe { rwlock_is_shared(lock) };
        let Some(deadline) = deadline_of(until, libc::CLOCK_REALTIME) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_rwlock_timedrdlock(lock, until) };
        };
        let attempt = || {
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_rwlock_tryrdlock(lock) }
        };
        // SAFETY: as the caller promises.
        unsafe { lock_when_free(lock.cast(), is_shared, Some(deadline), attempt) }
    }

    /// `pthread_rwlock_timedwrlock(3)`: parks.
    green fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int {
        // SAFETY: as the caller promises.
        let is_shared = unsafe { rwlock_is_shared(lock) };
        let Some(deadline) = deadline_of(until, libc::CLOCK_REALTIME) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_rwlock_timedwrlock(lock, until) };
        };
        let attempt = || {
            // SAFETY: as the caller promises.
            unsafe { libc::pthread_rwlock_trywrlock(lock) }
        };
        // SAFETY: as the caller promises.
        unsafe { lock_when_free(lock.cast(), is_shared, Some(deadline), attempt) }
    }

    /// `pthread_rwlock_unlock(3)`: wakes green threads too.
    all fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int {
        // SAFETY: as the caller promises.
        let error = unsafe { real::pthread_rwlock_unlock(lock) };
        if error == 0 {
            wake(lock.cast(), usize::MAX);
        }
        error
    }

    /// `pthread_spin_lock(3)`: yields between attempts, for the one that has it may be on the same worker.
    green fn pthread_spin_lock(lock: *mut pthread_spinlock_t) -> c_int {
        loop {
            // SAFETY: as the caller promises.
            match unsafe { libc::pthread_spin_trylock(lock) } {
                libc::EBUSY => greenrt::yield_now(),
                done => return done,
            }
        }
    }

    /// `sem_wait(3)`: parks.
    green fn sem_wait(semaphore: *mut sem_t) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { take_semaphore(semaphore, None) }
    }

    /// `sem_timedwait(3)`: parks.
    green fn sem_timedwait(semaphore: *mut sem_t, until: *const timespec) -> c_int {
        let Some(deadline) = deadline_of(until, libc::CLOCK_REALTIME) else {
            // SAFETY: as the caller promises.
            return unsafe { real::sem_timedwait(semaphore, until) };
        };
        // SAFETY: as the caller promises.
        unsafe { take_semaphore(semaphore, Some(deadline)) }
    }

    /// `sem_clockwait(3)`: parks.
    green fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int {
        let Some(deadline) = deadline_of(until, clock) else {
            // SAFETY: as the caller promises.
            return unsafe { real::sem_clockwait(semaphore, clock, until) };
        };
        // SAFETY: as the caller promises.
        unsafe { take_semaphore(semaphore, Some(deadline)) }
    }

    /// `sem_post(3)`: wakes a green thread too.
    all fn sem_post(semaphore: *mut sem_t) -> c_int {
        // SAFETY: as the caller promises.
        let error = unsafe { real::sem_post(semaphore) };
        if error == 0 && lowlevel::futex_may_have_waiters(semaphore.addr()) {
            let before = errno::get();
            let one: c_int = 1;
            // By way of the system call, which may be made in the handler of a signal.
            let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: an address to look for.
            unsafe { libc::syscall(libc::SYS_futex, semaphore, wake, one) };
            errno::set(before);
        }
        error
    }
}

thread_local! {
    /// It is being looked whether the allocator locks.
    static PROBES: Cell<bool> = const { Cell::new(false) };
    static HAS_LOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the allocator of this program locks by mutexes that are stood in for, which they must be.
pub(crate) fn allocator_locks() -> bool {
    PROBES.set(true);
    for shift in 4..27 {
        drop(black_box(Vec::<u8>::with_capacity(1 << shift)));
    }
    PROBES.set(false);
    HAS_LOCKED.get()
}

/// How often a lock is asked that other processes may unlock.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// The first word of a lock of libc's.
///
/// # Safety
///
/// It is alive for as long as this is used.
pub(crate) unsafe fn word<'a>(lock: *mut c_void) -> &'a AtomicU32 {
    // SAFETY: the caller's promise; libc changes it atomically, as we read it.
    unsafe { AtomicU32::from_ptr(lock.cast()) }
}

/// Wakes those who wait in the table for the first word of a lock, which may be gone already. It was
/// changed by a swap or the like: libc does not do otherwise as long as there are two OS threads.
#[inline]
pub(crate) fn wake(lock: *mut c_void, n: usize) {
    if lowlevel::futex_may_have_waiters(lock.addr()) {
        lowlevel::futex_wake_at(lock.addr(), n);
    }
}

/// Takes a lock by `attempt`, which fails with `EBUSY` as long as it is not free.
///
/// # Safety
///
/// The lock is alive.
unsafe fn lock_when_free(
    lock: *mut c_void,
    is_shared: bool,
    deadline: Option<Instant>,
    attempt: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let word = unsafe { word(lock) };
    let mut wait: fn(&AtomicU32, u32, Option<Instant>) -> FutexWait = lowlevel::futex_wait;
    loop {
        let seen = word.load(Acquire);
        match attempt() {
            libc::EBUSY => {}
            done => {
                lowlevel::spend_credit();
                return done;
            }
        }
        let ask_again = is_shared
            .then(|| lowlevel::deadline_after(ASK_AGAIN))
            .flatten();
        let until = match (deadline, ask_again) {
            (Some(deadline), Some(again)) => Some(deadline.min(again)),
            (deadline, again) => deadline.or(again),
        };
        match wait(word, seen, until) {
            FutexWait::TimedOut if deadline.is_some_and(|deadline| deadline <= now()) => {
                return match attempt() {
                    libc::EBUSY => libc::ETIMEDOUT,
                    done => done,
                };
            }
            FutexWait::Woken => wait = lowlevel::futex_wait_again,
            _ => {}
        }
    }
}

/// The moment, on the clock of the calling thread's runtime.
fn now() -> Instant {
    lowlevel::deadline_after(Duration::ZERO).unwrap_or_else(Instant::now)
}

/// # Safety
///
/// The mutex is alive.
unsafe fn lock_mutex(
    mutex: *mut pthread_mutex_t,
    deadline: Option<Instant>,
    symbol: Symbol,
) -> c_int {
    const CHECKS_ERRORS: u32 = 2;
    const KIND: u32 = 3;
    const ROBUST_OR_INHERITS: u32 = 0x70;
    const SHARED: u32 = 0x80;
    // SAFETY: the caller's promise; the fifth word of it is its kind, as everybody's static
    // initialisers have it.
    let kind = unsafe { word(mutex.cast::<u32>().wrapping_add(4).cast()) }.load(Relaxed);
    if kind & ROBUST_OR_INHERITS != 0 {
        // SAFETY: the caller's promise.
        match unsafe { libc::pthread_mutex_trylock(mutex) } {
            libc::EBUSY => symbol.blocks(),
            done => return done,
        }
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_lock(mutex) };
    }
    let attempt = || {
        // SAFETY: the caller's promise.
        let error = unsafe { libc::pthread_mutex_trylock(mutex) };
        if error != libc::EBUSY || kind & KIND != CHECKS_ERRORS {
            return error;
        }
        // It says more if it is asked to wait, for no time.
        let past = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the caller's promise.
        match unsafe { real::pthread_mutex_timedlock(mutex, &raw const past) } {
            libc::ETIMEDOUT => libc::EBUSY,
            error => error,
        }
    };
    // SAFETY: the caller's promise.
    unsafe { lock_when_free(mutex.cast(), kind & SHARED != 0, deadline, attempt) }
}

/// # Safety
///
/// The lock is alive.
unsafe fn rwlock_is_shared(lock: *mut pthread_rwlock_t) -> bool {
    // SAFETY: the caller's promise; the eighth word of it says so.
    unsafe { word(lock.cast::<u32>().wrapping_add(7).cast()) }.load(Relaxed) != 0
}

/// # Safety
///
/// The semaphore is alive.
unsafe fn take_semaphore(semaphore: *mut sem_t, deadline: Option<Instant>) -> c_int {
    // SAFETY: the caller's promise; the third word of it says so.
    let is_shared = unsafe { word(semaphore.cast::<u32>().wrapping_add(2).cast()) };
    let attempt = || {
        // SAFETY: the caller's promise.
        match unsafe { libc::sem_trywait(semaphore) } {
            0 => 0,
            _ if errno::get() == libc::EAGAIN => libc::EBUSY,
            _ => errno::get(),
        }
    };
    let is_shared = is_shared.load(Relaxed) != 0;
    // SAFETY: the caller's promise.
    match unsafe { lock_when_free(semaphore.cast(), is_shared, deadline, attempt) } {
        0 => 0,
        number => {
            errno::set(number);
            -1
        }
    }
}

/// The moment on the runtime's clock; `None`: it is none.
pub(crate) fn deadline_of(until: *const timespec, clock: clockid_t) -> Option<Instant> {
    // SAFETY: null, or the caller's.
    let until = unsafe { sleep::duration(until) }?;
    let left = until.saturating_sub(sleep::now(clock));
    lowlevel::deadline_after(left)
}
