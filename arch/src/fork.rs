//! What must happen around `fork(2)`.
//!
//! libc's function calls what is registered here; `vfork`, `posix_spawn` and the raw system call do
//! not, and need not: their children become other programs.

#![expect(unsafe_code, reason = "registers with libc")]

use std::io;

use crate::stack;

/// Has three functions called by every `fork` from now on: before it, and after it in the parent and
/// in the child, on the thread that forks. In the child there is no other one.
///
/// # Errors
///
/// If there is no memory.
pub fn install(
    before: extern "C" fn(),
    after_in_parent: extern "C" fn(),
    after_in_child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: functions of the program, which stay.
    match unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) }
    {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The locks of this crate that a forking thread must hold, so that the child does not find them
/// taken by somebody who is not there.
#[derive(Debug)]
pub struct Held {
    _stacks: stack::Held,
}

/// Takes them. The caller holds none of them, and takes or gives back no stack meanwhile.
#[must_use]
pub fn hold() -> Held {
    Held {
        _stacks: stack::hold(),
    }
}
