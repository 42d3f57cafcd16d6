//! Child processes: started without stalling a worker, waited for without blocking one.
//!
//! ```
//! use std::time::Duration;
//! use greenrt::process::{ChildExt, Command, CommandExt, OnDrop};
//!
//! greenrt::run(|| {
//!     let mut sleeper = Command::new("sleep");
//!     sleeper.as_std_mut().arg("1000");
//!     let mut child = sleeper.on_drop(OnDrop::Kill).spawn()?;
//!     assert_eq!(child.wait_timeout(Duration::from_millis(5))?, None);
//!     let status = child.stop(Duration::from_secs(10))?;
//!     assert!(!status.success());
//!     Ok::<(), std::io::Error>(())
//! }).unwrap();
//! ```
//!
//! `greenstd::process` has all of `std::process` on top of this, with pipes whose reads and writes
//! park; its `Command` and `Child` have what is here too, by the traits [`CommandExt`] and
//! [`ChildExt`].
//!
//! # How it works
//!
//! A child is a descriptor (`pidfd`), which the worker watches as it watches sockets. No signal
//! handler is installed, `SIGCHLD` may be ignored, blocked or handled by whoever likes, and nobody
//! but the caller takes the end of a child: each is asked for by itself, never "any child". Waiting
//! works on every worker and on every thread. Where there are no such descriptors, or none are left, a
//! wait looks at the child every few milliseconds instead.
//!
//! Green threads start their children by way of OS threads that do nothing else and end with the
//! process: one from the first child on, and more, up to one for each CPU, when several are started at
//! once. For one thing, starting a child stops the thread that does so until the
//! child has become its program, and a worker would keep its green threads waiting. For another, a
//! signal at the parent's death ([`CommandExt::parent_death_signal`]) is bound to the thread that
//! started the child, and not to the process. What a child inherits from a *thread* (CPU affinity,
//! priority) is therefore that of such a thread, which has it from a thread that started a child.

mod child;
mod command;
mod spawner;
mod waiting;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

pub use greenrt_arch::process::signal;

pub use self::child::{Child, OnDrop};
pub use self::command::Command;
pub(crate) use self::spawner::{forget, hold_starting, on_spawning_thread};
pub(crate) use self::waiting::wait_for;

/// What can be asked of a child before it starts, beyond std. `greenstd::process::Command` has it.
pub trait CommandExt {
    /// Has the child sent `signal` when this process ends, however it ends, `SIGKILL` included.
    /// `None` takes it back.
    ///
    /// The kernel does it, so it works even if nothing in this process runs any more. It ends
    /// where the child becomes a program that changes its user, or asks for another signal. Such a
    /// child is started by `fork`, which takes the longer the more memory this process has.
    ///
    /// # Errors
    ///
    /// Spawning fails with `Unsupported` where there is no such thing.
    fn parent_death_signal(&mut self, signal: Option<i32>) -> &mut Self;

    /// What becomes of a child whose [`Child`] is dropped before its end is known.
    fn on_drop(&mut self, on_drop: OnDrop) -> &mut Self;
}

/// What can be asked of a child that runs, beyond std. `greenstd::process::Child` has it.
pub trait ChildExt {
    /// Waits until the child has ended, for no longer than `timeout`. `None`: it runs on, and may be
    /// waited for again.
    ///
    /// As `wait` it closes the child's standard input first, and is a point of cancellation, after
    /// which the child runs on.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::wait`].
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>>;

    /// Sends a signal to the child. If it is known to have ended, nothing happens.
    ///
    /// # Errors
    ///
    /// Those of `kill(2)`.
    fn signal(&self, signal: i32) -> io::Result<()>;

    /// Sends a signal to all processes of the group that the child leads, as it does after
    /// `process_group(0)`. If the child is known to have ended, nothing happens: its number may be
    /// another's.
    ///
    /// # Errors
    ///
    /// Those of `kill(2)`; `InvalidInput` if the child was not made to lead a group.
    fn signal_group(&self, signal: i32) -> io::Result<()>;

    /// Ends the child, with its group if it leads one: asks by `SIGTERM`, and if it has not ended
    /// within `grace`, makes it by `SIGKILL`. What is left of the group then is killed in any case.
    ///
    /// A point of cancellation, after which the child may run on.
    ///
    /// # Errors
    ///
    /// Those of `kill(2)` and of [`std::process::Child::wait`].
    fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus>;
}
