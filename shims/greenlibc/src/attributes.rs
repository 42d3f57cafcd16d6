//! What is known of a green thread: its name. And what is known of OS threads only: signals, a clock, the
//! CPUs on which they run, priorities.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use greenrt::lowlevel;
use libc::{clockid_t, cpu_set_t, pthread_t, sched_param, sigval, size_t, stack_t};

use crate::pthread::{self, Handle, NAME_BYTES, SELF};
use crate::symbol::interpose;

thread_local! {
    /// The alternate stack for signals that the green thread has asked for. Handlers run on that of
    /// its worker.
    static SIGNAL_STACK: Cell<Option<stack_t>> = const { Cell::new(None) };
}

interpose! {
    /// `pthread_setname_np(3)`: the green thread's name, and not its worker's.
    all fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { Handle::of(thread) }) else {
            if lowlevel::in_user_code() && is_self(thread) {
                return 0;
            }
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_setname_np(thread, name) };
        };
        // SAFETY: as the caller promises.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
        if name.len() > NAME_BYTES {
            return libc::ERANGE;
        }
        let mut bytes = [0; NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name);
        *handle.name.lock() = bytes;
        0
    }

    /// `pthread_getname_np(3)`.
    all fn pthread_getname_np(thread: pthread_t, name: *mut c_char, bytes: size_t) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { Handle::of(thread) }) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_getname_np(thread, name, bytes) };
        };
        if bytes < NAME_BYTES {
            return libc::ERANGE;
        }
        let stored = *handle.name.lock();
        // SAFETY: there is room, as the caller promises.
        unsafe { ptr::copy_nonoverlapping(stored.as_ptr().cast(), name, NAME_BYTES) };
        0
    }

    /// `pthread_kill(3)`: a green thread cannot be sent a signal, but by itself, for its worker.
    all fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { Handle::of(thread) }) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_kill(thread, signal) };
        };
        drop(handle);
        match signal {
            0 => 0,
            // SAFETY: no memory is passed.
            _ if SELF.get() == thread as usize => match unsafe { libc::raise(signal) } {
                0 => 0,
                _ => crate::errno::get(),
            },
            _ => libc::ENOTSUP,
        }
    }

    /// `pthread_cancel(3)`: not of a green thread.
    all fn pthread_cancel(thread: pthread_t) -> c_int {
        match Handle::at(thread) {
            // SAFETY: as the caller promises.
            None => unsafe { real::pthread_cancel(thread) },
            Some(_) => libc::ENOSYS,
        }
    }

    /// `pthread_sigqueue(3)`: not to a green thread.
    all fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: sigval) -> c_int {
        match Handle::at(thread) {
            // SAFETY: as the caller promises.
            None => unsafe { real::pthread_sigqueue(thread, signal, value) },
            Some(_) => libc::ENOTSUP,
        }
    }

    /// `pthread_getcpuclockid(3)`: a green thread has none.
    all fn pthread_getcpuclockid(thread: pthread_t, clock: *mut clockid_t) -> c_int {
        match Handle::at(thread) {
            // SAFETY: as the caller promises.
            None => unsafe { real::pthread_getcpuclockid(thread, clock) },
            Some(_) => libc::ENOENT,
        }
    }

    /// `pthread_setaffinity_np(3)`: not of a green thread.
    all fn pthread_setaffinity_np(thread: pthread_t, bytes: size_t, set: *const cpu_set_t) -> c_int {
        match Handle::at(thread) {
            // SAFETY: as the caller promises.
            None => unsafe { real::pthread_setaffinity_np(thread, bytes, set) },
            Some(_) => libc::EINVAL,
        }
    }

    /// `pthread_getaffinity_np(3)`: of a green thread, the caller's worker's.
    all fn pthread_getaffinity_np(thread: pthread_t, bytes: size_t, set: *mut cpu_set_t) -> c_int {
        if Handle::at(thread).is_none() {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_getaffinity_np(thread, bytes, set) };
        }
        // SAFETY: as the caller promises.
        match unsafe { libc::sched_getaffinity(0, bytes, set) } {
            0 => 0,
            _ => crate::errno::get(),
        }
    }

    /// `pthread_setschedparam(3)`: not of a green thread.
    all fn pthread_setschedparam(
        thread: pthread_t,
        policy: c_int,
        parameters: *const sched_param,
    ) -> c_int {
        match Handle::at(thread) {
            // SAFETY: as the caller promises.
            None => unsafe { real::pthread_setschedparam(thread, policy, parameters) },
            Some(_) => libc::ENOTSUP,
        }
    }

    /// `pthread_getschedparam(3)`: of a green thread, that of all ordinary threads.
    all fn pthread_getschedparam(
        thread: pthread_t,
        policy: *mut c_int,
        parameters: *mut sched_param,
    ) -> c_int {
        if Handle::at(thread).is_none() {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_getschedparam(thread, policy, parameters) };
        }
        // SAFETY: as the caller promises.
        unsafe { policy.write(libc::SCHED_OTHER) };
        // SAFETY: as the caller promises.
        unsafe { parameters.write(sched_param { sched_priority: 0 }) };
        0
    }

    /// `pthread_setschedprio(3)`: not of a green thread.
    all fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int {
        match Handle::at(thread) {
            // SAFETY: as the caller promises.
            None => unsafe { real::pthread_setschedprio(thread, priority) },
            Some(_) => libc::ENOTSUP,
        }
    }

    /// `sigaltstack(2)`: noted. Handlers of signals run on the stack of the worker, which has one.
    green fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int {
        let known = SIGNAL_STACK.get();
        if !old.is_null() {
            match known {
                // SAFETY: as the caller promises.
                Some(known) => unsafe { old.write(known) },
                None => {
                    // SAFETY: as the caller promises.
                    let error = unsafe { real::sigaltstack(ptr::null(), old) };
                    if error != 0 {
                        return error;
                    }
                }
            }
        }
        if !new.is_null() {
            // SAFETY: as the caller promises.
            let new = unsafe { new.read() };
            SIGNAL_STACK.set((new.ss_flags & libc::SS_DISABLE == 0).then_some(new));
        }
        0
    }
}

/// Whether a `pthread_t` of libc's is that of the caller.
fn is_self(thread: pthread_t) -> bool {
    // SAFETY: no conditions.
    thread == unsafe { pthread::real::pthread_self() }
}
