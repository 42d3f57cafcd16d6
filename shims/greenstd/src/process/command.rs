//! A child that is to be started.

#![expect(unsafe_code, reason = "std's functions for what runs in the child")]

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as StdExt;
use std::path::Path;
use std::process::{self, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

use greenrt::process::OnDrop;

use super::Child;

/// A process to be started, as [`std::process::Command`].
///
/// [`greenrt::process::CommandExt`] has what std has not.
///
/// # Differences from std
///
/// On a green thread the child is started by another OS thread, and what a child inherits from the
/// thread that starts it (CPU affinity, priority) is that one's.
pub struct Command {
    inner: greenrt::process::Command,
    /// What was asked for; the rest depends on how the child is started.
    has_stdin: bool,
    has_stdout: bool,
    has_stderr: bool,
}

impl Command {
    /// As [`std::process::Command::new`].
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        process::Command::new(program).into()
    }

    fn std(&mut self) -> &mut process::Command {
        self.inner.as_std_mut()
    }

    /// As [`std::process::Command::arg`].
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.std().arg(arg);
        self
    }

    /// As [`std::process::Command::args`].
    pub fn args<I, S>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.std().args(args);
        self
    }

    /// As [`std::process::Command::env`].
    pub fn env<K, V>(&mut self, key: K, val: V) -> &mut Command
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.std().env(key, val);
        self
    }

    /// As [`std::process::Command::envs`].
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.std().envs(vars);
        self
    }

    /// As [`std::process::Command::env_remove`].
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Command {
        self.std().env_remove(key);
        self
    }

    /// As [`std::process::Command::env_clear`].
    pub fn env_clear(&mut self) -> &mut Command {
        self.std().env_clear();
        self
    }

    /// As [`std::process::Command::current_dir`].
    pub fn current_dir<P: AsRef<Path>>(&mut self, dir: P) -> &mut Command {
        self.std().current_dir(dir);
        self
    }

    /// As [`std::process::Command::stdin`].
    pub fn stdin<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Command {
        self.has_stdin = true;
        self.std().stdin(cfg);
        self
    }

    /// As [`std::process::Command::stdout`].
    pub fn stdout<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Command {
        self.has_stdout = true;
        self.std().stdout(cfg);
        self
    }

    /// As [`std::process::Command::stderr`].
    pub fn stderr<T: Into<Stdio>>(&mut self, cfg: T) -> &mut Command {
        self.has_stderr = true;
        self.std().stderr(cfg);
        self
    }

    /// Starts the child, as [`std::process::Command::spawn`].
    ///
    /// The green thread parks meanwhile. No point of cancellation, so no child is lost.
    ///
    /// # Errors
    ///
    /// As there; or if the thread that starts children cannot be had, of the same kind as if there
    /// were no room for another process.
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.inner.spawn().map(Child::from)
    }

    /// Runs the child and collects what it writes, as [`std::process::Command::output`].
    ///
    /// The green thread parks. A point of cancellation, after which the child runs on, and is not
    /// left as a zombie.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Command::spawn), and those of reading its pipes.
    pub fn output(&mut self) -> io::Result<Output> {
        let mut inherited = [
            (
                self.has_stdin,
                Std::stdin as SetStdio,
                Stdio::null as fn() -> Stdio,
            ),
            (self.has_stdout, Std::stdout, Stdio::piped),
            (self.has_stderr, Std::stderr, Stdio::piped),
        ];
        for (has, set, default) in &mut inherited {
            if !*has {
                set(self.std(), default());
            }
        }
        let child = self.spawn();
        for (has, set, _) in inherited {
            if !has {
                // As it is where nobody asks.
                set(self.std(), Stdio::inherit());
            }
        }
        reaped(child?).wait_with_output()
    }

    /// Runs the child and waits for its end, as [`std::process::Command::status`].
    ///
    /// The green thread parks. A point of cancellation, after which the child runs on, and is not
    /// left as a zombie.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Command::spawn).
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        reaped(self.spawn()?).wait()
    }

    /// As [`std::process::Command::get_program`].
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.inner.as_std().get_program()
    }

    /// As [`std::process::Command::get_args`].
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.as_std().get_args()
    }

    /// As [`std::process::Command::get_envs`].
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.as_std().get_envs()
    }

    /// As [`std::process::Command::get_current_dir`].
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.as_std().get_current_dir()
    }
}

type Std = process::Command;
type SetStdio = fn(&mut Std, Stdio) -> &mut Std;

/// A child that nobody else knows of: should the wait for it unwind, it is no zombie in the end.
fn reaped(mut child: Child) -> Child {
    child.inner.reap_on_drop();
    child
}

impl From<process::Command> for Command {
    /// Takes over what std knows. What std was told of standard input, output and error counts as not
    /// told to [`output`](Command::output), because std does not tell it on.
    fn from(std: process::Command) -> Command {
        Command {
            inner: std.into(),
            has_stdin: false,
            has_stdout: false,
            has_stderr: false,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl greenrt::process::CommandExt for Command {
    fn parent_death_signal(&mut self, signal: Option<i32>) -> &mut Self {
        self.inner.parent_death_signal(signal);
        self
    }

    fn on_drop(&mut self, on_drop: OnDrop) -> &mut Self {
        self.inner.on_drop(on_drop);
        self
    }
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Command {}
impl sealed::Sealed for process::Command {}

/// What Unix has of commands besides, as [`std::os::unix::process::CommandExt`], which is sealed. std's
/// command has it too.
pub trait CommandExt: sealed::Sealed {
    /// The child's user.
    fn uid(&mut self, id: u32) -> &mut Self;

    /// The child's group of users.
    fn gid(&mut self, id: u32) -> &mut Self;

    /// Runs `f` in the child, just before it becomes its program.
    ///
    /// # Safety
    ///
    /// As [`std::os::unix::process::CommandExt::pre_exec`].
    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static;

    /// The older name of [`pre_exec`](CommandExt::pre_exec). Unsafe in every edition; in std before
    /// 2024 it is not.
    ///
    /// # Safety
    ///
    /// As [`pre_exec`](CommandExt::pre_exec).
    #[deprecated(note = "use `pre_exec` instead")]
    unsafe fn before_exec<F>(&mut self, f: F) -> &mut Self
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: the caller's promise.
        unsafe { self.pre_exec(f) }
    }

    /// Becomes the program, in place of this process, with all its threads. Returns only if that
    /// fails.
    fn exec(&mut self) -> io::Error;

    /// What the program is told to be its own name.
    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self;

    /// The child's process group; 0 for one of its own.
    fn process_group(&mut self, pgroup: i32) -> &mut Self;
}

/// The methods that only pass on what they are told.
macro_rules! passed_on {
    ($std:expr) => {
        fn uid(&mut self, id: u32) -> &mut Self {
            StdExt::uid($std(self), id);
            self
        }

        fn gid(&mut self, id: u32) -> &mut Self {
            StdExt::gid($std(self), id);
            self
        }

        unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Self
        where
            F: FnMut() -> io::Result<()> + Send + Sync + 'static,
        {
            // SAFETY: the caller's promise.
            unsafe { StdExt::pre_exec($std(self), f) };
            self
        }

        fn exec(&mut self) -> io::Error {
            StdExt::exec($std(self))
        }

        fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Self {
            StdExt::arg0($std(self), arg);
            self
        }
    };
}

impl CommandExt for Command {
    passed_on!(Command::std);

    fn process_group(&mut self, pgroup: i32) -> &mut Self {
        self.inner.process_group(pgroup);
        self
    }
}

impl CommandExt for process::Command {
    passed_on!(std::convert::identity);

    fn process_group(&mut self, pgroup: i32) -> &mut Self {
        StdExt::process_group(self, pgroup)
    }
}
