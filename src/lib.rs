//! Green threads for Rust: blocking code that yields underneath.
//!
//! ```
//! use std::time::Duration;
//!
//! greenrt::run(|| {
//!     let hellos: Vec<_> = (0..10).map(|_| greenrt::spawn(|| {
//!         println!("Hello");
//!         greenrt::sleep(Duration::from_millis(30));
//!         println!("World");
//!     })).collect();
//!     hellos.into_iter().for_each(|hello| hello.join().unwrap());
//! });
//! ```

#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "only the modelled parts are built"))]

mod primitive;

#[cfg(not(loom))]
mod cancel;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
pub mod debug;
#[cfg(not(loom))]
mod generator;
#[cfg(not(loom))]
pub mod lowlevel;
#[cfg(not(loom))]
mod park;
#[cfg(not(loom))]
mod reactor;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod scheduler;
#[cfg(not(loom))]
mod stack_pool;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
mod wait_queue;

/// Under the model checker only the files that argue about interleavings are built.
#[cfg(loom)]
mod park {
    pub(crate) mod word;
}
#[cfg(loom)]
mod scheduler {
    pub(crate) mod fresh;
    pub(crate) mod idle;
    pub(crate) mod inbox;
}

#[cfg(not(loom))]
pub use self::{
    cancel::{Cancelled, Elapsed, shield, timeout},
    clock::{Clock, ManualClock},
    debug::panic_hook,
    generator::{Generator, GeneratorState, Yielder},
    runtime::{Runtime, RuntimeBuilder, run},
    thread::{
        Builder, JoinHandle, Result, Scope, ScopedJoinHandle, Thread, ThreadId, current, park,
        park_timeout, scope, sleep, sleep_until, spawn, spawn_after, spawn_local, yield_now,
    },
};
