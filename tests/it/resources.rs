//! What green threads need of the system, and what happens when it cannot be had.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::{
    Builder, Generator, JoinHandle, Runtime, ThreadLocals, park, run, scope, sleep, spawn,
    yield_now,
};
use greenrt_arch::usage::{mappings, usage};

use super::support::{Child, Log, Stream, limited, on_each_runtime, runtime, wait_until};

#[test]
fn a_hundred_thousand_parked_threads_need_few_mappings_and_little_memory() {
    let test = "resources::a_hundred_thousand_parked_threads_need_few_mappings_and_little_memory";
    let died = Child::new(test).run(|| {
        const N: usize = 100_000;
        let before = usage().unwrap();
        run(|| {
            let threads: Vec<_> = (0..N).map(|_| spawn(park)).collect();
            yield_now();
            let with = usage().unwrap();
            let n_mappings = with.n_mappings - before.n_mappings;
            assert!(n_mappings < 1000, "{n_mappings} mappings");
            let bytes = with.rss_bytes + with.page_table_bytes;
            let each = (bytes - before.rss_bytes - before.page_table_bytes) / N as u64;
            let own = Runtime::builder()
                .workers(1)
                .build()
                .unwrap()
                .thread_locals();
            let most = match own {
                ThreadLocals::Shared => 10_000,
                // Unoptimised frames under a block reach into a third page.
                ThreadLocals::Private => 15_000,
            };
            assert!(each < most, "{each} bytes each");
            println!("{n_mappings} mappings, {each} bytes each");
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
    });
    died.expect_success();
}

#[test]
fn memory_does_not_grow_with_the_number_of_threads_that_have_lived() {
    let test = "resources::memory_does_not_grow_with_the_number_of_threads_that_have_lived";
    let died = Child::new(test).run(|| {
        let round = || {
            for _ in 0..100 {
                let threads: Vec<_> = (0..1000).map(|_| spawn(yield_now)).collect();
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
            }
        };
        run(|| {
            round();
            let before = usage().unwrap();
            (0..3).for_each(|_| round());
            let after = usage().unwrap();
            assert!(
                after.rss_bytes <= before.rss_bytes + (4 << 20),
                "{before:?} {after:?}"
            );
            assert!(
                after.n_mappings <= before.n_mappings + 4,
                "{before:?} {after:?}"
            );
        });
    });
    died.expect_success();
}

/// Spawns threads that park, with large stacks, until the system refuses.
fn spawn_until_refused(log: &Log) -> (Vec<JoinHandle<()>>, std::io::Error) {
    let mut threads = Vec::new();
    loop {
        let noted = log.on_drop("x");
        let thread = Builder::new().stack_size(8 << 20).spawn(move || {
            let _noted = noted;
            park();
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => return (threads, error),
        }
        yield_now();
        assert!(threads.len() < 10_000, "never refused");
    }
}

/// Two gigabytes of address space, which is enough for everything but many large stacks.
const LITTLE_ROOM: &str = "ulimit -v 2000000";

#[test]
fn a_stack_that_cannot_be_mapped_is_an_error() {
    let test = "resources::a_stack_that_cannot_be_mapped_is_an_error";
    let died = Child::new(test).shell(LITTLE_ROOM).run(|| {
        run(|| {
            let mut counts = Vec::new();
            // The second time as many fit as the first: nothing was leaked.
            for _ in 0..3 {
                let log = Log::new();
                let (threads, error) = spawn_until_refused(&log);
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
                // The closure that was refused is dropped, the others are not.
                assert_eq!(log.len(), 1);
                counts.push(threads.len());
                threads.iter().for_each(|thread| thread.thread().unpark());
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
                assert_eq!(log.len(), counts.last().unwrap() + 1);
                // And small ones can be had again, if need be with the room of large ones.
                let small = (0..200).map(|n| {
                    spawn(move || {
                        yield_now();
                        n
                    })
                });
                let small: Vec<_> = small.collect();
                for (n, thread) in small.into_iter().enumerate() {
                    assert_eq!(thread.join().unwrap(), n);
                }
            }
            assert!(counts[0] > 10, "{counts:?}");
            assert!(
                counts[1] >= counts[0] && counts[2] >= counts[0],
                "{counts:?}"
            );
        });
    });
    died.expect_success();
}

#[test]
fn spawn_panics_and_a_scope_survives_when_there_is_no_stack() {
    let test = "resources::spawn_panics_and_a_scope_survives_when_there_is_no_stack";
    let died = Child::new(test).shell(LITTLE_ROOM).run(|| {
        run(|| {
            let log = Log::new();
            // There are small ones.
            spawn(|| ()).join().unwrap();
            let (threads, _error) = spawn_until_refused(&log);
            let n_ran = AtomicUsize::new(0);
            let refused = scope(|s| {
                s.spawn(|| n_ran.fetch_add(1, Relaxed));
                Builder::new()
                    .stack_size(8 << 20)
                    .spawn_scoped(s, || ())
                    .is_err()
            });
            assert!(refused);
            assert_eq!(n_ran.load(Relaxed), 1);
            let generator =
                Generator::with_stack_size(8 << 20, |_: &greenrt::Yielder<(), ()>, ()| ());
            assert_eq!(generator.unwrap_err().kind(), ErrorKind::OutOfMemory);
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
    });
    died.expect_success();
}

/// A spawn from outside reserves nothing: those for which there is no stack yet wait for one.
#[test]
fn threads_that_were_spawned_run_when_stacks_come_free() {
    let test = "resources::threads_that_were_spawned_run_when_stacks_come_free";
    let died = Child::new(test).shell(LITTLE_ROOM).run(|| {
        // Both before the room is used up: OS threads need some as well.
        for runtime in [1, 2].map(runtime) {
            let n_ran = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..1000)
                .map(|_| {
                    let n_ran = Arc::clone(&n_ran);
                    let builder = Builder::new().stack_size(8 << 20);
                    let run = move || {
                        n_ran.fetch_add(1, Relaxed);
                        // Keeps its stack for a while.
                        sleep(Duration::from_millis(1));
                    };
                    builder.spawn_on(&runtime, run).unwrap()
                })
                .collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            assert_eq!(n_ran.load(Relaxed), 1000);
        }
    });
    died.expect_success();
}

#[test]
fn threads_that_wait_for_a_stack_are_in_the_dump_and_end_with_their_runtime() {
    let test =
        "resources::threads_that_wait_for_a_stack_are_in_the_dump_and_end_with_their_runtime";
    let died = Child::new(test).shell(LITTLE_ROOM).run(|| {
        let builder = Runtime::builder().workers(1);
        let runtime = builder
            .shutdown_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let threads: Vec<_> = (0..1000)
            .map(|_| {
                let builder = Builder::new().stack_size(8 << 20);
                builder.spawn_on(&runtime, || sleep(Duration::MAX)).unwrap()
            })
            .collect();
        wait_until(|| {
            greenrt::debug::dump()
                .to_string()
                .contains(": a free stack; spawned at")
        });
        drop(runtime);
        for thread in threads {
            assert!(thread.join().unwrap_err().is::<greenrt::Cancelled>());
        }
    });
    died.expect_success();
    assert_eq!(died.stderr, "");
}

#[test]
fn a_runtime_without_descriptors_is_an_error() {
    let test = "resources::a_runtime_without_descriptors_is_an_error";
    let died = Child::new(test).shell("ulimit -n 24").run(|| {
        let mut runtimes = Vec::new();
        let error = loop {
            match Runtime::builder().workers(2).build() {
                Ok(runtime) => runtimes.push(runtime),
                Err(error) => break error,
            }
        };
        assert_eq!(
            error.raw_os_error(),
            Some(24),
            "{error}, which is not EMFILE"
        );
        assert!(!runtimes.is_empty());
        let before = usage().unwrap().n_descriptors;
        for _ in 0..10 {
            assert!(Runtime::builder().workers(2).build().is_err());
        }
        assert_eq!(usage().unwrap().n_descriptors, before);
        // Those that run are not affected, and room that is made is used.
        assert_eq!(runtimes[0].run(|| spawn(|| 7).join().unwrap()), 7);
        runtimes.pop();
        wait_until(|| match Runtime::builder().workers(2).build() {
            Ok(runtime) => runtime.run(|| true),
            Err(_) => false,
        });
    });
    died.expect_success();
}

#[test]
fn a_global_runtime_that_could_not_start_is_tried_again() {
    let test = "resources::a_global_runtime_that_could_not_start_is_tried_again";
    let died = Child::new(test)
        .shell("ulimit -n 24")
        .env("GREENRT_WORKERS", "2")
        .run(|| {
            let open = || std::fs::File::open("/dev/null");
            let files: Vec<_> = std::iter::from_fn(|| open().ok()).collect();
            let error = Builder::new().spawn(|| 7).unwrap_err();
            assert_eq!(
                error.raw_os_error(),
                Some(24),
                "{error}, which is not EMFILE"
            );
            drop(files);
            assert_eq!(Builder::new().spawn(|| 7).unwrap().join().unwrap(), 7);
        });
    died.expect_success();
}

#[test]
fn descriptors_that_run_out_are_errors_of_those_who_open_them() {
    let test = "resources::descriptors_that_run_out_are_errors_of_those_who_open_them";
    let died = Child::new(test).shell("ulimit -n 40").run(|| {
        run(|| {
            let mut pairs = Vec::new();
            while let Ok((a, b)) = std::os::unix::net::UnixStream::pair() {
                pairs.push((a, b));
            }
            pairs.pop();
            let (near, far) = Stream::pair();
            let echo = spawn(move || far.write_byte(far.read_byte()));
            near.write_byte(7);
            assert_eq!(near.read_byte(), 7);
            echo.join().unwrap();
        });
    });
    died.expect_success();
}

#[test]
fn large_stacks_are_used_again() {
    on_each_runtime(|| {
        for bytes in [64 << 10, 256 << 10, 1 << 20, 2 << 20, 8 << 20] {
            for _ in 0..20 {
                let threads: Vec<_> = (0..20)
                    .map(|_| Builder::new().stack_size(bytes).spawn(yield_now).unwrap())
                    .collect();
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
            }
        }
    });
    limited(|| assert!(mappings().unwrap() < 1000));
}
