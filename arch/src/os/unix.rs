//! What every Unix does alike.

#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::ptr;

/// Maps `bytes` of private memory, readable and writable, with `flags` besides. Returns its lowest
/// address.
///
/// The mapping's provenance is exposed: addresses inside it may be turned back into pointers.
///
/// # Errors
///
/// Those of `mmap(2)`.
pub(crate) fn map(bytes: usize, flags: c_int) -> io::Result<usize> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | flags;
    // SAFETY: a new mapping at a place of the kernel's choice disturbs no other memory.
    let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(memory.expose_provenance())
}

/// Gives a mapping back, address space and all.
///
/// # Safety
///
/// `range` is a mapping that [`map`] made, whole, and nobody uses it any more.
pub(crate) unsafe fn unmap(range: Range<usize>) {
    let memory = ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the caller gives up the whole mapping.
    let result = unsafe { libc::munmap(memory, range.len()) };
    debug_assert_eq!(result, 0, "munmap of a whole mapping cannot fail");
}

/// Makes every access to `range` fault, at the cost of a mapping of its own.
///
/// # Errors
///
/// Those of `mprotect(2)`: `ENOMEM` when the process has no mapping left.
///
/// # Safety
///
/// `range` is whole pages of a mapping that [`map`] made, and nobody uses what is in it.
pub(crate) unsafe fn forbid(range: Range<usize>) -> io::Result<()> {
    let memory = ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the caller owns the pages and promises that nothing in them is used.
    let result = unsafe { libc::mprotect(memory, range.len(), libc::PROT_NONE) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Time of `clock` in nanoseconds.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a place for one timespec. The clocks that we ask for always exist.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    debug_assert_eq!(result, 0, "clock {clock} does not exist");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
