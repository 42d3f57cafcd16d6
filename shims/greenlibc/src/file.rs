//! What is done to files at a position, or waits for the disk.

use std::ffi::c_int;
use std::io::ErrorKind;

use greenrt::lowlevel::{self, Lane, Pause};
use libc::{c_void, iovec, off_t, off64_t, size_t, ssize_t};

use crate::errno::{result, returned};
use crate::io::{self, tried};
use crate::offload;
use crate::symbol::interpose;

/// Reading or writing at a position: at once, if that can be; otherwise by the pool.
macro_rules! positioned {
    ($call:path, $vectored:path; $fd:expr, $slice:expr, $n:expr, $at:expr; $($argument:expr),*) => {{
        let (slices, n) = ($slice, $n);
        io::file(
            $fd,
            |fd| {
                // SAFETY: as the caller promises.
                tried(unsafe { $vectored(fd, slices, n, $at, libc::RWF_NOWAIT) })
            },
            || {
                // SAFETY: as the caller promises, who waits.
                unsafe { $call($($argument),*) }
            },
        )
    }};
}

interpose! {
    /// `pread(2)`: what is in memory at once, the rest on an OS thread of the pool.
    green fn pread(fd: c_int, buffer: *mut c_void, bytes: size_t, at: off_t) -> ssize_t {
        let slice = iovec { iov_base: buffer, iov_len: bytes };
        positioned!(real::pread, libc::preadv2; fd, &raw const slice, 1, at; fd, buffer, bytes, at)
    }

    /// `pread64(2)`: as `pread`.
    green fn pread64(fd: c_int, buffer: *mut c_void, bytes: size_t, at: off64_t) -> ssize_t {
        let slice = iovec { iov_base: buffer, iov_len: bytes };
        positioned!(real::pread64, libc::preadv2; fd, &raw const slice, 1, at; fd, buffer, bytes, at)
    }

    /// `pwrite(2)`: as `pread`.
    green fn pwrite(fd: c_int, bytes: *const c_void, n: size_t, at: off_t) -> ssize_t {
        let slice = iovec { iov_base: bytes.cast_mut(), iov_len: n };
        positioned!(real::pwrite, libc::pwritev2; fd, &raw const slice, 1, at; fd, bytes, n, at)
    }

    /// `pwrite64(2)`: as `pread`.
    green fn pwrite64(fd: c_int, bytes: *const c_void, n: size_t, at: off64_t) -> ssize_t {
        let slice = iovec { iov_base: bytes.cast_mut(), iov_len: n };
        positioned!(real::pwrite64, libc::pwritev2; fd, &raw const slice, 1, at; fd, bytes, n, at)
    }

    /// `preadv(2)`: as `pread`.
    green fn preadv(fd: c_int, slices: *const iovec, n: c_int, at: off_t) -> ssize_t {
        positioned!(real::preadv, libc::preadv2; fd, slices, n, at; fd, slices, n, at)
    }

    /// `preadv64(2)`: as `pread`.
    green fn preadv64(fd: c_int, slices: *const iovec, n: c_int, at: off64_t) -> ssize_t {
        positioned!(real::preadv64, libc::preadv2; fd, slices, n, at; fd, slices, n, at)
    }

    /// `pwritev(2)`: as `pread`.
    green fn pwritev(fd: c_int, slices: *const iovec, n: c_int, at: off_t) -> ssize_t {
        positioned!(real::pwritev, libc::pwritev2; fd, slices, n, at; fd, slices, n, at)
    }

    /// `pwritev64(2)`: as `pread`.
    green fn pwritev64(fd: c_int, slices: *const iovec, n: c_int, at: off64_t) -> ssize_t {
        positioned!(real::pwritev64, libc::pwritev2; fd, slices, n, at; fd, slices, n, at)
    }

    /// `fsync(2)`: on an OS thread of the pool.
    green fn fsync(fd: c_int) -> c_int {
        offload::call(Lane::General, || {
            // SAFETY: as the caller promises.
            unsafe { real::fsync(fd) }
        })
    }

    /// `fdatasync(2)`: as `fsync`.
    green fn fdatasync(fd: c_int) -> c_int {
        offload::call(Lane::General, || {
            // SAFETY: as the caller promises.
            unsafe { real::fdatasync(fd) }
        })
    }

    /// `syncfs(2)`: as `fsync`.
    green fn syncfs(fd: c_int) -> c_int {
        offload::call(Lane::General, || {
            // SAFETY: as the caller promises.
            unsafe { real::syncfs(fd) }
        })
    }

    /// `lockf(3)`: asks again and again, if it must wait.
    green fn lockf(fd: c_int, command: c_int, bytes: off_t) -> c_int {
        let attempt = || {
            // SAFETY: no memory is passed.
            let error = unsafe { real::lockf(fd, libc::F_TLOCK, bytes) };
            if error != 0 && crate::errno::get() == libc::EACCES {
                // The other name that POSIX allows.
                crate::errno::set(libc::EAGAIN);
            }
            error
        };
        if command == libc::F_LOCK {
            return lock(attempt);
        }
        // SAFETY: no memory is passed.
        unsafe { real::lockf(fd, command, bytes) }
    }

    /// `flock(2)`: asks again and again, if it must wait.
    green fn flock(fd: c_int, operation: c_int) -> c_int {
        let attempt = || {
            // SAFETY: no memory is passed.
            unsafe { real::flock(fd, operation | libc::LOCK_NB) }
        };
        if operation & libc::LOCK_NB != 0 { attempt() } else { lock(attempt) }
    }
}

/// Takes a lock of a file by `attempt`, which does not wait. Nothing tells when it would succeed; and
/// who has the lock may need the pool, so it is not to be full of those who wait for it.
pub(crate) fn lock(attempt: impl Fn() -> c_int) -> c_int {
    let mut pause = Pause::new(None);
    loop {
        match result(attempt()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return returned(done),
        }
        if let Err(error) = lowlevel::interrupts_as_errors(|| Ok(pause.wait())) {
            return returned(Err(error));
        }
    }
}
