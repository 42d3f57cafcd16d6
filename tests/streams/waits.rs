//! Waiting for descriptors of any kind, and wrapping them.

#![expect(unsafe_code, reason = "descriptors that std does not make")]

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenrt::lowlevel::{self, Io, wait_readable, wait_writable};
use greenrt::{Elapsed, spawn, timeout, yield_now};

use crate::support::{on_each_runtime, on_each_runtime_and_off, on_one_worker};

const SHORT: Duration = Duration::from_millis(5);

fn eventfd() -> OwnedFd {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the system has just given it to us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A descriptor that is readable after a while.
fn timerfd(after: Duration) -> OwnedFd {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
    // SAFETY: the system has just given it to us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let spec = libc::itimerspec {
        it_interval: zero,
        it_value: libc::timespec {
            tv_sec: 0,
            tv_nsec: after.as_nanos() as i64,
        },
    };
    use std::os::fd::AsRawFd;
    // SAFETY: `spec` is there; the old value is not asked for.
    let set =
        unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    fd
}

#[test]
fn an_eventfd_is_waited_for() {
    on_each_runtime(|| {
        let event = Arc::new(File::from(eventfd()));
        assert!(!wait_readable(event.as_fd(), Some(Duration::ZERO)).unwrap());
        assert!(!wait_readable(event.as_fd(), Some(SHORT)).unwrap());
        assert!(wait_writable(event.as_fd(), None).unwrap());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let event = Arc::clone(&event);
                spawn(move || wait_readable(event.as_fd(), None).unwrap())
            })
            .collect();
        yield_now();
        (&*event).write_all(&7_u64.to_ne_bytes()).unwrap();
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
        let mut n = [0; 8];
        (&*event).read_exact(&mut n).unwrap();
        assert_eq!(u64::from_ne_bytes(n), 7);
    });
}

#[test]
fn a_timer_comes_when_it_is_due() {
    on_each_runtime_and_off(|| {
        let start = Instant::now();
        let timer = timerfd(SHORT);
        assert!(wait_readable(timer.as_fd(), None).unwrap());
        assert!(start.elapsed() >= SHORT);
    });
}

#[test]
fn a_file_is_always_ready() {
    on_each_runtime_and_off(|| {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(wait_readable(file.as_fd(), None).unwrap());
        assert!(wait_writable(file.as_fd(), Some(Duration::ZERO)).unwrap());
    });
}

#[test]
fn whoever_has_it_registered_keeps_it() {
    on_each_runtime(|| {
        let (near, far) = greenstd::os::unix::net::UnixStream::pair().unwrap();
        let near = Arc::new(near);
        let reader = {
            let near = Arc::clone(&near);
            spawn(move || {
                let mut room = [0; 5];
                (&*near).read_exact(&mut room).unwrap();
                room
            })
        };
        yield_now();
        for byte in b"hello" {
            let waiter = {
                let near = Arc::clone(&near);
                spawn(move || wait_readable(near.as_fd(), Some(SHORT)).unwrap())
            };
            yield_now();
            (&far).write_all(&[*byte]).unwrap();
            waiter.join().unwrap();
        }
        assert_eq!(&reader.join().unwrap(), b"hello");
    });
}

#[test]
fn a_limit_ends_a_wait() {
    on_each_runtime(|| {
        let event = eventfd();
        let ended: Result<_, Elapsed> = timeout(SHORT, || wait_readable(event.as_fd(), None));
        assert!(ended.is_err());
        let waiter = spawn(move || wait_readable(event.as_fd(), None).map(drop));
        yield_now();
        lowlevel::cancel(waiter.thread());
        assert!(waiter.join().is_err());
    });
}

#[test]
fn what_is_no_descriptor_is_an_error() {
    on_each_runtime_and_off(|| {
        // SAFETY: not true, and harmless: nobody has it, and nothing is done with it but asking.
        let nothing = unsafe { BorrowedFd::borrow_raw(1_000_000) };
        let error = wait_readable(nothing, None).unwrap_err();
        assert!(lowlevel::is_bad_descriptor(&error));
    });
}

#[test]
fn waits_leave_no_descriptors_behind() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Alone: others open and close theirs.
    let child = crate::support::Child::new("waits::waits_leave_no_descriptors_behind");
    let died = child.run(|| {
        greenrt::run(|| {
            let event = eventfd();
            wait_readable(event.as_fd(), Some(Duration::from_micros(10))).unwrap();
            let before = count();
            for _ in 0..100 {
                wait_readable(event.as_fd(), Some(Duration::from_micros(10))).unwrap();
            }
            assert_eq!(count(), before);
        });
    });
    died.expect_success();
}

/// A type of somebody else's, which reads and writes by `&mut` only.
struct Serial(UnixStream);

impl AsFd for Serial {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Serial {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Serial {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn whatever_reads_and_writes_parks_when_it_is_wrapped() {
    on_each_runtime_and_off(|| {
        let (near, far) = UnixStream::pair().unwrap();
        let mut near = Io::nonblocking(Serial(near)).unwrap();
        let far = Io::nonblocking(far).unwrap();
        let echo = spawn(move || io::copy(&mut &far, &mut &far).unwrap());
        let sent = vec![3; 500_000];
        // Less than both directions hold together would do; more needs somebody who reads.
        for part in sent.chunks(50_000) {
            near.write_all(part).unwrap();
            let mut back = vec![0; part.len()];
            near.read_exact(&mut back).unwrap();
            assert!(back == part);
        }
        near.flush().unwrap();
        near.get_ref()
            .0
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
        assert_eq!(echo.join().unwrap(), 500_000);
    });
}

#[test]
fn a_wait_for_room_lets_siblings_run() {
    on_one_worker(|| {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut writer = Io::nonblocking(writer).unwrap();
        let writing = spawn(move || writer.write_all(&vec![1; 1 << 20]).unwrap());
        yield_now();
        assert!(wait_readable(reader.as_fd(), None).unwrap());
        let mut n = 0;
        while n < 1 << 20 {
            assert!(wait_readable(reader.as_fd(), None).unwrap());
            n += reader.read(&mut [0; 10_000]).unwrap();
        }
        writing.join().unwrap();
        assert_eq!(
            Io::nonblocking(reader)
                .unwrap()
                .try_with(|mut reader| reader.read(&mut [0]))
                .map_err(|e| e.kind()),
            Ok::<_, ErrorKind>(0)
        );
    });
}
