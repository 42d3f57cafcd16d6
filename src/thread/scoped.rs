//! Green threads that borrow from the frame that spawned them.
//!
//! # Rule
//!
//! The frame of `scope` is not left, by returning or by unwinding, before every thread of the
//! scope has ended and its result is stored. Nothing shortens that wait: if the owner is asked to
//! end, or a limit around it passes, its threads are asked to end first, and the frame waits for
//! them all the same.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;

use super::{JoinHandle, Result, Thread};
use crate::cancel::{self, Interrupt};
use crate::park::reason::Reason;
use crate::park::word::{CLAIM_WOKEN, Ends};
use crate::park::{Ended, Episode, Target};
use crate::record::packet::{End, Hook};
use crate::scheduler::Section;

/// A scope to spawn green threads in; see [`scope`].
///
/// As [`std::thread::Scope`].
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<ScopeData>,
    /// Invariant, as in std: the scope may neither shrink nor grow.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct ScopeData {
    n_running: AtomicUsize,
    /// Threads that panicked, and that were cancelled, and were not joined.
    n_panics: AtomicUsize,
    n_cancelled: AtomicUsize,
    /// The owner, while it waits for the end.
    owner: Mutex<Option<Target>>,
    /// Whom to cancel with the owner. Those that have ended are swept out as it grows.
    children: Mutex<Vec<Thread>>,
    /// The threads were cancelled, and new ones are to be.
    cancelled: AtomicBool,
}

impl ScopeData {
    /// What counts the threads that ended so.
    fn count(&self, end: End) -> Option<&AtomicUsize> {
        match end {
            End::Returned => None,
            End::Panicked => Some(&self.n_panics),
            End::Cancelled => Some(&self.n_cancelled),
        }
    }

    fn add_child(&self, thread: &Thread) {
        let _section = Section::enter_green();
        let mut children = self.children.lock();
        if children.len() == children.capacity() {
            children.retain(|child| child.record().is_some_and(|record| !record.is_done()));
        }
        children.push(thread.clone());
        drop(children);
        // Acquire: pairs with the release in `cancel_children`. Either that finds the new child in
        // the list, or we find that it has been there.
        if self.cancelled.load(Acquire) {
            cancel::cancel(thread);
        }
    }

    fn cancel_children(&self) {
        let _section = Section::enter_green();
        self.cancelled.store(true, Release);
        let children = std::mem::take(&mut *self.children.lock());
        children.iter().for_each(cancel::cancel);
    }

    /// Waits until every thread has ended. An interrupt on the way cancels them, and is returned
    /// when they have.
    fn wait_all(&self) -> Option<Interrupt> {
        let _section = Section::enter_green();
        let mut interrupted = None;
        loop {
            let by_cancel = !self.cancelled.load(Relaxed);
            // Acquire: pairs with the release of the last thread to end.
            if self.n_running.load(Acquire) == 0 {
                return interrupted;
            }
            let episode = match Episode::open(
                Reason::SCOPE,
                Ends {
                    by_token: false,
                    by_cancel,
                },
            ) {
                Ok(episode) => episode,
                Err(ended) => {
                    interrupted = self.interrupt(ended);
                    continue;
                }
            };
            *self.owner.lock() = Some(episode.target());
            let ended = if self.n_running.load(Acquire) == 0 {
                drop(episode);
                Ended::Woken(0)
            } else {
                episode.park(None)
            };
            *self.owner.lock() = None;
            if matches!(ended, Ended::Interrupted(_)) {
                interrupted = self.interrupt(ended);
            }
        }
    }

    fn interrupt(&self, ended: Ended) -> Option<Interrupt> {
        let Ended::Interrupted(interrupt) = ended else {
            return None;
        };
        self.cancel_children();
        Some(interrupt)
    }
}

/// Counts one thread of a scope: in when it is made, out when it is dropped.
pub(crate) struct Counted(Arc<ScopeData>);

impl Counted {
    fn new(data: &Arc<ScopeData>) -> Self {
        data.n_running.fetch_add(1, Relaxed);
        Counted(Arc::clone(data))
    }
}

impl Hook for Counted {
    fn ended(self, end: End) {
        if let Some(count) = self.0.count(end) {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let _section = Section::enter_green();
        // AcqRel: the owner sees everything that the thread did.
        if self.0.n_running.fetch_sub(1, AcqRel) == 1 {
            let wake = {
                let owner = self.0.owner.lock();
                owner.as_ref().and_then(|owner| owner.claim(CLAIM_WOKEN))
            };
            if let Some(wake) = wake {
                wake.wake();
            }
        }
    }
}

/// Runs `f` with a scope in which green threads may borrow what outlives the scope.
///
/// As [`std::thread::scope`]: all its threads have ended when this returns.
///
/// The end of a scope is not a point of cancellation. If the owner is cancelled, or a limit
/// around it passes, while it waits for its threads, these are cancelled first; then the
/// owner goes on unwinding if one of them ended by that, and otherwise returns.
///
/// # Panics
///
/// With whatever `f` panics with; or if a thread panicked that was not joined. One that was
/// cancelled does not count as such.
///
/// # Examples
///
/// ```
/// let mut numbers = vec![1, 2, 3];
/// let sum = greenrt::scope(|s| {
///     let sum = s.spawn(|| numbers.iter().sum::<i32>());
///     sum.join().unwrap()
/// });
/// numbers.push(sum);
/// assert_eq!(numbers, [1, 2, 3, 6]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        data: Arc::new(ScopeData {
            n_running: AtomicUsize::new(0),
            n_panics: AtomicUsize::new(0),
            n_cancelled: AtomicUsize::new(0),
            owner: Mutex::new(None),
            children: Mutex::new(Vec::new()),
            cancelled: AtomicBool::new(false),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result
        .as_ref()
        .is_err_and(|payload| cancel::is_interrupt(&**payload))
    {
        scope.data.cancel_children();
    }
    let interrupted = scope.data.wait_all();
    match result {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if scope.data.n_panics.load(Relaxed) > 0 => panic!("a scoped thread panicked"),
        Ok(value) => match interrupted.or_else(cancel::pending) {
            // Its threads have not done what they were to do, because of us.
            Some(interrupt) if scope.data.n_cancelled.load(Relaxed) > 0 => interrupt.unwind(),
            _ => value,
        },
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a green thread in the scope.
    ///
    /// # Panics
    ///
    /// If no stack can be had; use [`Builder::spawn_scoped`](crate::Builder::spawn_scoped) to
    /// recover from that.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        crate::Builder::new()
            .spawn_scoped(self, f)
            .expect("failed to spawn a green thread")
    }

    /// Spawns with a hook that counts the thread in and, in the end, out.
    pub(super) fn spawn_with<T>(
        &'scope self,
        spawn: impl FnOnce(Counted) -> io::Result<JoinHandle<T>>,
    ) -> io::Result<ScopedJoinHandle<'scope, T>> {
        let handle = spawn(Counted::new(&self.data))?;
        self.data.add_child(handle.thread());
        let data = Arc::clone(&self.data);
        Ok(ScopedJoinHandle {
            handle,
            data,
            scope: PhantomData,
        })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("n_running", &self.data.n_running.load(Relaxed))
            .finish_non_exhaustive()
    }
}

/// The handle of a green thread in a scope.
///
/// As [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    data: Arc<ScopeData>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// The thread.
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until the thread has ended and returns its result.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`].
    pub fn join(self) -> Result<T> {
        let result = self.handle.join();
        if let Some(count) = self.data.count(End::of(&result)) {
            // Handled: the scope need not mind. Counted in by `ended`, which may come only after
            // the result is there, so the number may pass through below zero.
            count.fetch_sub(1, Relaxed);
        }
        result
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
}
