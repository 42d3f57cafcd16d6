//! Green threads as their users see them; names and order as in `std::thread`.

mod builder;
mod functions;
pub(crate) mod id;
mod join_handle;
mod scoped;

use std::cell::RefCell;
use std::fmt;

pub use self::builder::Builder;
pub use self::functions::{
    current, park, park_timeout, sleep, sleep_until, spawn, spawn_after, spawn_local, yield_now,
};
pub use self::id::ThreadId;
pub use self::join_handle::JoinHandle;
pub use self::scoped::{Scope, ScopedJoinHandle, scope};
pub use crate::record::packet::Result;
use crate::record::{Record, RecordRef};
use crate::scheduler;

/// A handle to a thread, green or not: its identity, and the means to unpark it.
///
/// Cloning is cheap. As [`std::thread::Thread`].
#[derive(Clone)]
pub struct Thread(Kind);

#[derive(Clone)]
enum Kind {
    Green(RecordRef),
    Os {
        thread: std::thread::Thread,
        id: ThreadId,
    },
}

// What a handle shows cannot be left half changed by a panic, as std's.
impl std::panic::UnwindSafe for Thread {}
impl std::panic::RefUnwindSafe for Thread {}

impl Thread {
    pub(crate) fn green(record: RecordRef) -> Self {
        Thread(Kind::Green(record))
    }

    /// The calling OS thread.
    pub(crate) fn current_os() -> Self {
        thread_local! {
            static CURRENT: RefCell<Option<Thread>> = const { RefCell::new(None) };
        }
        let make = || {
            let id = ThreadId::new(id::of_os_thread());
            Thread(Kind::Os {
                thread: std::thread::current(),
                id,
            })
        };
        let known =
            CURRENT.try_with(|current| current.borrow_mut().get_or_insert_with(make).clone());
        known.unwrap_or_else(|_| make())
    }

    pub(crate) fn record(&self) -> Option<&RecordRef> {
        match &self.0 {
            Kind::Green(record) => Some(record),
            Kind::Os { .. } => None,
        }
    }

    /// Its number.
    pub fn id(&self) -> ThreadId {
        match &self.0 {
            Kind::Green(record) => ThreadId::new(record.id()),
            Kind::Os { id, .. } => *id,
        }
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Green(record) => record.name(),
            Kind::Os { thread, .. } => thread.name(),
        }
    }

    /// Whether it is a green thread.
    pub fn is_green(&self) -> bool {
        self.record().is_some()
    }

    /// Makes its token available, and lets it go on if it waits in [`park`].
    ///
    /// The token stays until a `park` uses it, also if the thread waits for something else now.
    /// Whatever the caller did before is visible to the thread when its `park` returns.
    #[inline]
    pub fn unpark(&self) {
        match &self.0 {
            Kind::Green(record) => scheduler::unpark(record),
            Kind::Os { thread, .. } => thread.unpark(),
        }
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The record of the calling green thread.
#[expect(unsafe_code, reason = "counts a reference to the record that runs")]
pub(crate) fn current_record() -> Option<RecordRef> {
    scheduler::with_local(|local| {
        let at = local.current()?;
        // SAFETY: the scheduler holds a reference to what runs; it stays the scheduler's.
        let scheduler = std::mem::ManuallyDrop::new(unsafe { RecordRef::from_raw(at) });
        Some(RecordRef::clone(&scheduler))
    })
    .flatten()
}

/// What `size_of`, `Send` and `Sync` promise.
const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    const fn unwind_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    unwind_safe::<Thread>();
    send_and_sync::<Thread>();
    send_and_sync::<ThreadId>();
    send_and_sync::<Record>();
    send_and_sync::<JoinHandle<i32>>();
    send_and_sync::<ScopedJoinHandle<'static, i32>>();
    send_and_sync::<Scope<'static, 'static>>();
    send_and_sync::<crate::Runtime>();
    assert!(
        size_of::<Record>() <= 112,
        "a record with a small closure fits 128 bytes"
    );
};
