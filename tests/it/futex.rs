//! Std's locks, and what others build on them, on green threads: they park and do not stop the worker.
//!
//! What is marked with [`thread_locals_are_private`] holds only where each green thread has
//! thread-locals of its own; what it would do otherwise is what is tested then.

#![expect(
    clippy::disallowed_methods,
    reason = "what blocks on std is what it is about"
)]
#![expect(unsafe_code, reason = "asks the kernel by libc's `syscall`")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use greenrt::lowlevel::{
    FutexHandOver, FutexWait, futex_hand_over, futex_wait, futex_wait_again, futex_wake,
};
use greenrt::{JoinHandle, spawn, yield_now};

use super::support::{
    Child, HOUR, Random, limited, on_each_runtime, on_manual_clock, on_one_worker, on_os_thread,
    os_sleep, runtime, wait_until, with_seeds,
};

/// Whether green threads of one worker have each their own thread-locals.
fn thread_locals_are_private() -> bool {
    thread_local!(static HERE: Cell<u8> = const { Cell::new(0) });
    let here = || HERE.with(|here| (&raw const *here).addr());
    static PRIVATE: OnceLock<bool> = OnceLock::new();
    *PRIVATE.get_or_init(|| {
        on_os_thread(move || {
            greenrt::run(|| {
                let other = spawn(here);
                here() != other.join().unwrap()
            })
        })
    })
}

fn join_all<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|t| t.join().unwrap()).collect()
}

#[test]
fn a_std_mutex_held_across_a_switch_stops_nobody() {
    on_each_runtime(|| {
        let count = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let count = Arc::clone(&count);
                spawn(move || {
                    for _ in 0..5 {
                        let mut count = count.lock().unwrap();
                        let seen = *count;
                        yield_now();
                        *count = seen + 1;
                    }
                })
            })
            .collect();
        join_all(threads);
        assert_eq!(*count.lock().unwrap(), 100);
    });
}

#[test]
fn what_waits_for_a_std_lock_is_told_by_the_dump() {
    on_one_worker(|| {
        let lock = Arc::new(Mutex::new(()));
        let guard = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let waits = greenrt::Builder::new()
            .name("waits for a lock".into())
            .spawn(move || drop(theirs.lock()))
            .unwrap();
        yield_now();
        let dump = greenrt::debug::dump();
        let waiter = dump
            .threads
            .iter()
            .find(|thread| thread.name.as_deref() == Some("waits for a lock"))
            .unwrap();
        assert!(waiter.waits_for.contains("futex"), "{waiter}");
        assert!(waiter.waits_for.contains("not cancellable"), "{waiter}");
        // Neither ends it.
        waits.thread().unpark();
        greenrt::lowlevel::cancel(waits.thread());
        yield_now();
        assert!(!waits.is_finished());
        drop(guard);
        waits.join().unwrap();
    });
}

#[test]
fn condvars_wait_and_are_notified() {
    on_each_runtime(|| {
        let pair = Arc::new((Mutex::new(VecDeque::new()), Condvar::new()));
        let takers: Vec<_> = (0..5)
            .map(|_| {
                let pair = Arc::clone(&pair);
                spawn(move || {
                    let (queue, filled) = &*pair;
                    let mut sum = 0;
                    loop {
                        let queue = queue.lock().unwrap();
                        let mut queue = filled.wait_while(queue, |q| q.is_empty()).unwrap();
                        match queue.pop_front().unwrap() {
                            0 => return sum,
                            n => sum += n,
                        }
                    }
                })
            })
            .collect();
        let (queue, filled) = &*pair;
        for n in 1..=100 {
            queue.lock().unwrap().push_back(n);
            filled.notify_one();
            if n % 7 == 0 {
                yield_now();
            }
        }
        queue.lock().unwrap().extend([0; 5]);
        filled.notify_all();
        assert_eq!(join_all(takers).iter().sum::<u32>(), 5050);
    });
}

#[test]
fn timed_waits_are_never_early() {
    on_each_runtime(|| {
        let threads: Vec<_> = (0..10)
            .map(|n| {
                spawn(move || {
                    let (lock, never) = (Mutex::new(()), Condvar::new());
                    let time = Duration::from_micros(n * 300);
                    let began = Instant::now();
                    let (_guard, result) = never
                        .wait_timeout_while(lock.lock().unwrap(), time, |()| true)
                        .unwrap();
                    assert!(result.timed_out());
                    assert!(began.elapsed() >= time);
                    let word = AtomicU32::new(7);
                    let deadline = Instant::now() + time;
                    let ended = futex_wait(&word, 7, Some(deadline));
                    assert_eq!(ended, FutexWait::TimedOut);
                    assert!(Instant::now() >= deadline);
                })
            })
            .collect();
        join_all(threads);
    });
}

#[test]
fn timed_waits_follow_a_manual_clock() {
    limited(|| {
        on_manual_clock(2, |clock| {
            let before = clock.now();
            let began = Instant::now();
            let (lock, never) = (Mutex::new(()), Condvar::new());
            // Not `wait_timeout_while`, which looks at the real time and waits again.
            let waited = never.wait_timeout(lock.lock().unwrap(), HOUR).unwrap();
            assert!(waited.1.timed_out());
            let passed = clock.now() - before;
            assert!(passed + Duration::from_secs(60) > HOUR, "{passed:?}");
            assert!(passed <= HOUR + Duration::from_secs(60), "{passed:?}");
            assert!(began.elapsed() < HOUR);
        });
    });
}

#[test]
fn rw_locks_let_readers_in_together() {
    on_each_runtime(|| {
        let value = Arc::new(RwLock::new(0));
        let n_inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let (value, n_inside) = (Arc::clone(&value), Arc::clone(&n_inside));
                spawn(move || {
                    for _ in 0..10 {
                        if n % 4 == 0 {
                            let mut value = value.write().unwrap();
                            assert_eq!(n_inside.fetch_add(1, SeqCst), 0);
                            yield_now();
                            *value += 1;
                            n_inside.fetch_sub(1, SeqCst);
                        } else {
                            let value = value.read().unwrap();
                            let before = *value;
                            n_inside.fetch_add(1, SeqCst);
                            yield_now();
                            n_inside.fetch_sub(1, SeqCst);
                            assert_eq!(*value, before);
                        }
                    }
                })
            })
            .collect();
        join_all(threads);
        assert_eq!(*value.read().unwrap(), 50);
    });
}

#[test]
fn once_runs_once_and_the_others_wait() {
    on_each_runtime(|| {
        let once = Arc::new((Once::new(), OnceLock::new(), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let once = Arc::clone(&once);
                spawn(move || {
                    let (first, second, n_runs) = &*once;
                    first.call_once(|| {
                        yield_now();
                        n_runs.fetch_add(1, Relaxed);
                    });
                    assert_eq!(n_runs.load(Relaxed), 1);
                    *second.get_or_init(|| {
                        yield_now();
                        n
                    })
                })
            })
            .collect();
        let seen = join_all(threads);
        assert!(seen.iter().all(|&n| n == seen[0]));
    });
}

#[test]
fn barriers_let_all_through_at_once() {
    on_each_runtime(|| {
        let barrier = Arc::new((Barrier::new(10), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..10)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                spawn(move || {
                    let (barrier, n_came) = &*barrier;
                    let mut n_led = 0;
                    for round in 1..=5 {
                        n_came.fetch_add(1, SeqCst);
                        n_led += usize::from(barrier.wait().is_leader());
                        assert!(n_came.load(SeqCst) >= round * 10);
                        barrier.wait();
                    }
                    n_led
                })
            })
            .collect();
        assert_eq!(join_all(threads).iter().sum::<usize>(), 5);
    });
}

/// What std calls, and what it would call without us.
mod sys {
    use std::ffi::{CStr, c_char, c_int, c_long, c_void};
    use std::io;
    use std::mem;
    use std::sync::atomic::AtomicU32;

    pub(super) const WAIT: usize = 0;
    pub(super) const WAKE: usize = 1;
    pub(super) const REQUEUE: usize = 3;
    pub(super) const CMP_REQUEUE: usize = 4;
    pub(super) const WAIT_BITSET: usize = 9;
    pub(super) const WAKE_BITSET: usize = 10;
    pub(super) const PRIVATE: usize = 128;
    pub(super) const REALTIME: usize = 256;

    pub(super) const FUTEX: c_long = 202;

    /// An interval timer's, and a signal's.
    #[repr(C)]
    pub(super) struct Interval {
        pub(super) seconds: i64,
        pub(super) us: i64,
    }

    #[repr(C)]
    struct Action {
        handler: extern "C" fn(c_int),
        mask: [u64; 16],
        flags: c_int,
        restorer: usize,
    }

    const ALRM: c_int = 14;

    /// Has `handler` called a thousand times a second of real time, in whichever thread.
    pub(super) fn every_millisecond(handler: extern "C" fn(c_int)) {
        let action = Action {
            handler,
            mask: [0; 16],
            flags: 0,
            restorer: 0,
        };
        // SAFETY: a complete action, whose handler is async-signal-safe.
        assert_eq!(unsafe { sigaction(ALRM, &action, std::ptr::null_mut()) }, 0);
        let ms = || Interval {
            seconds: 0,
            us: 1000,
        };
        // SAFETY: complete times.
        let set = unsafe { setitimer(0, &[ms(), ms()], std::ptr::null_mut()) };
        assert_eq!(set, 0);
    }

    type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
        fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int;
        fn setitimer(which: c_int, new: *const [Interval; 2], old: *mut [Interval; 2]) -> c_int;
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    }

    fn call(
        function: Syscall,
        number: c_long,
        [a, b, c, d, e, f]: [usize; 6],
    ) -> Result<c_long, c_int> {
        // SAFETY: what the tests ask for harms nobody.
        let result = unsafe { function(number, a, b, c, d, e, f) };
        if result == -1 {
            return Err(io::Error::last_os_error().raw_os_error().unwrap());
        }
        Ok(result)
    }

    /// As everybody calls it.
    pub(super) fn ours(number: c_long, arguments: [usize; 6]) -> Result<c_long, c_int> {
        call(syscall, number, arguments)
    }

    /// Libc's own, which we stand in front of.
    pub(super) fn libcs(number: c_long, arguments: [usize; 6]) -> Result<c_long, c_int> {
        const NEXT: *mut c_void = usize::MAX as *mut c_void;
        let name: &CStr = c"syscall";
        // SAFETY: the name is a string.
        let function = unsafe { dlsym(NEXT, name.as_ptr()) };
        assert!(!function.is_null());
        assert_ne!(function.addr(), (syscall as Syscall as *const ()).addr());
        // SAFETY: the type of that function.
        call(
            unsafe { mem::transmute::<*mut c_void, Syscall>(function) },
            number,
            arguments,
        )
    }

    pub(super) fn futex(
        word: &AtomicU32,
        op: usize,
        value: u32,
        rest: [usize; 3],
    ) -> Result<c_long, c_int> {
        let [d, e, f] = rest;
        ours(
            FUTEX,
            [
                word.as_ptr().expose_provenance(),
                op,
                value as usize,
                d,
                e,
                f,
            ],
        )
    }
}

use sys::{CMP_REQUEUE, PRIVATE, REALTIME, REQUEUE, WAIT, WAIT_BITSET, WAKE, WAKE_BITSET};

const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ETIMEDOUT: i32 = 110;
const ALL: usize = u32::MAX as usize;

#[test]
fn other_system_calls_are_libcs_to_the_letter() {
    limited(|| {
        greenrt::run(|| {
            let text = b"hello";
            let at = text.as_ptr().expose_provenance();
            let bad = 8;
            let table: &[(i64, [usize; 6])] = &[
                (39, [0; 6]),                           // getpid
                (110, [0; 6]),                          // getppid
                (186, [0; 6]),                          // gettid
                (1, [usize::MAX, at, 5, 0, 0, 0]),      // write to no descriptor
                (0, [0, bad, 5, 0, 0, 0]),              // read to a bad address
                (3, [usize::MAX, 0, 0, 0, 0, 0]),       // close
                (257, [usize::MAX, bad, 0, 0, 0, 0]),   // openat
                (9, [0, 4096, 1, 0x22, usize::MAX, 1]), // mmap: the sixth argument is not aligned
                (9, [0, 0, 1, 0x22, usize::MAX, 0]),    // mmap of nothing
                (28, [0, 1, 99, 0, 0, 0]),              // madvise
                (233, [0, 0, 0, bad, 0, 0]),            // epoll_ctl
                (500, [1, 2, 3, 4, 5, 6]),
                (9999, [1, 2, 3, 4, 5, 6]),
                (-1, [0; 6]),
                (i64::MIN, [0; 6]),
                (1 << 40 | 202, [0; 6]),
            ];
            for &(number, arguments) in table {
                let (ours, libcs) = (sys::ours(number, arguments), sys::libcs(number, arguments));
                assert_eq!(ours, libcs, "number {number}, {arguments:?}");
            }
            for number in 1000..3000 {
                assert_eq!(sys::ours(number, [1; 6]), sys::libcs(number, [1; 6]));
            }
        });
    });
}

/// The seventh argument lies on the stack: a mapping at an offset needs it.
#[test]
fn the_last_argument_arrives() {
    limited(|| {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as usize;
        let map = |offset| sys::ours(9, [0, 4096, 1, 2, fd, offset]).unwrap() as usize;
        let [first, second] = [0, 4096].map(|offset| {
            let at = map(offset);
            let bytes: *const [u8; 4096] = std::ptr::with_exposed_provenance(at);
            // SAFETY: mapped just now.
            let copy = unsafe { bytes.read() };
            sys::ours(11, [at, 4096, 0, 0, 0, 0]).unwrap();
            copy
        });
        let both = &std::fs::read("/proc/self/exe").unwrap()[..8192];
        assert!(both[..4096] == first && both[4096..] == second);
    });
}

/// A time as the kernel takes it.
#[repr(C)]
struct Timespec {
    seconds: i64,
    ns: i64,
}

impl Timespec {
    fn of(time: Duration) -> Timespec {
        Timespec {
            seconds: time.as_secs() as i64,
            ns: i64::from(time.subsec_nanos()),
        }
    }

    fn at(&self) -> usize {
        (&raw const *self).expose_provenance()
    }
}

fn monotonic() -> Duration {
    Duration::from_nanos(greenrt_arch::clock::monotonic_ns())
}

fn realtime() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap()
}

/// Calls that return at once, good and bad, on an OS thread by libc's own function, and on a green
/// thread by ours.
#[test]
fn futex_errors_are_the_kernels() {
    limited(|| {
        static WORDS: [AtomicU32; 4] = [const { AtomicU32::new(5) }; 4];
        let [word, other] = [0, 1].map(|n| WORDS[n].as_ptr().expose_provenance());
        let short = Timespec {
            seconds: 0,
            ns: 1000,
        };
        let bad_times = [
            (-1, 0),
            (0, -1),
            (0, 1_000_000_000),
            (i64::MIN, 0),
            (1, i64::MAX),
        ];
        let bad_times = bad_times.map(|(seconds, ns)| Timespec { seconds, ns });
        let (short, past) = (short.at(), Timespec { seconds: 1, ns: 1 });
        let past = past.at();
        let unmapped = 1 << 46;
        let mut table: Vec<[usize; 6]> = Vec::new();
        for op in [WAIT, WAIT_BITSET, WAIT | REALTIME, WAIT_BITSET | REALTIME] {
            let op = op | PRIVATE;
            // Not as expected, with times of all kinds.
            for time in [0, short, past, 8, unmapped] {
                table.push([word, op, 4, time, 0, ALL]);
            }
            // As expected, and the time is up.
            table.push([word, op, 5, past, 0, ALL]);
            for time in &bad_times {
                table.push([word, op, 5, time.at(), 0, ALL]);
                table.push([word, op, 4, time.at(), 0, ALL]);
            }
            for address in [0, 4, 8, unmapped, 1 << 63, ALL << 32, word + 1, word + 2, 7] {
                table.push([address, op, 5, short, 0, ALL]);
            }
            table.push([word, op, 4, 0, 0, 0]);
        }
        // A relative time of a second and a bit would be waited for.
        table.retain(|c| !(c[1] == WAIT | PRIVATE && c[2] == 5 && c[3] == past));
        table.push([word, WAIT | PRIVATE, 5, short, 0, 0]);
        for op in [WAKE, WAKE_BITSET] {
            for n in [0, 1, 7, i32::MAX as usize, ALL, 1 << 31] {
                for bits in [0, 1, ALL] {
                    table.push([word, op | PRIVATE, n, 0, 0, bits]);
                    table.push([word, op | PRIVATE | REALTIME, n, 0, 0, bits]);
                }
            }
            for address in [0, 4, unmapped, 1 << 63, word + 1, word + 2] {
                table.push([address, op | PRIVATE, 1, 0, 0, ALL]);
            }
        }
        for op in [REQUEUE, CMP_REQUEUE, CMP_REQUEUE | REALTIME] {
            for (n_wake, n_move) in [(0, 0), (1, 1), (ALL, 1), (1, ALL), (1, i32::MAX as usize)] {
                for value in [4, 5] {
                    table.push([word, op | PRIVATE, n_wake, n_move, other, value]);
                    table.push([word, op | PRIVATE, n_wake, n_move, word, value]);
                }
            }
            for bad in [0, 8, unmapped, 1 << 63, word + 1] {
                table.push([bad, op | PRIVATE, 1, 1, other, 5]);
                table.push([word, op | PRIVATE, 1, 1, bad, 5]);
            }
        }
        // Operations that do not exist, or are not ours.
        for op in [2, 14, 63, 127, 512, 1 << 20, 1 << 31] {
            table.push([word, op | PRIVATE, 4, 0, 0, ALL]);
        }
        let expected: Vec<_> = table.iter().map(|&c| sys::libcs(sys::FUTEX, c)).collect();
        let check = move || {
            for (arguments, expected) in table.iter().zip(&expected) {
                let ours = sys::ours(sys::FUTEX, *arguments);
                assert_eq!(ours, *expected, "{arguments:#x?}");
            }
        };
        check();
        greenrt::run(|| {
            let stop = Arc::new(AtomicBool::new(false));
            // With somebody in the table, too.
            let waits = spawn({
                let stop = Arc::clone(&stop);
                move || {
                    while !stop.load(Relaxed) {
                        futex_wait(
                            &WORDS[2],
                            5,
                            Some(Instant::now() + Duration::from_millis(1)),
                        );
                    }
                }
            });
            yield_now();
            check();
            stop.store(true, Relaxed);
            waits.join().unwrap();
        });
    });
}

#[test]
fn a_served_wait_answers_as_the_kernel_does() {
    on_each_runtime(|| {
        static WORD: [AtomicU32; 2] = [const { AtomicU32::new(5) }; 2];
        // One at a time: the word is everybody's.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap();
        let word = &WORD[0];
        let wait = |op: usize, value, time: Option<Duration>| {
            let time = time.map(Timespec::of);
            let at = time.as_ref().map_or(0, Timespec::at);
            sys::futex(word, op | PRIVATE, value, [at, 0, ALL])
        };
        let ms = Duration::from_millis(2);
        assert_eq!(wait(WAIT_BITSET, 4, None), Err(EAGAIN));
        let began = Instant::now();
        assert_eq!(wait(WAIT, 5, Some(ms)), Err(ETIMEDOUT));
        assert_eq!(wait(WAIT_BITSET, 5, Some(monotonic() + ms)), Err(ETIMEDOUT));
        assert!(began.elapsed() >= 2 * ms);
        let until = realtime() + ms;
        assert_eq!(wait(WAIT_BITSET | REALTIME, 5, Some(until)), Err(ETIMEDOUT));
        assert!(realtime() >= until);
        assert_eq!(wait(WAIT_BITSET, 5, Some(Duration::ZERO)), Err(ETIMEDOUT));
        // A wake that concerns it, and one that does not.
        let waiter = |bits: u32| {
            spawn(move || sys::futex(&WORD[0], WAIT_BITSET | PRIVATE, 5, [0, 0, bits as usize]))
        };
        let waiters = [waiter(1), waiter(2), waiter(6)];
        let wake = |n: u32, bits: usize| sys::futex(word, WAKE_BITSET | PRIVATE, n, [0, 0, bits]);
        // As soon as all are there, three are woken one after the other.
        assert_eq!(wake(9, 8), Ok(0));
        let mut n_woken = [0; 2];
        wait_until(|| {
            n_woken[0] += wake(9, 2).unwrap();
            n_woken[0] == 2
        });
        wait_until(|| {
            n_woken[1] += wake(1, 1).unwrap();
            n_woken[1] == 1
        });
        assert_eq!(join_all(waiters), [Ok(0); 3]);
        // Some are woken and some are moved.
        let waiters: Vec<_> = (0..5).map(|_| waiter(u32::MAX)).collect();
        let other = WORD[1].as_ptr().expose_provenance();
        let (mut n_woken, mut n_moved) = (0, 0);
        wait_until(|| {
            let wrong = sys::futex(word, CMP_REQUEUE | PRIVATE, 1, [1, other, 4]);
            assert_eq!(wrong, Err(EAGAIN));
            n_moved += sys::futex(word, CMP_REQUEUE | PRIVATE, 0, [1, other, 5]).unwrap();
            n_moved == 3
        });
        wait_until(|| {
            n_woken += sys::futex(word, REQUEUE | PRIVATE, 1, [0, other, 0]).unwrap();
            n_woken == 2
        });
        assert_eq!(sys::futex(word, WAKE | PRIVATE, 9, [0; 3]), Ok(0));
        assert_eq!(sys::futex(&WORD[1], WAKE | PRIVATE, 2, [0; 3]), Ok(2));
        assert_eq!(sys::futex(&WORD[1], WAKE | PRIVATE, 9, [0; 3]), Ok(1));
        assert_eq!(join_all(waiters), [Ok(0); 5]);
    });
}

#[test]
fn os_threads_wake_green_threads_and_the_other_way_round() {
    on_each_runtime(|| {
        let (to_green, from_os) = mpsc::channel();
        let (to_os, from_green) = mpsc::sync_channel(1);
        let os = thread::spawn(move || {
            for n in 0..200_u32 {
                to_green.send(n).unwrap();
                assert_eq!(from_green.recv(), Ok(n * 2));
            }
            os_sleep(Duration::from_millis(1));
            to_green.send(1).unwrap();
        });
        for n in 0..200 {
            let got: u32 = from_os.recv().unwrap();
            assert_eq!(got, n);
            to_os.send(got * 2).unwrap();
        }
        let long = from_os.recv_timeout(HOUR);
        assert_eq!(long, Ok(1));
        let none = from_os.recv_timeout(Duration::from_millis(1));
        assert!(none.is_err());
        assert_eq!(
            from_os.recv_timeout(HOUR),
            Err(RecvTimeoutError::Disconnected)
        );
        wait_until(|| os.is_finished());
        os.join().unwrap();
    });
}

#[test]
fn stds_park_and_unpark_work_across() {
    on_each_runtime(|| {
        // Of whatever std takes the calling thread for.
        let me = thread::current();
        let told = Arc::new(AtomicBool::new(false));
        let os = thread::spawn({
            let told = Arc::clone(&told);
            move || {
                while !told.load(Relaxed) {
                    thread::park();
                }
                me.unpark();
            }
        });
        yield_now();
        told.store(true, Relaxed);
        os.thread().unpark();
        thread::park();
        wait_until(|| os.is_finished());
        os.join().unwrap();
    });
}

/// Acts on one of each kind of lock for a while; whoever is not woken hangs.
fn hammer(random: &mut Random, shared: &Shared, n: u64, on_green: bool) {
    let rest = |random: &mut Random| match random.below(4) {
        0 => random.dawdle(200),
        1 if on_green => yield_now(),
        1 => thread::yield_now(),
        _ => {}
    };
    // While parking_lot's per-thread data is the worker's, what it waits for stops the worker: then
    // nobody may be switched away from while holding one of its locks.
    let may_rest = !on_green || thread_locals_are_private();
    let rest_locked = |random: &mut Random| {
        if may_rest {
            rest(random);
        }
    };
    for _ in 0..n {
        match random.below(9) {
            0 | 1 => {
                let mut count = shared.count.lock().unwrap();
                rest(random);
                *count += 1;
            }
            2 => {
                let value = shared.value.read().unwrap();
                rest(random);
                assert_eq!(value.0, value.1);
            }
            3 => {
                let mut value = shared.value.write().unwrap();
                value.0 += 1;
                rest(random);
                value.1 += 1;
            }
            4 => {
                shared.queue.lock().unwrap().push_back(1);
                if random.below(2) == 0 {
                    shared.filled.notify_one();
                } else {
                    shared.filled.notify_all();
                }
                let mut queue = shared.queue.lock().unwrap();
                loop {
                    if queue.pop_front().is_some() {
                        break;
                    }
                    if random.below(3) == 0 {
                        let time = Duration::from_micros(random.below(300));
                        queue = shared.filled.wait_timeout(queue, time).unwrap().0;
                    } else {
                        queue = shared.filled.wait(queue).unwrap();
                    }
                }
            }
            5 => {
                let once = &shared.onces[random.below(shared.onces.len() as u64) as usize];
                once.get_or_init(|| rest(random));
            }
            6 => {
                let mut count = shared.other_count.lock();
                rest_locked(random);
                *count += 1;
            }
            7 => {
                let mut value = shared.other_value.write();
                value.0 += 1;
                rest_locked(random);
                value.1 += 1;
            }
            _ => {
                let value = shared.other_value.read();
                rest_locked(random);
                assert_eq!(value.0, value.1);
            }
        }
        rest(random);
    }
}

struct Shared {
    count: Mutex<u64>,
    value: RwLock<(u64, u64)>,
    queue: Mutex<VecDeque<u32>>,
    filled: Condvar,
    onces: Vec<OnceLock<()>>,
    other_count: parking_lot::Mutex<u64>,
    other_value: parking_lot::RwLock<(u64, u64)>,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            count: Mutex::default(),
            value: RwLock::default(),
            queue: Mutex::default(),
            filled: Condvar::new(),
            onces: (0..100).map(|_| OnceLock::new()).collect(),
            other_count: parking_lot::Mutex::default(),
            other_value: parking_lot::RwLock::default(),
        })
    }
}

#[test]
fn os_threads_and_green_threads_share_locks_and_lose_no_wake_up() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(4, |random| {
                let shared = Shared::new();
                let os: Vec<_> = (0..3)
                    .map(|_| {
                        let (mut random, shared) = (random.fork(), Arc::clone(&shared));
                        thread::spawn(move || hammer(&mut random, &shared, 300, false))
                    })
                    .collect();
                let green: Vec<_> = (0..8)
                    .map(|_| {
                        let (mut random, shared) = (random.fork(), Arc::clone(&shared));
                        runtime.spawn(move || hammer(&mut random, &shared, 150, true))
                    })
                    .collect();
                os.into_iter().for_each(|thread| thread.join().unwrap());
                join_all(green);
                assert!(shared.queue.lock().unwrap().is_empty());
            });
        }
    });
}

/// Many producers and consumers of each kind, on channels of several capacities.
#[test]
fn channels_of_std_and_crossbeam_lose_nothing() {
    // Where thread-locals are shared, one that waits for a message stops the worker, and with it a
    // sibling that may be about to take one.
    let n_green = if thread_locals_are_private() { 4 } else { 1 };
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(3, |random| {
                let capacity = random.below(3) as usize;
                let (std_in, std_out) = mpsc::sync_channel(capacity);
                let (crossbeam_in, crossbeam_out) = crossbeam_channel::bounded(capacity);
                let n_each = 200_u64;
                let os: Vec<_> = (0..2)
                    .map(|_| {
                        let (std_in, crossbeam_in) = (std_in.clone(), crossbeam_in.clone());
                        thread::spawn(move || {
                            for n in 0..n_each {
                                std_in.send(n).unwrap();
                                crossbeam_in.send(n).unwrap();
                            }
                        })
                    })
                    .collect();
                drop((std_in, crossbeam_in));
                let green: Vec<_> = (0..n_green)
                    .map(|_| {
                        let out = crossbeam_out.clone();
                        runtime.spawn(move || out.iter().sum::<u64>())
                    })
                    .collect();
                drop(crossbeam_out);
                let expected = n_each * (n_each - 1);
                assert_eq!(std_out.iter().sum::<u64>(), expected);
                assert_eq!(join_all(green).iter().sum::<u64>(), expected);
                os.into_iter().for_each(|thread| thread.join().unwrap());
            });
        }
    });
}

/// A lock that whoever unlocks it locks again at once, and that is held across a switch.
#[test]
fn no_thread_takes_a_std_mutex_for_itself() {
    on_one_worker(|| {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..100)
            .map(|me| {
                let taken = Arc::clone(&taken);
                spawn(move || {
                    for _ in 0..20 {
                        let mut taken = taken.lock().unwrap();
                        yield_now();
                        taken.push(me);
                    }
                })
            })
            .collect();
        join_all(threads);
        are_shares_fair(&taken.lock().unwrap(), 100);
    });
}

/// At any moment nobody has had much more than another.
#[track_caller]
fn are_shares_fair(taken: &[usize], n_threads: usize) {
    let mut shares = vec![0; n_threads];
    for (n, &who) in taken.iter().enumerate() {
        shares[who] += 1;
        // Whoever comes first may come twice before those it has passed over are known.
        let fair = n / n_threads + 1;
        assert!(shares[who] <= 3 * fair, "{who} has {} of {n}", shares[who]);
    }
    assert!(shares.iter().all(|&share| share == shares[0]));
}

/// The lock of the documentation of `futex_hand_over`.
#[derive(Default)]
struct FairLock(AtomicU32);

impl FairLock {
    fn lock(&self) {
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
            return;
        }
        let mut wait: fn(&_, _, _) -> FutexWait = futex_wait;
        while self.0.swap(2, Acquire) != 0 {
            match wait(&self.0, 2, None) {
                FutexWait::HandedOver => return,
                FutexWait::Woken => wait = futex_wait_again,
                _ => {}
            }
        }
    }

    fn unlock(&self) {
        if self.0.compare_exchange(1, 0, Release, Relaxed).is_err() {
            futex_hand_over(&self.0, 0);
        }
    }
}

#[test]
fn a_lock_made_of_hand_overs_is_fair_and_excludes() {
    on_each_runtime(|| {
        let lock = Arc::new((
            FairLock::default(),
            Mutex::new(Vec::new()),
            AtomicUsize::new(0),
        ));
        let act = |me, lock: &(FairLock, Mutex<Vec<usize>>, AtomicUsize), rest: fn()| {
            for _ in 0..20 {
                lock.0.lock();
                assert_eq!(lock.2.fetch_add(1, SeqCst), 0);
                rest();
                lock.1.lock().unwrap().push(me);
                lock.2.fetch_sub(1, SeqCst);
                lock.0.unlock();
            }
        };
        let os: Vec<_> = (0..2)
            .map(|n| {
                let lock = Arc::clone(&lock);
                thread::spawn(move || act(50 + n, &lock, thread::yield_now))
            })
            .collect();
        let green: Vec<_> = (0..50)
            .map(|me| {
                let lock = Arc::clone(&lock);
                spawn(move || act(me, &lock, yield_now))
            })
            .collect();
        join_all(green);
        wait_until(|| os.iter().all(thread::JoinHandle::is_finished));
        assert_eq!(lock.1.lock().unwrap().len(), 52 * 20);
        assert_eq!(lock.0.0.load(Relaxed), 0);
        assert_eq!(futex_hand_over(&lock.0.0, 0), FutexHandOver::Nobody);
    });
}

#[test]
fn a_fair_lock_is_fair_on_one_worker() {
    on_one_worker(|| {
        let lock = Arc::new((FairLock::default(), Mutex::new(Vec::new())));
        let threads: Vec<_> = (0..100)
            .map(|me| {
                let lock = Arc::clone(&lock);
                spawn(move || {
                    for _ in 0..20 {
                        lock.0.lock();
                        yield_now();
                        lock.1.lock().unwrap().push(me);
                        lock.0.unlock();
                    }
                })
            })
            .collect();
        join_all(threads);
        are_shares_fair(&lock.1.lock().unwrap(), 100);
    });
}

#[test]
fn wakes_and_deadlines_at_the_same_time_agree() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(10, |random| {
                let word = Arc::new(AtomicU32::new(0));
                let deadline = Instant::now() + Duration::from_micros(200 + random.below(800));
                let waiters: Vec<_> = (0..20)
                    .map(|_| {
                        let word = Arc::clone(&word);
                        runtime.spawn(move || futex_wait(&word, 0, Some(deadline)))
                    })
                    .collect();
                let os = thread::spawn({
                    let word = Arc::clone(&word);
                    move || futex_wait(&word, 0, Some(deadline))
                });
                let mut n_woken = 0;
                while Instant::now() < deadline + Duration::from_micros(200) {
                    n_woken += futex_wake(&word, 1);
                    random.dawdle(30_000);
                }
                let mut ended = join_all(waiters);
                ended.push(os.join().unwrap());
                let said_so = ended.iter().filter(|&&one| one == FutexWait::Woken);
                // What has woken one who had given up was not counted.
                assert_eq!(said_so.count(), n_woken, "{ended:?}");
                assert_eq!(futex_wake(&word, usize::MAX), 0);
            });
        }
    });
}

#[test]
fn waiters_for_one_word_are_woken_in_their_order() {
    on_one_worker(|| {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..100)
            .map(|me| {
                let order = Arc::clone(&order);
                spawn(move || {
                    assert_eq!(futex_wait(&WORD, 0, None), FutexWait::Woken);
                    order.lock().unwrap().push(me);
                })
            })
            .collect();
        yield_now();
        assert_eq!(futex_wake(&WORD, 1), 1);
        assert_eq!(futex_wake(&WORD, 40), 40);
        assert_eq!(futex_wake(&WORD, 0), 0);
        assert_eq!(futex_wake(&WORD, usize::MAX), 59);
        join_all(threads);
        assert!(order.lock().unwrap().iter().copied().eq(0..100));
    });
}

#[test]
fn a_green_thread_that_holds_back_a_changed_word_yields_at_times() {
    on_one_worker(|| {
        // A loop around a wait that never begins must not keep the worker.
        static WORD: AtomicU32 = AtomicU32::new(1);
        let done = Arc::new(AtomicBool::new(false));
        let other = spawn({
            let done = Arc::clone(&done);
            move || done.store(true, Relaxed)
        });
        while !done.load(Relaxed) {
            let ended = sys::futex(&WORD, WAIT_BITSET | PRIVATE, 0, [0, 0, ALL]);
            assert_eq!(ended, Err(EAGAIN));
        }
        other.join().unwrap();
    });
}

/// Where green threads share their thread-locals, std's lock of the output takes them for one thread
/// and lets them all in; then what is shown here is only that nobody hangs.
#[test]
fn the_output_may_be_locked_across_a_switch() {
    let child = Child::new("futex::the_output_may_be_locked_across_a_switch").run(|| {
        greenrt::run(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "first").unwrap();
            let others: Vec<_> = (0..10)
                .map(|n| spawn(move || println!("other {n}")))
                .collect();
            yield_now();
            yield_now();
            writeln!(out, "second").unwrap();
            drop(out);
            join_all(others);
        });
    });
    child.expect_success();
    let lines: Vec<&str> = child.stdout.lines().collect();
    let first = lines
        .iter()
        .position(|line| line.ends_with("first"))
        .unwrap();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("other"))
            .count(),
        10
    );
    if thread_locals_are_private() {
        assert_eq!(lines[first + 1], "second");
    }
}

#[test]
fn a_thousand_green_threads_print_into_a_full_pipe() {
    let child = Child::new("futex::a_thousand_green_threads_print_into_a_full_pipe").run(|| {
        for n_workers in [1, 4] {
            let runtime = runtime(n_workers);
            let threads: Vec<_> = (0..1000)
                .map(|n| runtime.spawn(move || println!("line {n} {}", "x".repeat(500))))
                .collect();
            join_all(threads);
        }
    });
    child.expect_success();
    // In front of the first one the harness writes what it runs.
    let lines = child
        .stdout
        .lines()
        .filter_map(|line| line.split_once("line "));
    let whole = lines.filter(|(_, rest)| {
        let number = rest.strip_suffix(&"x".repeat(500));
        number.is_some_and(|number| number.trim().parse::<u32>().is_ok())
    });
    assert_eq!(whole.count(), 2000);
}

/// A handler that itself wakes whoever waits for a word, as often as it comes.
#[test]
fn signals_at_any_moment_do_no_harm() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    static N_SIGNALS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn on_alarm(_: i32) {
        N_SIGNALS.fetch_add(1, Relaxed);
        WORD.fetch_add(1, Relaxed);
        sys::futex(&WORD, WAKE | PRIVATE, i32::MAX as u32, [0; 3]).unwrap();
    }
    let child = Child::new("futex::signals_at_any_moment_do_no_harm").run(|| {
        sys::every_millisecond(on_alarm);
        for n_workers in [1, 2] {
            let runtime = runtime(n_workers);
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    runtime.spawn(|| {
                        while N_SIGNALS.load(Relaxed) < 300 {
                            let seen = WORD.load(Relaxed);
                            if N_SIGNALS.load(Relaxed) >= 300 {
                                break;
                            }
                            let op = WAIT_BITSET | PRIVATE;
                            let ended = sys::futex(&WORD, op, seen, [0, 0, ALL]);
                            assert!(ended == Ok(0) || ended == Err(EAGAIN), "{ended:?}");
                        }
                    })
                })
                .collect();
            let shared = Shared::new();
            with_seeds(2, |random| {
                let os: Vec<_> = (0..2)
                    .map(|_| {
                        let (mut random, shared) = (random.fork(), Arc::clone(&shared));
                        thread::spawn(move || hammer(&mut random, &shared, 500, false))
                    })
                    .collect();
                let green: Vec<_> = (0..8)
                    .map(|_| {
                        let (mut random, shared) = (random.fork(), Arc::clone(&shared));
                        runtime.spawn(move || hammer(&mut random, &shared, 500, true))
                    })
                    .collect();
                join_all(green);
                os.into_iter().for_each(|thread| thread.join().unwrap());
            });
            join_all(waiters);
        }
        assert!(N_SIGNALS.load(Relaxed) >= 300);
    });
    child.expect_success();
}

/// What other processes may wait for stays with the kernel, on a green thread too.
#[test]
fn futexes_between_processes_pass_through() {
    const PATH: &str = "GREENRT_TEST_SHARED_WORD";
    // The parent's part runs on a thread beside the child.
    let file = std::env::var(PATH).unwrap_or_else(|_| {
        let name = format!("greenrt-futex-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, [0; 4096]).unwrap();
        path.into_os_string().into_string().unwrap()
    });
    let word = || {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&file)
            .unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file) as usize;
        // Readable, writable, shared.
        let at = sys::ours(9, [0, 4096, 3, 1, fd, 0]).unwrap() as usize;
        // SAFETY: mapped, and never taken away.
        unsafe { AtomicU32::from_ptr(std::ptr::with_exposed_provenance_mut(at)) }
    };
    /// Takes its turns, in which the word is odd, or even.
    fn play(word: &AtomicU32, mine: u32) {
        while word.load(SeqCst) < 100 {
            let seen = word.load(SeqCst);
            if seen % 2 == mine {
                word.store(seen + 1, SeqCst);
                sys::futex(word, WAKE, 1, [0; 3]).unwrap();
            } else {
                let ended = sys::futex(word, WAIT, seen, [0; 3]);
                assert!(matches!(ended, Ok(0) | Err(EAGAIN | EINTR)), "{ended:?}");
            }
        }
    }
    let here = if std::env::var(PATH).is_ok() {
        None
    } else {
        let word = word();
        Some(thread::spawn(move || play(word, 0)))
    };
    let child = Child::new("futex::futexes_between_processes_pass_through")
        .env(PATH, &file)
        .run(|| greenrt::run(|| play(word(), 1)));
    child.expect_success();
    here.unwrap().join().unwrap();
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_worker_keeps_the_token_that_its_os_thread_had() {
    limited(|| {
        let os = thread::spawn(|| {
            thread::current().unpark();
            greenrt::run(yield_now);
            // Would wait for ever.
            thread::park();
            greenrt::run(yield_now);
            thread::park_timeout(Duration::from_millis(1));
        });
        os.join().unwrap();
    });
}
