use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::testing::time_limit;

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

#[test]
fn nothing_waits_on_a_descriptor_in_blocking_mode() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, far) = UnixStream::pair()?;
    let would_block = |result: io::Result<usize>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    };
    let mut byte = [0];
    would_block(receive(near.as_fd(), &mut byte));
    would_block(peek(near.as_fd(), &mut byte));
    would_block(receive_vectored(
        near.as_fd(),
        &mut [IoSliceMut::new(&mut byte)],
    ));
    let chunk = [0; 4096];
    while send(near.as_fd(), &chunk).is_ok() {}
    would_block(send(near.as_fd(), &chunk));
    would_block(send_vectored(near.as_fd(), &[IoSlice::new(&chunk)]));
    assert!(!crate::fd::is_nonblocking(near.as_fd())?);
    drop(far);
    Ok(())
}

#[test]
fn bytes_go_through_in_their_order() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, mut far) = UnixStream::pair()?;
    assert_eq!(send(near.as_fd(), b"ab")?, 2);
    let slices = [&b"c"[..], b"", b"de"].map(IoSlice::new);
    assert_eq!(send_vectored(near.as_fd(), &slices)?, 3);
    let mut bytes = [0; 5];
    far.read_exact(&mut bytes)?;
    assert_eq!(&bytes, b"abcde");

    far.write_all(b"12345")?;
    let mut bytes = [0; 2];
    assert_eq!(peek(near.as_fd(), &mut bytes)?, 2);
    assert_eq!(receive(near.as_fd(), &mut bytes)?, 2);
    assert_eq!(&bytes, b"12");
    let (mut first, mut second) = ([0; 1], [0; 10]);
    let mut room = [&mut first[..], &mut second].map(IoSliceMut::new);
    assert_eq!(receive_vectored(near.as_fd(), &mut room)?, 3);
    assert_eq!((&first, &second[..2]), (b"3", &b"45"[..]));
    Ok(())
}

#[test]
fn no_bytes_are_no_call_with_slices() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, _far) = UnixStream::pair()?;
    assert_eq!(receive_vectored(near.as_fd(), &mut [])?, 0);
    assert_eq!(send_vectored(near.as_fd(), &[IoSlice::new(b"")])?, 0);
    Ok(())
}

#[test]
fn more_slices_than_the_system_takes_are_taken_in_part() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, _far) = UnixStream::pair()?;
    assert_eq!(
        send_vectored(near.as_fd(), &[IoSlice::new(b"x"); 3000])?,
        1024
    );
    Ok(())
}

/// Runs `f` with SIGPIPE blocked in this thread, which makes it wait there even if it is ignored;
/// whether it was sent.
fn raises_sigpipe(f: impl FnOnce()) -> bool {
    // SAFETY: zeros are a value of a set, which `sigemptyset` and `sigaddset` complete.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is ours.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: as above.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGPIPE) };
    // SAFETY: the old mask is not asked for. The thread is the test's own and ends with it.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    f();
    // SAFETY: `set` is ours.
    unsafe { libc::sigpending(&raw mut set) };
    // SAFETY: as above.
    unsafe { libc::sigismember(&raw const set, libc::SIGPIPE) == 1 }
}

#[test]
fn a_peer_that_has_gone_is_an_error_and_no_signal() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, far) = UnixStream::pair()?;
    drop(far);
    assert!(!raises_sigpipe(|| {
        for _ in 0..3 {
            let sent = send(near.as_fd(), b"a");
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::BrokenPipe);
            let sent = send_vectored(near.as_fd(), &[IoSlice::new(b"a")]);
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    }));
    // What it would be otherwise, in a thread of its own, with which the signal goes.
    let plain = std::thread::spawn(move || {
        raises_sigpipe(|| {
            // SAFETY: there is one byte.
            unsafe { libc::write(near.as_raw_fd(), b"a".as_ptr().cast(), 1) };
        })
    });
    assert!(plain.join().expect("no panic"));
    Ok(())
}

#[test]
fn options_are_kept() -> io::Result<()> {
    let _limit = time_limit(60);
    let (near, _far) = pair()?;
    let near = near.as_fd();
    assert_eq!(linger(near)?, None);
    set_linger(near, Some(Duration::from_millis(3700)))?;
    assert_eq!(linger(near)?, Some(Duration::from_secs(3)));
    set_linger(near, None)?;
    assert_eq!(linger(near)?, None);
    for on in [false, true] {
        match set_quickack(near, on) {
            Ok(()) => assert_eq!(quickack(near)?, on),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
    }
    Ok(())
}
