//! Locks of C libraries.

#![expect(unsafe_code, reason = "locks as C does")]

use std::cell::UnsafeCell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{tests, wait_until};

tests! {
    a_mutex_is_waited_for
    a_mutex_keeps_others_out
    os_threads_and_green_ones_share_a_mutex
    a_recursive_mutex_is_its_owners
    a_mutex_that_checks_knows_its_owner
    a_mutex_is_waited_for_in_time
    a_condition_is_waited_for
    a_condition_between_os_threads_and_green_ones
    a_condition_is_waited_for_in_time
    a_lock_for_reading_and_writing
    a_semaphore_is_waited_for
    a_semaphore_is_waited_for_in_time
    a_condition_by_a_clock_that_is_named
    a_barrier_lets_all_go_at_once
    what_is_done_once_is_waited_for
    who_spins_lets_the_others_run
}

// What the crate libc does not have.
unsafe extern "C" {
    fn pthread_cond_clockwait(
        cond: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
    fn pthread_rwlock_timedwrlock(
        lock: *mut libc::pthread_rwlock_t,
        until: *const libc::timespec,
    ) -> libc::c_int;
}

/// What C has, shared as C shares it.
struct Shared {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    cond: UnsafeCell<libc::pthread_cond_t>,
    rwlock: UnsafeCell<libc::pthread_rwlock_t>,
    semaphore: UnsafeCell<libc::sem_t>,
    /// Guarded by one of them.
    count: UnsafeCell<usize>,
}

// SAFETY: all are made for it, or guarded by what is.
unsafe impl Sync for Shared {}
// SAFETY: as above; they stay where they are.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        let shared = Arc::new(Shared {
            mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            cond: UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER),
            rwlock: UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER),
            // SAFETY: to be initialised.
            semaphore: UnsafeCell::new(unsafe { mem::zeroed() }),
            count: UnsafeCell::new(0),
        });
        // SAFETY: not initialised yet.
        assert_eq!(unsafe { libc::sem_init(shared.semaphore.get(), 0, 0) }, 0);
        shared
    }

    fn with_kind(kind: i32) -> Arc<Shared> {
        let shared = Shared::new();
        // SAFETY: to be initialised.
        let mut attributes = unsafe { mem::zeroed() };
        // SAFETY: ours.
        unsafe { libc::pthread_mutexattr_init(&raw mut attributes) };
        // SAFETY: initialised.
        unsafe { libc::pthread_mutexattr_settype(&raw mut attributes, kind) };
        // SAFETY: nobody has it yet.
        let error = unsafe { libc::pthread_mutex_init(shared.mutex.get(), &raw const attributes) };
        assert_eq!(error, 0);
        shared
    }

    fn lock(&self) -> i32 {
        // SAFETY: initialised.
        unsafe { libc::pthread_mutex_lock(self.mutex.get()) }
    }

    fn unlock(&self) -> i32 {
        // SAFETY: initialised.
        unsafe { libc::pthread_mutex_unlock(self.mutex.get()) }
    }

    fn wait(&self) -> i32 {
        // SAFETY: initialised, and the caller has the mutex.
        unsafe { libc::pthread_cond_wait(self.cond.get(), self.mutex.get()) }
    }

    fn broadcast(&self) {
        // SAFETY: initialised.
        assert_eq!(unsafe { libc::pthread_cond_broadcast(self.cond.get()) }, 0);
    }

    fn signal(&self) {
        // SAFETY: initialised.
        assert_eq!(unsafe { libc::pthread_cond_signal(self.cond.get()) }, 0);
    }

    fn count(&self) -> usize {
        // SAFETY: the caller has the lock that guards it.
        unsafe { *self.count.get() }
    }

    fn set_count(&self, count: usize) {
        // SAFETY: the caller has the lock that guards it.
        unsafe { *self.count.get() = count };
    }
}

/// The time in `ms`, on a clock.
fn soon(clock: libc::clockid_t, ms: i64) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: room for the time.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let ns = time.tv_nsec + ms * 1_000_000;
    libc::timespec {
        tv_sec: time.tv_sec + ns / 1_000_000_000,
        tv_nsec: ns % 1_000_000_000,
    }
}

fn a_mutex_is_waited_for() {
    let shared = Shared::new();
    assert_eq!(shared.lock(), 0);
    let waiter = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            assert_eq!(shared.lock(), 0);
            assert_eq!(shared.unlock(), 0);
        })
    };
    thread::sleep(Duration::from_millis(2));
    assert!(!waiter.is_finished());
    assert_eq!(shared.unlock(), 0);
    waiter.join().unwrap();
}

fn add(shared: &Shared, n: usize) {
    for _ in 0..n {
        assert_eq!(shared.lock(), 0);
        let count = shared.count();
        thread::yield_now();
        shared.set_count(count + 1);
        assert_eq!(shared.unlock(), 0);
    }
}

fn a_mutex_keeps_others_out() {
    let shared = Shared::new();
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || add(&shared, 50))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(shared.count(), 1000);
}

fn os_threads_and_green_ones_share_a_mutex() {
    let shared = Shared::new();
    let spawn = || {
        let shared = Arc::clone(&shared);
        thread::spawn(move || add(&shared, 200))
    };
    let os: Vec<_> = (0..2).map(|_| greenlibc::os_threads(spawn)).collect();
    let green: Vec<_> = (0..4).map(|_| spawn()).collect();
    green.into_iter().for_each(|thread| thread.join().unwrap());
    wait_until(|| os.iter().all(thread::JoinHandle::is_finished));
    os.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(shared.count(), 1200);
}

fn a_recursive_mutex_is_its_owners() {
    let shared = Shared::with_kind(libc::PTHREAD_MUTEX_RECURSIVE);
    assert_eq!((shared.lock(), shared.lock()), (0, 0));
    let sibling = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            // SAFETY: initialised.
            let busy = unsafe { libc::pthread_mutex_trylock(shared.mutex.get()) };
            (busy, shared.lock(), shared.unlock())
        })
    };
    thread::sleep(Duration::from_millis(2));
    assert_eq!(shared.unlock(), 0);
    thread::sleep(Duration::from_millis(2));
    assert!(!sibling.is_finished());
    assert_eq!(shared.unlock(), 0);
    assert_eq!(sibling.join().unwrap(), (libc::EBUSY, 0, 0));
}

fn a_mutex_that_checks_knows_its_owner() {
    let shared = Shared::with_kind(libc::PTHREAD_MUTEX_ERRORCHECK);
    assert_eq!(shared.unlock(), libc::EPERM);
    assert_eq!(shared.lock(), 0);
    assert_eq!(shared.lock(), libc::EDEADLK);
    let sibling = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || (shared.unlock(), shared.lock(), shared.unlock()))
    };
    thread::sleep(Duration::from_millis(2));
    assert_eq!(shared.unlock(), 0);
    assert_eq!(sibling.join().unwrap(), (libc::EPERM, 0, 0));
}

fn a_mutex_is_waited_for_in_time() {
    let shared = Shared::new();
    assert_eq!(shared.lock(), 0);
    let sibling = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let until = soon(libc::CLOCK_REALTIME, 5);
            let began = Instant::now();
            // SAFETY: initialised.
            let error =
                unsafe { libc::pthread_mutex_timedlock(shared.mutex.get(), &raw const until) };
            (error, began.elapsed())
        })
    };
    let (error, elapsed) = sibling.join().unwrap();
    assert_eq!(error, libc::ETIMEDOUT);
    assert!(elapsed >= Duration::from_millis(4));
    assert_eq!(shared.unlock(), 0);
}

fn a_condition_is_waited_for() {
    let shared = Shared::new();
    let threads: Vec<_> = (0..20)
        .map(|n| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                assert_eq!(shared.lock(), 0);
                while shared.count() != n {
                    assert_eq!(shared.wait(), 0);
                }
                shared.set_count(n + 1);
                shared.broadcast();
                assert_eq!(shared.unlock(), 0);
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    // SAFETY: nobody waits.
    assert_eq!(unsafe { libc::pthread_cond_destroy(shared.cond.get()) }, 0);
}

fn a_condition_between_os_threads_and_green_ones() {
    let shared = Shared::new();
    let play = |me: usize| {
        let shared = Arc::clone(&shared);
        move || {
            for _ in 0..100 {
                assert_eq!(shared.lock(), 0);
                while shared.count() % 2 != me {
                    assert_eq!(shared.wait(), 0);
                }
                shared.set_count(shared.count() + 1);
                shared.signal();
                assert_eq!(shared.unlock(), 0);
            }
        }
    };
    let os = greenlibc::os_threads(|| thread::spawn(play(0)));
    thread::spawn(play(1)).join().unwrap();
    wait_until(|| os.is_finished());
    os.join().unwrap();
    assert_eq!(shared.count(), 200);
}

fn a_condition_is_waited_for_in_time() {
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
        let shared = Shared::new();
        // SAFETY: to be initialised.
        let mut attributes = unsafe { mem::zeroed() };
        // SAFETY: ours.
        unsafe { libc::pthread_condattr_init(&raw mut attributes) };
        // SAFETY: initialised.
        unsafe { libc::pthread_condattr_setclock(&raw mut attributes, clock) };
        // SAFETY: nobody waits for it yet.
        unsafe { libc::pthread_cond_init(shared.cond.get(), &raw const attributes) };
        assert_eq!(shared.lock(), 0);
        let until = soon(clock, 5);
        let began = Instant::now();
        let error = loop {
            // SAFETY: initialised, and the mutex is the caller's.
            let error = unsafe {
                libc::pthread_cond_timedwait(
                    shared.cond.get(),
                    shared.mutex.get(),
                    &raw const until,
                )
            };
            if error != 0 {
                break error;
            }
        };
        assert_eq!(error, libc::ETIMEDOUT);
        assert!(began.elapsed() >= Duration::from_millis(4));
        assert_eq!(shared.unlock(), 0);
    }
}

fn a_lock_for_reading_and_writing() {
    static N_READERS: AtomicUsize = AtomicUsize::new(0);
    let shared = Shared::new();
    let threads: Vec<_> = (0..10)
        .map(|n| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let lock = shared.rwlock.get();
                for _ in 0..20 {
                    if n % 2 == 0 {
                        // SAFETY: initialised.
                        assert_eq!(unsafe { libc::pthread_rwlock_wrlock(lock) }, 0);
                        assert_eq!(N_READERS.load(SeqCst), 0);
                        let count = shared.count();
                        thread::yield_now();
                        shared.set_count(count + 1);
                    } else {
                        // SAFETY: initialised.
                        assert_eq!(unsafe { libc::pthread_rwlock_rdlock(lock) }, 0);
                        N_READERS.fetch_add(1, SeqCst);
                        let count = shared.count();
                        thread::yield_now();
                        assert_eq!(shared.count(), count);
                        N_READERS.fetch_sub(1, SeqCst);
                    }
                    // SAFETY: locked by this thread.
                    assert_eq!(unsafe { libc::pthread_rwlock_unlock(lock) }, 0);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(shared.count(), 100);
}

fn a_semaphore_is_waited_for() {
    let shared = Shared::new();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let shared = Arc::clone(&shared);
            // SAFETY: initialised.
            thread::spawn(move || unsafe { libc::sem_wait(shared.semaphore.get()) })
        })
        .collect();
    thread::sleep(Duration::from_millis(2));
    for _ in 0..10 {
        // SAFETY: initialised.
        assert_eq!(unsafe { libc::sem_post(shared.semaphore.get()) }, 0);
    }
    assert!(
        waiters
            .into_iter()
            .all(|waiter| waiter.join().unwrap() == 0)
    );
}

fn a_semaphore_is_waited_for_in_time() {
    let shared = Shared::new();
    let until = soon(libc::CLOCK_REALTIME, 5);
    // SAFETY: initialised.
    let error = unsafe { libc::sem_timedwait(shared.semaphore.get(), &raw const until) };
    assert_eq!(error, -1);
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::ETIMEDOUT)
    );
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::sem_trywait(shared.semaphore.get()) }, -1);
}

fn a_condition_by_a_clock_that_is_named() {
    let shared = Shared::new();
    assert_eq!(shared.lock(), 0);
    let until = soon(libc::CLOCK_MONOTONIC, 3);
    let (cond, mutex) = (shared.cond.get(), shared.mutex.get());
    // SAFETY: initialised, and the mutex is the caller's.
    let error =
        unsafe { pthread_cond_clockwait(cond, mutex, libc::CLOCK_MONOTONIC, &raw const until) };
    assert_eq!(error, libc::ETIMEDOUT);
    assert_eq!(shared.unlock(), 0);
    let lock = shared.rwlock.get();
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::pthread_rwlock_rdlock(lock) }, 0);
    let until = soon(libc::CLOCK_REALTIME, 3);
    // SAFETY: initialised.
    let error = unsafe { pthread_rwlock_timedwrlock(lock, &raw const until) };
    assert_eq!(error, libc::ETIMEDOUT);
    // SAFETY: locked by this thread.
    assert_eq!(unsafe { libc::pthread_rwlock_unlock(lock) }, 0);
}

fn a_barrier_lets_all_go_at_once() {
    struct Barrier(UnsafeCell<libc::pthread_barrier_t>);
    // SAFETY: made for it.
    unsafe impl Sync for Barrier {}
    // SAFETY: as above; it stays where it is.
    unsafe impl Send for Barrier {}
    // SAFETY: to be initialised.
    let barrier = Arc::new(Barrier(UnsafeCell::new(unsafe { mem::zeroed() })));
    // SAFETY: nobody has it yet.
    let error = unsafe { libc::pthread_barrier_init(barrier.0.get(), std::ptr::null(), 10) };
    assert_eq!(error, 0);
    let n_here = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let (barrier, n_here) = (Arc::clone(&barrier), Arc::clone(&n_here));
            thread::spawn(move || {
                let mut n_leader = 0;
                for round in 1..=20 {
                    n_here.fetch_add(1, SeqCst);
                    // SAFETY: initialised.
                    let leads = unsafe { libc::pthread_barrier_wait(barrier.0.get()) };
                    assert!(n_here.load(SeqCst) >= 10 * round);
                    n_leader += usize::from(leads == libc::PTHREAD_BARRIER_SERIAL_THREAD);
                }
                n_leader
            })
        })
        .collect();
    let n_leaders: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(n_leaders, 20);
    // SAFETY: nobody waits.
    assert_eq!(unsafe { libc::pthread_barrier_destroy(barrier.0.get()) }, 0);
}

fn what_is_done_once_is_waited_for() {
    static N_DONE: AtomicUsize = AtomicUsize::new(0);
    struct Once(UnsafeCell<libc::pthread_once_t>);
    // SAFETY: made for it.
    unsafe impl Sync for Once {}
    static ONCE: Once = Once(UnsafeCell::new(libc::PTHREAD_ONCE_INIT));
    extern "C" fn slowly() {
        thread::sleep(Duration::from_millis(3));
        N_DONE.fetch_add(1, SeqCst);
    }
    let threads: Vec<_> = (0..10)
        .map(|_| {
            thread::spawn(|| {
                // SAFETY: initialised.
                assert_eq!(unsafe { libc::pthread_once(ONCE.0.get(), slowly) }, 0);
                assert_eq!(N_DONE.load(SeqCst), 1);
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn who_spins_lets_the_others_run() {
    struct Spin(UnsafeCell<libc::pthread_spinlock_t>);
    // SAFETY: made for it.
    unsafe impl Sync for Spin {}
    let spin = Arc::new(Spin(UnsafeCell::new(0)));
    // SAFETY: new.
    assert_eq!(unsafe { libc::pthread_spin_init(spin.0.get(), 0) }, 0);
    let rounds = |spin: &Spin| {
        for _ in 0..100 {
            // SAFETY: initialised.
            assert_eq!(unsafe { libc::pthread_spin_lock(spin.0.get()) }, 0);
            // With one worker nobody else gets on meanwhile.
            thread::yield_now();
            // SAFETY: locked above.
            assert_eq!(unsafe { libc::pthread_spin_unlock(spin.0.get()) }, 0);
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let spin = Arc::clone(&spin);
            thread::spawn(move || rounds(&spin))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}
