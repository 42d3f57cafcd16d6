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
mod macros;
pub mod net;
pub mod os;
pub mod process;
pub mod sleep;
pub mod sync;
pub mod thread;

/// What programs import without saying so: std's, with the macros of greenstd in place of std's.
///
/// A crate whose manifest says `std = { package = "greenstd", .. }` has the prelude of its edition from
/// here.
pub mod prelude;

// What never waits, and what is not mirrored yet, as it is. What is defined here goes first.
pub use std::*;
