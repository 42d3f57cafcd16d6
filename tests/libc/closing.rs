//! Descriptors that are closed, replaced or shut down while green threads wait for them. libc leaves
//! open what becomes of those; here they are told.

#![expect(unsafe_code, reason = "closes what others use")]

use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::{calls, tests, wait_until};

tests! {
    whoever_waits_is_told_that_it_was_closed
    a_number_that_is_used_again_is_another_descriptor
    a_descriptor_that_is_replaced
    a_range_is_closed
    a_listener_that_is_shut_down
    a_stream_that_is_shut_down_through_a_duplicate
}

fn result(n: isize) -> Result<usize, i32> {
    match n {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap()),
        n => Ok(n.cast_unsigned()),
    }
}

fn receive(fd: RawFd) -> Result<usize, i32> {
    let mut byte = [0_u8; 1];
    // SAFETY: room for a byte.
    result(unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) })
}

fn read(fd: RawFd) -> Result<usize, i32> {
    let mut byte = [0_u8; 1];
    // SAFETY: room for a byte.
    result(unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) })
}

fn accept(fd: RawFd) -> Result<usize, i32> {
    // SAFETY: no room for the address.
    let new = unsafe { libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) };
    result(new as isize)
}

fn close(fd: RawFd) {
    // SAFETY: whoever has it forgets it.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

/// Begins to wait by `call`, on a thread of its own.
fn begin(
    symbol: &str,
    call: fn(RawFd) -> Result<usize, i32>,
    fd: RawFd,
) -> thread::JoinHandle<Result<usize, i32>> {
    let n_before = calls(symbol).0;
    let waiter = thread::spawn(move || call(fd));
    wait_until(|| calls(symbol).0 > n_before);
    // It has called; now it waits, or is about to.
    thread::yield_now();
    waiter
}

fn whoever_waits_is_told_that_it_was_closed() {
    for _ in 0..20 {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let stream = ManuallyDrop::new(stream);
        let waiters = [0; 3].map(|_| begin("recv", receive, stream.as_raw_fd()));
        close(stream.as_raw_fd());
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        }
        let (reader, _writer) = io::pipe().unwrap();
        let reader = ManuallyDrop::new(reader);
        let waiter = begin("read", read, reader.as_raw_fd());
        close(reader.as_raw_fd());
        assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        let listener = ManuallyDrop::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let waiter = begin("accept", accept, listener.as_raw_fd());
        close(listener.as_raw_fd());
        assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
    }
}

fn a_number_that_is_used_again_is_another_descriptor() {
    for n in 0..100_u8 {
        let (old, _old_peer) = UnixStream::pair().unwrap();
        let old = ManuallyDrop::new(old);
        let number = old.as_raw_fd();
        let waiter = begin("recv", receive, number);
        close(number);
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) };
        // The lowest that is free, unless another thread was faster.
        // SAFETY: new.
        let taken = unsafe { OwnedFd::from_raw_fd(fd) };
        drop(taken);
        let (mut new, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(&[n]).unwrap();
        assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        let mut byte = [0];
        new.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [n]);
    }
}

fn a_descriptor_that_is_replaced() {
    for n in 0..100_u8 {
        let (old, mut old_peer) = UnixStream::pair().unwrap();
        let (new, mut new_peer) = UnixStream::pair().unwrap();
        let waiter = begin("recv", receive, old.as_raw_fd());
        new_peer.write_all(&[n]).unwrap();
        // SAFETY: what is replaced is ours.
        let replaced = unsafe { libc::dup2(new.as_raw_fd(), old.as_raw_fd()) };
        assert_eq!(replaced, old.as_raw_fd());
        drop(new);
        // It waited for the old one, which is closed.
        assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
        assert!(old_peer.write_all(b"x").is_err());
        let mut byte = [0];
        (&old).read_exact(&mut byte).unwrap();
        assert_eq!(byte, [n]);
        // And now one waits for the new one, by the old number.
        let waiter = begin("recv", receive, old.as_raw_fd());
        new_peer.write_all(&[n]).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(1));
    }
}

fn a_range_is_closed() {
    let (stream, _peer) = UnixStream::pair().unwrap();
    // SAFETY: no memory is passed.
    let far = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 900) };
    assert!(far >= 900);
    let waiter = begin("recv", receive, far);
    let far = far.cast_unsigned();
    // SAFETY: whoever has it forgets it, and there are no others.
    assert_eq!(unsafe { libc::close_range(far, far + 50, 0) }, 0);
    assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
}

fn a_listener_that_is_shut_down() {
    let path = std::env::temp_dir().join(format!("greenlibc-down-{}", std::process::id()));
    let unix: OwnedFd = UnixListener::bind(&path).unwrap().into();
    std::fs::remove_file(path).unwrap();
    let tcp: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
    for listener in [unix, tcp] {
        let waiters = [0; 2].map(|_| begin("accept", accept, listener.as_raw_fd()));
        // SAFETY: no memory is passed.
        let error = unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
        assert_eq!(error, 0);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(libc::EINVAL));
        }
    }
}

fn a_stream_that_is_shut_down_through_a_duplicate() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unix, _unix_peer) = UnixStream::pair().unwrap();
    let _tcp_peer = listener.accept().unwrap();
    let waiters = [tcp.as_raw_fd(), unix.as_raw_fd()].map(|fd| begin("recv", receive, fd));
    tcp.try_clone().unwrap().shutdown(Shutdown::Read).unwrap();
    unix.try_clone().unwrap().shutdown(Shutdown::Read).unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Ok(0));
    }
    // A writer to a full stream, of which the system tells nobody.
    let unix = Arc::new(unix);
    let writer = {
        let unix = Arc::clone(&unix);
        thread::spawn(move || (&*unix).write_all(&[7; 10_000_000]).unwrap_err().kind())
    };
    thread::sleep(Duration::from_millis(2));
    unix.try_clone().unwrap().shutdown(Shutdown::Write).unwrap();
    assert_eq!(writer.join().unwrap(), io::ErrorKind::BrokenPipe);
}
