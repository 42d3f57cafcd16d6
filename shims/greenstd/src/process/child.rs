//! A child that was started.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use greenrt::process::ChildExt;

use super::output::read_both;
use super::pipe::{ChildStderr, ChildStdin, ChildStdout};

/// A child process, as [`std::process::Child`].
///
/// [`greenrt::process::ChildExt`] has what std has not.
pub struct Child {
    /// As in [`std::process::Child`].
    pub stdin: Option<ChildStdin>,
    /// As in [`std::process::Child`].
    pub stdout: Option<ChildStdout>,
    /// As in [`std::process::Child`].
    pub stderr: Option<ChildStderr>,
    pub(super) inner: greenrt::process::Child,
}

impl Child {
    /// The number of the process, as [`std::process::Child::id`].
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Ends the child, as [`std::process::Child::kill`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn kill(&mut self) -> io::Result<()> {
        self.inner.kill()
    }

    /// Waits until the child has ended, as [`std::process::Child::wait`].
    ///
    /// The green thread parks. A point of cancellation, after which the child runs on, and can be
    /// waited for again.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.inner.wait()
    }

    /// Looks whether the child has ended, as [`std::process::Child::try_wait`]. Never waits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.inner.try_wait()
    }

    /// Reads both pipes until their ends, and waits until the child has ended, as
    /// [`std::process::Child::wait_with_output`].
    ///
    /// The green thread parks. A point of cancellation, after which the child runs on.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (stdout, stderr) = read_both(self.stdout.take(), self.stderr.take())?;
        let status = self.wait()?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl ChildExt for Child {
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.inner.wait_timeout(timeout)
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        self.inner.signal(signal)
    }

    fn signal_group(&self, signal: i32) -> io::Result<()> {
        self.inner.signal_group(signal)
    }

    fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.inner.stop(grace)
    }
}

impl From<greenrt::process::Child> for Child {
    fn from(mut inner: greenrt::process::Child) -> Child {
        Child {
            stdin: inner.stdin.take().map(ChildStdin::from),
            stdout: inner.stdout.take().map(ChildStdout::from),
            stderr: inner.stderr.take().map(ChildStderr::from),
            inner,
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}
