//! Standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IoSliceMut, Lines, Read};
use std::os::fd::{AsFd, BorrowedFd};

use greenrt::lowlevel::{self, Lane};

use crate::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// As std's.
const BUFFER_BYTES: usize = 8 * 1024;

static STDIN: LazyLock<Mutex<BufReader<Raw>>> =
    LazyLock::new(|| Mutex::new(BufReader::with_capacity(BUFFER_BYTES, Raw)));

/// Standard input, shared by all threads, with a buffer.
///
/// As [`std::io::Stdin`]. A green thread that waits for input parks, and its worker runs others
/// meanwhile. A cancelled one unwinds from there; what was read before is not lost.
///
/// # Differences from std
///
/// See [`io`](super#differences-from-std).
///
/// # Examples
///
/// ```no_run
/// # fn main() -> greenstd::io::Result<()> {
/// for line in greenstd::io::stdin().lines() {
///     println!("{}", line?.to_uppercase());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Stdin {
    inner: &'static Mutex<BufReader<Raw>>,
    std: io::Stdin,
}

/// Standard input, locked for one thread; as [`std::io::StdinLock`].
#[must_use = "if unused stdin will immediately unlock"]
pub struct StdinLock<'a> {
    inner: MutexGuard<'a, BufReader<Raw>>,
    std: io::Stdin,
}

/// A handle of standard input, as [`std::io::stdin`].
#[must_use]
pub fn stdin() -> Stdin {
    Stdin {
        inner: &STDIN,
        std: io::stdin(),
    }
}

impl Stdin {
    /// Waits until nobody else reads, and keeps everybody else from it, as [`std::io::Stdin::lock`].
    ///
    /// Not a point of cancellation.
    pub fn lock(&self) -> StdinLock<'static> {
        StdinLock {
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
            std: io::stdin(),
        }
    }

    /// Reads a line and appends it, as [`std::io::Stdin::read_line`].
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn read_line(&self, buf: &mut String) -> io::Result<usize> {
        self.lock().read_line(buf)
    }

    /// An iterator over the lines, which keeps the lock, as [`std::io::Stdin::lines`].
    #[must_use = "`self` will be dropped if the result is not used"]
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }
}

/// The descriptor itself. One that is closed is at its end, as std has it.
#[derive(Debug)]
struct Raw;

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(buf)])
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let stdin = io::stdin();
        match read_waiting(stdin.as_fd(), bufs) {
            Err(error) if lowlevel::is_bad_descriptor(&error) => Ok(0),
            done => done,
        }
    }
}

/// Reads, waiting as long as it takes, unless the descriptor's user has asked not to wait.
fn read_waiting(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    loop {
        match lowlevel::process::read_vectored(fd, bufs) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if lowlevel::is_nonblocking(fd)? {
                    return Err(error);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            done => {
                lowlevel::spend_credit();
                return done;
            }
        }
        if lowlevel::is_ready(fd, false)? {
            // What is always readable, and has to be fetched first.
            let file = File::from(fd.try_clone_to_owned()?);
            if file.metadata()?.is_file() {
                return lowlevel::offload_borrowing(Lane::General, || (&file).read_vectored(bufs));
            }
        }
        lowlevel::wait_readable(fd, None)?;
    }
}

macro_rules! reads {
    ($($Stdin:ty)*) => {$(
        impl Read for $Stdin {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.lock().inner.read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.lock().inner.read_vectored(bufs)
            }

            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
                self.lock().inner.read_to_end(buf)
            }

            fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
                self.lock().inner.read_to_string(buf)
            }

            fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
                self.lock().inner.read_exact(buf)
            }
        }
    )*};
}

reads!(Stdin & Stdin);

impl Read for StdinLock<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.inner.read_vectored(bufs)
    }

    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.inner.read_to_end(buf)
    }

    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.inner.read_to_string(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(buf)
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.inner.consume(n);
    }

    fn read_until(&mut self, byte: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.inner.read_until(byte, buf)
    }

    fn read_line(&mut self, buf: &mut String) -> io::Result<usize> {
        self.inner.read_line(buf)
    }
}

super::standard_stream!(Stdin, StdinLock);
