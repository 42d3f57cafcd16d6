//! What calls tell: errors, and how much was done before they ended.

#![expect(unsafe_code, reason = "asks libc")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::probes::{probe, probes};
use crate::support::{tests, wait_until};

tests! {
    errno_is_each_threads_own
    waiting_for_all_ends_with_the_stream
    waiting_for_all_ends_with_the_time
    waiting_for_all_ends_with_an_error_that_is_told_next
    what_was_written_before_the_time_was_up_is_told
    accepting_without_descriptors_left
}

probes! { accepts_without_descriptors }

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn result(n: isize) -> io::Result<usize> {
    match n {
        -1 => Err(io::Error::last_os_error()),
        n => Ok(n.cast_unsigned()),
    }
}

fn receive_all(from: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    let place = bytes.as_mut_ptr().cast();
    // SAFETY: as much room as is said.
    result(unsafe { libc::recv(from.as_raw_fd(), place, bytes.len(), libc::MSG_WAITALL) })
}

fn errno_is_each_threads_own() {
    let set = |number| {
        // SAFETY: no conditions.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: the caller's own.
        unsafe { place.write(number) };
    };
    let get = || io::Error::last_os_error().raw_os_error().unwrap();
    let threads: Vec<_> = (1..50)
        .map(|n| {
            thread::spawn(move || {
                let (near, _far) = UnixStream::pair().unwrap();
                near.set_read_timeout(Some(Duration::from_micros(100)))
                    .unwrap();
                for _ in 0..20 {
                    set(n);
                    thread::yield_now();
                    assert_eq!(get(), n);
                    thread::sleep(Duration::from_micros(50));
                    assert_eq!(get(), n);
                    // SAFETY: one byte of room.
                    let read =
                        unsafe { libc::read(near.as_raw_fd(), [0_u8].as_mut_ptr().cast(), 1) };
                    assert_eq!((read, get()), (-1, libc::EAGAIN));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn waiting_for_all_ends_with_the_stream() {
    let (mut client, server) = pair();
    let reader = thread::spawn(move || {
        let mut bytes = [0; 10];
        let first = receive_all(&server, &mut bytes).unwrap();
        (first, bytes, receive_all(&server, &mut [0; 10]).unwrap())
    });
    for part in [b"abc", b"def"] {
        thread::sleep(Duration::from_millis(1));
        client.write_all(part).unwrap();
    }
    drop(client);
    assert_eq!(reader.join().unwrap(), (6, *b"abcdef\0\0\0\0", 0));
}

fn waiting_for_all_ends_with_the_time() {
    let (mut client, server) = pair();
    server
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    client.write_all(b"abc").unwrap();
    let began = Instant::now();
    assert_eq!(receive_all(&server, &mut [0; 10]).unwrap(), 3);
    assert!(began.elapsed() >= Duration::from_millis(20));
    let error = receive_all(&server, &mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn waiting_for_all_ends_with_an_error_that_is_told_next() {
    let (mut client, server) = pair();
    let fd = server.as_raw_fd();
    let reader = thread::spawn(move || {
        let first = receive_all(&server, &mut [0; 10]).unwrap();
        let second = receive_all(&server, &mut [0; 10]).map_err(|error| error.kind());
        (first, second, receive_all(&server, &mut [0; 10]).unwrap())
    });
    client.write_all(b"abc").unwrap();
    // A reset would take along what was not read yet.
    wait_until(|| {
        let mut n = -1;
        // SAFETY: room for the number.
        assert_eq!(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut n) }, 0);
        n == 0
    });
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: a value of this option.
    let error = unsafe {
        let (value, bytes) = ((&raw const linger).cast(), size_of_val(&linger));
        let fd = client.as_raw_fd();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, bytes as u32)
    };
    assert_eq!(error, 0);
    drop(client);
    let told = reader.join().unwrap();
    assert_eq!(told, (3, Err(ErrorKind::ConnectionReset), 0));
}

fn what_was_written_before_the_time_was_up_is_told() {
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_write_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let bytes = vec![7_u8; 10_000_000];
    let began = Instant::now();
    let n = (&near).write(&bytes).unwrap();
    assert!(0 < n && n < bytes.len());
    assert!(began.elapsed() >= Duration::from_millis(5));
    let error = (&near).write(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(near);
    let mut came = Vec::new();
    far.read_to_end(&mut came).unwrap();
    assert_eq!(came.len(), n);
}

/// In a process of its own, which has no descriptors left.
fn accepting_without_descriptors_left() {
    for n_workers in [1, 2] {
        let output = probe("accepts_without_descriptors", n_workers).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn accepts_without_descriptors() {
    greenlibc::patch_all();
    thread::spawn(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let limit = libc::rlimit {
            rlim_cur: 100,
            rlim_max: 100,
        };
        // SAFETY: a limit.
        let error = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(error, 0);
        let pipes = [io::pipe().unwrap(), io::pipe().unwrap()];
        let mut others = Vec::new();
        while let Ok(other) = io::stderr().as_fd().try_clone_to_owned() {
            others.push(other);
        }
        others.pop();
        let mut client = TcpStream::connect(address).unwrap();
        for _ in 0..3 {
            let error = listener.accept().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        // Nor is there one to wait for two at once.
        let mut fds = [0, 1].map(|n| libc::pollfd {
            fd: pipes[n].0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        let mut poll = |timeout| {
            // SAFETY: two to look at.
            unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout) }
        };
        let began = Instant::now();
        assert_eq!(poll(3), 0);
        assert!(began.elapsed() >= Duration::from_millis(3));
        thread::scope(|scope| {
            scope.spawn(|| (&pipes[1].1).write_all(b"x").unwrap());
            assert_eq!(poll(-1), 1);
        });
        // Nothing was lost.
        others.pop();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    })
    .join()
    .unwrap();
}
