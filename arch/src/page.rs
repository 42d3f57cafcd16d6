//! The size of a page.

#![expect(unsafe_code, reason = "calls libc")]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// 0 until the first call of [`size`].
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// Bytes in a page of memory. The system is asked once.
#[inline]
#[must_use]
pub fn size() -> usize {
    // Relaxed: the number stands for itself, and every thread that asks gets the same.
    match SIZE.load(Relaxed) {
        0 => ask(),
        bytes => bytes,
    }
}

#[cold]
fn ask() -> usize {
    // SAFETY: the function only looks a number up.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // Every Unix has pages; -1 would mean that the question is unknown.
    let bytes = usize::try_from(bytes).unwrap_or(4096);
    SIZE.store(bytes, Relaxed);
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_page_is_a_power_of_two() {
        assert!(super::size().is_power_of_two());
        assert!(super::size() >= 4096);
    }
}
