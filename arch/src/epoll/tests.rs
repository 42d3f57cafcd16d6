#![expect(unsafe_code, reason = "registers descriptors")]

use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::*;
use crate::testing::{assert_done, in_child, time_limit};

fn create() -> OwnedFd {
    // SAFETY: the argument is a number.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the descriptor is new.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn add(epoll: &OwnedFd, fd: impl AsFd, interest: Readiness, token: u64) {
    let mut event = libc::epoll_event {
        events: interest.bits() | libc::EPOLLET as u32,
        u64: token,
    };
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the event is complete.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
    assert_eq!(result, 0);
}

fn all() -> Readiness {
    Readiness::READABLE | Readiness::WRITABLE | Readiness::READ_CLOSED | Readiness::PRIORITY
}

/// Waits often, and checks that no wait is early and that the best is at most `late` late.
fn check_precision(timeout: Duration, late: Duration) {
    let epoll = create();
    let mut events = Events::with_capacity(4);
    let lateness: Vec<Duration> = (0..20)
        .map(|_| {
            let start = Instant::now();
            wait(epoll.as_fd(), &mut events, Some(timeout)).unwrap();
            assert!(events.is_empty());
            let elapsed = start.elapsed();
            assert!(elapsed >= timeout, "early: {elapsed:?}");
            elapsed - timeout
        })
        .collect();
    assert!(lateness.iter().min() <= Some(&late), "{lateness:?}");
}

#[test]
fn a_short_timeout_is_kept_to_the_microsecond() {
    let _limit = time_limit(60);
    if precise() {
        check_precision(Duration::from_micros(200), Duration::from_micros(700));
    }
    check_precision(Duration::from_micros(200), Duration::from_millis(5));
    check_precision(Duration::ZERO, Duration::from_millis(5));
}

#[test]
fn without_the_call_a_timeout_is_rounded_up() {
    let _limit = time_limit(60);
    let child = in_child(&[("GREENRT_EPOLL_PWAIT2", "0")], || {
        assert!(!precise());
        check_precision(Duration::from_micros(200), Duration::from_millis(5));
        check_precision(Duration::ZERO, Duration::from_micros(500));
        check_events();
    });
    assert_done(&child);
}

#[test]
fn events_carry_token_and_readiness() {
    let _limit = time_limit(60);
    check_events();
}

fn check_events() {
    let epoll = create();
    let mut events = Events::with_capacity(16);
    let (mut left, mut right) = UnixStream::pair().unwrap();
    add(&epoll, &left, all(), u64::MAX - 7);
    let mut next = |timeout| {
        wait(epoll.as_fd(), &mut events, timeout).unwrap();
        assert_eq!(events.len(), events.iter().len());
        let seen: Vec<Event> = events.iter().collect();
        seen
    };

    let seen = next(None);
    assert_eq!(
        seen,
        [Event {
            token: u64::MAX - 7,
            readiness: Readiness::WRITABLE
        }]
    );
    assert_eq!(next(Some(Duration::ZERO)), []);

    right.write_all(b"x").unwrap();
    let seen = next(Some(Duration::MAX));
    assert!(seen[0].readable() && seen[0].writable() && !seen[0].read_closed() && !seen[0].hup());
    left.read_exact(&mut [0]).unwrap();

    right.shutdown(std::net::Shutdown::Write).unwrap();
    let seen = next(None);
    assert!(
        seen[0].readable() && seen[0].read_closed() && !seen[0].hup(),
        "{seen:?}"
    );

    drop(right);
    let seen = next(None);
    assert!(seen[0].hup() && !seen[0].priority(), "{seen:?}");
}

#[test]
fn one_wait_brings_at_most_the_capacity() {
    let _limit = time_limit(60);
    let epoll = create();
    let pairs: Vec<_> = (0..10).map(|_| UnixStream::pair().unwrap()).collect();
    for (idx, (left, _)) in pairs.iter().enumerate() {
        add(&epoll, left, all(), idx as u64);
    }
    let mut events = Events::with_capacity(4);
    let mut tokens = Vec::new();
    while tokens.len() < 10 {
        wait(epoll.as_fd(), &mut events, None).unwrap();
        assert!(events.len() <= events.capacity());
        tokens.extend(events.iter().map(|event| event.token));
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..10).collect::<Vec<u64>>());
    assert_eq!(Events::with_capacity(0).capacity(), 1);
}

#[test]
fn a_descriptor_that_is_no_epoll_is_an_error() {
    let (left, _right) = UnixStream::pair().unwrap();
    let error = wait(left.as_fd(), &mut Events::with_capacity(1), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn bits_are_those_of_the_kernel() {
    let kernels = [
        (Readiness::READABLE, libc::EPOLLIN),
        (Readiness::WRITABLE, libc::EPOLLOUT),
        (Readiness::READ_CLOSED, libc::EPOLLRDHUP),
        (Readiness::HUP, libc::EPOLLHUP),
        (Readiness::ERROR, libc::EPOLLERR),
        (Readiness::PRIORITY, libc::EPOLLPRI),
    ];
    for (ours, kernels) in kernels {
        assert_eq!(ours.bits(), kernels as u32);
    }
    assert_eq!(size_of::<RawEvent>(), size_of::<libc::epoll_event>());
    assert_eq!(
        format!("{:?}", Readiness::READABLE | Readiness::HUP),
        "READABLE | HUP"
    );
    assert_eq!(format!("{:?}", Readiness::empty()), "0x0");
}
