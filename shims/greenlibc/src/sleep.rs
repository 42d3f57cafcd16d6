//! Sleeping and yielding.
//!
//! A sleep is not ended by cancellation or limits: std takes every error but `EINTR` for a bug, and
//! tries again after that.

use std::ffi::{c_int, c_uint};
use std::ptr;
use std::time::Duration;

use libc::{clockid_t, timespec, useconds_t};

use crate::errno;
use crate::symbol::interpose;

interpose! {
    /// `nanosleep(2)`: parks.
    green fn nanosleep(request: *const timespec, remain: *mut timespec) -> c_int {
        // SAFETY: as the caller promises.
        match unsafe { duration(request) } {
            Some(time) => {
                park(time);
                0
            }
            // The kernel knows best what is wrong with it.
            // SAFETY: as the caller promises.
            None => unsafe { real::nanosleep(request, remain) },
        }
    }

    /// `clock_nanosleep(2)`: parks, on the monotonic clock and the real one.
    green fn clock_nanosleep(
        clock: clockid_t,
        flags: c_int,
        request: *const timespec,
        remain: *mut timespec,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let time = unsafe { duration(request) };
        let known = matches!(clock, libc::CLOCK_MONOTONIC | libc::CLOCK_REALTIME | libc::CLOCK_BOOTTIME);
        let (Some(time), true) = (time, known) else {
            // SAFETY: as the caller promises.
            return unsafe { real::clock_nanosleep(clock, flags, request, remain) };
        };
        if flags & libc::TIMER_ABSTIME == 0 {
            park(time);
            return 0;
        }
        // A clock that is set while we sleep is looked at again.
        while let Some(left) = time.checked_sub(now(clock)).filter(|left| !left.is_zero()) {
            park(left);
        }
        0
    }

    /// `usleep(3)`: parks.
    green fn usleep(microseconds: useconds_t) -> c_int {
        park(Duration::from_micros(microseconds.into()));
        0
    }

    /// `sleep(3)`: parks.
    green fn sleep(seconds: c_uint) -> c_uint {
        park(Duration::from_secs(seconds.into()));
        0
    }

    /// `sched_yield(2)`: lets the other green threads of the worker run.
    green fn sched_yield() -> c_int {
        greenrt::yield_now();
        0
    }
}

/// Sleeps without being interrupted; `errno` stays.
pub(crate) fn park(time: Duration) {
    let before = errno::get();
    greenrt::shield(|| greenrt::sleep(time));
    errno::set(before);
}

pub(crate) fn now(clock: clockid_t) -> Duration {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: there is room for the time.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    to_duration(time).unwrap_or_default()
}

/// `None`: not a valid one.
///
/// # Safety
///
/// `time` is null or points to one.
pub(crate) unsafe fn duration(time: *const timespec) -> Option<Duration> {
    if time.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    to_duration(unsafe { ptr::read(time) })
}

pub(crate) fn to_duration(time: timespec) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec)
        .ok()
        .filter(|&ns| ns < 1_000_000_000)?;
    Some(Duration::new(seconds, nanoseconds))
}
