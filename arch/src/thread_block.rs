//! Private thread-locals: a thread-local block for each green thread.
//!
//! Compiled code finds its thread-locals at fixed distances from the *thread pointer*, a register
//! (the FS base on x86-64). There lies glibc's record of the thread, `struct pthread`, with the
//! initialised thread-locals of all modules below it. A [`Block`] is such an area for a green
//! thread, in memory that the caller supplies: the top of its stack slot. While a block is
//! installed, everything that asks for a thread-local, `errno`, `pthread_self()` or
//! `std::thread::current()` gets the green thread's own, without knowing about us.
//!
//! ```text
//! at                      thread pointer                                    at + bytes()
//!  | surplus | thread-locals | struct pthread              | ours: `Header` |
//!  +---------+---------------+-----------------------------+----------------+
//!            modules, from the executable (right) to libc and those opened later (left)
//! ```
//!
//! # Where the contents come from
//!
//! From a fresh thread. Once per process, [`support`] starts an OS thread that copies its own area
//! before it does anything else (`glibc/capture.rs`). A new block is that copy
//! (`glibc/template.rs`): pointers into the area moved along, pointers to that thread's stack
//! cleared, an id and the stack's bounds filled in. So canary, pointer guard, locale, resolver state and what a later glibc may add are right
//! without a case for each. What must be known of glibc's layout is what it publishes for
//! debuggers, or is measured in that thread and checked; anything unexpected makes private
//! thread-locals [`Unavailable`], with the reason.
//!
//! # Rules
//!
//! - *The thread pointer always points at a complete block.* A signal handler may run between any
//!   two instructions. [`Block::install`] is a copy of a few words and one instruction.
//! - *malloc's cache belongs to the OS thread.* Green threads never switch inside malloc, so those
//!   of one worker, and the worker, are one thread to it: the words by which glibc's malloc finds
//!   cache and arena (and `getrandom` its state) travel from block to block in `install`. No block
//!   has a cache of its own that would have to be made, or be freed with it.
//! - *A function sees one block.* Compilers may keep the address of a thread-local in a register
//!   for the whole of a function. A function that installs a block must touch no thread-local
//!   before the block it began with is back, nor may what is inlined into it. The switch satisfies
//!   this: each side installs the other's block immediately before it leaves the stack, and when
//!   it goes on, the other side has installed its own again.
//! - *Live blocks are registered* (`glibc/registry.rs`), because `dlopen` of a library with static
//!   thread-locals must initialise them in every live block, as glibc does for its threads. For
//!   this `dlopen` is interposed (`glibc/interpose.rs`).
//!
//! # What a green thread with a block of its own cannot do
//!
//! The kernel knows the worker only. A block's thread id is made up (above 2^22, where no process's
//! is), so what takes an id from `struct pthread` to the kernel does not work:
//!
//! - a priority-inheriting mutex that a green thread holds makes others wait for ever; a robust one
//!   is not released when the process dies;
//! - `pthread_setaffinity_np`, `pthread_setschedparam` and `pthread_getcpuclockid` on oneself fail
//!   with `ESRCH`; `sched_setaffinity` and the like, with 0 for oneself, mean the worker.
//!   `pthread_getattr_np` is interposed and works;
//! - `pthread_exit` and `pthread_cancel` are not supported.
//!
//! `fork` works, and so do `setuid` and its like: while libc is busy with its own record of the OS
//! thread, that one is installed (`glibc/interpose.rs`, `glibc/credentials.rs`).
//!
//! Constructors of a library
//! that a green thread loads by `dlopen` find the static thread-locals of that library zero, where
//! they should be initialised. A library that comes by another way (`dlmopen`, modules that libc
//! loads for itself) is seen in full only by blocks built later.
//!
//! # What it costs
//!
//! `examples/thread_blocks.rs` measures it. A block is libc's record, 2.3 KiB, and the thread-locals
//! of all modules with libc's reserve, 2 KiB at least; besides, the dynamic linker allocates some
//! 300 bytes. An allocator other than libc's that keeps a heap per thread makes one for each green
//! thread that allocates, tens or hundreds of KiB large, and gives it up at its end.
//!
//! # Considered and left out
//!
//! - Building `struct pthread` field by field: every release of glibc adds one that matters.
//! - A cache of malloc's per block: 640 bytes and a thread-local `tcache` each, lost with the pages.
//! - Linking blocks into glibc's own list of threads: `dlopen` would find them, but so would `fork`,
//!   `setuid` and debuggers, who want kernel threads.

#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
)))]
mod absent;
#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]
mod glibc;

#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
)))]
pub use absent::{Block, Support, set_pthread_self, support};
#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]
pub use glibc::{Block, Support, set_pthread_self, support};

use std::fmt;

/// Why this process cannot have private thread-locals.
///
/// Displays as a clause: `no FSGSBASE: the kernel does not let programs set the thread pointer`.
#[derive(Debug)]
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    fn new(reason: impl Into<String>) -> Unavailable {
        Unavailable {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Unavailable {}
