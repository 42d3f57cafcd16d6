//! Everything in greenrt that knows a CPU or an operating system.
//!
//! The runtime above is written against this crate and contains no `cfg(target_os)` and no
//! `libc::`. The modules here are small and know nothing of green threads: a stack slot has an
//! owner word, and whoever sets it says what it means.
//!
//! | module           | what it gives                                                        |
//! |------------------|----------------------------------------------------------------------|
//! | [`stack`]        | guarded stack slots by the million, and whose stack an address is in |
//! | [`overflow`]     | the report for a stack overflow; alternate signal stacks             |
//! | [`thread_block`] | thread-locals that are a green thread's own                          |
//! | [`context`]      | stack, frame and instruction pointer of the caller; prefetch         |
//! | [`epoll`]        | waiting for readiness with nanosecond timeouts                       |
//! | [`fd`]           | blocking on one descriptor; questions and settings of sockets        |
//! | [`socket`]       | reading and writing without waiting; options of sockets              |
//! | [`process`]      | looking at children, signals to them; pipes that nobody waits for    |
//! | [`errno`]        | the few errors the runtime makes itself                              |
//! | [`clock`]        | monotonic time, CPU time                                             |
//! | [`futex`]        | the kernel's futex, and the place in front of it                     |
//! | [`fork`]         | what must happen around a fork                                       |
//! | [`usage`]        | what the process holds, for tests and benchmarks                     |
//! | [`page`]         | the size of a page                                                   |
//!
//! # Platforms
//!
//! | system               | stack guards               | short timeouts           | epoll |
//! |----------------------|----------------------------|--------------------------|-------|
//! | Linux 6.13 and newer | markers, no mapping each   | nanoseconds              | yes   |
//! | Linux before that    | `mprotect`, a mapping each | nanoseconds from 5.11 on | yes   |
//! | another Unix         | `mprotect`, a mapping each | milliseconds             | no    |
//!
//! Green threads have thread-locals of their own on Linux with glibc, on x86-64.
//!
//! # A port supplies
//!
//! - an operating system: a sibling of `os/linux.rs` with the functions that file exports, chosen
//!   in `os.rs`, whose header describes them. `os/other.rs` is the least that works on a Unix;
//! - a CPU: the registers in `context.rs`, and for Linux the instruction that enters the kernel, in
//!   `os/raw.rs`. Without either there is a slower form in plain Rust and libc.
//!   Thread-locals are `thread_block/glibc.rs`; without them green threads share their worker's.

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("greenrt needs a 64-bit Unix: a million stacks do not fit a smaller address space");

pub mod clock;
pub mod context;
pub mod epoll;
pub mod errno;
pub mod fd;
pub mod fork;
pub mod futex;
mod os;
pub mod overflow;
pub mod page;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod peek;
pub mod process;
pub mod socket;
pub mod stack;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod syscall;
pub mod thread_block;
pub mod usage;

/// Everything that a poller of the crate mio can be asked to watch on this system, given its type
/// of interests. A macro, so that this crate needs no mio and the caller no `cfg(target_os)`.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[macro_export]
macro_rules! all_interests {
    ($interest:ident) => {
        $interest::READABLE | $interest::WRITABLE | $interest::PRIORITY
    };
}

/// Everything that a poller of the crate mio can be asked to watch on this system, given its type
/// of interests. A macro, so that this crate needs no mio and the caller no `cfg(target_os)`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[macro_export]
macro_rules! all_interests {
    ($interest:ident) => {
        $interest::READABLE | $interest::WRITABLE
    };
}

/// What of it concerns reading; otherwise as [`all_interests`].
#[cfg(any(target_os = "linux", target_os = "android"))]
#[macro_export]
macro_rules! read_interests {
    ($interest:ident) => {
        $interest::READABLE | $interest::PRIORITY
    };
}

/// What of it concerns reading; otherwise as [`all_interests`].
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[macro_export]
macro_rules! read_interests {
    ($interest:ident) => {
        $interest::READABLE
    };
}

#[cfg(test)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "few tests run there")
)]
mod testing;
