//! Streams of the Unix domain.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::root::net::Shutdown;
use super::root::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use super::{run, thread};
use crate::places::{Fds, TempPath, abstract_name};

const SHORT: Duration = Duration::from_millis(8);
const LONG: Duration = Duration::from_secs(1000);

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("should have failed").kind()
}

fn read_exactly(mut stream: &UnixStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Writes until there is no more room.
fn fill(mut stream: &UnixStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut n_written = 0;
    let error = loop {
        match stream.write(&[7; 10_000]) {
            Ok(n) => n_written += n,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    n_written
}

#[test]
fn what_is_sent_comes_back() {
    run(|| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let echo = thread::spawn(move || io::copy(&mut &far, &mut &far).unwrap());
        let mut n_bytes = 0;
        for n in [1, 2, 100, 4096, 65_536, 100_000] {
            let sent: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
            near.write_all(&sent).unwrap();
            assert!(read_exactly(&near, n) == sent);
            n_bytes += n as u64;
        }
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(echo.join().unwrap(), n_bytes);
    });
}

#[test]
fn a_buffer_of_the_size_of_the_message() {
    run(|| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let echo = thread::spawn(move || {
            let mut buffer = [0; 64];
            for _ in 0..300 {
                assert_eq!(far.read(&mut buffer).unwrap(), 64);
                far.write_all(&buffer).unwrap();
            }
        });
        let mut buffer = [0; 64];
        for n in 0..300 {
            near.write_all(&[n as u8; 64]).unwrap();
            assert_eq!(near.read(&mut buffer).unwrap(), 64);
            assert_eq!(buffer, [n as u8; 64]);
        }
        echo.join().unwrap();
    });
}

#[test]
fn more_than_is_on_its_way_at_once() {
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let n = 5 << 20;
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            (&near).read_to_end(&mut bytes).unwrap();
            bytes
        });
        let sent: Vec<u8> = (0..n).map(|i| (i % 253) as u8).collect();
        far.write_all(&sent).unwrap();
        drop(far);
        assert!(reader.join().unwrap() == sent);
    });
}

#[test]
fn a_path_and_who_listens_there() {
    run(|| {
        let path = TempPath::new();
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(
            listener.local_addr().unwrap().as_pathname(),
            Some(path.as_ref())
        );
        let clients = [(); 3].map(|()| {
            let path: PathBuf = path.as_ref().into();
            thread::spawn(move || {
                let mut client = UnixStream::connect(&path).unwrap();
                let peer = client.peer_addr().unwrap();
                assert_eq!(peer.as_pathname(), Some(path.as_ref()));
                assert!(client.local_addr().unwrap().is_unnamed());
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                text
            })
        });
        for stream in listener.incoming().take(2) {
            stream.unwrap().write_all(b"welcome").unwrap();
        }
        let (mut last, peer) = listener.accept().unwrap();
        assert!(peer.is_unnamed());
        last.write_all(b"welcome").unwrap();
        drop(last);
        for client in clients {
            assert_eq!(client.join().unwrap(), "welcome");
        }
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(
            kind(UnixStream::connect(&path)),
            ErrorKind::ConnectionRefused
        );
        drop(path);
        assert_eq!(
            kind(UnixStream::connect("/nowhere/at all")),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn an_abstract_name() {
    run(|| {
        let name = abstract_name();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        assert_eq!(
            listener.local_addr().unwrap().as_abstract_name(),
            Some(&name[..])
        );
        let acceptor = thread::spawn(move || {
            let stream = (&listener).into_iter().next().unwrap().unwrap();
            let own = stream.local_addr().unwrap();
            own.as_abstract_name().map(<[u8]>::to_vec)
        });
        thread::yield_now();
        let client = UnixStream::connect_addr(&address).unwrap();
        assert_eq!(
            client.peer_addr().unwrap().as_abstract_name(),
            Some(&name[..])
        );
        assert_eq!(acceptor.join().unwrap(), Some(name));
        // Somebody who has a name connects.
        let (ours, theirs) = (abstract_name(), abstract_name());
        let listener =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&ours).unwrap()).unwrap();
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let unix = |name: &[u8]| {
            let mut path = vec![0];
            path.extend(name);
            SockAddr::unix(std::str::from_utf8(&path).unwrap()).unwrap()
        };
        socket.bind(&unix(&theirs)).unwrap();
        socket.connect(&unix(&ours)).unwrap();
        let (_stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.as_abstract_name(), Some(&theirs[..]));
    });
}

#[test]
fn bad_addresses() {
    run(|| {
        let long = "x".repeat(200);
        for path in [&*long, "with a \0"] {
            assert_eq!(kind(UnixStream::connect(path)), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixListener::bind(path)), ErrorKind::InvalidInput);
        }
        let longest = format!("/tmp/{}", "y".repeat(102));
        assert_eq!(kind(UnixStream::connect(longest)), ErrorKind::NotFound);
        let nothing = UnixStream::connect("").unwrap_err().raw_os_error();
        assert!(
            matches!(nothing, Some(libc::EINVAL | libc::ECONNREFUSED)),
            "{nothing:?}"
        );
        let file = std::env::current_exe().unwrap();
        if file.as_os_str().len() < 108 {
            assert_eq!(
                kind(UnixStream::connect(&file)),
                ErrorKind::ConnectionRefused
            );
        }
    });
}

#[test]
fn connecting_waits_for_a_full_listener() {
    run(|| {
        let path = TempPath::new();
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(1).unwrap();
        let listener = UnixListener::from(OwnedFd::from(socket));
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let path: PathBuf = path.as_ref().into();
                thread::spawn(move || {
                    UnixStream::connect(path).unwrap().write_all(&[n]).unwrap();
                })
            })
            .collect();
        (0..10).for_each(|_| thread::yield_now());
        let mut all: Vec<u8> = (0..8)
            .map(|_| read_exactly(&listener.accept().unwrap().0, 1)[0])
            .collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
}

#[test]
fn the_other_end_goes() {
    run(|| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let waiting = {
            let mut near = near.try_clone().unwrap();
            thread::spawn(move || near.read(&mut [0; 8]).unwrap())
        };
        thread::yield_now();
        drop(far);
        assert_eq!(waiting.join().unwrap(), 0);
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 0);
        for _ in 0..2 {
            assert_eq!(kind(near.write(b"a")), ErrorKind::BrokenPipe);
            assert_eq!(
                kind(near.write_vectored(&[IoSlice::new(b"a")])),
                ErrorKind::BrokenPipe
            );
        }
        // While somebody waits for room.
        let (near, far) = UnixStream::pair().unwrap();
        fill(&near);
        let waiting = thread::spawn(move || kind((&near).write_all(&[0; 100_000])));
        thread::yield_now();
        drop(far);
        let error = waiting.join().unwrap();
        assert!(
            matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "{error:?}"
        );
        // What was not read is an error for the other end.
        let (near, far) = UnixStream::pair().unwrap();
        (&near).write_all(b"unread").unwrap();
        drop(far);
        assert_eq!(kind((&near).read(&mut [0; 8])), ErrorKind::ConnectionReset);
        assert_eq!((&near).read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn a_little_room_is_enough() {
    run(|| {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_write_timeout(Some(SHORT)).unwrap();
        while (&near).write(&[0; 1000]).is_ok() {}
        near.set_write_timeout(None).unwrap();
        for _ in 0..3 {
            // The system announces room to those who wait when a good part of it is free.
            read_exactly(&far, 1000);
            assert_eq!((&near).write(&[0; 1000]).unwrap(), 1000);
        }
    });
}

#[test]
fn shutting_down_ends_waits() {
    run(|| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let (near, _far) = UnixStream::pair().unwrap();
            let near = Arc::new(near);
            let readers = [(); 3].map(|()| {
                let near = Arc::clone(&near);
                thread::spawn(move || (&*near).read(&mut [0; 8]).unwrap())
            });
            thread::yield_now();
            near.shutdown(how).unwrap();
            assert!(
                readers
                    .into_iter()
                    .all(|reader| reader.join().unwrap() == 0)
            );
        }
        let (near, far) = UnixStream::pair().unwrap();
        fill(&near);
        let near = Arc::new(near);
        let writer = {
            let near = Arc::clone(&near);
            thread::spawn(move || kind((&*near).write_all(&[0; 500_000])))
        };
        thread::yield_now();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
        drop(far);
    });
}

#[test]
fn timeouts() {
    run(|| {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(SHORT)).unwrap();
        let clone = near.try_clone().unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(SHORT));
        let start = Instant::now();
        assert_eq!(kind((&clone).read(&mut [0])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= SHORT);
        near.set_write_timeout(Some(SHORT)).unwrap();
        let n = fill(&near);
        let start = Instant::now();
        assert_eq!(kind(near.write(&[0; 100_000])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= SHORT);
        read_exactly(&far, n);
        near.set_write_timeout(Some(LONG)).unwrap();
        assert_eq!(near.write_timeout().unwrap(), Some(LONG));
        near.write_all(b"a").unwrap();
        for zero in [
            near.set_read_timeout(Some(Duration::ZERO)),
            near.set_write_timeout(Some(Duration::ZERO)),
        ] {
            assert_eq!(kind(zero), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn slices() {
    run(|| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let sent = [&b"ab"[..], b"", b"cde", b""].map(IoSlice::new);
        assert_eq!(near.write_vectored(&sent).unwrap(), 5);
        let (mut first, mut second) = ([0; 1], [0; 10]);
        let mut room = [&mut [][..], &mut first, &mut [], &mut second].map(IoSliceMut::new);
        assert_eq!(far.read_vectored(&mut room).unwrap(), 5);
        assert_eq!((&first, &second[..4]), (b"a", &b"bcde"[..]));
        // Nothing to do is done at once.
        assert_eq!(near.write_vectored(&[]).unwrap(), 0);
        assert_eq!(near.write_vectored(&[IoSlice::new(b"")]).unwrap(), 0);
        assert_eq!(far.read_vectored(&mut []).unwrap(), 0);
        // More than the system takes at once.
        let many = vec![IoSlice::new(b"x"); 3000];
        assert_eq!(near.write_vectored(&many).unwrap(), 1024);
        let mut byte = [[0; 1]; 3000];
        let mut room: Vec<_> = byte.iter_mut().map(|b| IoSliceMut::new(b)).collect();
        assert_eq!(far.read_vectored(&mut room).unwrap(), 1024);
        // And to who waits.
        let reader = thread::spawn(move || {
            let mut bytes = [[0; 1]; 2000];
            let mut n = 0;
            while n < 3000 {
                let mut room: Vec<_> = bytes.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                n += far.read_vectored(&mut room).unwrap();
            }
            n
        });
        let mut left = 3000;
        while left > 0 {
            thread::yield_now();
            left -= near.write_vectored(&many[..left]).unwrap();
        }
        assert_eq!(reader.join().unwrap(), 3000);
    });
}

#[test]
fn slices_without_room_are_no_operation() {
    run(|| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let nothing = || (0..3000).map(|_| &b""[..]);
        let no_room = || (0..3000).map(|_| &mut [][..]);
        let slices: Vec<_> = nothing().map(IoSlice::new).collect();
        let mut room: Vec<_> = no_room().map(IoSliceMut::new).collect();
        // Nothing is there to be read, and nobody waits for it.
        for n in [0, 1, 3, 1024, 3000] {
            assert_eq!(near.read_vectored(&mut room[..n]).unwrap(), 0);
            assert_eq!(near.write_vectored(&slices[..n]).unwrap(), 0);
        }
        // Those that the system takes at once have none; the one with room comes later.
        let mut late: Vec<_> = nothing().chain([&b"late"[..]]).map(IoSlice::new).collect();
        assert_eq!(near.write_vectored(&late).unwrap(), 0);
        let mut bytes = [0; 4];
        let mut late_room: Vec<_> = no_room()
            .chain([&mut bytes[..]])
            .map(IoSliceMut::new)
            .collect();
        assert_eq!(near.read_vectored(&mut late_room).unwrap(), 0);
        // With room it is one.
        late.rotate_right(1);
        assert_eq!(near.write_vectored(&late).unwrap(), 4);
        late_room.rotate_right(1);
        assert_eq!(far.read_vectored(&mut late_room).unwrap(), 4);
        // After the end, too.
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.write_vectored(&slices).unwrap(), 0);
        assert_eq!(far.read_vectored(&mut room).unwrap(), 0);
        near.write_vectored(&late).unwrap_err();
    });
}

#[test]
fn reads_end_where_descriptors_were_passed() {
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || {
            // With more room than there is each time.
            let mut bytes = Vec::new();
            let mut room = [0; 100];
            loop {
                match far.read(&mut room).unwrap() {
                    0 => return String::from_utf8(bytes).unwrap(),
                    n => bytes.extend(&room[..n]),
                }
            }
        });
        thread::yield_now();
        for round in 0..20 {
            Fds::send(&near, b"one");
            (&near).write_all(b"two").unwrap();
            Fds::send(&near, b"three");
            Fds::send(&near, b"four");
            if round % 3 == 0 {
                thread::yield_now();
            }
        }
        drop(near);
        assert_eq!(reader.join().unwrap(), "onetwothreefour".repeat(20));
    });
}

#[test]
fn reads_end_where_descriptors_were_passed_and_the_rest_comes_without_more() {
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        // It has waited, so that it is registered wherever waiting registers it.
        let waiting = thread::spawn(move || {
            far.read_exact(&mut [0]).unwrap();
            far
        });
        thread::yield_now();
        (&near).write_all(b"0").unwrap();
        let mut far = waiting.join().unwrap();
        Fds::send(&near, b"one");
        (&near).write_all(b"two").unwrap();
        let mut room = [0; 100];
        assert_eq!(far.read(&mut room).unwrap(), 3);
        assert_eq!(far.read(&mut room).unwrap(), 3);
        Fds::send(&near, b"one");
        (&near).write_all(b"two").unwrap();
        let vectored = |far: &mut UnixStream| {
            let mut room = [[0; 50]; 2];
            let [first, second] = &mut room;
            far.read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)])
                .unwrap()
        };
        assert_eq!(vectored(&mut far), 3);
        assert_eq!(vectored(&mut far), 3);
    });
}

#[test]
fn urgent_data_does_not_hold_up_the_rest() {
    run(|| {
        for _ in 0..10 {
            let (near, mut far) = UnixStream::pair().unwrap();
            let waiting = thread::spawn(move || {
                far.read_exact(&mut [0]).unwrap();
                far
            });
            thread::yield_now();
            (&near).write_all(b"0").unwrap();
            let mut far = waiting.join().unwrap();
            (&near).write_all(b"ab").unwrap();
            if SockRef::from(&near).send_out_of_band(b"!").is_err() {
                // Not every system has it in the Unix domain.
                return;
            }
            (&near).write_all(b"cd").unwrap();
            // A read ends at the place; what is there is not part of the stream.
            let reader = thread::spawn(move || {
                let (mut bytes, mut room): (Vec<u8>, _) = (Vec::new(), [0; 100]);
                while bytes.len() < 4 {
                    let n = far.read(&mut room).unwrap();
                    bytes.extend(&room[..n]);
                }
                bytes
            });
            assert_eq!(reader.join().unwrap(), b"abcd");
        }
    });
}

#[test]
fn modes_belong_to_the_user() {
    run(|| {
        let (stds, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let theirs = stds.try_clone().unwrap();
        let mode =
            |socket: &std::os::unix::net::UnixStream| SockRef::from(socket).nonblocking().unwrap();
        let near = UnixStream::from(OwnedFd::from(stds));
        let reader = thread::spawn(move || {
            let bytes = read_exactly(&near, 3);
            (near, bytes)
        });
        thread::yield_now();
        assert!(!mode(&theirs));
        far.write_all(b"abc").unwrap();
        let (near, bytes) = reader.join().unwrap();
        assert_eq!(bytes, b"abc");
        near.set_nonblocking(true).unwrap();
        assert!(mode(&theirs));
        assert_eq!(kind((&near).read(&mut [0])), ErrorKind::WouldBlock);
        let back = std::os::unix::net::UnixStream::from(OwnedFd::from(near));
        assert!(mode(&back));
    });
}

#[test]
#[expect(unsafe_code, reason = "numbers become descriptors")]
fn descriptors_come_and_go() {
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        assert_eq!(near.into_raw_fd(), number);
        // SAFETY: it is ours since `into_raw_fd`.
        let near = unsafe { UnixStream::from_raw_fd(number) };
        far.write_all(b"a").unwrap();
        assert_eq!(read_exactly(&near, 1), b"a");

        let path = TempPath::new();
        let listener = UnixListener::bind(&path).unwrap();
        let clone = listener.try_clone().unwrap();
        let number = listener.into_raw_fd();
        // SAFETY: it is ours since `into_raw_fd`.
        let stds = unsafe { std::os::unix::net::UnixListener::from_raw_fd(number) };
        assert!(!SockRef::from(&stds).nonblocking().unwrap());
        let acceptor = thread::spawn(move || clone.accept().map(drop));
        thread::yield_now();
        let listener = UnixListener::from(OwnedFd::from(stds));
        let _client = UnixStream::connect(&path).unwrap();
        acceptor.join().unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
        assert!(listener.take_error().unwrap().is_none());
        assert!(near.take_error().unwrap().is_none());
    });
}

#[test]
fn looks_as_stds_does() {
    run(|| {
        let (near, _far) = UnixStream::pair().unwrap();
        let text = format!("{near:?}");
        assert!(text.starts_with("UnixStream { fd: "), "{text}");
        assert!(
            text.ends_with(", local: (unnamed), peer: (unnamed) }"),
            "{text}"
        );
        assert!(text.contains(&near.as_raw_fd().to_string()), "{text}");
        let path = TempPath::new();
        let listener = UnixListener::bind(&path).unwrap();
        let path: &std::path::Path = path.as_ref();
        let text = format!("{listener:?}");
        assert!(text.starts_with("UnixListener { fd: "), "{text}");
        assert!(
            text.ends_with(&format!(", local: {path:?} (pathname) }}")),
            "{text}"
        );
        assert_eq!(listener.incoming().size_hint(), (usize::MAX, None));
    });
}
