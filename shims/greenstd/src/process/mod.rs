//! Child processes, as in [`std::process`]; waiting for them, and for their pipes, parks the green
//! thread.
//!
//! ```
//! use greenstd::io::{Read, Write};
//! use greenstd::process::{Command, Stdio};
//!
//! fn main() -> greenstd::io::Result<()> {
//!     let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
//!     cat.stdin.take().unwrap().write_all(b"hello")?;
//!     let mut text = String::new();
//!     cat.stdout.take().unwrap().read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     assert!(cat.wait()?.success());
//!     Ok(())
//! }
//! ```
//!
//! [`greenrt::process`] tells how children are started and waited for. What is there and not in std
//! (a signal at the parent's death, waiting for a limited time, ending a whole group) can be had here
//! by its traits [`greenrt::process::CommandExt`] and [`greenrt::process::ChildExt`].
//!
//! # Pipes
//!
//! The descriptors of pipes are in blocking mode, as std's are, on both ends: nobody who shares one
//! sees another mode. Each read and write says for itself that it does not wait. Whoever sets
//! `O_NONBLOCK` on one gets `WouldBlock`, as with std.
//!
//! # Cancellation
//!
//! Points are `wait`, `wait_with_output`, `status`, `output`, and reads and writes of pipes. A child
//! that is waited for runs on. So does one of `status` and `output`, of which nobody else knows: its
//! end is taken when it comes, so that it does not stay a zombie.

mod child;
mod command;
mod output;
mod pipe;

pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};

pub use self::child::Child;
pub use self::command::Command;
pub(crate) use self::pipe::Pipe;
pub use self::pipe::{ChildStderr, ChildStdin, ChildStdout};

/// What is particular to Unix.
pub(crate) mod unix {
    pub use super::command::CommandExt;
    pub use std::os::unix::process::{ExitStatusExt, parent_id};
}
