//! Sockets and their descriptors.

#![expect(unsafe_code, reason = "numbers become descriptors")]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
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

        // And what is no socket at all says so.
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut file = TcpStream::from(OwnedFd::from(file));
        assert!(file.read(&mut [0]).is_err());
    });
}
