//! Input and output: std's traits, types and functions, and standard streams and pipes that park.
//!
//! What never waits by itself is std's own: the traits, the errors, the adapters, [`copy`]. These mirror
//! std's: [`stdin`], [`stdout`], [`stderr`] with their types, [`print!`](crate::print) and its kin,
//! and [`pipe`] with its two ends. A green thread that waits for a line, or for a reader, parks, and its
//! worker runs others meanwhile. `O_NONBLOCK` is never set on a descriptor: those of the standard
//! streams belong to other processes too.
//!
//! # Differences from std
//!
//! - [`Stdin`] has a buffer of its own: what std's has read ahead is not in it, and the other way
//!   round. A program uses the one or the other.
//! - [`Stdout`] and [`Stderr`] write through std's, so that nothing gets out of order, and what a test
//!   prints on its own thread is captured; what the green threads that it spawns print need not be.
//!   They wait until there is room, and write no more at once than fits then. If another process, or
//!   another OS thread through std, takes the room in that moment, the worker blocks until there is
//!   more. What goes to a terminal is written by an OS thread of the pool of [`greenrt::offload`]; but
//!   `print!` of a thread that has the thread-locals of an OS thread (the closure of [`greenrt::run`],
//!   and all green threads where they are shared) blocks the worker on a terminal that takes no more
//!   in the middle of a line. Who has std's own stream locked must not write to a terminal by these.
//! - Where the system has no read of a terminal that does not wait, a process that takes a line that was
//!   announced to this one blocks the worker until the next.
//! - [`IsTerminal`] is a trait of its own, because std's is sealed; what is std's has it too.
//!
//! # Cancellation
//!
//! Whatever waits for a standard stream or a pipe is a point, also `print!`; waiting for somebody else
//! who has the stream locked is not.

mod is_terminal;
mod pipe;
mod reentrant;
mod standard;
mod stderr;
mod stdin;
mod stdout;

pub use std::io::prelude;
pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink, Split,
    Take, Write, WriterPanicked, copy, empty, read_to_string, repeat, sink,
};

pub use self::is_terminal::IsTerminal;
pub use self::pipe::{PipeReader, PipeWriter, pipe};
pub use self::stderr::{Stderr, StderrLock, stderr};
pub use self::stdin::{Stdin, StdinLock, stdin};
pub use self::stdout::{Stdout, StdoutLock, stdout};

use self::standard::{output_stream, standard_stream};

#[doc(hidden)]
pub use self::stderr::_eprint;
#[doc(hidden)]
pub use self::stdout::_print;
