//! Waiting for children.
//!
//! What has become of a child is looked at without waiting, and greenrt tells when to look again
//! (`greenrt::lowlevel::process::wait_for`): for the end of one child its descriptor (`pidfd`) becomes
//! readable; for any child, a group, or one that stops there is nothing of the kind, and it is looked
//! again and again. Starting a child is left alone; what std reads from it until it runs is a pipe, and
//! parks.

use std::ffi::{c_char, c_int};
use std::io;
use std::mem;

use greenrt::lowlevel::process::{self, States, Which};
use greenrt::lowlevel::{self, Lane};
use libc::{id_t, idtype_t, pid_t, rusage, siginfo_t};

use crate::errno::{pass, result, returned};
use crate::offload;
use crate::symbol::interpose;
use crate::table::{self, Direction};

interpose! {
    /// `wait(2)`: parks.
    green fn wait(status: *mut c_int) -> pid_t {
        // SAFETY: as the caller promises.
        unsafe { waitpid(-1, status, 0) }
    }

    /// `waitpid(2)`: parks.
    green fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
        wait_for(pid, options, |options| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::waitpid(pid, status, options) }
        })
    }

    /// `wait4(2)`: parks.
    green fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
        wait_for(pid, options, |options| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::wait4(pid, status, options, usage) }
        })
    }

    /// `wait3(2)`: parks.
    green fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
        // SAFETY: as the caller promises.
        unsafe { wait4(-1, status, options, usage) }
    }

    /// `waitid(2)`: parks.
    green fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
        // SAFETY: all zero is one.
        let none: siginfo_t = unsafe { mem::zeroed() };
        let mut own = none;
        let place = if info.is_null() { &raw mut own } else { info };
        let call = |options| {
            // SAFETY: as the caller promises, who waits; or ours.
            unsafe { real::waitid(kind, id, place, options) }
        };
        // A number, if something has become of it; 0: not yet.
        let look = |options| {
            // SAFETY: the caller's, or ours.
            unsafe { place.write(none) };
            let error = call(options);
            if error != 0 {
                return error;
            }
            // SAFETY: the caller's, or ours.
            let info = unsafe { place.read() };
            // SAFETY: written by the call, for a child, or zero.
            unsafe { info.si_pid() }
        };
        let which = match kind {
            libc::P_ALL => Which::Any,
            libc::P_PID => Which::Process(id),
            libc::P_PGID if id == 0 => Which::Group(own_group()),
            libc::P_PGID => Which::Group(id),
            libc::P_PIDFD => Which::Descriptor(id.cast_signed()),
            _ => return call(options),
        };
        const KNOWN: c_int = libc::WNOWAIT | libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
        if options & libc::WNOHANG != 0 {
            return pass(call(options));
        }
        let states = States {
            ended: options & libc::WEXITED != 0,
            stopped: options & libc::WSTOPPED != 0,
            continued: options & libc::WCONTINUED != 0,
        };
        if options & !KNOWN != 0 {
            return offload::call(Lane::General, || call(options));
        }
        let answer = match which {
            // The user's own descriptor tells.
            Which::Descriptor(fd) if states == States::ENDED => match table::entry(fd) {
                Some(entry) => {
                    let look = |_| looked(look(options | libc::WNOHANG));
                    returned(table::wait(&entry, Direction::Read, None, look))
                }
                None => return call(options),
            },
            which => wait_until(which, states, || look(options | libc::WNOHANG)),
        };
        if answer < 0 { answer } else { 0 }
    }

    /// `system(3)`: on an OS thread of the pool.
    green fn system(command: *const c_char) -> c_int {
        offload::call(Lane::General, || {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::system(command) }
        })
    }
}

/// As `waitpid`.
fn wait_for(pid: pid_t, options: c_int, call: impl Fn(c_int) -> pid_t) -> pid_t {
    if options & libc::WNOHANG != 0 {
        return pass(call(options));
    }
    if options & !(libc::WUNTRACED | libc::WCONTINUED) != 0 {
        // Children of other kinds, or of one thread.
        return offload::call(Lane::General, || call(options));
    }
    let which = match pid {
        1.. => Which::Process(pid.cast_unsigned()),
        0 => Which::Group(own_group()),
        -1 => Which::Any,
        _ => Which::Group(pid.unsigned_abs()),
    };
    let states = States {
        ended: true,
        stopped: options & libc::WUNTRACED != 0,
        continued: options & libc::WCONTINUED != 0,
    };
    wait_until(which, states, || call(options | libc::WNOHANG))
}

/// Waits until `take` has something to tell; 0: nothing yet.
fn wait_until(which: Which, states: States, take: impl Fn() -> pid_t) -> pid_t {
    loop {
        match take() {
            0 => {}
            taken => return pass(taken),
        }
        // Another one may be faster to take what there is.
        let waited =
            lowlevel::interrupts_as_errors(|| process::wait_for(which, states, true, None));
        if let Err(error) = waited {
            return returned(Err(error));
        }
    }
}

fn own_group() -> u32 {
    // SAFETY: no conditions.
    unsafe { libc::getpgrp() }.cast_unsigned()
}

/// An answer; `WouldBlock`: nothing has become of the child yet.
fn looked(answer: pid_t) -> io::Result<pid_t> {
    match result(answer)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        pid => Ok(pid),
    }
}
