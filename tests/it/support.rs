//! What the tests share: a time limit for each, and every kind of runtime.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use greenrt::Runtime;

/// A test that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a test; if it does not end in time, says what its green threads do and aborts.
#[track_caller]
pub fn limited<T>(test: impl FnOnce() -> T) -> T {
    limited_to(LIMIT, test)
}

/// As [`limited`], with a limit of its own.
#[track_caller]
pub fn limited_to<T>(limit: Duration, test: impl FnOnce() -> T) -> T {
    let (done, watch) = channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_string();
    let watchdog = thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!(
                "{name} did not end within {limit:?}\n{}",
                greenrt::debug::dump()
            );
            std::process::abort();
        }
    });
    let result = panic::catch_unwind(AssertUnwindSafe(test));
    drop(done);
    watchdog.join().unwrap();
    result.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Runs a test as the first green thread of `greenrt::run`, and of runtimes with 1, 2 and 4
/// workers.
#[track_caller]
pub fn on_each_runtime(test: impl Fn() + Clone + Send + 'static) {
    limited(|| {
        let first = test.clone();
        greenrt::run(first);
        for n_workers in [1, 2, 4] {
            let runtime = Runtime::builder().workers(n_workers).build().unwrap();
            runtime.run(test.clone());
        }
    });
}

/// As [`on_each_runtime`], and on a plain OS thread too.
#[track_caller]
pub fn on_each_runtime_and_off(test: impl Fn() + Clone + Send + 'static) {
    limited(test.clone());
    on_each_runtime(test);
}

/// Numbers that look random and come again with the same seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
