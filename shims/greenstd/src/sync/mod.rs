//! std's locks, channels and cells that are filled once, for threads of both kinds.
//!
//! What waits parks the calling green thread, or blocks the calling OS thread; one lock or channel
//! may be used from both at once. Words that std has for others too ([`Arc`], [`PoisonError`],
//! [`mpsc::SendError`], [`atomic`] ...) are std's own.
//!
//! # Differences from std
//!
//! - No wait here is a point of cancellation, or is ended by a time limit: code that is sound on std
//!   relies on it.
//! - A thread that unwinds because it was cancelled or because a time limit of its has passed does
//!   not poison what it holds, and leaves a [`Once`] that it was running as it was. See
//!   [`greenrt::Cancelled`].
//! - [`Mutex`] and [`RwLock`] are fair. Whoever has waited for half a millisecond for a mutex, or was
//!   woken for it and found it taken again, gets it next. Readers and writers take turns.
//! - A call that succeeds without waiting spends a credit ([`greenrt::lowlevel::spend_credit`]), so
//!   that nobody keeps its worker by always succeeding. So does one that only tries and fails.
//!
//! # Examples
//!
//! ```
//! use greenstd::sync::{Arc, Mutex};
//! use greenstd::thread;
//!
//! let sum = Arc::new(Mutex::new(0));
//! let threads: Vec<_> = (1..=10).map(|n| {
//!     let sum = Arc::clone(&sum);
//!     thread::spawn(move || *sum.lock().unwrap() += n)
//! }).collect();
//! threads.into_iter().for_each(|thread| thread.join().unwrap());
//! assert_eq!(*sum.lock().unwrap(), 55);
//! ```

mod barrier;
mod condvar;
mod lazy_lock;
mod lock;
pub mod mpsc;
mod mutex;
mod once;
mod once_lock;
mod raw_mutex;
mod raw_rwlock;
mod rwlock;

pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};

pub use self::barrier::{Barrier, BarrierWaitResult};
pub use self::condvar::{Condvar, WaitTimeoutResult};
pub use self::lazy_lock::LazyLock;
pub use self::mutex::{Mutex, MutexGuard};
#[expect(deprecated, reason = "mirrors it")]
pub use self::once::ONCE_INIT;
pub use self::once::{Once, OnceState};
pub use self::once_lock::OnceLock;
pub use self::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What `Send` and `Sync` promise, and the sizes.
const _: () = {
    use std::cell::Cell;
    use std::panic::{RefUnwindSafe, UnwindSafe};

    const fn send<T: Send + ?Sized>() {}
    const fn sync<T: Sync + ?Sized>() {}
    const fn unwind_safe<T: UnwindSafe + RefUnwindSafe + ?Sized>() {}

    // What is `Send` and no more, and what is no unwind-safe thing.
    type Sent = Cell<i32>;
    type Exclusive = &'static mut i32;

    send::<Mutex<Sent>>();
    sync::<Mutex<Sent>>();
    unwind_safe::<Mutex<Sent>>();
    unwind_safe::<Mutex<dyn Send>>();
    sync::<MutexGuard<'_, i32>>();
    send::<RwLock<Sent>>();
    sync::<RwLock<i32>>();
    unwind_safe::<RwLock<Exclusive>>();
    sync::<RwLockReadGuard<'_, i32>>();
    sync::<RwLockWriteGuard<'_, i32>>();
    send::<Condvar>();
    sync::<Condvar>();
    unwind_safe::<Condvar>();
    send::<Barrier>();
    sync::<Barrier>();
    unwind_safe::<Barrier>();
    send::<BarrierWaitResult>();
    send::<Once>();
    sync::<Once>();
    unwind_safe::<Once>();
    send::<OnceLock<Sent>>();
    sync::<OnceLock<i32>>();
    unwind_safe::<OnceLock<i32>>();
    send::<LazyLock<Sent, Sent>>();
    sync::<LazyLock<i32, Sent>>();
    unwind_safe::<LazyLock<i32>>();
    send::<mpsc::Sender<Sent>>();
    sync::<mpsc::Sender<Sent>>();
    unwind_safe::<mpsc::Sender<Exclusive>>();
    send::<mpsc::SyncSender<Sent>>();
    sync::<mpsc::SyncSender<Sent>>();
    unwind_safe::<mpsc::SyncSender<Exclusive>>();
    send::<mpsc::Receiver<Sent>>();
    unwind_safe::<mpsc::Receiver<Exclusive>>();
    send::<mpsc::IntoIter<Sent>>();

    assert!(size_of::<Mutex<u32>>() == size_of::<std::sync::Mutex<u32>>());
    assert!(size_of::<Once>() == size_of::<std::sync::Once>());
    assert!(size_of::<Condvar>() == size_of::<std::sync::Condvar>());
};

/// What is neither `Send` nor `Sync`, because std's is not.
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<greenstd::sync::MutexGuard<'static, i32>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::MutexGuard<'static, std::cell::Cell<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<greenstd::sync::Mutex<std::rc::Rc<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::Mutex<std::rc::Rc<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<greenstd::sync::RwLockReadGuard<'static, i32>>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<greenstd::sync::RwLockWriteGuard<'static, i32>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::RwLock<std::cell::Cell<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::OnceLock<std::cell::Cell<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::LazyLock<std::cell::Cell<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::mpsc::Receiver<i32>>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<greenstd::sync::mpsc::Sender<std::rc::Rc<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<greenstd::sync::mpsc::SyncSender<std::rc::Rc<i32>>>();
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<greenstd::sync::mpsc::Receiver<std::rc::Rc<i32>>>();
/// ```
///
/// A guard may change what it guards, so its type may be no other lifetime's:
///
/// ```compile_fail
/// fn shorten<'a>(guard: greenstd::sync::MutexGuard<'a, &'static str>)
///     -> greenstd::sync::MutexGuard<'a, &'a str> { guard }
/// ```
#[cfg(doctest)]
mod refused {}
