//! Sleeping and yielding.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::tests;

tests! {
    a_sleep_lets_others_run
    a_sleep_is_never_early
    a_thousand_sleep_at_once
    a_yield_lets_others_run
    absolute_times_of_each_clock
    odd_requests_fail_as_ever
}

fn a_sleep_lets_others_run() {
    let sleeper = thread::spawn(|| thread::sleep(Duration::from_millis(50)));
    let began = Instant::now();
    let others = (0..10).map(|_| thread::spawn(|| thread::sleep(Duration::from_millis(1))));
    others
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|other| other.join().unwrap());
    // Those have come and gone while the first one sleeps; if they had waited for it, it had ended.
    let early = began.elapsed() < Duration::from_millis(50);
    assert!(!early || !sleeper.is_finished());
    sleeper.join().unwrap();
}

fn a_sleep_is_never_early() {
    for microseconds in [0, 1, 100, 2000] {
        let time = Duration::from_micros(microseconds);
        let began = Instant::now();
        thread::sleep(time);
        assert!(began.elapsed() >= time);
    }
}

fn a_thousand_sleep_at_once() {
    let began = Instant::now();
    let threads = (0..1000).map(|_| thread::spawn(|| thread::sleep(Duration::from_millis(100))));
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    // One after the other they take 100 seconds.
    assert!(began.elapsed() < Duration::from_secs(50));
}

fn a_yield_lets_others_run() {
    let sibling = thread::spawn(|| ());
    while !sibling.is_finished() {
        thread::yield_now();
    }
}

fn absolute_times_of_each_clock() {
    #![expect(unsafe_code, reason = "asks libc")]
    for clock in [
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_REALTIME,
        libc::CLOCK_BOOTTIME,
    ] {
        let mut at = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: room for the time.
        unsafe { libc::clock_gettime(clock, &raw mut at) };
        at.tv_nsec += 3_000_000;
        if at.tv_nsec >= 1_000_000_000 {
            at.tv_nsec -= 1_000_000_000;
            at.tv_sec += 1;
        }
        let began = Instant::now();
        // SAFETY: a time.
        let error = unsafe {
            libc::clock_nanosleep(
                clock,
                libc::TIMER_ABSTIME,
                &raw const at,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(error, 0);
        assert!(began.elapsed() >= Duration::from_micros(2000));
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: room for the time.
        unsafe { libc::clock_gettime(clock, &raw mut now) };
        assert!((now.tv_sec, now.tv_nsec) >= (at.tv_sec, at.tv_nsec));
    }
}

fn odd_requests_fail_as_ever() {
    #![expect(unsafe_code, reason = "asks libc")]
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: -1,
    };
    // SAFETY: a time, if an odd one.
    let error = unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
    assert_eq!(error, -1);
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::EINVAL)
    );
    // SAFETY: as above.
    let error = unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_REALTIME,
            0,
            &raw const time,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(error, libc::EINVAL);
}
