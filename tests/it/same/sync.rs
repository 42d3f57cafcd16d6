//! Locks, conditions, barriers, and what is done once.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use super::sync::{
    Arc, Barrier, Condvar, LazyLock, LockResult, Mutex, MutexGuard, Once, OnceLock, OnceState,
    PoisonError, RwLock, RwLockWriteGuard, TryLockError,
};
use super::{run, thread};

const MS: Duration = Duration::from_millis(1);

/// Panics without a word.
fn panic() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// Runs `f` in a thread, which panics.
fn panics<T: Send>(f: impl FnOnce() -> T + Send) {
    let result = thread::scope(|s| {
        s.spawn(|| catch_unwind(AssertUnwindSafe(f)).is_err())
            .join()
    });
    assert!(result.unwrap());
}

fn inner<T>(result: LockResult<T>) -> T {
    match result {
        Ok(_) => panic!("not poisoned"),
        Err(poisoned) => poisoned.into_inner(),
    }
}

fn text(value: impl Debug) -> String {
    format!("{value:?}")
}

// Mutex.

#[test]
fn a_mutex_excludes() {
    run(|| {
        let sum = Mutex::new(0);
        thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for n in 0..500 {
                        let mut sum = sum.lock().unwrap();
                        let before = *sum;
                        if n % 16 == 0 {
                            thread::yield_now();
                        }
                        *sum = before + 1;
                    }
                });
            }
        });
        assert_eq!(sum.into_inner().unwrap(), 4000);
    });
}

#[test]
fn try_lock_does_not_wait() {
    run(|| {
        let mutex = Mutex::new(7);
        let guard = mutex.lock().unwrap();
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        drop(guard);
        assert_eq!(*mutex.try_lock().unwrap(), 7);
    });
}

#[test]
fn a_panic_poisons_a_mutex() {
    run(|| {
        let mut mutex = Mutex::new(1);
        assert!(!mutex.is_poisoned());
        panics(|| {
            let mut guard = mutex.lock().unwrap();
            *guard = 2;
            panic()
        });
        assert!(mutex.is_poisoned());
        assert_eq!(*inner(mutex.lock()), 2);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        assert_eq!(*inner(mutex.get_mut()), 2);
        assert_eq!(text(&mutex), "Mutex { data: 2, poisoned: true, .. }");
        mutex.clear_poison();
        assert_eq!(*mutex.lock().unwrap(), 2);
        panics(|| {
            let _guard = mutex.lock().unwrap();
            panic()
        });
        assert_eq!(inner(mutex.into_inner()), 2);
    });
}

/// Locks a mutex when dropped.
struct LocksLate<'a>(&'a Mutex<i32>);

impl Drop for LocksLate<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn a_guard_made_while_unwinding_does_not_poison() {
    run(|| {
        let mutex = Mutex::new(0);
        panics(|| {
            let _late = LocksLate(&mutex);
            panic()
        });
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}

#[test]
fn a_panic_in_another_thread_poisons_nothing_here() {
    run(|| {
        let mutex = Mutex::new(0);
        let guard = mutex.lock().unwrap();
        panics(|| -> () { panic() });
        drop(guard);
        assert!(!mutex.is_poisoned());
    });
}

static WORDS: Mutex<Vec<&str>> = Mutex::new(Vec::new());
static NUMBERS: RwLock<[i32; 2]> = RwLock::new([1, 2]);

#[test]
fn locks_are_statics() {
    static LOCK: Mutex<()> = Mutex::new(());
    static CHANGED: Condvar = Condvar::new();
    static ALL: Barrier = Barrier::new(1);
    run(|| {
        let _one_at_a_time = LOCK.lock();
        CHANGED.notify_all();
        assert!(ALL.wait().is_leader());
        WORDS.lock().unwrap().push("sow");
        assert_eq!(WORDS.lock().unwrap().pop(), Some("sow"));
        assert_eq!(*NUMBERS.read().unwrap(), [1, 2]);
    });
}

#[test]
fn a_mutex_of_what_has_no_size() {
    run(|| {
        let mutex: &Mutex<[i32]> = &Mutex::new([1, 2, 3]);
        mutex.lock().unwrap()[1] = 7;
        assert_eq!(&*mutex.lock().unwrap(), &[1, 7, 3]);
        let lock: Arc<RwLock<dyn Debug + Send + Sync>> = Arc::new(RwLock::new(5));
        assert_eq!(text(&*lock.read().unwrap()), "5");
    });
}

#[test]
fn guards_and_locks_show_what_they_hold() {
    run(|| {
        let mutex = Mutex::from(3);
        assert_eq!(text(&mutex), "Mutex { data: 3, poisoned: false, .. }");
        let guard = mutex.lock().unwrap();
        assert_eq!(
            text(&mutex),
            "Mutex { data: \"<locked>\", poisoned: false, .. }"
        );
        assert_eq!((text(&guard), guard.to_string()), ("3".into(), "3".into()));
        let lock = RwLock::from("a");
        assert_eq!(text(&lock), "RwLock { data: \"a\", poisoned: false, .. }");
        {
            let guard = lock.read().unwrap();
            assert_eq!(
                (text(&guard), guard.to_string()),
                ("\"a\"".into(), "a".into())
            );
            assert_eq!(text(&lock), "RwLock { data: \"a\", poisoned: false, .. }");
        }
        let mut guard = lock.write().unwrap();
        *guard = "b";
        assert_eq!(
            (text(&guard), guard.to_string()),
            ("\"b\"".into(), "b".into())
        );
        assert_eq!(
            text(&lock),
            "RwLock { data: <locked>, poisoned: false, .. }"
        );
        assert_eq!(text(Condvar::default()), "Condvar { .. }");
        assert_eq!(text(Barrier::new(2)), "Barrier { .. }");
        assert_eq!(text(Once::new()), "Once { .. }");
        assert_eq!(
            text(Barrier::new(1).wait()),
            "BarrierWaitResult { is_leader: true }"
        );
        assert_eq!(*Mutex::<u8>::default().lock().unwrap(), 0);
        assert_eq!(*RwLock::<u8>::default().read().unwrap(), 0);
    });
}

// Condvar.

#[test]
fn a_turn_goes_round_by_a_condition() {
    run(|| {
        let (turn, changed) = (Mutex::new(0), Condvar::new());
        thread::scope(|s| {
            for player in 0..4 {
                let (turn, changed) = (&turn, &changed);
                s.spawn(move || {
                    for _ in 0..50 {
                        let turn = turn.lock().unwrap();
                        let mut turn = changed
                            .wait_while(turn, |turn| *turn % 4 != player)
                            .unwrap();
                        *turn += 1;
                        changed.notify_all();
                    }
                });
            }
        });
        assert_eq!(*turn.lock().unwrap(), 200);
    });
}

#[test]
fn notify_one_wakes_one() {
    run(|| {
        let (state, changed) = (Mutex::new((0, 0)), Condvar::new());
        thread::scope(|s| {
            for _ in 0..5 {
                s.spawn(|| {
                    let mut guard = state.lock().unwrap();
                    guard.0 += 1;
                    let mut guard = changed.wait_while(guard, |state| state.1 == 0).unwrap();
                    guard.1 -= 1;
                });
            }
            for n_woken in 1..=5 {
                loop {
                    let mut guard = state.lock().unwrap();
                    if guard.0 == 5 && guard.1 == 0 {
                        guard.1 = 1;
                        changed.notify_one();
                        break;
                    }
                    drop(guard);
                    thread::yield_now();
                }
                let _ = n_woken;
            }
        });
        assert_eq!(*state.lock().unwrap(), (5, 0));
    });
}

#[test]
fn a_wait_with_a_limit_is_never_early() {
    run(|| {
        let (mutex, never) = (Mutex::new(7), Condvar::new());
        let start = Instant::now();
        let (guard, result) = never
            .wait_timeout_while(mutex.lock().unwrap(), 2 * MS, |_| true)
            .unwrap();
        assert!(result.timed_out() && start.elapsed() >= 2 * MS);
        let start = Instant::now();
        let (guard, result) = never.wait_timeout(guard, MS).unwrap();
        // It may wake for no reason, and then must not say that the time was up.
        assert!(!result.timed_out() || start.elapsed() >= MS);
        let (guard, result) = never
            .wait_timeout_while(guard, Duration::ZERO, |_| false)
            .unwrap();
        assert!(!result.timed_out());
        #[expect(deprecated, reason = "there all the same")]
        let (guard, _notified) = never.wait_timeout_ms(guard, 1).unwrap();
        let (guard, result) = never.wait_timeout(guard, Duration::ZERO).unwrap();
        assert_eq!(result, result.clone());
        assert!(text(result).starts_with("WaitTimeoutResult("));
        assert!(mutex.try_lock().is_err());
        assert_eq!(*guard, 7);
    });
}

#[test]
fn a_notification_ends_a_wait_with_a_limit() {
    run(|| {
        let (ready, changed) = (Mutex::new(false), Condvar::new());
        thread::scope(|s| {
            s.spawn(|| {
                *ready.lock().unwrap() = true;
                changed.notify_one();
            });
            let guard = ready.lock().unwrap();
            let limit = Duration::from_secs(1000);
            let (guard, result) = changed
                .wait_timeout_while(guard, limit, |ready| !*ready)
                .unwrap();
            assert!(*guard && !result.timed_out());
        });
        // As long as can be told, and longer.
        let guard = ready.lock().unwrap();
        let result = changed.wait_timeout_while(guard, Duration::MAX, |ready| !*ready);
        assert!(!result.unwrap().1.timed_out());
    });
}

#[test]
fn a_wait_ends_in_the_poison_of_its_mutex() {
    run(|| {
        let (ready, changed) = (Arc::new(Mutex::new(false)), Arc::new(Condvar::new()));
        let waiter = thread::spawn({
            let (ready, changed) = (Arc::clone(&ready), Arc::clone(&changed));
            move || {
                let mut guard = ready.lock();
                while let Ok(now) = guard {
                    if *now {
                        return false;
                    }
                    guard = changed.wait(now);
                }
                true
            }
        });
        thread::yield_now();
        panics(|| {
            let mut ready = ready.lock().unwrap();
            *ready = true;
            changed.notify_all();
            panic()
        });
        assert!(waiter.join().unwrap());
        assert!(changed.wait_timeout(inner(ready.lock()), MS).is_err());
    });
}

// RwLock.

#[test]
fn readers_read_together() {
    run(|| {
        let (lock, all) = (RwLock::new(7), Barrier::new(5));
        thread::scope(|s| {
            for _ in 0..5 {
                s.spawn(|| {
                    let value = lock.read().unwrap();
                    all.wait();
                    assert_eq!(*value, 7);
                });
            }
        });
    });
}

#[test]
fn writers_exclude_all() {
    run(|| {
        let lock = RwLock::new((0, 0));
        let n_writing = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for n in 0..200 {
                        let mut both = lock.write().unwrap();
                        assert_eq!(n_writing.fetch_add(1, AcqRel), 0);
                        both.0 += 1;
                        if n % 16 == 0 {
                            thread::yield_now();
                        }
                        both.1 += 1;
                        n_writing.fetch_sub(1, Release);
                    }
                });
                s.spawn(|| {
                    for n in 0..200 {
                        let both = lock.read().unwrap();
                        assert_eq!(n_writing.load(Acquire), 0);
                        if n % 16 == 0 {
                            thread::yield_now();
                        }
                        assert_eq!(both.0, both.1);
                    }
                });
            }
        });
        assert_eq!(lock.into_inner().unwrap(), (800, 800));
    });
}

#[test]
fn trying_does_not_wait() {
    run(|| {
        let lock = RwLock::new(1);
        let reader = lock.read().unwrap();
        assert_eq!(*lock.try_read().unwrap(), 1);
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop(reader);
        let mut writer = lock.try_write().unwrap();
        *writer = 2;
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop(writer);
        assert_eq!(*lock.try_read().unwrap(), 2);
    });
}

#[test]
fn only_a_writer_poisons() {
    run(|| {
        let mut lock = RwLock::new(1);
        panics(|| {
            let _guard = lock.read().unwrap();
            panic()
        });
        assert!(!lock.is_poisoned());
        panics(|| {
            *lock.write().unwrap() = 2;
            let _guard = lock.write().unwrap();
            panic()
        });
        assert!(lock.is_poisoned());
        assert_eq!(*inner(lock.read()), 2);
        assert_eq!(*inner(lock.write()), 2);
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
        assert_eq!(*inner(lock.get_mut()), 2);
        assert_eq!(text(&lock), "RwLock { data: 2, poisoned: true, .. }");
        lock.clear_poison();
        assert_eq!(*lock.read().unwrap(), 2);
        let writer = lock.write().unwrap();
        assert_eq!(*RwLockWriteGuard::downgrade(writer), 2);
    });
}

#[test]
fn a_downgrade_lets_readers_in_and_no_writer() {
    run(|| {
        let (lock, n_read) = (RwLock::new(0), AtomicUsize::new(0));
        thread::scope(|s| {
            let mut writer = lock.write().unwrap();
            for _ in 0..4 {
                s.spawn(|| {
                    assert_eq!(*lock.read().unwrap(), 1);
                    n_read.fetch_add(1, Relaxed);
                });
            }
            (0..10).for_each(|_| thread::yield_now());
            *writer = 1;
            let reader = RwLockWriteGuard::downgrade(writer);
            while n_read.load(Relaxed) < 4 {
                thread::yield_now();
            }
            s.spawn(|| *lock.write().unwrap() = 2);
            (0..10).for_each(|_| thread::yield_now());
            assert_eq!(*reader, 1);
        });
        assert_eq!(*lock.read().unwrap(), 2);
    });
}

#[test]
fn a_downgrade_with_a_writer_waiting() {
    run(|| {
        for _ in 0..20 {
            let lock = RwLock::new(0);
            thread::scope(|s| {
                let writer = lock.write().unwrap();
                s.spawn(|| *lock.write().unwrap() += 1);
                thread::yield_now();
                let reader = RwLockWriteGuard::downgrade(writer);
                thread::yield_now();
                assert_eq!(*reader, 0);
            });
            assert_eq!(*lock.read().unwrap(), 1);
        }
    });
}

// Barrier.

#[test]
fn a_barrier_has_one_leader_a_round() {
    run(|| {
        let (all, n_leaders) = (Barrier::new(6), AtomicUsize::new(0));
        thread::scope(|s| {
            for _ in 0..6 {
                s.spawn(|| {
                    for round in 1..=50 {
                        if all.wait().is_leader() {
                            n_leaders.fetch_add(1, Relaxed);
                        }
                        all.wait();
                        assert_eq!(n_leaders.load(Relaxed), round);
                        all.wait();
                    }
                });
            }
        });
        assert!(Barrier::new(0).wait().is_leader());
    });
}

// Once.

#[test]
fn once_is_once() {
    run(|| {
        let (once, n) = (Once::new(), AtomicUsize::new(0));
        assert!(!once.is_completed());
        thread::scope(|s| {
            for _ in 0..20 {
                s.spawn(|| {
                    once.call_once(|| {
                        (0..5).for_each(|_| thread::yield_now());
                        n.fetch_add(1, Relaxed);
                    });
                    assert_eq!(n.load(Relaxed), 1);
                });
            }
            s.spawn(|| {
                once.wait();
                assert_eq!(n.load(Relaxed), 1);
            });
            s.spawn(|| once.wait_force());
        });
        assert!(once.is_completed());
        once.call_once_force(|_| unreachable!());
    });
}

#[test]
fn a_panic_poisons_a_once_until_it_is_forced() {
    run(|| {
        let once = Once::new();
        panics(|| once.call_once(|| panic()));
        panics(|| once.call_once(|| ()));
        panics(|| once.wait());
        assert!(!once.is_completed());
        panics(|| {
            once.call_once_force(|state: &OnceState| {
                assert!(state.is_poisoned());
                panic()
            });
        });
        thread::scope(|s| {
            s.spawn(|| once.wait_force());
            thread::yield_now();
            once.call_once_force(|state| assert_eq!(text(state), "OnceState { poisoned: true }"));
        });
        once.call_once(|| unreachable!());
        once.wait();
        Once::new().call_once_force(|state| assert!(!state.is_poisoned()));
    });
}

#[test]
fn those_who_wait_for_a_once_that_panics_hear_of_it() {
    run(|| {
        let (once, n_panics) = (Once::new(), AtomicUsize::new(0));
        thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    let call = || {
                        once.call_once(|| {
                            (0..5).for_each(|_| thread::yield_now());
                            panic()
                        });
                    };
                    let payload = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
                    let text = payload.downcast_ref::<&str>().copied().unwrap();
                    match text {
                        "on purpose" => _ = n_panics.fetch_add(1, Relaxed),
                        _ => assert_eq!(text, "Once instance has previously been poisoned"),
                    }
                });
            }
        });
        assert_eq!(n_panics.load(Relaxed), 1);
    });
}

#[test]
fn a_cell_is_filled_once() {
    run(|| {
        let cell = OnceLock::new();
        assert_eq!(
            (cell.get(), text(&cell)),
            (None, "OnceLock(<uninit>)".into())
        );
        let n_made = AtomicUsize::new(0);
        thread::scope(|s| {
            for n in 0..20 {
                let (cell, n_made) = (&cell, &n_made);
                s.spawn(move || {
                    let value = *cell.get_or_init(|| {
                        thread::yield_now();
                        n_made.fetch_add(1, Relaxed);
                        n
                    });
                    assert_eq!(Some(&value), cell.get());
                });
            }
            s.spawn(|| assert!(*cell.wait() < 20));
        });
        assert_eq!(n_made.load(Relaxed), 1);
        let mut cell = cell;
        *cell.get_mut().unwrap() = 70;
        assert_eq!(cell.set(1), Err(1));
        assert_eq!(text(&cell), "OnceLock(70)");
        assert_eq!(
            (cell.clone(), cell.clone()),
            (cell.clone(), OnceLock::from(70))
        );
        assert_eq!(cell.take(), Some(70));
        assert_eq!((cell.take(), cell.get_mut()), (None, None));
        assert_eq!(cell, OnceLock::default());
        assert_eq!(cell.set(2), Ok(()));
        assert_eq!(cell.into_inner(), Some(2));
        assert_eq!(OnceLock::<u8>::new().into_inner(), None);
    });
}

#[test]
fn a_panic_leaves_a_cell_empty() {
    run(|| {
        let cell = OnceLock::new();
        panics(|| cell.get_or_init(|| panic()));
        assert_eq!(cell.get(), None);
        assert_eq!(*cell.get_or_init(|| 7), 7);
    });
}

/// Adds one when dropped.
struct Counts<'a>(&'a AtomicUsize);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn what_was_made_is_dropped_once() {
    run(|| {
        let n = AtomicUsize::new(0);
        drop(OnceLock::from(Counts(&n)));
        drop(OnceLock::<Counts<'_>>::new());
        let mut cell = OnceLock::from(Counts(&n));
        drop(cell.take());
        assert!(cell.set(Counts(&n)).is_ok());
        drop(cell);
        assert_eq!(n.load(Relaxed), 3);
        drop(LazyLock::new(|| Counts(&n)));
        assert_eq!(n.load(Relaxed), 3);
        let lazy = LazyLock::new(|| Counts(&n));
        LazyLock::force(&lazy);
        drop(lazy);
        assert_eq!(n.load(Relaxed), 4);
        let captured = Counts(&n);
        drop(LazyLock::new(move || drop(captured)));
        assert_eq!(n.load(Relaxed), 5);
        drop(Mutex::new(Counts(&n)));
        drop(RwLock::new(Counts(&n)).into_inner());
        assert_eq!(n.load(Relaxed), 7);
    });
}

/// What a cell borrows may be dropped with it, as in std.
#[test]
fn a_cell_may_refer_to_what_goes_first() {
    run(|| {
        let (cell, text);
        text = String::from("x");
        cell = OnceLock::new();
        cell.set(&text).unwrap();
        assert_eq!(*cell.get().unwrap(), "x");
    });
}

#[test]
fn a_lazy_value_is_made_once() {
    static N_MADE: AtomicUsize = AtomicUsize::new(0);
    static LAZY: LazyLock<usize> = LazyLock::new(|| {
        thread::yield_now();
        N_MADE.fetch_add(1, Relaxed)
    });
    run(|| {
        thread::scope(|s| {
            for _ in 0..20 {
                s.spawn(|| assert_eq!(*LAZY, 0));
            }
        });
        assert_eq!(N_MADE.load(Relaxed), 1);
        let mut lazy = LazyLock::new(|| 7);
        assert_eq!(LazyLock::get(&lazy), None);
        assert_eq!(LazyLock::get_mut(&mut lazy), None);
        assert_eq!(text(&lazy), "LazyLock(<uninit>)");
        *LazyLock::force_mut(&mut lazy) += 1;
        *lazy += 1;
        assert_eq!((*lazy, LazyLock::get(&lazy)), (9, Some(&9)));
        assert_eq!(LazyLock::get_mut(&mut lazy), Some(&mut 9));
        assert_eq!(text(&lazy), "LazyLock(9)");
        assert_eq!(*LazyLock::<u8>::default(), 0);
    });
}

#[test]
fn a_lazy_value_whose_closure_panics_is_never_there() {
    run(|| {
        let poisoned = "LazyLock instance has previously been poisoned";
        let message = |f: &mut dyn FnMut()| {
            let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
            let str = payload.downcast_ref::<&str>().map(|text| text.to_string());
            str.or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap()
        };
        let lazy: LazyLock<i32> = LazyLock::new(|| panic());
        assert_eq!(message(&mut || _ = *lazy), "on purpose");
        assert_eq!(message(&mut || _ = *lazy), poisoned);
        assert_eq!(LazyLock::get(&lazy), None);
        let mut lazy: LazyLock<i32> = LazyLock::new(|| panic());
        assert_eq!(
            message(&mut || _ = LazyLock::force_mut(&mut lazy)),
            "on purpose"
        );
        assert_eq!(
            message(&mut || _ = LazyLock::force_mut(&mut lazy)),
            poisoned
        );
        assert_eq!(message(&mut || _ = *lazy), poisoned);
    });
}

#[test]
fn stds_words_are_there() {
    run(|| {
        let poisoned: PoisonError<i32> = PoisonError::new(7);
        let error: TryLockError<i32> = poisoned.into();
        assert!(matches!(error, TryLockError::Poisoned(_)));
        let mutex = Mutex::new(1);
        fn add(mut guard: MutexGuard<'_, i32>) {
            *guard += 1;
        }
        add(mutex.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(mutex.into_inner().unwrap(), 2);
        #[expect(deprecated, reason = "there all the same")]
        let once = super::sync::ONCE_INIT;
        once.call_once(|| ());
        let weak: super::sync::Weak<i32> = super::sync::Weak::new();
        assert!(weak.upgrade().is_none());
    });
}
