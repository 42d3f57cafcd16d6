//! A small harness: the real one's threads would be green too, and run at once.

use std::env;
use std::fs;
use std::net::ToSocketAddrs;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// A test that takes longer than this hangs, or the machine is very busy.
const LIMIT: Duration = Duration::from_secs(120);

/// Set for the processes in which the tests run.
const INSIDE: &str = "GREENRT_TEST_INSIDE";

pub(crate) type Tests = &'static [(&'static str, fn())];

/// Names tests, in the order in which they run.
macro_rules! tests {
    ($($name:ident)*) => {
        pub(crate) const TESTS: crate::support::Tests =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name as fn()),)*];
    };
}

pub(crate) use tests;

/// Runs those whose names contain the first argument, in processes with one and with two workers.
pub(crate) fn main(tests: &[Tests]) {
    let filter = env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if env::var_os(INSIDE).is_none() {
        for n_workers in ["1", "2"] {
            println!("with GREENRT_WORKERS={n_workers}");
            let status = Command::new(env::current_exe().unwrap())
                .args(env::args().skip(1))
                .env(INSIDE, "")
                .env("GREENRT_WORKERS", n_workers)
                // With shared ones std's threads cannot be green: `programs` has a test of that.
                .env("GREENRT_THREAD_LOCALS", "private")
                .status();
            assert!(status.unwrap().success());
        }
        return;
    }
    greenlibc::patch_all();
    let mut n_failed = 0;
    for (name, test) in tests.iter().copied().flatten() {
        let name = name.trim_start_matches("libc::");
        if filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let (done, watch) = channel::<()>();
        let watchdog = greenlibc::os_threads(|| {
            thread::spawn(move || {
                if watch.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                    eprintln!(
                        "{name} did not end within {LIMIT:?}\n{}",
                        greenrt::debug::dump()
                    );
                    std::process::abort();
                }
            })
        });
        let result = thread::Builder::new()
            .name(name.into())
            .spawn(test)
            .unwrap()
            .join();
        drop(done);
        watchdog.join().unwrap();
        println!(
            "test {name} ... {}",
            if result.is_ok() { "ok" } else { "FAILED" }
        );
        n_failed += usize::from(result.is_err());
    }
    if n_failed > 0 {
        eprintln!("{n_failed} tests have failed");
        std::process::exit(1);
    }
}

/// How many OS threads the process has.
pub(crate) fn n_os_threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Waits until something is true that other threads make true.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// How often a symbol was called on green threads, and how often that has blocked a worker.
pub(crate) fn calls(symbol: &str) -> (u64, u64) {
    let calls = greenlibc::calls();
    let calls = calls.iter().find(|calls| calls.symbol == symbol).unwrap();
    (calls.n, calls.n_blocking)
}

/// Reads a file in the way that goes by the pool, which must have a thread that is free.
pub(crate) fn a_file_is_read_by_the_pool() {
    // Of this one nothing can be read without waiting.
    assert!(!fs::read("/proc/self/stat").unwrap().is_empty());
    assert!("localhost:1".to_socket_addrs().unwrap().next().is_some());
}
