//! The tests that std must pass and greenstd alike, on std that greenlibc has made green: as
//! `tests/it/same` and `tests/streams/same`, whose bodies these are.
//!
//! Each runs on runtimes with one and two workers. With one, what blocks it never ends, because what it
//! waits for is done by a sibling.

#![expect(clippy::disallowed_methods, reason = "std is what is tested")]
#![expect(clippy::duplicate_mod, reason = "on OS threads and on green ones")]
#![allow(
    clippy::type_complexity,
    dead_code,
    reason = "as in `tests/it`, whose support this shares"
)]

#[path = "../it/support.rs"]
mod support;

#[path = "../streams/places.rs"]
mod places;

mod agreement;
mod green_std;
mod os_std;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// Runs a test on green threads that std has made.
#[track_caller]
fn run(test: impl Fn() + Send + Sync + 'static) {
    let test = Arc::new(test);
    greenlibc::patch_all();
    // Whoever watches the time is an OS thread.
    greenlibc::os_threads(|| {
        support::limited(|| {
            for n_workers in [1, 2] {
                let test = Arc::clone(&test);
                green(n_workers, move || test());
            }
        });
    });
}

/// Runs `f` on a green thread that std has made, of a runtime of its own.
fn green<T: Send + 'static>(n_workers: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    let main = || thread::spawn(f).join();
    let ended = support::runtime_with(greenrt::ThreadLocals::Private, n_workers).run(main);
    ended.unwrap_or_else(|payload| resume_unwind(payload))
}
