//! Crates from elsewhere, as they are, on green threads that `std::thread::spawn` has made.
//!
//! With one worker, whatever blocks it would wait for ever for a sibling on the other end. Where the other end is not
//! in this process, a ticker that runs meanwhile is the proof.

#[allow(dead_code, reason = "shared with tests/libc")]
#[path = "../../libc/support.rs"]
mod support;

mod http;
mod locks;
mod postgres;
mod sqlite;
mod tls;
mod tokio;

fn main() {
    support::main(&[
        http::TESTS,
        locks::TESTS,
        postgres::TESTS,
        sqlite::TESTS,
        tls::TESTS,
        tokio::TESTS,
    ]);
}

/// Runs `f`; whether others on the same worker ran meanwhile, at least `n` times.
pub(crate) fn lets_others_run(n: usize, f: impl FnOnce()) {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;
    let ticks = Arc::new(AtomicUsize::new(0));
    let ticker = {
        let ticks = Arc::downgrade(&ticks);
        std::thread::spawn(move || {
            while let Some(ticks) = ticks.upgrade() {
                ticks.fetch_add(1, Relaxed);
                drop(ticks);
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    f();
    let n_ticks = ticks.load(Relaxed);
    drop(ticks);
    ticker.join().unwrap();
    assert!(n_ticks >= n, "{n_ticks} ticks");
}
