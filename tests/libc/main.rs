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

mod beside;
mod closing;
mod copying;
mod exits;
mod fds;
mod locks;
mod net;
mod opened;
mod probes;
mod processes;
mod results;
mod signals;
mod sleeping;
mod standard;
mod threads;
mod untold;

fn main() {
    if probes::is_probe(&[
        exits::PROBES,
        processes::PROBES,
        results::PROBES,
        standard::PROBES,
    ]) {
        return;
    }
    support::main(&[
        beside::TESTS,
        closing::TESTS,
        copying::TESTS,
        exits::TESTS,
        fds::TESTS,
        locks::TESTS,
        net::TESTS,
        opened::TESTS,
        processes::TESTS,
        results::TESTS,
        signals::TESTS,
        sleeping::TESTS,
        standard::TESTS,
        threads::TESTS,
        untold::TESTS,
    ]);
}
