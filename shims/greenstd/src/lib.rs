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
//! | std                     | here                      | what differs                                     |
//! |-------------------------|---------------------------|--------------------------------------------------|
//! | `net`                   | [`net`]: TCP and UDP      | longest backlog; timeouts cost no system call; names are looked up on a pool |
//! | `os::unix::net`         | [`os::unix::net`]         | full queues: see there                           |
//! | `io::{stdin, stdout, stderr, pipe}` | [`io`]        | standard input has a buffer of its own           |
//! | `print!` and kin, `dbg!` | [`print!`] and kin, [`dbg!`] | nothing                                      |
//! | rest of `io`            | std's                     | `IsTerminal` is a trait of its own, std's is sealed |
//! | `os::fd`, `os::raw`     | std's                     | nothing                                          |
//! | rest of `os`            | std's                     | see [`os`]                                       |
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
//! | `thread_local!`, `thread::LocalKey` | [`thread_local!`], [`thread::LocalKey`] | each green thread has its own |
//! | `sync`                  | [`sync`]                  | fair; not poisoned by cancellation               |
//! | `process`               | [`process`]               | see there                                        |
//! | `fs`                    | std's                     | blocks the worker: [`greenrt::offload`]          |
//! | all else                | std's                     | never waits                                      |
//!
#![cfg_attr(doc, doc = "Item by item: [`std_items`].")]
//!
//! # A whole crate without a change
//!
//! A crate whose manifest says
//!
//! ```toml
//! [dependencies]
//! std = { package = "greenstd", version = "0.1" }
//! ```
//!
//! has greenstd for std, in every edition and in all its targets: `use std::..`, `::std::..`, derives,
//! macros of its own that name std, and the bare `println!` and `thread_local!` of the [`prelude`].
//! Whatever is not mirrored is std's. These stay std's:
//!
//! - its dependencies, which were compiled with std: their sockets and threads are not ours. There are
//!   conversions ([`From`]) between std's sockets, pipes and children and ours, both ways;
//! - `#[test]`: each test begins on an OS thread of the test harness, where greenstd does what std does;
//!   what it spawns is green;
//! - `main` itself, likewise, unless it calls [`greenrt::run`].
//!
//! `extern crate greenstd as std;` in a crate's root does the same from edition 2018 on, but for bare
//! macros, which are std's then unless it says `#[macro_use]`.
//!
//! # Cancellation
//!
//! A green thread that is cancelled, or whose time limit passes, unwinds from where it waits (see
//! [`greenrt::Cancelled`] and [`greenrt::timeout`]). Here these calls are such points: `sleep`, and
//! every operation that reads, writes, accepts, connects or waits for a child. The others never unwind so: code that
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

#[cfg(doc)]
#[doc = include_str!("../STD_ITEMS.md")]
pub mod std_items {}

// What never waits, and what is not mirrored yet, as it is. What is defined here goes first.
pub use std::*;
