//! Plain std, and C, in a process in which greenlibc stands in for libc.
//!
//! Every test runs on a green thread that `std::thread::spawn` has made, once with one worker and once
//! with two. With one worker what blocks it never ends, because what it waits for is done by a
//! sibling: so that a test ends is the proof that its calls park.

#![expect(
    clippy::disallowed_methods,
    reason = "std, which they are about, is what is tested"
)]

mod support;

mod copying;
mod fds;
mod locks;
mod net;
mod processes;
mod sleeping;
mod threads;

fn main() {
    if let Ok(name) = std::env::var(support::PROBE) {
        return processes::run_probe(&name);
    }
    support::main(&[
        copying::TESTS,
        fds::TESTS,
        locks::TESTS,
        net::TESTS,
        processes::TESTS,
        sleeping::TESTS,
        threads::TESTS,
    ]);
}
