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
fn wait_for_room(fd: BorrowedFd<'_>) -> io::Result<()> {
    match lowlevel::wait_writable(fd, None) {
        // What is wrong with it, the write says.
        Err(error) if !lowlevel::is_bad_descriptor(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Makes a call that writes to `fd`, on an OS thread that may block if that is a terminal.
fn write_to<T: Send>(fd: BorrowedFd<'_>, write: impl FnOnce() -> T + Send) -> T {
    if fd.is_terminal() {
        lowlevel::offload_borrowing(Lane::General, write)
    } else {
        write()
    }
}

/// Writes the first piece of `buf` to std's stream, when there is room for it.
pub(super) fn write_piece(
    mut std: impl Write + AsFd + Copy + Send,
    buf: &[u8],
) -> io::Result<usize> {
    wait_for_room(std.as_fd())?;
    let piece = &buf[..buf.len().min(PIECE_BYTES)];
    write_to(std.as_fd(), move || std.write(piece))
}

/// Prints to std's stream, which has `fd`, piece by piece.
pub(super) fn print_pieces(fd: BorrowedFd<'_>, mut text: &str, print: impl Fn(&str) + Sync) {
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE_BYTES));
        // A thread that unwinds may have no time left to wait; it writes all the same.
        let _ = wait_for_room(fd);
        // A test may have captured what is printed.
        if std::thread::current().name().is_some() {
            print(piece);
        } else {
            write_to(fd, || print(piece));
        }
        text = rest;
    }
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
    print_pieces(io::stdout().as_fd(), &text, |piece| std::print!("{piece}"));
}

impl Write for StdoutLock<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if may_block() {
            return self.std.write(buf);
        }
        write_piece(&self.std, buf)
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
