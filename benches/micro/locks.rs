//! Locks on the futex: std's on green threads, and what a system call costs that is none of ours.

#![expect(unsafe_code, reason = "libc's `syscall`, ours and its own")]
#![expect(
    clippy::disallowed_methods,
    reason = "std's locks are what is measured"
)]

use std::ffi::{c_char, c_long, c_void};
use std::hint::black_box;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex};

use greenrt::lowlevel::{futex_wait, futex_wake};

use crate::harness::{Row, Sample, Size};

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, op, run| Row {
        name,
        op,
        size: Size::Timed,
        waits: false,
        run,
    };
    let fixed = |name, op, n_ops, n_rounds, run| Row {
        name,
        op,
        size: Size::Fixed(n_ops, n_rounds),
        waits: false,
        run,
    };
    vec![
        row("syscall/getppid", "a call, none of ours", getppid),
        row(
            "syscall/getppid_libc",
            "the same by libc's own",
            getppid_libc,
        ),
        row("syscall/bad_number", "a call that fails", bad_number),
        row(
            "syscall/bad_number_libc",
            "the same by libc's own",
            bad_number_libc,
        ),
        row(
            "std_mutex/uncontended_os_thread",
            "a lock, an unlock",
            uncontended,
        ),
        row("std_mutex/uncontended", "a lock, an unlock", |n| {
            greenrt::run(|| uncontended(n))
        }),
        row(
            "std_mutex/contended_2_threads",
            "a lock, a yield, an unlock",
            |n| contended(n, 2),
        ),
        row(
            "std_mutex/contended_1000_threads",
            "a lock, a yield, an unlock",
            |n| contended(n, 1000),
        ),
        row("std_condvar/round_trip", "two notifies, two waits", condvar),
        row("futex/round_trip", "two wakes, two waits", round_trip),
        row("futex/wake_nobody", "a wake", wake_nobody),
        fixed(
            "futex/million_words",
            "a wait, a wake; a million at once",
            1_000_000,
            3,
            million_words,
        ),
    ]
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

fn libcs() -> Syscall {
    const NEXT: *mut c_void = usize::MAX as *mut c_void;
    // SAFETY: the name is a string.
    let function = unsafe { dlsym(NEXT, c"syscall".as_ptr()) };
    assert!(!function.is_null());
    // SAFETY: the type of that function.
    unsafe { std::mem::transmute::<*mut c_void, Syscall>(function) }
}

fn calls(n_ops: u64, number: c_long, function: Syscall) -> Sample {
    let function = black_box(function);
    greenrt::run(|| {
        Sample::of(n_ops, || {
            for _ in 0..n_ops {
                // SAFETY: a question without arguments, or a number that is none.
                black_box(unsafe { function(black_box(number)) });
            }
        })
    })
}

fn getppid(n_ops: u64) -> Sample {
    calls(n_ops, 110, syscall)
}

fn getppid_libc(n_ops: u64) -> Sample {
    calls(n_ops, 110, libcs())
}

fn bad_number(n_ops: u64) -> Sample {
    calls(n_ops, 9999, syscall)
}

fn bad_number_libc(n_ops: u64) -> Sample {
    calls(n_ops, 9999, libcs())
}

fn uncontended(n_ops: u64) -> Sample {
    let lock = black_box(Mutex::new(0_u64));
    Sample::of(n_ops, || {
        for _ in 0..n_ops {
            *lock.lock().unwrap() += 1;
        }
    })
}

fn contended(n_ops: u64, n_threads: u64) -> Sample {
    greenrt::run(|| {
        let lock = Arc::new(Mutex::new(0_u64));
        let each = n_ops / n_threads + 1;
        let threads: Vec<_> = (0..n_threads)
            .map(|_| {
                let lock = Arc::clone(&lock);
                greenrt::spawn(move || {
                    greenrt::park();
                    for _ in 0..each {
                        let mut count = lock.lock().unwrap();
                        greenrt::yield_now();
                        *count += 1;
                    }
                })
            })
            .collect();
        greenrt::yield_now();
        Sample::of(each * n_threads, || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        })
    })
}

fn condvar(n_ops: u64) -> Sample {
    greenrt::run(|| {
        let turn = Arc::new((Mutex::new(0_u64), [Condvar::new(), Condvar::new()]));
        let play = move |me: usize, turn: &(Mutex<u64>, [Condvar; 2])| {
            let mut now = turn.0.lock().unwrap();
            while *now < 2 * n_ops {
                if *now % 2 == me as u64 {
                    *now += 1;
                    turn.1[1 - me].notify_one();
                } else {
                    now = turn.1[me].wait(now).unwrap();
                }
            }
            drop(now);
            turn.1[1 - me].notify_one();
        };
        let other = greenrt::spawn({
            let turn = Arc::clone(&turn);
            move || play(1, &turn)
        });
        let sample = Sample::of(n_ops, || play(0, &turn));
        other.join().unwrap();
        sample
    })
}

fn round_trip(n_ops: u64) -> Sample {
    static WORDS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
    greenrt::run(|| {
        let other = greenrt::spawn(move || {
            for _ in 0..n_ops {
                futex_wait(&WORDS[1], 0, None);
                futex_wake(&WORDS[0], 1);
            }
        });
        greenrt::yield_now();
        let sample = Sample::of(n_ops, || {
            for _ in 0..n_ops {
                futex_wake(&WORDS[1], 1);
                futex_wait(&WORDS[0], 0, None);
            }
        });
        other.join().unwrap();
        sample
    })
}

fn wake_nobody(n_ops: u64) -> Sample {
    let word = black_box(AtomicU32::new(0));
    greenrt::run(|| {
        Sample::of(n_ops, || {
            for _ in 0..n_ops {
                black_box(futex_wake(black_box(&word), 1));
            }
        })
    })
}

fn million_words(n_ops: u64) -> Sample {
    let words: Vec<AtomicU32> = (0..n_ops).map(|_| AtomicU32::new(0)).collect();
    let words: &'static [AtomicU32] = words.leak();
    greenrt::run(|| {
        let threads: Vec<_> = words
            .iter()
            .map(|word| {
                greenrt::spawn(move || {
                    greenrt::park();
                    futex_wait(word, 0, None);
                })
            })
            .collect();
        greenrt::yield_now();
        let sample = Sample::of(n_ops, || {
            threads.iter().for_each(|thread| thread.thread().unpark());
            greenrt::yield_now();
            for word in words {
                assert_eq!(futex_wake(word, 1), 1);
            }
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        sample
    })
}
