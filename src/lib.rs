//! Green threads for Rust: blocking code that yields underneath.
//!
//! ```
//! use std::time::Duration;
//!
//! greenrt::run(|| {
//!     let hellos: Vec<_> = (0..10)
//!         .map(|_| {
//!             greenrt::spawn(|| {
//!                 println!("Hello");
//!                 greenrt::sleep(Duration::from_millis(300));
//!                 println!("World");
//!             })
//!         })
//!         .collect();
//!     hellos.into_iter().for_each(|hello| hello.join().unwrap());
//! });
//! ```
//!
//! Ten Hellos, a pause, ten Worlds, on one OS thread.
//!
//! # How it works
//!
//! A *green thread* is a closure with a stack of its own. *Workers*, which are OS threads, run
//! them: one at a time, until it waits or yields; then the worker switches to the next. A call
//! that waits parks the green thread and not the worker.
//!
//! - [`run`] makes the calling OS thread the one worker, and starts no other thread (but for one that
//!   looks at a fresh thread's thread-locals, once in a process, and ends).
//! - The first [`spawn`] outside any runtime starts the global one, with a worker for each CPU;
//!   `GREENRT_WORKERS` sets another number.
//! - Children are started by OS threads of their own, one from the first child on, and at most one for
//!   each CPU ([`process`]).
//! - [`offload`] makes calls that cannot yield on a small pool of OS threads. There are no others.
//! - [`Runtime::builder`] makes a runtime of its own.
//!
//! A spawned closure waits in its spawner's queue, from which an idle worker may take it. Once it
//! has begun it stays on its worker for life. So everything that a thread may assume of itself
//! holds: `Rc`, lock guards, borrows of thread-locals and raw descriptors stay on their OS thread.
//! On one worker, order is first in, first out: two threads that print, yield and print give
//! exactly `1A 2A 1B 2B`, and a spawn never runs before its spawner waits or yields.
//!
//! # What waits without blocking
//!
//! [`sleep`], [`park`], [`JoinHandle::join`], the end of a [`scope`], everything in [`sync`] (channels,
//! locks and the like, and [`select!`] over several of them), [`offload`], children of [`process`],
//! and every operation of [`lowlevel::Io`]. The crate `greenstd` mirrors std's modules on top of
//! these, and the crate `greenlibc` makes std's own, and those of every crate, park. Whatever else
//! blocks (std's own sockets, files, name resolution, a long computation) blocks the worker and
//! with it the green threads that it runs: [`offload`] it; [`yield_now`] in a computation lets them
//! have their turn. A call that succeeds without waiting spends one of 128 credits, and yields at
//! zero, so a peer that never stops sending starves nobody.
//!
//! On Linux on x86-64 with glibc std's own locks wait without blocking too, in every crate of the
//! program: `Mutex`, `RwLock`, `Condvar`, `Once` and what is made of them, `Barrier`. They reach
//! the kernel by libc's function `syscall`, and greenrt defines that symbol: it answers waits of
//! green threads on futexes that are private to the process, and passes everything else on. So do
//! `std::thread::park`, the channels of std and crossbeam, and `parking_lot`, where the green thread
//! has thread-locals of its own; where it shares them they block the worker, because such waits know
//! their thread by its thread-locals.
//!
//! # Thread-locals
//!
//! There, each green thread has thread-locals of its own: to its code, and to every crate that it
//! calls, it is a thread. [`ThreadLocals`] tells the exceptions, and how to have them shared.
//!
//! Called on a thread that is not green, every function does what std's does.
//!
//! # Ending early
//!
//! [`timeout`] bounds any code in time: the call in which it waits unwinds when the time is up.
//! Cancellation ([`lowlevel::cancel`]) works the same way; [`shield`] holds both back. Which calls
//! can unwind so is written at each of them.
//!
//! # Forks
//!
//! In the child of a plain `fork` on a green thread there is that green thread and no other. It goes
//! on: it may spawn, wait, become another program, or end. If it is not the closure of [`run`], the
//! process ends when it and what it has spawned have. Runtimes whose workers have not come along take
//! no more threads; the global one is started anew. What holds for every process of several OS
//! threads holds here: a lock that another of them held stays locked.
//!
//! # Seeing what happens
//!
//! [`debug::dump`] tells of every green thread what it waits for and where it was spawned. A stack
//! overflow says whose stack it was, and aborts, as in std. [`panic_hook`] makes panics name the
//! green thread.
//!
//! # Limits
//!
//! - Started threads do not move between workers.
//! - Where green threads share their worker's thread-locals: while one of them waits in a destructor
//!   during unwinding, `std::thread::panicking()` is true for its siblings too, which may poison
//!   a std lock that they drop, and holds their own cancellation back.
//! - A million guarded stacks need Linux 6.13; about 32,700 before that.
//! - With `panic = "abort"` nothing can unwind: cancellation and time limits then act on nothing.

#![cfg_attr(
    loom,
    allow(
        dead_code,
        unused_imports,
        reason = "only the modelled parts are built"
    )
)]

mod primitive;

#[cfg(not(loom))]
mod cancel;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
pub mod debug;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod futex;
#[cfg(not(loom))]
mod generator;
#[cfg(not(loom))]
pub mod lowlevel;
#[cfg(not(loom))]
mod offload;
#[cfg(not(loom))]
mod os_condvar;
#[cfg(not(loom))]
mod os_thread;
#[cfg(not(loom))]
mod park;
#[cfg(not(loom))]
mod pause;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
mod reactor;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod scheduler;
#[cfg(not(loom))]
mod server;
#[cfg(not(loom))]
mod stack_pool;
#[cfg(not(loom))]
pub mod sync;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
mod thread_data;
#[cfg(not(loom))]
mod thread_locals;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
mod wait_queue;

/// Under the model checker only the files that argue about interleavings are built.
#[cfg(loom)]
mod model;
#[cfg(loom)]
mod wait_queue;
#[cfg(loom)]
mod futex {
    pub(crate) mod lock;
    pub(crate) mod table;
}
#[cfg(loom)]
mod park {
    pub(crate) use crate::model::park::*;
    pub(crate) mod reason;
    pub(crate) mod word;
}
#[cfg(loom)]
mod scheduler {
    pub(crate) use crate::model::scheduler::*;
    pub(crate) mod fresh;
    pub(crate) mod idle;
    pub(crate) mod inbox;
}
#[cfg(loom)]
mod sync {
    pub(crate) mod channel;
    mod lock;
    #[cfg(test)]
    mod loom_tests;
    mod poison;
    mod raw_mutex;
    mod rwlock;
    mod wait;
}
#[cfg(loom)]
use model::{cancel, clock, lowlevel};
// For the files of greenstd that have models here.
#[cfg(loom)]
extern crate self as greenrt;

/// The README's program, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(not(loom))]
pub use self::{
    cancel::{Cancelled, Elapsed, shield, timeout},
    clock::{Clock, ManualClock},
    debug::panic_hook,
    generator::{Generator, GeneratorState, Yielder},
    offload::offload,
    runtime::{Runtime, RuntimeBuilder, run},
    server::{Accept, Server, ServerBuilder, Stopped},
    thread::{
        Builder, JoinHandle, Result, Scope, ScopedJoinHandle, Thread, ThreadId, current, park,
        park_timeout, scope, sleep, sleep_until, spawn, spawn_after, spawn_local, yield_now,
    },
    thread_locals::ThreadLocals,
};
