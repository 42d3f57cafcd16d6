//! std's blocking modules on green threads: same paths, same signatures, same errors.
//!
//! ```
//! use greenstd::io::{self, Read, Write};
//! use greenstd::net::{TcpListener, TcpStream};
//! use greenstd::thread;
//!
//! fn main() -> io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let server = thread::spawn(move || {
//!         let (mut stream, _) = listener.accept()?;
//!         stream.write_all(b"hello")
//!     });
//!     let mut text = String::new();
//!     TcpStream::connect(address)?.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     server.join().unwrap()
//! }
//! ```
//!
//! Replace `std::` in a path by `greenstd::` and the code below it stays as it is. What would block
//! parks the calling green thread instead, and its worker runs others meanwhile. On a plain OS
//! thread every item blocks that thread and answers as std does, so one program may use both.
//!
//! # What is here
//!
//! | std path                | here                      | what differs                                     |
//! |-------------------------|---------------------------|--------------------------------------------------|
//! | `net::TcpListener`      | [`net::TcpListener`]      | longest backlog; descriptor is non-blocking      |
//! | `net::TcpStream`        | [`net::TcpStream`]        | timeouts cost no system call                     |
//! | `net::Incoming`         | [`net::Incoming`]         | nothing                                          |
//! | `net::ToSocketAddrs`    | std's                     | looking up a *name* blocks the worker for now    |
//! | `net::UdpSocket`        | not yet                   |                                                  |
//! | rest of `net`           | std's                     | never blocks                                     |
//! | `os::fd`, `os::raw`     | std's                     | nothing                                          |
//! | `os::unix`              | std's                     | without sockets: see [`os`]                      |
//! | `os::linux::net::TcpStreamExt` | [`os::linux::net::TcpStreamExt`] | a trait of its own, std's is sealed |
//! | `thread::spawn`         | [`thread::spawn`]         | a green thread, everywhere; stack of 1 MiB       |
//! | `thread::Builder`       | [`thread::Builder`]       | stacks up to 8 MiB                               |
//! | `thread::JoinHandle`    | [`thread::JoinHandle`]    | nothing                                          |
//! | `thread::scope`         | [`thread::scope`]         | a cancelled owner cancels its threads            |
//! | `thread::Thread`        | [`greenrt::Thread`]       | green or not                                     |
//! | `thread::ThreadId`      | [`greenrt::ThreadId`]     | green or not                                     |
//! | `thread::current`       | [`greenrt::current`]      | the green thread                                 |
//! | `thread::sleep`         | [`greenrt::sleep`]        | parks; a point of cancellation                   |
//! | `thread::park` and kin  | [`greenrt::park`]         | parks                                            |
//! | `thread::yield_now`     | [`greenrt::yield_now`]    | to the green threads of the same worker          |
//! | `thread::LocalKey`      | [`thread::LocalKey`]      | nothing                                          |
//! | `thread_local!`         | [`thread_local!`]         | each green thread has its own                    |
//! | `sync`                  | [`sync`]                  | fair; not poisoned by cancellation               |
//! | rest of `thread`        | std's                     | nothing                                          |
//! | `io`                    | std's                     | without what would block: see [`io`]             |
//! | `process::Command`, `Child` and its pipes | [`process`] | descriptors of pipes block, ours do not wait |
//! | rest of `process`       | std's                     | nothing                                          |
//! | `os::unix::process::CommandExt` | [`os::unix::process::CommandExt`] | a trait of its own, std's is sealed |
//! | `time`, and what never waits | std's                | without `fs`, until it is here                   |
//!
//! # Cancellation
//!
//! A green thread that is cancelled, or whose time limit passes, unwinds from where it waits (see
//! [`greenrt::Cancelled`] and [`greenrt::timeout`]). Here these calls are such points: `sleep`, and
//! every operation that reads, writes, accepts or connects. The others never unwind so: code that
//! is sound on std may rely on it.

pub mod io;
pub mod net;
pub mod os;
pub mod process;
pub mod sleep;
pub mod sync;
pub mod thread;

pub use std::time;

// What never waits, as it is.
#[rustfmt::skip]
pub use std::{
    alloc, any, arch, array, ascii, backtrace, borrow, boxed, cell, char, clone, cmp, collections,
    convert, default, env, error, f32, f64, ffi, fmt, future, hash, hint, iter, marker, mem, num, ops,
    option, panic, path, pin, prelude, primitive, ptr, rc, result, slice, str, string, task, vec,
};
pub use integers::*;
pub use std::{
    assert, assert_eq, assert_ne, cfg, column, compile_error, concat, dbg, debug_assert,
    debug_assert_eq, debug_assert_ne, eprint, eprintln, file, format, format_args, include,
    include_bytes, include_str, is_x86_feature_detected, line, matches, module_path, option_env,
    print, println, stringify, todo, unimplemented, unreachable, write, writeln,
};

/// The modules of constants that the types have too.
mod integers {
    #![expect(clippy::legacy_numeric_constants, reason = "modules that std has")]

    pub use std::{i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize};
}
