//! Crates from elsewhere, as they are, on green threads that `std::thread::spawn` has made.
//!
//! Two things are proved of each. Others run on the same worker while it waits: with one worker, whatever
//! blocks it would wait for ever for a sibling on the other end; where the other end is not in this
//! process, a ticker runs meanwhile. And no OS threads are added ([`no_more_os_threads`]).

#![expect(clippy::disallowed_methods, reason = "std, which the crates use")]

#[allow(dead_code, reason = "shared with tests/libc")]
#[path = "../../libc/support.rs"]
mod support;

mod http;
mod locks;
mod postgres;
mod redis;
mod server;
mod sqlite;
mod tls;
mod tokio;

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn main() {
    support::main(&[
        http::TESTS,
        locks::TESTS,
        postgres::TESTS,
        redis::TESTS,
        sqlite::TESTS,
        tls::TESTS,
        tokio::TESTS,
    ]);
}

/// Runs `f`; how often a sibling called `tick` meanwhile, a millisecond after the last time.
fn with_ticker(f: impl FnOnce(), mut tick: impl FnMut() + Send + 'static) -> usize {
    let ticks = Arc::new(AtomicUsize::new(0));
    let ticker = {
        let ticks = Arc::downgrade(&ticks);
        thread::spawn(move || {
            while let Some(ticks) = ticks.upgrade() {
                ticks.fetch_add(1, Relaxed);
                drop(ticks);
                tick();
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    f();
    let n_ticks = ticks.load(Relaxed);
    drop(ticks);
    ticker.join().unwrap();
    n_ticks
}

/// Runs `f`, which must let others on the same worker run meanwhile, at least `n` times, and start no
/// OS threads.
pub(crate) fn lets_others_run(n: usize, f: impl FnOnce()) {
    let mut n_ticks = 0;
    no_more_os_threads(|| n_ticks = with_ticker(f, || ()));
    assert!(n_ticks >= n, "{n_ticks} ticks");
}

/// Runs `f`, in which no OS threads must be started but those of the pool, of which there are 48 at most.
pub(crate) fn no_more_os_threads(f: impl FnOnce()) {
    starts_os_threads(0, f);
}

/// As `no_more_os_threads`, for what starts `n` of them, which are still there when it returns.
pub(crate) fn starts_os_threads<T>(n: usize, f: impl FnOnce() -> T) -> T {
    let known = os_threads().collect();
    let started = Arc::new(Started(Mutex::new((known, Vec::new()))));
    let mut returned = None;
    let ticking = Arc::clone(&started);
    with_ticker(|| returned = Some(f()), move || ticking.look());
    started.look();
    let started = started.0.lock().unwrap();
    let started = &started.1;
    assert_eq!(
        started.len(),
        n,
        "OS threads that were started: {started:?}"
    );
    returned.unwrap()
}

/// The OS threads that are known, and those of them that were started and are not the pool's.
struct Started(Mutex<(HashSet<u32>, Vec<u32>)>);

impl Started {
    fn look(&self) {
        let mut state = self.0.lock().unwrap();
        let (known, started) = &mut *state;
        let new: Vec<_> = os_threads()
            .filter(|&thread| known.insert(thread))
            .collect();
        started.extend(new.into_iter().filter(|&thread| !is_of_pool(thread)));
    }
}

/// The numbers of the OS threads that there are.
fn os_threads() -> impl Iterator<Item = u32> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    threads.map(|thread| {
        thread
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    })
}

/// Whether an OS thread is one of greenrt's pool. One that has just been started is not named yet.
fn is_of_pool(thread: u32) -> bool {
    let name = || fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
    (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(1));
        name().is_ok_and(|name| matches!(name.trim_end(), "greenrt-offload" | "greenrt-dns"))
    })
}
