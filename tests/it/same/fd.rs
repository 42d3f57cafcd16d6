//! Sockets and their descriptors.

#![expect(unsafe_code, reason = "numbers become descriptors")]
#![allow(
    clippy::useless_conversion,
    reason = "those between std's sockets and the tested ones are none on std"
)]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::net::{TcpListener, TcpStream};
use super::{run, thread};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Lets `reader` wait once, so that it is registered wherever waiting registers it.
fn wait_once(reader: TcpStream, writer: &TcpStream) -> TcpStream {
    let waiting = thread::spawn(move || {
        (&reader).read_exact(&mut [0]).unwrap();
        reader
    });
    thread::yield_now();
    let mut writer = writer;
    writer.write_all(b"w").unwrap();
    waiting.join().unwrap()
}

#[test]
fn a_stream_goes_through_a_number() {
    run(|| {
        let (client, mut server) = pair();
        let mut client = wait_once(client, &server);
        for n in 0..20 {
            let number = client.as_raw_fd();
            let fd = client.into_raw_fd();
            assert_eq!(fd, number);
            // SAFETY: it is ours since `into_raw_fd`.
            client = unsafe { TcpStream::from_raw_fd(fd) };
            client = wait_once(client, &server);
            client.write_all(&[n]).unwrap();
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [n]);
        }
    });
}

#[test]
fn a_stream_that_becomes_stds_blocks_again_and_keeps_its_timeouts() {
    run(|| {
        let (client, mut server) = pair();
        client
            .set_read_timeout(Some(Duration::from_secs(7)))
            .unwrap();
        let client = wait_once(client, &server);
        let client = std::net::TcpStream::from(OwnedFd::from(client));
        assert!(!SockRef::from(&client).nonblocking().unwrap());
        assert_eq!(client.read_timeout().unwrap(), Some(Duration::from_secs(7)));
        client
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let client = TcpStream::from(OwnedFd::from(client));
        assert_eq!(
            (&client).read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        server.write_all(b"a").unwrap();
        client.set_read_timeout(None).unwrap();
        (&client).read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn the_mode_goes_along() {
    run(|| {
        let (client, _server) = pair();
        client.set_nonblocking(true).unwrap();
        let fd = client.into_raw_fd();
        // SAFETY: it is ours since `into_raw_fd`.
        let client = unsafe { std::net::TcpStream::from_raw_fd(fd) };
        assert!(SockRef::from(&client).nonblocking().unwrap());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = std::net::TcpListener::from(OwnedFd::from(listener));
        assert!(!SockRef::from(&listener).nonblocking().unwrap());
        let listener = TcpListener::from(OwnedFd::from(listener));
        listener.set_nonblocking(true).unwrap();
        let listener = std::net::TcpListener::from(OwnedFd::from(listener));
        assert!(SockRef::from(&listener).nonblocking().unwrap());
    });
}

/// A connection whose first end is std's, and blocks.
fn pair_with_stds() -> (std::net::TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn nonblocking(socket: &impl AsFd) -> bool {
    SockRef::from(socket).nonblocking().unwrap()
}

#[test]
fn a_streams_descriptor_is_in_the_mode_that_its_user_asked_for() {
    run(|| {
        for stream in <[TcpStream; 2]>::from(pair()) {
            assert!(!nonblocking(&stream));
            let clone = stream.try_clone().unwrap();
            for on in [true, false, true] {
                stream.set_nonblocking(on).unwrap();
                assert_eq!((nonblocking(&stream), nonblocking(&clone)), (on, on));
            }
            // Handed over while clones stay.
            let stream = OwnedFd::from(stream);
            assert!(nonblocking(&stream));
            clone.set_nonblocking(false).unwrap();
            assert!(!nonblocking(&stream));
        }
    });
}

#[test]
fn a_descriptor_comes_with_its_mode() {
    run(|| {
        let (stds, mut server) = pair_with_stds();
        stds.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from(stds);
        assert_eq!(
            client.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let clone = client.try_clone().unwrap();
        assert_eq!(
            clone.peek(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        clone.set_nonblocking(false).unwrap();
        let reader = thread::spawn(move || client.read(&mut [0]).unwrap());
        thread::yield_now();
        server.write_all(b"a").unwrap();
        assert_eq!(reader.join().unwrap(), 1);

        let stds = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stds.local_addr().unwrap();
        stds.set_nonblocking(true).unwrap();
        let number = stds.into_raw_fd();
        // SAFETY: it is ours since `into_raw_fd`.
        let listener = unsafe { TcpListener::from_raw_fd(number) };
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let waiting = TcpStream::connect(address).unwrap();
        let accepted = loop {
            match listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                accepted => break accepted.unwrap(),
            }
        };
        assert_eq!(accepted.1, waiting.local_addr().unwrap());
        listener.set_nonblocking(false).unwrap();
        assert!(!nonblocking(&listener));
        let acceptor = thread::spawn(move || listener.accept().unwrap().1);
        thread::yield_now();
        let second = TcpStream::connect(address).unwrap();
        assert_eq!(acceptor.join().unwrap(), second.local_addr().unwrap());
    });
}

#[test]
fn whoever_shares_a_description_keeps_its_mode() {
    run(|| {
        let (stds, mut server) = pair_with_stds();
        let theirs = stds.try_clone().unwrap();
        let client = Arc::new(TcpStream::from(stds));
        // While it waits, both ways, and after.
        let reader = Arc::clone(&client);
        let reader = thread::spawn(move || (&*reader).read_exact(&mut [0; 3]).unwrap());
        let writer = Arc::clone(&client);
        let writer = thread::spawn(move || (&*writer).write_all(&vec![1; 8 << 20]).unwrap());
        for _ in 0..10 {
            thread::yield_now();
            assert!(!nonblocking(&theirs));
        }
        server.write_all(b"abc").unwrap();
        reader.join().unwrap();
        server.read_exact(&mut vec![0; 8 << 20]).unwrap();
        writer.join().unwrap();
        assert!(!nonblocking(&theirs));
        let back = std::net::TcpStream::from(Arc::into_inner(client).unwrap());
        assert!(!nonblocking(&back));

        let stds = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stds.local_addr().unwrap();
        let theirs = stds.try_clone().unwrap();
        let listener = TcpListener::from(stds);
        let acceptor = thread::spawn(move || {
            let accepted = listener.accept().unwrap().1;
            (listener, accepted)
        });
        thread::yield_now();
        assert!(!nonblocking(&theirs));
        let client = TcpStream::connect(address).unwrap();
        let (listener, accepted) = acceptor.join().unwrap();
        assert_eq!(accepted, client.local_addr().unwrap());
        assert!(!nonblocking(&theirs));
        drop(listener);
        assert!(!nonblocking(&theirs));
    });
}

#[test]
fn a_child_process_may_share_a_socket_that_is_waited_for() {
    run(|| {
        let (stds, mut server) = pair_with_stds();
        let theirs = OwnedFd::from(stds.try_clone().unwrap());
        let client = TcpStream::from(stds);
        let waiting = thread::spawn(move || client.peek(&mut [0]).map(drop));
        thread::yield_now();
        // Reads its input in blocking mode, and fails if that would block.
        let child = std::process::Command::new("cat")
            .stdin(theirs)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        for text in ["for ", "the ", "child"] {
            thread::yield_now();
            server.write_all(text.as_bytes()).unwrap();
        }
        drop(server);
        waiting.join().unwrap().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, b"for the child");
    });
}

#[test]
fn a_listener_that_goes_elsewhere_leaves_its_clones_accepting() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clones = [(); 2].map(|()| Arc::new(listener.try_clone().unwrap()));
        let acceptors: Vec<_> = clones
            .iter()
            .map(|clone| {
                let clone = Arc::clone(clone);
                thread::spawn(move || (0..20).for_each(|_| drop(clone.accept().unwrap())))
            })
            .collect();
        thread::yield_now();
        let stds = std::net::TcpListener::from(OwnedFd::from(listener));
        assert!(!nonblocking(&stds));
        for _ in 0..40 {
            TcpStream::connect(address).unwrap();
        }
        acceptors
            .into_iter()
            .for_each(|acceptor| acceptor.join().unwrap());
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(stds.accept().unwrap().1, client.local_addr().unwrap());
        clones[0].set_nonblocking(true).unwrap();
        assert!(nonblocking(&stds));
    });
}

#[test]
fn a_duplicate_that_is_closed_concerns_nobody() {
    run(|| {
        let (client, server) = pair();
        let client = Arc::new(client);
        for n in 0..20 {
            let reader = Arc::clone(&client);
            let reader = thread::spawn(move || {
                let mut byte = [0];
                (&*reader).read_exact(&mut byte).unwrap();
                byte
            });
            // SAFETY: the stream is alive, and so its descriptor open.
            let number = unsafe { BorrowedFd::borrow_raw(client.as_raw_fd()) };
            let duplicate = number.try_clone_to_owned().unwrap().into_raw_fd();
            thread::yield_now();
            // SAFETY: it is ours since `into_raw_fd`; closes it.
            drop(unsafe { OwnedFd::from_raw_fd(duplicate) });
            (&server).write_all(&[n]).unwrap();
            assert_eq!(reader.join().unwrap(), [n]);
        }
    });
}

#[test]
fn a_listener_goes_through_a_descriptor() {
    run(|| {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..10 {
            let acceptor = thread::spawn(move || {
                let accepted = listener.accept().unwrap().1;
                (listener, accepted)
            });
            thread::yield_now();
            let client = TcpStream::connect(address).unwrap();
            let (used, accepted) = acceptor.join().unwrap();
            assert_eq!(accepted, client.local_addr().unwrap());
            listener = TcpListener::from(OwnedFd::from(used));
        }
    });
}

#[test]
fn a_clone_outlives_the_original() {
    run(|| {
        let (client, server) = pair();
        let client = wait_once(client, &server);
        let clone = client.try_clone().unwrap();
        assert_ne!(clone.as_raw_fd(), client.as_raw_fd());
        drop(client);
        let clone = wait_once(clone, &server);
        let second = clone.try_clone().unwrap();
        let second = wait_once(second, &server);
        drop(second);
        wait_once(clone, &server);
    });
}

#[test]
fn a_clone_that_goes_leaves_the_others_waiting() {
    run(|| {
        let (client, server) = pair();
        let client = Arc::new(client);
        let reader = Arc::clone(&client);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 3];
            (&*reader).read_exact(&mut bytes).unwrap();
            bytes
        });
        for _ in 0..20 {
            let clone = client.try_clone().unwrap();
            thread::yield_now();
            drop(clone);
        }
        (&server).write_all(b"abc").unwrap();
        assert_eq!(&reader.join().unwrap(), b"abc");
    });
}

#[test]
fn a_reader_and_a_writer_with_clones_of_their_own() {
    run(|| {
        let (client, server) = pair();
        let mut writer = client.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            (&client).read_exact(&mut bytes).unwrap();
        });
        let echo = thread::spawn(move || std::io::copy(&mut &server, &mut &server).unwrap());
        writer.write_all(&vec![1; 1 << 20]).unwrap();
        reader.join().unwrap();
        drop(writer);
        assert_eq!(echo.join().unwrap(), 1 << 20);
    });
}

#[test]
fn a_duplicate_made_elsewhere_keeps_the_connection() {
    run(|| {
        let (client, server) = pair();
        let client = wait_once(client, &server);
        let duplicate = client.as_fd().try_clone_to_owned().unwrap();
        drop(client);
        // Not the end yet: the server's read waits until the duplicate goes as well.
        (&server).write_all(b"a").unwrap();
        let reader = thread::spawn(move || (&server).read(&mut [0]).map_err(|e| e.kind()));
        thread::yield_now();
        let mut client = TcpStream::from(duplicate);
        client.read_exact(&mut [0]).unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap(), Ok(0));
    });
}

#[test]
fn a_number_that_is_used_again_at_once_is_not_confused() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for n in 0..200 {
            let client = TcpStream::connect(address).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let reader = thread::spawn(move || {
                let mut byte = [0];
                (&client).read_exact(&mut byte).unwrap();
                // Closed by the one who read, with more on its way: what comes for the old number
                // concerns nobody.
                byte
            });
            if n % 3 == 0 {
                thread::yield_now();
            }
            server.write_all(&[n as u8]).unwrap();
            let _ = server.write_all(b"too late");
            assert_eq!(reader.join().unwrap(), [n as u8]);
        }
    });
}

#[test]
fn a_socket_of_another_kind_in_a_stream() {
    run(|| {
        use std::os::unix::net::{UnixDatagram, UnixStream};
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = TcpStream::from(OwnedFd::from(ours));
        assert!(ours.peer_addr().is_err());
        let reader = thread::spawn(move || {
            let mut text = String::new();
            (&ours).read_to_string(&mut text).unwrap();
            text
        });
        thread::yield_now();
        (&theirs).write_all(b"local").unwrap();
        drop(theirs);
        assert_eq!(reader.join().unwrap(), "local");

        // Each read takes one message, however much room there is.
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut ours = TcpStream::from(OwnedFd::from(ours));
        for text in ["one", "two", "three"] {
            theirs.send(text.as_bytes()).unwrap();
        }
        for text in ["one", "two", "three"] {
            let mut bytes = [0; 100];
            let n = ours.read(&mut bytes).unwrap();
            assert_eq!(&bytes[..n], text.as_bytes());
        }

        // Also those that came together, for one who had to wait before.
        let waiting = thread::spawn(move || {
            assert_eq!(ours.read(&mut [0; 100]).unwrap(), 1);
            ours
        });
        thread::yield_now();
        theirs.send(b"0").unwrap();
        let mut ours = waiting.join().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert_eq!(
            ours.read(&mut [0; 100]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        ours.set_nonblocking(false).unwrap();
        let reader = thread::spawn(move || {
            (0..30).for_each(|n| assert_eq!(ours.read(&mut [0; 100]).unwrap(), n + 1));
        });
        for n in 0..30 {
            theirs.send(&vec![0; n + 1]).unwrap();
            if n % 10 == 0 {
                thread::yield_now();
            }
        }
        reader.join().unwrap();

        // And what is no socket at all says so.
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut file = TcpStream::from(OwnedFd::from(file));
        assert!(file.read(&mut [0]).is_err());
    });
}
