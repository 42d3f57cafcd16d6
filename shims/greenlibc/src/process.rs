//! Waiting for children: a descriptor of the process (`pidfd`) becomes readable when it ends.
//!
//! Whoever waits for any child, or for one that stops, is served by an OS thread of the pool: there is
//! no descriptor for that. Starting a child is left alone; what std reads from it until it runs is a
//! pipe, and parks.

use std::ffi::{c_char, c_int};
use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd};

use greenrt::lowlevel::{self, Io, Lane};
use libc::{id_t, idtype_t, pid_t, rusage, siginfo_t};

use crate::errno::{self, result, returned};
use crate::offload;
use crate::symbol::interpose;

interpose! {
    /// `wait(2)`: on an OS thread of the pool.
    green fn wait(status: *mut c_int) -> pid_t {
        offload::call(Lane::General, || {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::wait(status) }
        })
    }

    /// `waitpid(2)`: parks, for one child.
    green fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
        wait_for(pid, options, |options| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::waitpid(pid, status, options) }
        })
    }

    /// `wait4(2)`: parks, for one child.
    green fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
        wait_for(pid, options, |options| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::wait4(pid, status, options, usage) }
        })
    }

    /// `waitid(2)`: parks, for one child.
    green fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
        // SAFETY: all zero is one.
        let none: siginfo_t = unsafe { mem::zeroed() };
        let mut own = none;
        let place = if info.is_null() { &raw mut own } else { info };
        let call = |options| {
            // SAFETY: as the caller promises, who waits; or ours.
            unsafe { real::waitid(kind, id, place, options) }
        };
        // A number, if it ended; 0: not yet.
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
        let only_its_end = options & !(libc::WNOHANG | libc::WNOWAIT) == libc::WEXITED;
        let answer = match kind {
            _ if options & libc::WNOHANG != 0 => return call(options),
            libc::P_PID if only_its_end => wait_for_one(id.cast_signed(), options, look),
            libc::P_PIDFD if only_its_end => match crate::table::entry(id.cast_signed()) {
                Some(entry) => {
                    let direction = crate::table::Direction::Read;
                    let look = |_| looked(look(options | libc::WNOHANG));
                    returned(crate::table::wait(&entry, direction, None, look))
                }
                None => return call(options),
            },
            _ => return offload::call(Lane::General, || call(options)),
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
        let answer = call(options);
        let number = errno::get();
        lowlevel::spend_credit();
        errno::set(number);
        return answer;
    }
    if pid <= 0 || options & (libc::WUNTRACED | libc::WCONTINUED) != 0 {
        return offload::call(Lane::General, || call(options));
    }
    wait_for_one(pid, options, call)
}

/// Waits for the end of one child.
fn wait_for_one(pid: pid_t, options: c_int, call: impl Fn(c_int) -> pid_t) -> pid_t {
    let look = || looked(call(options | libc::WNOHANG));
    match look() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        answer => return returned(answer),
    }
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(fd) = c_int::try_from(fd)
        .map_err(drop)
        .and_then(|fd| result(fd).map_err(drop))
    else {
        return offload::call(Lane::General, || call(options));
    };
    // SAFETY: new, and nobody else's.
    let io = Io::new(unsafe { OwnedFd::from_raw_fd(fd) });
    returned(lowlevel::interrupts_as_errors(|| {
        io.read_with(None, |_| look())
    }))
}

/// An answer; `WouldBlock`: the child has not ended.
fn looked(answer: pid_t) -> io::Result<pid_t> {
    match result(answer)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        pid => Ok(pid),
    }
}
