//! `errno`, and results as libc gives them.

use std::ffi::c_int;
use std::io;

use greenrt::lowlevel;

/// The calling thread's.
pub(crate) fn get() -> c_int {
    // SAFETY: the calling thread's own.
    unsafe { place().read() }
}

pub(crate) fn set(number: c_int) {
    // SAFETY: the calling thread's own.
    unsafe { place().write(number) };
}

fn place() -> *mut c_int {
    // SAFETY: no conditions.
    unsafe { libc::__errno_location() }
}

/// What a function of libc returned, -1 being an error.
pub(crate) trait Returned: Copy {
    const FAILED: Self;
    fn has_failed(self) -> bool;
}

impl Returned for c_int {
    const FAILED: Self = -1;

    fn has_failed(self) -> bool {
        self == -1
    }
}

impl Returned for isize {
    const FAILED: Self = -1;

    fn has_failed(self) -> bool {
        self == -1
    }
}

/// As std has it.
pub(crate) fn result<R: Returned>(returned: R) -> io::Result<R> {
    if returned.has_failed() {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// As libc has it.
pub(crate) fn returned<R: Returned>(result: io::Result<R>) -> R {
    match result {
        Ok(value) => value,
        Err(error) => {
            set(number(&error));
            R::FAILED
        }
    }
}

/// The error's number.
pub(crate) fn number(error: &io::Error) -> c_int {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// A call that did not wait. Whoever makes it for ever starves nobody.
#[inline]
pub(crate) fn pass<R>(returned: R) -> R {
    let number = get();
    lowlevel::spend_credit();
    set(number);
    returned
}
