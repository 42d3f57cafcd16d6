//! Clocks, in nanoseconds.

use crate::os::clock_ns;

/// `CLOCK_MONOTONIC`: nanoseconds since some moment before the process began, without the time the
/// machine slept.
///
/// The clock of `std::time::Instant` on Linux. It never goes back, and never allocates or enters
/// the kernel on Linux.
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time that the calling OS thread has used, in nanoseconds. A system call.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time that all threads of the process have used, in nanoseconds. A system call.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    #[test]
    fn time_does_not_go_back() {
        let before = super::monotonic_ns();
        assert!(before > 0);
        assert!(super::monotonic_ns() >= before);
    }

    #[test]
    fn work_uses_cpu_time() {
        let (thread, process) = (super::thread_cpu_ns(), super::process_cpu_ns());
        while super::thread_cpu_ns() == thread {
            black_box(());
        }
        assert!(super::process_cpu_ns() > process);
    }
}
