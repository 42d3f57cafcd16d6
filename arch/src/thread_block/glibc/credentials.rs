//! Changes of the process's user and group.
//!
//! To the kernel each thread has credentials of its own. So `setuid` and its like, called in any
//! thread, send an internal signal to every thread that libc knows, and repeat that until each has
//! cleared a flag in its record. libc's handler takes the record at the thread pointer, which on a
//! worker may be a green thread's: the flag of the worker would never be cleared, and the caller
//! would send signals for ever. Our handler, in front of libc's, has the worker's own block
//! installed while libc's runs.

#![expect(unsafe_code, reason = "handles a signal of libc's own")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Block, fs, ready};
use crate::os::raw;

/// `SIGSETXID`, which libc lets nobody handle, so it takes a system call.
const SIGNAL: usize = 33;

/// A signal's action, as the kernel has it.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// libc's handler.
static ORIGINAL: AtomicUsize = AtomicUsize::new(0);

/// Puts our handler in front of libc's, which is there since a thread was created first.
pub(super) fn install() -> io::Result<()> {
    let mut action = Action::default();
    // SAFETY: a place for an action.
    unsafe { change(ptr::null(), &mut action) }?;
    let ours = (on_signal as *const ()).expose_provenance();
    if action.handler == ours || action.handler == libc::SIG_DFL || action.handler == libc::SIG_IGN
    {
        return Ok(());
    }
    ORIGINAL.store(action.handler, Relaxed);
    action.handler = ours;
    // SAFETY: as it was, with a handler that does what the former did.
    unsafe { change(&action, ptr::null_mut()) }
}

/// `rt_sigaction(2)`.
///
/// # Safety
///
/// Null, or a valid action; null, or a place for one.
unsafe fn change(new: *const Action, old: *mut Action) -> io::Result<()> {
    let args = [
        SIGNAL,
        new.expose_provenance(),
        old.expose_provenance(),
        mem::size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: as the caller promises.
    unsafe { raw::call(libc::SYS_rt_sigaction, args) }.map(drop)
}

/// Async-signal-safe, and touches no thread-local.
extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let green = ready().and_then(|support| Some((support, Block::installed(support)?)));
    if let Some((support, green)) = green {
        let home = green.home_of(support);
        // Nothing travels: the interrupted code goes on where it was.
        // SAFETY: home is this OS thread's own.
        unsafe { fs::set_base(home.tp()) };
        pass_on(signal, info, context);
        // SAFETY: it was installed.
        unsafe { fs::set_base(green.tp()) };
    } else {
        pass_on(signal, info, context);
    }
}

#[inline(never)]
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what the kernel had as handler.
    let original = unsafe { mem::transmute::<usize, Handler>(ORIGINAL.load(Relaxed)) };
    // SAFETY: the arguments are the kernel's.
    unsafe { original(signal, info, context) };
}
