//! Locks and channels in every order of their steps: those here, and the words under greenstd's.
//!
//! What a lock guards is a cell of the checker's, which finds two that use it at once, and whatever
//! is not made visible to the next owner. Whoever is forgotten is a deadlock.

mod channels;
mod locks;
mod words;

use loom::sync::Arc;
use loom::thread;

/// Explores all orders with up to `n` preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn bounded(n: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(n));
    builder.check(model);
}

/// Runs `f` on another thread with what it shares.
fn beside<T: 'static, R: 'static>(
    shared: &Arc<T>,
    f: impl FnOnce(&T) -> R + 'static,
) -> thread::JoinHandle<R> {
    let shared = Arc::clone(shared);
    thread::spawn(move || f(&shared))
}

/// Runs `f`, in which the thread may be cancelled; `None`: it was.
fn unless_cancelled<R>(f: impl FnOnce() -> R) -> Option<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).ok()
}
