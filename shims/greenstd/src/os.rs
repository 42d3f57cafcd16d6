//! What is particular to a system, as in std, as far as it never blocks.
//!
//! The traits for descriptors are std's own, and greenstd's sockets implement them.

/// Owned and borrowed descriptors, as they are in std.
pub mod fd {
    pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
}

/// What Unixes have in common.
pub mod unix {
    pub use std::os::unix::ffi;

    /// Descriptors; as [`fd`](crate::os::fd).
    pub mod io {
        pub use std::os::unix::io::{
            AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd,
        };
    }

    pub mod net;

    /// Commands and statuses of processes.
    pub mod process {
        pub use crate::process::unix::*;
    }

    /// All extension traits, as std has them: for strings and descriptors, and for std's files,
    /// processes and threads.
    pub mod prelude {
        pub use super::process::{CommandExt, ExitStatusExt};
        pub use std::os::unix::prelude::*;
    }
}

/// What only Linux has.
///
/// On other systems these paths are there too, and what they lead to fails with `Unsupported`.
pub mod linux {
    /// TCP's options, and abstract names of the Unix domain.
    pub mod net {
        pub use greenrt::lowlevel::socket::SocketAddrExt;

        pub use crate::net::tcp::ext::TcpStreamExt;
    }
}

pub use std::os::raw;
