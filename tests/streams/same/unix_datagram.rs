//! Datagrams of the Unix domain.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::root::net::Shutdown;
use super::root::os::unix::net::{SocketAddr, UnixDatagram};
use super::{run, thread};
use crate::places::{TempPath, abstract_name};

const SHORT: Duration = Duration::from_millis(8);

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("should have failed").kind()
}

/// Sends until there is no more room; how many.
fn fill(socket: &UnixDatagram, mut send: impl FnMut() -> io::Result<usize>) -> usize {
    socket.set_nonblocking(true).unwrap();
    let mut n = 0;
    let error = loop {
        match send() {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
    n
}

#[test]
fn what_is_sent_comes_back() {
    run(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let echo = thread::spawn(move || {
            let mut room = vec![0; 100_000];
            loop {
                let n = far.recv(&mut room).unwrap();
                far.send(&room[..n]).unwrap();
                if n == 0 {
                    return;
                }
            }
        });
        let mut room = vec![0; 100_000];
        for n in [1, 100, 4096, 65_536, 100_000, 0] {
            let sent: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
            assert_eq!(near.send(&sent).unwrap(), n);
            assert_eq!(near.recv(&mut room).unwrap(), n);
            assert!(room[..n] == sent);
        }
        echo.join().unwrap();
    });
}

#[test]
fn who_has_sent_it() {
    run(|| {
        let (path, own_path) = (TempPath::new(), TempPath::new());
        let server = UnixDatagram::bind(&path).unwrap();
        let mut room = [0; 10];
        let nameless = UnixDatagram::unbound().unwrap();
        assert!(nameless.local_addr().unwrap().is_unnamed());
        nameless.send_to(b"one", &path).unwrap();
        let (n, from) = server.recv_from(&mut room).unwrap();
        assert!(n == 3 && from.is_unnamed(), "{n} {from:?}");

        let named = UnixDatagram::bind(&own_path).unwrap();
        named.send_to(b"two!", &path).unwrap();
        let (n, from) = server.recv_from(&mut room).unwrap();
        assert_eq!((n, from.as_pathname()), (4, Some(own_path.as_ref())));
        server.send_to_addr(b"back", &from).unwrap();
        assert_eq!(named.recv(&mut room).unwrap(), 4);

        let name = abstract_name();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        hidden
            .send_to_addr(b"three", &server.local_addr().unwrap())
            .unwrap();
        let (n, from) = server.recv_from(&mut room).unwrap();
        assert_eq!((n, from.as_abstract_name()), (5, Some(&name[..])));
        server.connect_addr(&from).unwrap();
        let peer = server.peer_addr().unwrap();
        assert_eq!(peer.as_abstract_name(), Some(&name[..]));
        server.send(b"back").unwrap();
        assert_eq!(hidden.recv_from(&mut room).unwrap().0, 4);
        // Whom it is connected with, and nobody else.
        assert_eq!(
            kind(named.send_to(b"no", &path)),
            ErrorKind::PermissionDenied
        );
    });
}

#[test]
fn what_there_is_no_room_for_is_lost() {
    run(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        for _ in 0..3 {
            far.send(b"truncated").unwrap();
        }
        far.send(b"next").unwrap();
        let mut room = [0; 3];
        assert_eq!(near.recv(&mut room).unwrap(), 3);
        assert_eq!(near.recv_from(&mut room).unwrap().0, 3);
        assert_eq!(near.recv(&mut []).unwrap(), 0);
        assert_eq!(near.recv(&mut room).unwrap(), 3);
        assert_eq!(&room, b"nex");
    });
}

#[test]
fn a_full_queue_of_who_is_connected() {
    run(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let n = fill(&near, || near.send(b"fill"));
        let sender = thread::spawn(move || {
            (0..200).for_each(|_| assert_eq!(near.send(b"more").unwrap(), 4));
        });
        thread::yield_now();
        for _ in 0..n + 200 {
            assert_eq!(far.recv(&mut [0; 10]).unwrap(), 4);
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_full_queue_of_who_is_connected_one_way() {
    run(|| {
        let path = TempPath::new();
        let server = UnixDatagram::bind(&path).unwrap();
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let client = UnixDatagram::unbound().unwrap();
                client.connect(&path).unwrap();
                thread::spawn(move || {
                    (0..100).for_each(|_| assert_eq!(client.send(b"more").unwrap(), 4));
                })
            })
            .collect();
        thread::yield_now();
        for _ in 0..300 {
            assert_eq!(server.recv(&mut [0; 10]).unwrap(), 4);
        }
        senders.into_iter().for_each(|s| s.join().unwrap());
    });
}

#[test]
fn a_full_queue_of_who_is_not_connected() {
    run(|| {
        let path = TempPath::new();
        let server = UnixDatagram::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        let n = fill(&client, || client.send_to(b"fill", &path));
        client.set_write_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(client.send_to(b"late", &path)), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= SHORT);
        client.set_write_timeout(None).unwrap();
        let to: std::path::PathBuf = path.as_ref().into();
        let sender = thread::spawn(move || {
            (0..100).for_each(|_| assert_eq!(client.send_to(b"more", &to).unwrap(), 4));
        });
        thread::yield_now();
        for _ in 0..n + 100 {
            assert_eq!(server.recv(&mut [0; 10]).unwrap(), 4);
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_receiver_that_goes_while_its_queue_is_full() {
    run(|| {
        for is_connected in [true, false] {
            let path = TempPath::new();
            let server = UnixDatagram::bind(&path).unwrap();
            let client = UnixDatagram::unbound().unwrap();
            let to: std::path::PathBuf = path.as_ref().into();
            fill(&client, || client.send_to(b"fill", &to));
            if is_connected {
                client.connect(&path).unwrap();
            }
            let sender = thread::spawn(move || match is_connected {
                true => kind(client.send(b"more")),
                false => kind(client.send_to(b"more", &to)),
            });
            thread::yield_now();
            drop(server);
            assert_eq!(sender.join().unwrap(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn timeouts_and_modes() {
    run(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_read_timeout(Some(SHORT)).unwrap();
        near.set_write_timeout(Some(SHORT)).unwrap();
        let clone = near.try_clone().unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(clone.write_timeout().unwrap(), Some(SHORT));
        assert_eq!(kind(clone.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(clone.recv_from(&mut [0])), ErrorKind::WouldBlock);
        fill(&near, || near.send(b"fill"));
        assert_eq!(kind(clone.send(b"more")), ErrorKind::WouldBlock);
        assert_eq!(
            kind(near.set_read_timeout(Some(Duration::ZERO))),
            ErrorKind::InvalidInput
        );
        far.set_nonblocking(true).unwrap();
        while far.recv(&mut [0; 10]).is_ok() {}
        assert_eq!(kind(far.recv(&mut [0])), ErrorKind::WouldBlock);
        let stds = std::os::unix::net::UnixDatagram::from(OwnedFd::from(far));
        assert_eq!(kind(stds.recv(&mut [0])), ErrorKind::WouldBlock);
    });
}

#[test]
fn errors_are_stds() {
    run(|| {
        let path = TempPath::new();
        let socket = UnixDatagram::bind(&path).unwrap();
        assert_eq!(kind(UnixDatagram::bind(&path)), ErrorKind::AddrInUse);
        assert_eq!(kind(socket.send(b"a")), ErrorKind::NotConnected);
        assert_eq!(kind(socket.peer_addr()), ErrorKind::NotConnected);
        for path in [&*"x".repeat(200), "with a \0"] {
            assert_eq!(kind(socket.send_to(b"a", path)), ErrorKind::InvalidInput);
            assert_eq!(kind(socket.connect(path)), ErrorKind::InvalidInput);
        }
        assert_eq!(
            kind(socket.send_to(b"a", "/nowhere/at all")),
            ErrorKind::NotFound
        );
        let unnamed = UnixDatagram::unbound().unwrap().local_addr().unwrap();
        assert!(socket.send_to_addr(b"a", &unnamed).is_err());
        let (near, far) = UnixDatagram::pair().unwrap();
        drop(far);
        assert_eq!(kind(near.send(b"a")), ErrorKind::ConnectionRefused);
        assert!(near.take_error().unwrap().is_none());
        let text = format!("{near:?}");
        assert!(text.starts_with("UnixDatagram { fd: "), "{text}");
        assert!(text.contains(&near.as_raw_fd().to_string()), "{text}");
    });
}

#[test]
fn room_for_one_is_enough() {
    run(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_write_timeout(Some(SHORT)).unwrap();
        while near.send(b"fill").is_ok() {}
        near.set_write_timeout(None).unwrap();
        for _ in 0..3 {
            // The system announces room to those who wait when a good part of it is free.
            assert_eq!(far.recv(&mut [0; 8]).unwrap(), 4);
            assert_eq!(near.send(b"more").unwrap(), 4);
        }
    });
}

#[test]
fn shutting_down_ends_waits() {
    run(|| {
        let (near, far) = UnixDatagram::pair().unwrap();
        let near = Arc::new(near);
        let readers = [(); 2].map(|()| {
            let near = Arc::clone(&near);
            thread::spawn(move || near.recv(&mut [0; 8]).unwrap())
        });
        thread::yield_now();
        near.shutdown(Shutdown::Read).unwrap();
        assert!(
            readers
                .into_iter()
                .all(|reader| reader.join().unwrap() == 0)
        );
        far.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind(far.send(b"a")), ErrorKind::BrokenPipe);
    });
}
