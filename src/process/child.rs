//! A child that was started.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use greenrt_arch::process::{Change, States, Which, look, open, signal, signal_group, signal_pid};

use super::ChildExt;
use super::spawner::{Orphan, adopt};
use super::waiting::{Limit, look_again, wait_for_end};
use crate::lowlevel;
use crate::reactor::io::Io;

/// What becomes of a child whose handle is dropped before its end is known. This also happens when a
/// green thread that holds the handle is cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum OnDrop {
    /// It runs on, and when it has ended it stays a zombie until somebody asks for it or this
    /// process ends: as in std.
    #[default]
    Leave,
    /// It runs on, and its end is taken when it comes, so that it does not stay a zombie.
    Reap,
    /// It is killed, with its group if it leads one, and its end is taken.
    Kill,
}

/// A child process, as [`std::process::Child`]; waiting for it parks the green thread.
///
/// The pipes are std's, whose reads and writes block the worker. `greenstd::process::Child` has pipes
/// that park.
#[derive(Debug)]
pub struct Child {
    /// As in [`std::process::Child`].
    pub stdin: Option<ChildStdin>,
    /// As in [`std::process::Child`].
    pub stdout: Option<ChildStdout>,
    /// As in [`std::process::Child`].
    pub stderr: Option<ChildStderr>,
    pid: u32,
    /// Means the child, if there was one to be had.
    descriptor: Option<Io<OwnedFd>>,
    status: Option<ExitStatus>,
    leads_group: bool,
    on_drop: OnDrop,
    /// Whose child it is: not that of a process that was forked from this one.
    parent: u32,
}

impl Child {
    pub(super) fn new(
        mut child: process::Child,
        descriptor: Option<OwnedFd>,
        leads_group: bool,
        on_drop: OnDrop,
    ) -> Child {
        Child {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            pid: child.id(),
            descriptor: descriptor.map(Io::new),
            status: None,
            leads_group,
            on_drop,
            parent: process::id(),
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Looks whether the child has ended, and never waits.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let end = look(self.which(), States::ENDED, false)?;
            self.note(end);
            // Whoever asks again and again lets others run.
            lowlevel::spend_credit();
        }
        Ok(self.status)
    }

    /// Waits until the child has ended, and returns its status, again and again if asked to. Its
    /// standard input is closed first.
    ///
    /// The calling green thread parks; an OS thread blocks. A point of cancellation, after which the
    /// child runs on and may be waited for again.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.wait_until(None)?;
        Ok(status.expect("greenrt: a wait without a limit has ended without a status"))
    }

    fn wait_until(&mut self, timeout: Option<Duration>) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        if self.status.is_none() {
            let end = self.wait_for_end(timeout, false)?;
            self.note(end);
        }
        Ok(self.status)
    }

    fn wait_for_end(
        &mut self,
        timeout: Option<Duration>,
        keep: bool,
    ) -> io::Result<Option<Change>> {
        let limit = Limit::after(timeout);
        if self.descriptor.is_none() {
            // There may be one by now.
            self.descriptor = open(self.pid).ok().map(Io::new);
        }
        match &self.descriptor {
            Some(descriptor) => wait_for_end(descriptor, keep, &limit),
            None => look_again(&limit, || look(self.which(), States::ENDED, keep)),
        }
    }

    fn which(&self) -> Which {
        match &self.descriptor {
            Some(descriptor) => Which::Descriptor(descriptor.as_fd().as_raw_fd()),
            None => Which::Process(self.pid),
        }
    }

    fn note(&mut self, end: Option<Change>) {
        if let Some(end) = end {
            self.status = Some(ExitStatus::from_raw(end.status));
            // It means nothing any more.
            self.descriptor = None;
        }
    }

    /// Ends the child by `SIGKILL`. If it is known to have ended, nothing happens.
    ///
    /// # Errors
    ///
    /// As [`std::process::Child::kill`].
    pub fn kill(&mut self) -> io::Result<()> {
        self.signal(signal::KILL)
    }

    /// Has its end taken, should this be dropped before it is known: changes [`OnDrop::Leave`] into
    /// [`OnDrop::Reap`].
    pub fn reap_on_drop(&mut self) {
        if self.on_drop == OnDrop::Leave {
            self.on_drop = OnDrop::Reap;
        }
    }

    /// Sends a signal to the child's group if it leads one, and otherwise to itself.
    fn signal_all(&self, signal: i32) -> io::Result<()> {
        match self.leads_group {
            true => self.signal_group(signal),
            false => self.signal(signal),
        }
    }
}

impl ChildExt for Child {
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.wait_until(Some(timeout))
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        match (&self.status, &self.descriptor) {
            (Some(_), _) => Ok(()),
            (None, Some(descriptor)) => greenrt_arch::process::signal(descriptor.as_fd(), signal),
            (None, None) => signal_pid(self.pid, signal),
        }
    }

    fn signal_group(&self, signal: i32) -> io::Result<()> {
        if !self.leads_group {
            let message = "the child was not made to lead a process group";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        match self.status {
            Some(_) => Ok(()),
            None => signal_group(self.pid, signal),
        }
    }

    fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        if self.status.is_none() {
            self.signal_all(signal::TERMINATE)?;
            // Its end is left where it is, so that its number, and its group's, stay its own.
            let end = self.wait_for_end(Some(grace), true)?;
            if end.is_none() || self.leads_group {
                self.signal_all(signal::KILL)?;
            }
        }
        self.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_some() || self.on_drop == OnDrop::Leave || self.parent != process::id() {
            return;
        }
        if self.on_drop == OnDrop::Kill {
            // An error means that it has ended, or is another user's by now.
            let _ = self.signal_all(signal::KILL);
        }
        let orphan = Orphan {
            pid: self.pid,
            descriptor: self.descriptor.take().map(Io::into_inner),
        };
        if !orphan.has_ended() {
            adopt(orphan);
        }
    }
}

impl UnwindSafe for Child {}
impl RefUnwindSafe for Child {}
