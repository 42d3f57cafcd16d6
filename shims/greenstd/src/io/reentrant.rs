//! A lock that its owner may take again, as standard output has it.

use std::marker::PhantomData;

use greenrt::ThreadId;

use crate::sync::{Condvar, Mutex, PoisonError};

/// Whose it is, and how often they have taken it.
type Owner = Option<(ThreadId, usize)>;

/// See the module's documentation. It guards nothing by itself.
pub(super) struct ReentrantLock {
    owner: Mutex<Owner>,
    freed: Condvar,
}

/// Gives the lock back when dropped. It stays with its thread.
pub(super) struct ReentrantGuard<'a> {
    lock: &'a ReentrantLock,
    _stays: PhantomData<*const ()>,
}

impl ReentrantLock {
    pub(super) const fn new() -> Self {
        ReentrantLock {
            owner: Mutex::new(None),
            freed: Condvar::new(),
        }
    }

    /// Waits until it is free, or the caller's own. Not a point of cancellation.
    pub(super) fn lock(&self) -> ReentrantGuard<'_> {
        let me = greenrt::current().id();
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut *owner {
                None => *owner = Some((me, 1)),
                Some((thread, n)) if *thread == me => *n += 1,
                Some(_) => {
                    owner = self
                        .freed
                        .wait(owner)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            return ReentrantGuard {
                lock: self,
                _stays: PhantomData,
            };
        }
    }
}

impl Drop for ReentrantGuard<'_> {
    fn drop(&mut self) {
        let mut owner = self
            .lock
            .owner
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *owner {
            Some((_, n)) if *n > 1 => *n -= 1,
            _ => {
                *owner = None;
                drop(owner);
                self.lock.freed.notify_one();
            }
        }
    }
}
