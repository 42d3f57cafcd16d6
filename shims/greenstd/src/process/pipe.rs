//! Our ends of the pipes to a child.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{self, Stdio};

use greenrt::lowlevel::{self, Io, process as low};

/// A descriptor that is read and written without waiting, whatever its mode.
pub(crate) struct Pipe(Io<OwnedFd>);

impl Pipe {
    pub(crate) fn new(fd: OwnedFd) -> Pipe {
        let io = Io::new(fd);
        // A child may have been forked while it was there, and our users may duplicate it.
        io.mark_shared();
        Pipe(io)
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0.into_inner()
    }

    pub(crate) fn io(&self) -> &Io<OwnedFd> {
        &self.0
    }

    /// Reads what is there, or waits for more, unless the descriptor's user has asked not to wait.
    pub(crate) fn read_with(
        &self,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.0
            .read_with(None, |fd| if_it_may_wait(fd, read(fd.as_fd())))?
    }

    pub(crate) fn write_with(
        &self,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.0
            .write_with(None, |fd| if_it_may_wait(fd, write(fd.as_fd())))?
    }
}

/// `Err`: it would wait, and may. All else is an answer.
fn if_it_may_wait(fd: &OwnedFd, done: io::Result<usize>) -> io::Result<io::Result<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if lowlevel::is_nonblocking(fd.as_fd())? {
                Ok(Err(error))
            } else {
                Err(error)
            }
        }
        done => Ok(done),
    }
}

macro_rules! pipes {
    ($($(#[$doc:meta])* $Pipe:ident;)*) => {$(
        $(#[$doc])*
        pub struct $Pipe(pub(super) Pipe);

        impl AsFd for $Pipe {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.io().as_fd()
            }
        }

        impl AsRawFd for $Pipe {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl IntoRawFd for $Pipe {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl From<$Pipe> for OwnedFd {
            fn from(pipe: $Pipe) -> OwnedFd {
                pipe.0.0.into_inner()
            }
        }

        impl From<OwnedFd> for $Pipe {
            /// Takes over a descriptor, with its mode, and leaves that as it is.
            fn from(fd: OwnedFd) -> $Pipe {
                $Pipe(Pipe::new(fd))
            }
        }

        impl From<process::$Pipe> for $Pipe {
            /// Takes over std's.
            fn from(pipe: process::$Pipe) -> $Pipe {
                OwnedFd::from(pipe).into()
            }
        }

        impl From<$Pipe> for process::$Pipe {
            /// Makes it std's, whose reads and writes block the worker.
            fn from(pipe: $Pipe) -> process::$Pipe {
                OwnedFd::from(pipe).into()
            }
        }

        impl From<$Pipe> for Stdio {
            /// Hands it to another child, as it is: in blocking mode, unless its user has set another.
            fn from(pipe: $Pipe) -> Stdio {
                OwnedFd::from(pipe).into()
            }
        }

        impl fmt::Debug for $Pipe {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Pipe)).finish_non_exhaustive()
            }
        }

        impl UnwindSafe for $Pipe {}
        impl RefUnwindSafe for $Pipe {}
    )*};
}

pipes! {
    /// A child's standard input, to be written to, as [`std::process::ChildStdin`]. Writing parks the
    /// green thread, and is a point of cancellation.
    ChildStdin;
    /// A child's standard output, to be read, as [`std::process::ChildStdout`]. Reading parks the
    /// green thread, and is a point of cancellation.
    ChildStdout;
    /// A child's standard error, to be read, as [`std::process::ChildStderr`]. Reading parks the
    /// green thread, and is a point of cancellation.
    ChildStderr;
}

impl Write for ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_with(|fd| low::write(fd, bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_with(|fd| low::write_vectored(fd, buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! readable {
    ($($Pipe:ident)*) => {$(
        impl Read for $Pipe {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read_with(|fd| low::read(fd, buffer))
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.read_with(|fd| low::read_vectored(fd, buffers))
            }
        }
    )*};
}

readable!(ChildStdout ChildStderr);
