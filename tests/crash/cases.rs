//! The ways to die, and one or two to survive.

use std::hint::black_box;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use greenrt::{
    Builder, Generator, Runtime, ThreadLocals, Yielder, run, scope, sleep, spawn, spawn_local,
    yield_now,
};

use super::{Case, Died};

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

macro_rules! cases {
    ($($name:ident $(with backtrace $backtrace:literal)? = $body:expr, $check:expr;)*) => {
        /// All of them.
        pub(crate) const CASES: &[Case] = &[$(Case {
            name: stringify!($name),
            backtrace: concat!("", $($backtrace)?),
            body: || $body,
            check: $check,
        }),*];
    };
}

cases! {
    // The report of an overflow: who, where from, how large, what to do.
    overflow_of_an_unnamed_green_thread = run(|| join(spawn(overflow))), |died| {
        reports_overflow(died, "256 KiB");
        assert!(died.stderr.contains("\ngreen thread "), "no subject");
        assert!(died.stderr.contains(" (spawned at tests/crash/cases.rs:"), "no spawn site");
    };
    overflow_of_a_named_green_thread = run(|| named("acceptor", 256 * KIB)), |died| {
        reports_overflow(died, "256 KiB");
        assert!(died.stderr.contains("\ngreen thread 'acceptor' ("), "no name");
        assert!(died.stderr.contains(", spawned at tests/crash/cases.rs:"), "no spawn site");
    };
    overflow_of_the_main_green_thread = run(overflow), |died| {
        reports_overflow(died, "8 MiB");
        assert!(died.stderr.contains("\ngreen thread 'main' ("), "no name");
    };
    overflow_of_a_64_kib_stack = run(|| named("a", 64 * KIB)), |died| reports_overflow(died, "64 KiB");
    overflow_of_a_1_mib_stack = run(|| named("a", MIB)), |died| reports_overflow(died, "1 MiB");
    overflow_of_a_2_mib_stack = run(|| named("a", 2 * MIB)), |died| reports_overflow(died, "2 MiB");
    overflow_of_an_8_mib_stack = run(|| named("a", 8 * MIB)), |died| reports_overflow(died, "8 MiB");
    overflow_on_the_global_runtime = join(spawn(overflow)), |died| reports_overflow(died, "256 KiB");
    overflow_on_a_runtime_of_its_own = runtime().run(|| join(spawn(overflow))),
        |died| reports_overflow(died, "256 KiB");
    overflow_of_a_local_green_thread = run(|| join(spawn_local(overflow))),
        |died| reports_overflow(died, "256 KiB");
    overflow_of_a_scoped_green_thread = run(|| scope(|s| drop(s.spawn(overflow)))),
        |died| reports_overflow(died, "256 KiB");
    overflow_of_a_thread_that_has_waited = run(|| join(spawn(|| {
            yield_now();
            sleep(Duration::from_millis(1));
            overflow();
        }))),
        |died| reports_overflow(died, "256 KiB");
    overflow_of_a_stack_that_was_used_before = run(|| {
            for _ in 0..10 {
                join(spawn(yield_now));
            }
            named("second", 256 * KIB);
        }),
        |died| {
            reports_overflow(died, "256 KiB");
            assert!(died.stderr.contains("'second'"), "not the present owner");
        };
    overflow_of_a_generator = generate(overflow),
        |died| {
            reports_overflow(died, "256 KiB");
            assert!(died.stderr.contains("\ngenerator has overflowed"), "no subject");
        };
    overflow_of_a_generator_on_a_green_thread = run(|| generate(overflow)),
        |died| {
            reports_overflow(died, "256 KiB");
            assert!(died.stderr.contains("\ngenerator has overflowed"), "no subject");
        };
    overflow_of_a_thread_that_has_waited_inside_a_generator = run(|| generate(|| {
            sleep(Duration::from_millis(1));
            overflow();
        })),
        |died| reports_overflow(died, "256 KiB");
    overflow_by_one_large_frame = run(|| join(spawn(|| assert_eq!(large_frame(1), 1)))),
        |died| reports_overflow(died, "256 KiB");
    overflow_in_a_destructor_that_runs_by_a_panic = run(|| join(spawn(|| {
            let _overflows = OnDrop(overflow);
            panic!("first");
        }))),
        |died| {
            assert!(died.stderr.contains("first"), "no message");
            reports_overflow(died, "256 KiB");
        };
    overflow_while_a_sibling_has_locked_stderr = run(|| {
            let mut locked = std::io::stderr().lock();
            locked.write_all(b"locked\n").unwrap();
            join(spawn(overflow));
        }),
        |died| {
            assert!(died.stderr.starts_with("locked\n"), "no output");
            reports_overflow(died, "256 KiB");
        };
    overflow_of_two_at_once_is_reported_once = {
            static TOGETHER: Barrier = Barrier::new(2);
            let runtime = runtime();
            let threads = [0, 1].map(|worker| {
                let both = || {
                    TOGETHER.wait();
                    overflow();
                };
                Builder::new().worker(worker).spawn_on(&runtime, both).unwrap()
            });
            threads.into_iter().for_each(join);
        },
        |died| reports_overflow(died, "256 KiB");
    overflow_of_a_thread_with_a_very_long_name = run(|| named(&"long ".repeat(1000), 256 * KIB)),
        |died| {
            reports_overflow(died, "256 KiB");
            assert!(died.stderr.contains("green thread 'long long "), "no name");
            assert!(died.stderr.len() < 2000, "all of the name");
        };

    // Other threads overflow as ever.
    overflow_of_the_main_thread = overflow(), std_reports_overflow_of_main;
    overflow_of_the_main_thread_after_a_run = { run(yield_now); overflow() },
        std_reports_overflow_of_main;
    overflow_of_the_main_thread_beside_a_runtime = { join(spawn(yield_now)); overflow() },
        std_reports_overflow_of_main;
    overflow_of_an_os_thread = {
            run(yield_now);
            drop(std::thread::Builder::new().name("plain".into()).spawn(overflow).unwrap().join());
        },
        |died| std_reports_overflow(died, "plain");
    overflow_of_an_os_thread_that_ran_a_runtime = {
            let runs = || {
                run(yield_now);
                overflow();
            };
            drop(std::thread::Builder::new().name("plain".into()).spawn(runs).unwrap().join());
        },
        |died| std_reports_overflow(died, "plain");

    // Panics fit the stacks on which they happen.
    a_panic_with_a_backtrace_fits_the_default_stack with backtrace "1" =
        run(|| survives_a_panic(256 * KIB)), survived_a_panic;
    a_panic_with_a_backtrace_fits_the_smallest_stack with backtrace "1" =
        run(|| survives_a_panic(64 * KIB)), survived_a_panic;
    a_panic_with_a_full_backtrace_fits_the_smallest_stack with backtrace "full" =
        run(|| survives_a_panic(64 * KIB)), survived_a_panic;
    a_panic_with_a_backtrace_and_our_hook_fits_the_smallest_stack with backtrace "1" =
        { greenrt::panic_hook(); run(|| survives_a_panic(64 * KIB)) }, survived_a_panic;
    a_panic_with_a_backtrace_in_a_generator_fits_its_stack with backtrace "1" = {
            let panics = |_: &Yielder<(), ()>, ()| deep_panic(5);
            let mut panics = Generator::with_stack_size(64 * KIB, panics).unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| panics.next())).is_err());
            println!("survived");
        },
        survived_a_panic;
    a_panic_of_the_main_green_thread_is_that_of_the_program = run(|| panic!("no more")), |died| {
        assert_eq!(died.code, Some(101));
        assert!(died.stderr.contains("no more"), "no message");
    };

    // What cannot go on.
    a_value_that_is_handed_out_while_its_generator_is_dropped_aborts = {
            let mut stubborn = Generator::new(|out: &Yielder<(), u32>, ()| {
                let _hands_out = OnDrop(|| out.yield_(2));
                out.yield_(1);
            });
            stubborn.next();
            drop(stubborn);
        },
        |died| {
            assert_eq!(died.signal, Some(SIGABRT));
            let text = "a value was handed out while its generator was dropped";
            assert!(died.stderr.contains(text), "no reason");
        };
    a_panic_in_a_destructor_that_runs_by_a_panic_aborts = run(|| join(spawn(|| {
            let _second = OnDrop(|| panic!("second"));
            panic!("first");
        }))),
        |died| {
            assert_eq!(died.signal, Some(SIGABRT));
            assert!(died.stderr.contains("first"), "no first message");
            assert!(died.stderr.contains("second"), "no second message");
            assert!(died.stderr.contains("panic in a destructor during cleanup"), "no reason");
        };
    a_panic_in_a_destructor_that_runs_by_a_cancel_aborts = run(|| {
            let thread = spawn(|| {
                let _panics = OnDrop(|| panic!("second"));
                sleep(Duration::MAX);
            });
            yield_now();
            greenrt::lowlevel::cancel(thread.thread());
            join(thread);
        }),
        |died| {
            assert_eq!(died.signal, Some(SIGABRT));
            assert!(died.stderr.contains("panic in a destructor during cleanup"), "no reason");
        };
    a_panic_in_the_destructor_of_a_detached_result_aborts = run(|| {
            drop(spawn(|| OnDrop(|| panic!("in the result"))));
            yield_now();
        }),
        result_panicked;
    a_panic_in_the_destructor_of_a_result_that_is_dropped_with_its_handle_aborts = run(|| {
            let thread = spawn(|| OnDrop(|| panic!("in the result")));
            yield_now();
            assert!(thread.is_finished());
            drop(thread);
        }),
        result_panicked;
    a_panic_in_the_destructor_of_a_joined_result_is_a_panic_of_who_joined = run(|| {
            let result = spawn(|| OnDrop(|| panic!("in the result"))).join().unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| drop(result))).is_err());
            println!("survived");
        }),
        survived;
    an_abort_is_an_abort = run(|| join(spawn(|| std::process::abort()))), |died| {
        assert_eq!(died.signal, Some(SIGABRT));
        assert_eq!(died.stderr, "");
    };
    an_access_to_nowhere_on_a_green_thread_is_a_segmentation_fault =
        run(|| join(spawn(read_nowhere))), segmentation_fault;
    an_access_to_nowhere_in_a_generator_is_a_segmentation_fault =
        generate(read_nowhere),
        segmentation_fault;
    an_access_to_nowhere_on_the_main_thread_is_a_segmentation_fault =
        { run(yield_now); read_nowhere() }, segmentation_fault;
    an_access_to_nowhere_beside_a_runtime_is_a_segmentation_fault =
        { join(spawn(yield_now)); read_nowhere() }, segmentation_fault;

    // The ends of OS threads and of the process.
    greenrt_may_be_used_while_thread_locals_are_dropped = {
            let thread = std::thread::spawn(|| {
                // First ours, so that it is dropped last.
                LATE.with(|_| ());
                greenrt::shield(yield_now);
                join(spawn(yield_now));
            });
            thread.join().unwrap();
            println!("survived");
        },
        survived;
    greenrt_may_be_used_while_thread_locals_of_a_worker_are_dropped = {
            let builder = greenrt::Runtime::builder().workers(2);
            let runtime = builder.thread_locals(ThreadLocals::Shared).build().unwrap();
            runtime.run(|| LATE.with(|_| ()));
            drop(runtime);
            while !LATE_IS_GONE.load(Acquire) {
                std::thread::yield_now();
            }
            println!("survived");
        },
        survived;
    greenrt_may_be_used_while_thread_locals_of_a_green_thread_are_dropped = {
            let runtime = runtime();
            if runtime.thread_locals() == ThreadLocals::Private {
                LATE_IS_GREEN.store(true, Release);
                runtime.run(|| LATE.with(|_| ()));
                assert!(LATE_IS_GONE.load(Acquire));
            }
            println!("survived");
        },
        survived;
    main_may_return_while_everything_runs = {
            for _ in 0..100 {
                drop(spawn(|| loop {
                    yield_now();
                    drop(spawn(|| sleep(Duration::from_micros(10))));
                    sleep(Duration::from_micros(10));
                }));
            }
            std::thread::sleep(Duration::from_millis(20));
            println!("survived");
        },
        survived;
}

fn join<T>(thread: greenrt::JoinHandle<T>) {
    drop(thread.join());
}

fn runtime() -> Runtime {
    Runtime::builder().workers(2).build().expect("a runtime")
}

fn named(name: &str, stack_bytes: usize) {
    let builder = Builder::new().name(name.into()).stack_size(stack_bytes);
    join(builder.spawn(overflow).expect("a green thread"));
}

/// Runs `body` in a generator.
fn generate(body: fn()) {
    Generator::new(move |_: &Yielder<(), ()>, ()| body()).next();
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Uses greenrt when it is dropped.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        greenrt::shield(|| assert_eq!(greenrt::timeout(Duration::from_secs(9), || 7), Ok(7)));
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
        assert_eq!(scope(|s| s.spawn(|| 7).join().unwrap()), 7);
        assert_eq!(greenrt::current().is_green(), LATE_IS_GREEN.load(Acquire));
        yield_now();
        sleep(Duration::from_micros(1));
        drop(greenrt::debug::dump());
        LATE_IS_GONE.store(true, Release);
    }
}

static LATE_IS_GONE: AtomicBool = AtomicBool::new(false);
static LATE_IS_GREEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    static LATE: Late = const { Late };
}

/// Calls itself until the stack is full.
fn overflow() {
    black_box(recurse(1));
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 32]);
    if n == u64::MAX {
        0
    } else {
        recurse(n + 1) + frame[7]
    }
}

/// One frame that is larger than the whole stack.
#[inline(never)]
fn large_frame(n: u8) -> u8 {
    black_box([n; 2 * MIB])[black_box(MIB)]
}

fn deep_panic(depth: u32) {
    if black_box(depth) == 0 {
        panic!("no more");
    }
    deep_panic(depth - 1);
}

fn survives_a_panic(stack_bytes: usize) {
    let builder = Builder::new().stack_size(stack_bytes);
    let thread = builder.spawn(|| deep_panic(5)).expect("a green thread");
    assert!(thread.join().is_err());
    println!("survived");
}

#[expect(unsafe_code, reason = "the fault is what is tested")]
fn read_nowhere() {
    let nowhere: *const u8 = std::ptr::without_provenance(8);
    // SAFETY: none. The process is meant to die of it.
    black_box(unsafe { nowhere.read_volatile() });
}

fn reports_overflow(died: &Died, size: &str) {
    assert_eq!(died.signal, Some(SIGABRT));
    let text = &died.stderr;
    assert_eq!(
        text.matches(" has overflowed its stack\n").count(),
        1,
        "not one report"
    );
    assert!(
        text.contains(&format!("\n  stack: {size} slot at 0x")),
        "no size"
    );
    let advice = "\n  raise it with Builder::stack_size(bytes) or GREENRT_STACK_SIZE=bytes\n";
    assert!(text.contains(advice), "no advice");
    assert!(
        text.ends_with("\nfatal runtime error: stack overflow, aborting\n"),
        "no end"
    );
}

fn std_reports_overflow_of_main(died: &Died) {
    std_reports_overflow(died, "main");
}

fn std_reports_overflow(died: &Died, name: &str) {
    assert_eq!(died.signal, Some(SIGABRT));
    let text = &died.stderr;
    assert!(text.contains(&format!("thread '{name}'")), "no name");
    assert!(text.contains(" has overflowed its stack"), "no report");
    assert!(
        text.contains("fatal runtime error: stack overflow"),
        "no end"
    );
    assert!(!text.contains("green thread"), "our report");
}

fn survived(died: &Died) {
    assert_eq!(died.code, Some(0));
    assert!(died.stdout.ends_with("survived\n"), "not alive");
}

fn survived_a_panic(died: &Died) {
    survived(died);
    assert!(died.stderr.contains("no more"), "no message");
    assert!(died.stderr.contains("stack backtrace:"), "no backtrace");
    assert!(died.stderr.contains("deep_panic"), "an empty backtrace");
}

fn result_panicked(died: &Died) {
    assert_eq!(died.signal, Some(SIGABRT));
    assert!(died.stderr.contains("in the result"), "no message");
    let end = "fatal runtime error: thread result panicked on drop, aborting\n";
    assert!(died.stderr.ends_with(end), "no reason");
}

fn segmentation_fault(died: &Died) {
    assert_eq!(died.signal, Some(SIGSEGV));
    assert_eq!(died.stderr, "");
}
