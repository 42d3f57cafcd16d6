//! Green threads with the names and signatures of std's threads.
//!
//! [`spawn`] makes a green thread wherever it is called: on a worker for that worker's runtime, and
//! elsewhere for the global one. What waits parks the calling green thread, or blocks the calling OS
//! thread.
//!
//! # Differences from std
//!
//! - A thread has a stack of 1 MiB unless [`Builder::stack_size`] or `RUST_MIN_STACK` says
//!   otherwise, and of 8 MiB at most. Only what is used of it takes memory.
//! - A thread that computes without ever waiting holds up the others of its worker.
//! - [`current`] is the green thread. `std::thread::current()` is its worker's OS thread.
//! - [`thread_local!`](crate::thread_local) declares what belongs to each green thread, wherever
//!   std's thread-locals are those of the worker too.
//! - [`panicking`] is std's, and so tells of the worker's OS thread, unless green threads have
//!   thread-locals of their own.
//! - Of these functions only [`sleep`] is a point of cancellation.
//! - A handle has no thread of the system behind it: `os::unix::thread::JoinHandleExt` is not here.

mod builder;
mod functions;
mod join_handle;
mod local;
mod scoped;

pub use std::thread::{Result, available_parallelism, panicking};

pub use greenrt::{Thread, ThreadId, current, park, park_timeout, sleep, yield_now};

pub use self::builder::Builder;
#[expect(deprecated, reason = "mirrors them")]
pub use self::functions::{park_timeout_ms, sleep_ms, spawn};
pub use self::join_handle::JoinHandle;
#[doc(hidden)]
pub use self::local::local_impl;
pub use self::local::{AccessError, LocalKey};
pub use self::scoped::{Scope, ScopedJoinHandle, scope};

/// What `Send` and `Sync` promise.
const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<JoinHandle<i32>>();
    // Of any type, as std's: none can be made for what is not `Send`.
    send_and_sync::<JoinHandle<*const ()>>();
    send_and_sync::<LocalKey<*const ()>>();
    send_and_sync::<ScopedJoinHandle<'static, i32>>();
    send_and_sync::<Scope<'static, 'static>>();
};
