//! Standard output.
//!
//! Everything is written through std's own `Stdout`, in pieces for which there is room: the system says
//! of a pipe that it can be written to when there is room for `PIPE_BUF` bytes, which are more than a
//! piece and what std keeps of the line before.
//!
//! Of a terminal it says so when there is room for one byte. So what is written there is written by an
//! OS thread of the pool, which may block; but for what is printed where std knows the thread by a
//! name, which green threads that have thread-locals of their own have not: a test may have it captured.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use greenrt::lowlevel::{self, Lane, may_block};

use super::reentrant::{ReentrantGuard, ReentrantLock};

/// As much as std keeps of a line that is not complete; both together are less than `PIPE_BUF`.
pub(super) const PIECE_BYTES: usize = 1024;

static LOCK: ReentrantLock = ReentrantLock::new();

/// Standard output, shared by all threads, line by line.
///
/// As [`std::io::Stdout`]. A green thread that waits for whoever reads parks, and its worker runs
/// others meanwhile. A cancelled one unwinds from there.
///
/// # Differences from std
///
/// See [`io`](super#differences-from-std). A `write` takes up to 1024 bytes; `write_all` takes all.
pub struct Stdout {
    std: io::Stdout,
}

/// Standard output, locked for one thread, which may lock it again; as [`std::io::StdoutLock`].
#[must_use = "if unused stdout will immediately unlock"]
pub struct StdoutLock<'a> {
    std: io::Stdout,
    _guard: ReentrantGuard<'a>,
}

/// A handle of standard output, as [`std::io::stdout`].
#[must_use]
pub fn stdout() -> Stdout {
    Stdout { std: io::stdout() }
}

impl Stdout {
    /// Waits until nobody else has it locked, and keeps everybody else from it, as
    /// [`std::io::Stdout::lock`].
    ///
    /// Not a point of cancellation.
    pub fn lock(&self) -> StdoutLock<'static> {
        StdoutLock {
            std: io::stdout(),
            _guard: LOCK.lock(),
        }
    }
}

/// Waits until there is room for a piece, as far as that can be known.
pub(super) fn wait_for_room(fd: BorrowedFd<'_>) -> io::Result<()> {
    match lowlevel::wait_writable(fd, None) {
        // What is wrong with it, the write says.
        Err(error) if !lowlevel::is_bad_descriptor(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Makes a call that writes to `fd`, on an OS thread that may block if that is a terminal.
pub(super) fn write_to<T: Send>(fd: BorrowedFd<'_>, write: impl FnOnce() -> T + Send) -> T {
    if fd.is_terminal() {
        lowlevel::offload_borrowing(Lane::General, write)
    } else {
        write()
    }
}

/// As `write_to`, for what may be captured.
pub(super) fn print_to(fd: BorrowedFd<'_>, print: impl FnOnce() + Send) {
    if std::thread::current().name().is_some() {
        print();
    } else {
        write_to(fd, print);
    }
}

/// Text for one piece after the other.
pub(super) fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut n = text.len().min(PIECE_BYTES);
        while !text.is_char_boundary(n) {
            n -= 1;
        }
        let (piece, rest) = text.split_at(n);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What `print!` does.
#[doc(hidden)]
pub fn _print(args: fmt::Arguments<'_>) {
    if may_block() {
        std::print!("{args}");
        return;
    }
    // Before the lock: it may print itself.
    let text = args.to_string();
    let _guard = LOCK.lock();
    for piece in pieces(&text) {
        // A thread that unwinds may have no time left to wait; it writes all the same.
        let _ = wait_for_room(io::stdout().as_fd());
        print_to(io::stdout().as_fd(), || std::print!("{piece}"));
    }
}

impl Write for StdoutLock<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if may_block() {
            return self.std.write(buf);
        }
        wait_for_room(self.std.as_fd())?;
        let (mut std, piece) = (&self.std, &buf[..buf.len().min(PIECE_BYTES)]);
        write_to(self.std.as_fd(), || std.write(piece))
    }

    fn flush(&mut self) -> io::Result<()> {
        if may_block() {
            return self.std.flush();
        }
        wait_for_room(self.std.as_fd())?;
        let mut std = &self.std;
        write_to(self.std.as_fd(), || std.flush())
    }
}

super::output_stream!(Stdout, StdoutLock);
super::standard_stream!(Stdout, StdoutLock);
