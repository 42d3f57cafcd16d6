//! Locks, channels and the like for green threads, cancellable, and `select!` over them.
//!
//! A green thread that waits here parks; an OS thread blocks. Both may share one object, across
//! runtimes too. What std has under the same name keeps its behaviour, apart from what follows.
//!
//! # Cancellation and limits
//!
//! Every operation that may wait is a point: a cancelled green thread, or one around which a
//! [`timeout`](crate::timeout) has passed, unwinds from it. It then has done nothing: no message, no
//! permit and no lock was taken, and none is lost. Names with `try_` never wait and never unwind.
//! A [`Mutex`] that is free is locked without looking whether the thread was cancelled.
//!
//! # Fairness
//!
//! Who waits is served in the order of coming (a [`Mutex`] says when not). An operation that succeeds
//! without waiting spends a credit, and after 128 of them the thread yields, so that who finds
//! everything ready for ever starves nobody.

mod barrier;
pub mod channel;
mod condvar;
mod event;
mod lock;
mod mutex;
mod one_shot;
pub(crate) mod poison;
mod raw_mutex;
mod rwlock;
pub mod select;
mod semaphore;
mod wait;
mod wait_group;

pub use self::barrier::{Barrier, BarrierWaitResult};
pub use self::condvar::{Condvar, WaitTimeoutResult};
pub use self::event::Event;
pub use self::mutex::{Mutex, MutexGuard};
pub use self::one_shot::OneShot;
pub use self::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use self::semaphore::{Permit, Semaphore};
pub use self::wait_group::WaitGroup;
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
