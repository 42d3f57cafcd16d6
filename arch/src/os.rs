//! The one seam between this crate and the operating system.
//!
//! `unix.rs` has what every Unix does alike, through libc. `linux.rs` or `other.rs` has the rest:
//!
//! | function             | promise                                                              |
//! |----------------------|----------------------------------------------------------------------|
//! | `MAP_FLAGS_STACK`    | extra `mmap` flags for memory that will be stacks                    |
//! | `keep_pages_small`   | no huge page will back the range                                     |
//! | `guard`              | touching the ranges faults, without a mapping each; or `Unsupported` |
//! | `discard`            | the ranges' memory goes back to the system, and they stay mapped     |
//! | `populate`           | the ranges' memory is there before it is touched; may do nothing     |
//! | `mappings_max`       | how many mappings a process may have, if that is limited             |
//! | `signal_frame_bytes` | what the kernel needs of a signal stack besides the handler          |
//! | `thread_id` †        | a number that no other OS thread of the process has                  |
//! | `write_stderr` †     | writes to descriptor 2                                               |
//! | `raise` †            | sends a signal to the calling OS thread                              |
//! | `wait_for_ever` †    | sleeps until the process ends                                        |
//! | `poll`, `listen`     | the system calls, never an interposed function of that name          |
//! | `receive*`, `send*`  | the same, of `recv` and `send` and their kin                         |
//! | `SocketAddrExt`      | abstract names of the Unix domain, if there are any                  |
//! | `EPOLL`, `epoll_*`   | `false` and `Unsupported` where there is no such thing               |
//! | `open_process`, `signal_process`, `die_with_parent` | or `Unsupported`                      |
//! | `wait_id`            | `waitid` that never waits                                            |
//! | `read_now`, `write_now` | reads and writes that never wait, or `EOPNOTSUPP`                 |
//! | `poll_all`           | `poll` of several descriptors, for ever                              |
//!
//! †: async-signal-safe.
//!
//! # Rule
//!
//! What may run in a signal handler, or under a name that greenlibc interposes, does not go through
//! libc on Linux: `raw.rs` enters the kernel itself. Such a call cannot come back to us, and it
//! leaves `errno` alone, which is a thread-local that the scheduler must not touch between two
//! switches.

mod unix;
pub(crate) use unix::*;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) mod raw;
#[cfg(target_os = "linux")]
pub use linux::SocketAddrExt;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(target_os = "linux")]
pub(crate) use raw::futex;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub use other::SocketAddrExt;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::*;

use std::io;

/// Names what was being done when `error` came, and keeps its kind.
pub(crate) fn context(what: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
