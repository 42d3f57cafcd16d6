//! What code sees that runs with a thread-local block of its own: everything a thread has is its
//! own and fresh, whatever libc or std keep it in.
//!
//! No stacks are switched here: a block is installed, a function called, and the OS thread's own
//! block installed again.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![expect(unsafe_code, reason = "installs blocks, calls libc")]
#![allow(
    clippy::disallowed_methods,
    reason = "below the runtime, and on OS threads alone"
)]

#[path = "../src/testing.rs"]
#[allow(dead_code, unreachable_pub, reason = "made for the crate's own tests")]
mod testing;

#[path = "thread_block/green.rs"]
mod green;
#[path = "thread_block/libc.rs"]
mod libc_sees;
#[path = "thread_block/loading.rs"]
mod loading;
#[path = "thread_block/memory.rs"]
mod memory;
#[path = "thread_block/process.rs"]
mod process_wide;
#[path = "thread_block/std.rs"]
mod std_sees;
