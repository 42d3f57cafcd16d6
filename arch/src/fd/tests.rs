use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::time_limit;

#[test]
fn a_timeout_is_never_early() -> io::Result<()> {
    let _limit = time_limit(60);
    let (left, _right) = UnixStream::pair()?;
    for us in [0, 1, 200, 1000, 2500] {
        let timeout = Duration::from_micros(us);
        let start = Instant::now();
        assert!(!wait(left.as_fd(), false, Some(timeout))?);
        assert!(start.elapsed() >= timeout, "{us} us");
    }
    Ok(())
}

#[test]
fn data_hang_up_and_room_are_ready() -> io::Result<()> {
    let _limit = time_limit(60);
    let (left, mut right) = UnixStream::pair()?;
    assert!(wait(left.as_fd(), true, Some(Duration::ZERO))?);
    right.write_all(b"x")?;
    assert!(wait(left.as_fd(), false, Some(Duration::ZERO))?);
    assert!(wait(left.as_fd(), false, Some(Duration::MAX))?);
    assert!(wait(left.as_fd(), false, None)?);
    let (left, right) = UnixStream::pair()?;
    drop(right);
    assert!(wait(left.as_fd(), false, None)?);
    Ok(())
}

#[test]
fn another_thread_ends_the_wait() -> io::Result<()> {
    let _limit = time_limit(60);
    let (left, mut right) = UnixStream::pair()?;
    thread::scope(|scope| {
        scope.spawn(move || right.write_all(b"x"));
        wait(left.as_fd(), false, None).map(|ready| assert!(ready))
    })
}

#[test]
fn listening_again_is_allowed_only_on_sockets() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listen_max(listener.as_fd())?;
    listen_max(listener.as_fd())?;
    // More clients than the 128 that std asks for, and none is accepted.
    let clients: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_millis(900)))
        .collect::<io::Result<_>>()?;
    assert_eq!(clients.len(), 200);
    assert_eq!(
        listen_max(File::open("/")?.as_fd())
            .unwrap_err()
            .raw_os_error(),
        Some(libc::ENOTSOCK)
    );
    Ok(())
}

#[test]
fn stream_sockets_are_told_from_the_rest() -> io::Result<()> {
    assert!(is_stream_socket(TcpListener::bind("127.0.0.1:0")?.as_fd()));
    assert!(is_stream_socket(UnixStream::pair()?.0.as_fd()));
    assert!(!is_stream_socket(UdpSocket::bind("127.0.0.1:0")?.as_fd()));
    assert!(!is_stream_socket(UnixDatagram::unbound()?.as_fd()));
    assert!(!is_stream_socket(File::open("/")?.as_fd()));
    Ok(())
}

#[test]
fn the_mode_is_that_of_the_description() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, _far) = UnixStream::pair()?;
    let duplicate = near.try_clone()?;
    for on in [false, true, false] {
        near.set_nonblocking(on)?;
        assert_eq!(is_nonblocking(near.as_fd())?, on);
        assert_eq!(is_nonblocking(duplicate.as_fd())?, on);
    }
    Ok(())
}
