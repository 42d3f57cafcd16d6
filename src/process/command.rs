//! A child that is to be started.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU32};

use greenrt_arch::process::{die_with_parent, open};

use super::child::{Child, OnDrop};
use super::{CommandExt, on_spawning_thread, spawner};
use crate::scheduler;

/// [`std::process::Command`] whose children do not hold up a worker.
///
/// See [`process`](crate::process) for an example.
pub struct Command {
    std: process::Command,
    /// Shared with what runs in the child; there only once it was asked for.
    death: Option<Arc<Death>>,
    on_drop: OnDrop,
    leads_group: bool,
}

/// What the child needs to know to die with its parent.
#[derive(Default)]
struct Death {
    /// 0: it does not.
    signal: AtomicI32,
    parent: AtomicU32,
}

impl Command {
    /// A command that runs `program`, as [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        process::Command::new(program).into()
    }

    /// What std knows of it.
    pub fn as_std(&self) -> &process::Command {
        &self.std
    }

    /// What std knows of it, to be changed. What is said to std of a process group is not known
    /// here: use [`process_group`](Command::process_group).
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.std
    }

    /// The process group of the child, as
    /// [`std::os::unix::process::CommandExt::process_group`]; with 0 it leads one of its own.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.std.process_group(group);
        self.leads_group = group == 0;
        self
    }

    /// Starts the child.
    ///
    /// A green thread parks meanwhile. This is no point of cancellation, so no child is lost.
    ///
    /// # Errors
    ///
    /// As [`std::process::Command::spawn`]; or if the thread that starts children cannot be had, of
    /// the same kind as if there were no room for another process.
    pub fn spawn(&mut self) -> io::Result<Child> {
        if let Some(death) = &self.death {
            death.parent.store(process::id(), Relaxed);
        }
        let (child, descriptor) = if scheduler::on_green_thread() || self.death.is_some() {
            spawner::start()?;
            let mut command = mem::replace(&mut self.std, process::Command::new(""));
            let started = on_spawning_thread(move || {
                let started = start(&mut command);
                (command, started)
            });
            let (command, started) = started?;
            self.std = command;
            started?
        } else {
            start(&mut self.std)?
        };
        Ok(Child::new(
            child,
            descriptor,
            self.leads_group,
            self.on_drop,
        ))
    }
}

/// Starts the child, and takes hold of it before anybody else could have asked for its end.
fn start(command: &mut process::Command) -> io::Result<(process::Child, Option<OwnedFd>)> {
    let child = command.spawn()?;
    let descriptor = open(child.id()).ok();
    Ok((child, descriptor))
}

impl CommandExt for Command {
    fn parent_death_signal(&mut self, signal: Option<i32>) -> &mut Self {
        let signal = signal.unwrap_or(0);
        if let Some(death) = &self.death {
            death.signal.store(signal, Relaxed);
        } else if signal != 0 {
            let death = Arc::new(Death::default());
            death.signal.store(signal, Relaxed);
            self.death = Some(Arc::clone(&death));
            let in_child = move || match death.signal.load(Relaxed) {
                0 => Ok(()),
                signal => die_with_parent(signal, death.parent.load(Relaxed)),
            };
            #[expect(unsafe_code, reason = "runs in the child of a fork")]
            // SAFETY: it makes three system calls, allocates nothing and takes no lock.
            unsafe {
                self.std.pre_exec(in_child);
            }
        }
        self
    }

    fn on_drop(&mut self, on_drop: OnDrop) -> &mut Self {
        self.on_drop = on_drop;
        self
    }
}

impl From<process::Command> for Command {
    fn from(std: process::Command) -> Command {
        Command {
            std,
            death: None,
            on_drop: OnDrop::Leave,
            leads_group: false,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}
