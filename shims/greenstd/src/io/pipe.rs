//! Pipes between threads, or to other processes.

#![expect(unsafe_code, reason = "a number becomes a descriptor")]

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use greenrt::lowlevel::process as low;

use crate::process::Pipe;

/// Makes a pipe, as [`std::io::pipe`].
///
/// # Errors
///
/// As std's.
///
/// # Examples
///
/// ```
/// use greenstd::io::{Read, Write};
/// use greenstd::thread;
///
/// # fn main() -> greenstd::io::Result<()> {
/// let (mut reader, mut writer) = greenstd::io::pipe()?;
/// thread::spawn(move || writer.write_all(b"through"));
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "through");
/// # Ok(())
/// # }
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// The end of a pipe that is read, as [`std::io::PipeReader`].
///
/// Reading parks the calling green thread, and is a point of cancellation. The descriptor is in
/// blocking mode, as std's.
pub struct PipeReader(Pipe);

/// The end of a pipe that is written to, as [`std::io::PipeWriter`].
///
/// Writing parks the calling green thread, and is a point of cancellation. The descriptor is in
/// blocking mode, as std's. A `write` takes what there is room for, at least one byte; up to 4096
/// bytes (`PIPE_BUF`) go in one piece, or not yet.
pub struct PipeWriter(Pipe);

impl Read for &PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|fd| low::read(fd, buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_with(|fd| low::read_vectored(fd, bufs))
    }
}

impl Write for &PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|fd| low::write(fd, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_with(|fd| low::write_vectored(fd, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! ends {
    ($($End:ident)*) => {$(
        impl $End {
            /// Makes another handle of the same end.
            ///
            /// # Errors
            ///
            /// As std's.
            pub fn try_clone(&self) -> io::Result<$End> {
                Ok(self.as_fd().try_clone_to_owned()?.into())
            }
        }

        impl AsFd for $End {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.io().as_fd()
            }
        }

        impl AsRawFd for $End {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }

        impl IntoRawFd for $End {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl FromRawFd for $End {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: the caller owns the descriptor, and gives it to us.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                fd.into()
            }
        }

        impl From<OwnedFd> for $End {
            /// Takes over a descriptor, with its mode, and leaves that as it is.
            fn from(fd: OwnedFd) -> Self {
                $End(Pipe::new(fd))
            }
        }

        impl From<$End> for OwnedFd {
            fn from(end: $End) -> Self {
                end.0.into_fd()
            }
        }

        impl From<io::$End> for $End {
            /// Takes over std's.
            fn from(end: io::$End) -> Self {
                OwnedFd::from(end).into()
            }
        }

        impl From<$End> for io::$End {
            /// Makes it std's, whose operations block the worker.
            fn from(end: $End) -> Self {
                OwnedFd::from(end).into()
            }
        }

        impl From<$End> for Stdio {
            /// Hands it to a child, as it is.
            fn from(end: $End) -> Self {
                OwnedFd::from(end).into()
            }
        }

        impl fmt::Debug for $End {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($End)).field(&self.as_fd()).finish()
            }
        }

        impl std::panic::UnwindSafe for $End {}
        impl std::panic::RefUnwindSafe for $End {}
    )*};
}

ends!(PipeReader PipeWriter);
