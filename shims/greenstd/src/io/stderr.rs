//! Standard error, which has no buffer; otherwise as standard output.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;

use greenrt::lowlevel::may_block;

use super::reentrant::{ReentrantGuard, ReentrantLock};
use super::stdout::{print_pieces, write_piece};

static LOCK: ReentrantLock = ReentrantLock::new();

/// Standard error, shared by all threads.
///
/// As [`std::io::Stderr`]. A green thread that waits for whoever reads parks, and its worker runs
/// others meanwhile. A cancelled one unwinds from there.
///
/// # Differences from std
///
/// See [`io`](super#differences-from-std). A `write` takes up to 1024 bytes; `write_all` takes all.
pub struct Stderr {
    std: io::Stderr,
}

/// Standard error, locked for one thread, which may lock it again; as [`std::io::StderrLock`].
#[must_use = "if unused stderr will immediately unlock"]
pub struct StderrLock<'a> {
    std: io::Stderr,
    _guard: ReentrantGuard<'a>,
}

/// A handle of standard error, as [`std::io::stderr`].
#[must_use]
pub fn stderr() -> Stderr {
    Stderr { std: io::stderr() }
}

impl Stderr {
    /// Waits until nobody else has it locked, and keeps everybody else from it, as
    /// [`std::io::Stderr::lock`].
    ///
    /// Not a point of cancellation.
    pub fn lock(&self) -> StderrLock<'static> {
        StderrLock {
            std: io::stderr(),
            _guard: LOCK.lock(),
        }
    }
}

/// What `eprint!` does.
#[doc(hidden)]
pub fn _eprint(args: fmt::Arguments<'_>) {
    if may_block() {
        std::eprint!("{args}");
        return;
    }
    // Before the lock: it may print itself.
    let text = args.to_string();
    let _guard = LOCK.lock();
    print_pieces(io::stderr().as_fd(), &text, |piece| std::eprint!("{piece}"));
}

impl Write for StderrLock<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if may_block() {
            return self.std.write(buf);
        }
        write_piece(&self.std, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

super::output_stream!(Stderr, StderrLock);
super::standard_stream!(Stderr, StderrLock);
