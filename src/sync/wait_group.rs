//! Waiting until all who belong to something are done.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Duration;

use super::event::Event;
use super::wait::Until;
use crate::park::reason::Reason;

/// A group of which each member has a clone, and is done when it drops it.
///
/// # Examples
///
/// ```
/// use greenrt::sync::WaitGroup;
///
/// greenrt::run(|| {
///     let group = WaitGroup::new();
///     for _ in 0..10 {
///         let member = group.clone();
///         greenrt::spawn(move || {
///             greenrt::yield_now();
///             drop(member);
///         });
///     }
///     group.wait();
/// });
/// ```
pub struct WaitGroup(Arc<Inner>);

struct Inner {
    n_members: AtomicUsize,
    done: Event,
}

impl WaitGroup {
    /// A group of one.
    pub fn new() -> Self {
        WaitGroup(Arc::new(Inner {
            n_members: AtomicUsize::new(1),
            done: Event::new(),
        }))
    }

    /// Leaves the group, and waits until it has no more members.
    ///
    /// If it has none this spends a credit. A cancelled green thread unwinds from here; it has left
    /// the group.
    pub fn wait(self) {
        self.leave()
            .done
            .wait_until(Until::Done, Reason::WAIT_GROUP);
    }

    /// As [`wait`](WaitGroup::wait), for at most `timeout`; whether all were done.
    pub fn wait_timeout(self, timeout: Duration) -> bool {
        let inner = self.leave();
        inner
            .done
            .wait_until(Until::After(timeout), Reason::WAIT_GROUP)
    }

    fn leave(self) -> Arc<Inner> {
        Arc::clone(&self.0)
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> Self {
        if self.0.n_members.fetch_add(1, Relaxed) > usize::MAX / 2 {
            // Only leaked members get here; wrapping around would end the wait too early.
            std::process::abort();
        }
        WaitGroup(Arc::clone(&self.0))
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        // AcqRel: what all members have done comes before the end of the wait.
        if self.0.n_members.fetch_sub(1, AcqRel) == 1 {
            self.0.done.set();
        }
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("n_members", &self.0.n_members.load(Relaxed))
            .finish()
    }
}
