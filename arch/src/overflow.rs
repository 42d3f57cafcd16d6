//! What is said when a green thread's stack overflows.
//!
//! An overflow touches the guard at the end of the stack, and the kernel sends SIGSEGV (SIGBUS on
//! some systems). The handler runs on an alternate stack ([`AltStack`]), recognises the guard by
//! its address, says whose stack it was, and aborts, as std does for its threads. It never tries to
//! go on.
//!
//! # Rules
//!
//! - *In front, not in place.* What is not one of our guards goes to the handler that was there
//!   before, with the arguments we got, under the signal mask it asked for. Std's own report for OS
//!   threads appears as ever, and a null pointer ends the process by SIGSEGV as ever.
//! - *Nothing but async-signal-safe code.* The overflow can be anywhere, inside the allocator too.
//!   The report is composed in a fixed buffer and written by one `write`. So whoever replaces our
//!   handler and passes on what is not theirs, in any order, does no harm.
//! - *The first one reports.* Other threads that overflow meanwhile wait for the end. If the
//!   description of the owner faults itself, the report appears without it.
//!
//! A system call that is given a buffer in a guard fails with `EFAULT`, and nothing is reported.

#![expect(unsafe_code, reason = "handles signals")]

mod alt_stack;
mod report;

pub use alt_stack::AltStack;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::os;
use crate::stack;
use report::Report;

/// Writes who owns a stack, as [`install`] says.
pub type Describe = fn(owner: usize, out: &mut dyn fmt::Write);

/// The signals by which systems report a touched guard.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What the signals did before us, in the order of `SIGNALS`. Set before our handler can run.
static PREVIOUS: [OnceLock<libc::sigaction>; SIGNALS.len()] =
    [const { OnceLock::new() }; SIGNALS.len()];

static DESCRIBE: OnceLock<Describe> = OnceLock::new();

/// The OS thread that reports, and the fault that it reports; 0 until there is one.
static REPORTER: AtomicUsize = AtomicUsize::new(0);
static REPORTED: AtomicUsize = AtomicUsize::new(0);

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs the handler, once per process. Later calls change nothing, not even `describe`.
///
/// `describe` gets the word of [`stack::Slot::set_owner`] and writes who has overflowed the stack:
/// the subject of the report's first sentence. What it writes beyond 512 bytes is cut off. It is
/// not called for the owner 0. The report, on standard error:
///
/// ```text
///
/// green thread 'acceptor' (17, spawned at src/main.rs:3:5) has overflowed its stack
///   stack: 256 KiB slot at 0x7f5a00000000-0x7f5a00040000, guard hit at 0x7f5a00003ff8
///   raise it with Builder::stack_size(bytes) or GREENRT_STACK_SIZE=bytes
/// fatal runtime error: stack overflow, aborting
/// ```
///
/// `describe` runs in the signal handler, on the alternate stack of the faulting thread. It must be
/// async-signal-safe: read memory, format with `write!`; no lock, no allocation, no thread-local of
/// std. If it faults, the report does without it; that takes an [`AltStack`].
///
/// An OS thread needs an alternate stack for its signals: std makes a small one for each of its
/// threads, and [`AltStack`] a larger one.
///
/// # Errors
///
/// Those of `sigaction(2)`, which has none for these signals.
pub fn install(describe: Describe) -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    DESCRIBE.get_or_init(|| describe);
    for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
        let previous = previous.get_or_init(|| action_of(signal));
        // The kernel applies the previous handler's mask and flags to ours, and so to the call from
        // ours. That one runs on the alternate stack whether it asked to or not: the fault may have
        // left no other.
        let kept_flags = libc::SA_NODEFER | libc::SA_RESTART;
        let mut action = *previous;
        action.sa_sigaction = on_fault as Handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (previous.sa_flags & kept_flags);
        // SAFETY: the action is complete, and `on_fault` is async-signal-safe.
        let result = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    *installed = true;
    Ok(())
}

/// What `signal` does now.
fn action_of(signal: c_int) -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only, and `action` is a place for the answer.
    unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroes are a valid action, the default one, and the system has filled it besides.
    unsafe { action.assume_init() }
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
    if crate::peek::fix_up(context) {
        return;
    }
    let this_thread = os::thread_id();
    // Relaxed, here and below: a thread recognises what it has stored itself.
    if REPORTER.load(Relaxed) == this_thread {
        // `describe` has faulted.
        die(REPORTED.load(Relaxed), None);
    }
    // SAFETY: the kernel passes a complete siginfo.
    let info_ref = unsafe { &*info };
    // The kernel's own codes are positive. A signal that a process sent has no address.
    let is_fault = info_ref.si_code > 0;
    // SAFETY: both signals have this field when the kernel sends them, and it is a number in any
    // case.
    let addr = unsafe { info_ref.si_addr() }.addr();
    if is_fault && stack::find(addr).is_some_and(|found| found.in_guard) {
        if REPORTER
            .compare_exchange(0, this_thread, Relaxed, Relaxed)
            .is_err()
        {
            os::wait_for_ever();
        }
        REPORTED.store(addr, Relaxed);
        unblock_signals();
        die(addr, DESCRIBE.get().copied());
    }
    pass_on(signal, info, context, is_fault);
}

/// Reports the overflow at `addr` and aborts.
fn die(addr: usize, describe: Option<Describe>) -> ! {
    if let Some(found) = stack::find(addr) {
        let report = Report::new(&found, addr, describe);
        os::write_stderr(report.text());
    }
    process::abort();
}

/// Lets our signals come while we handle one, so that a fault of `describe` comes back to us.
fn unblock_signals() {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` is a place for a signal set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in SIGNALS {
        // SAFETY: the set is initialised now.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: the set is initialised, and nothing that runs from here on relies on the signals
    // being blocked.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut()) };
}

/// Does with the signal what would be done without us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, is_fault: bool) {
    let previous = SIGNALS
        .iter()
        .position(|&ours| ours == signal)
        .and_then(|idx| PREVIOUS[idx].get());
    let (handler, flags) = previous.map_or((libc::SIG_DFL, 0), |action| {
        (action.sa_sigaction, action.sa_flags)
    });
    match handler {
        libc::SIG_DFL => {
            set_default(signal);
            // A fault happens again when we return; a sent signal must be sent again.
            if !is_fault {
                os::raise(signal);
            }
        }
        // The kernel ignores a sent signal, but ends a process that faults and says to ignore it.
        libc::SIG_IGN => {
            if is_fault {
                set_default(signal);
            }
        }
        handler => {
            if flags & libc::SA_RESETHAND != 0 {
                set_default(signal);
            }
            if flags & libc::SA_SIGINFO != 0 {
                // SAFETY: the previous action's owner set this address, and the flag that says its
                // type.
                let handler = unsafe { mem::transmute::<libc::sighandler_t, Handler>(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: the previous action's owner set this address, without the flag, which
                // says its type.
                let handler =
                    unsafe { mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
        }
    }
}

/// Makes `signal` do what it does in a process that never said anything about it.
fn set_default(signal: c_int) {
    let action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroes are the default action.
    let action = unsafe { action.assume_init() };
    // SAFETY: the action is complete. Ours, or whoever's was there, is wanted no more.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
