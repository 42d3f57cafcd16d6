//! What the standard streams have in common.

/// Descriptors, and what is printed of them.
macro_rules! standard_stream {
    ($Stream:ident, $Lock:ident) => {
        crate::io::standard_stream!(@ $Stream, stringify!($Stream));
        crate::io::standard_stream!(@ $Lock<'_>, stringify!($Lock));
    };
    (@ $Stream:ty, $name:expr) => {
        impl std::os::fd::AsFd for $Stream {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.std.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $Stream {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&self.std)
            }
        }

        impl std::fmt::Debug for $Stream {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct($name).finish_non_exhaustive()
            }
        }
    };
}

/// What goes through the lock, and to children.
macro_rules! output_stream {
    ($Stream:ident, $Lock:ident) => {
        crate::io::output_stream!(@ $Stream);
        crate::io::output_stream!(@ &$Stream);

        impl From<$Stream> for std::process::Stdio {
            /// Hands it to a child, as it is.
            fn from(stream: $Stream) -> Self {
                stream.std.into()
            }
        }

        impl std::panic::UnwindSafe for $Stream {}
        impl std::panic::RefUnwindSafe for $Stream {}
        impl std::panic::UnwindSafe for $Lock<'_> {}
        impl std::panic::RefUnwindSafe for $Lock<'_> {}
    };
    (@ $Stream:ty) => {
        impl std::io::Write for $Stream {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.lock().write(buf)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                self.lock().flush()
            }

            fn write_all(&mut self, buf: &[u8]) -> std::io::Result<()> {
                self.lock().write_all(buf)
            }

            fn write_fmt(&mut self, args: std::fmt::Arguments<'_>) -> std::io::Result<()> {
                self.lock().write_fmt(args)
            }
        }
    };
}

pub(super) use {output_stream, standard_stream};
