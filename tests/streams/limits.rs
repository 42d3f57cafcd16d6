//! `greenrt::timeout` around everything that waits for a descriptor, on green threads and off them.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use greenrt::lowlevel::{wait_readable, wait_writable};
use greenrt::{Elapsed, shield, timeout};
use greenstd::io::pipe;
use greenstd::net::{TcpListener, TcpStream, UdpSocket};
use greenstd::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use greenstd::process::{Command, Stdio};

use crate::places::TempPath;
use crate::support::on_each_runtime_and_off;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(1000);

/// What waits for ever is ended by a limit, and not before.
#[track_caller]
fn is_ended<T>(waits: impl FnOnce() -> io::Result<T>) {
    let start = Instant::now();
    let ended: Result<_, Elapsed> = timeout(SHORT, || waits().map(drop));
    assert!(ended.is_err(), "{ended:?}");
    assert!(start.elapsed() >= SHORT);
}

/// Until there is no more room.
fn fill(mut write: impl FnMut() -> io::Result<usize>) {
    while write().is_ok() {}
}

#[test]
fn of_sleep() {
    on_each_runtime_and_off(|| {
        is_ended(|| {
            greenrt::sleep(LONG);
            Ok(())
        });
        is_ended(|| {
            greenrt::sleep_until(Instant::now() + LONG);
            Ok(())
        });
        let start = Instant::now();
        assert_eq!(timeout(LONG, || greenrt::sleep(SHORT)), Ok(()));
        assert_eq!(
            timeout(SHORT, || shield(|| greenrt::sleep(SHORT * 2))),
            Ok(())
        );
        assert!(start.elapsed() >= SHORT * 3);
    });
}

#[test]
fn of_tcp() {
    on_each_runtime_and_off(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        is_ended(|| listener.accept());
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        is_ended(|| near.read(&mut [0]));
        is_ended(|| near.peek(&mut [0]));
        is_ended(|| near.write_all(&vec![0; 100 << 20]));
        // It is as good as before.
        far.write_all(b"a").unwrap();
        near.read_exact(&mut [0]).unwrap();
        // A listener from elsewhere, which is in blocking mode.
        let stds = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from(stds);
        is_ended(|| listener.accept());
        assert!(!listener_is_nonblocking(&listener));
    });
}

fn listener_is_nonblocking(listener: &TcpListener) -> bool {
    greenrt::lowlevel::is_nonblocking(listener.as_fd()).unwrap()
}

#[test]
fn of_udp() {
    on_each_runtime_and_off(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        is_ended(|| socket.recv(&mut [0]));
        is_ended(|| socket.recv_from(&mut [0]));
        is_ended(|| socket.peek(&mut [0]));
        is_ended(|| socket.peek_from(&mut [0]));
        socket.send_to(b"a", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn of_the_unix_domain() {
    on_each_runtime_and_off(|| {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        is_ended(|| near.read(&mut [0]));
        is_ended(|| near.read_vectored(&mut [io::IoSliceMut::new(&mut [0])]));
        is_ended(|| near.write_all(&vec![0; 10 << 20]));
        far.write_all(b"a").unwrap();
        near.read_exact(&mut [0]).unwrap();

        let path = TempPath::new();
        let listener = UnixListener::bind(&path).unwrap();
        is_ended(|| listener.accept());
        // Nobody accepts, and there is no room for another.
        socket2::SockRef::from(&listener).listen(0).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        is_ended(|| UnixStream::connect(&path));

        let (near, far) = UnixDatagram::pair().unwrap();
        is_ended(|| near.recv(&mut [0]));
        is_ended(|| near.recv_from(&mut [0]));
        near.set_nonblocking(true).unwrap();
        fill(|| near.send(b"fill"));
        near.set_nonblocking(false).unwrap();
        is_ended(|| near.send(b"more"));
        assert_eq!(far.recv(&mut [0; 8]).unwrap(), 4);
        near.send(b"more").unwrap();
        let path = TempPath::new();
        let _far = UnixDatagram::bind(&path).unwrap();
        let near = UnixDatagram::unbound().unwrap();
        near.set_nonblocking(true).unwrap();
        fill(|| near.send_to(b"fill", &path));
        near.set_nonblocking(false).unwrap();
        is_ended(|| near.send_to(b"more", &path));
    });
}

#[test]
fn of_pipes_children_and_the_rest() {
    on_each_runtime_and_off(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        is_ended(|| reader.read(&mut [0]));
        is_ended(|| wait_readable(reader.as_fd(), None));
        is_ended(|| writer.write_all(&vec![0; 1 << 20]));
        is_ended(|| wait_writable(writer.as_fd(), None));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        is_ended(|| child.wait());
        drop(input);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn what_comes_first_ends_the_wait() {
    on_each_runtime_and_off(|| {
        let (mut near, far) = UnixStream::pair().unwrap();
        // The socket's own timeout, which is no limit.
        near.set_read_timeout(Some(SHORT)).unwrap();
        let kind = timeout(LONG, || near.read(&mut [0]).unwrap_err().kind());
        assert_eq!(kind, Ok(ErrorKind::WouldBlock));
        near.set_read_timeout(Some(LONG)).unwrap();
        is_ended(|| near.read(&mut [0]));
        // The nearer limit, wherever it was set.
        let inner = timeout(LONG, || timeout(SHORT, || near.read(&mut [0]).is_ok()));
        assert!(matches!(inner, Ok(Err(Elapsed { .. }))));
        let outer = timeout(SHORT, || timeout(LONG, || near.read(&mut [0]).is_ok()));
        assert!(outer.is_err());
        // Nothing interrupts a shield; and what has passed acts at the next point, before it is done.
        near.set_read_timeout(Some(SHORT)).unwrap();
        let shielded = timeout(SHORT / 2, || {
            let kind = shield(|| near.read(&mut [0]).unwrap_err().kind());
            assert_eq!(kind, ErrorKind::WouldBlock);
            (&far).write(b"a").is_ok()
        });
        assert!(shielded.is_err());
        assert_eq!(
            near.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
fn destructors_have_a_second_for_what_they_wait_for() {
    struct Waits(UnixStream);
    impl Drop for Waits {
        fn drop(&mut self) {
            let error = self.0.read(&mut [0]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        }
    }
    crate::support::limited(|| {
        let (near, _far) = UnixStream::pair().unwrap();
        let (mut other, _far) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let ended = timeout(SHORT, || {
            let _waits = Waits(near);
            other.read(&mut [0]).is_ok()
        });
        assert!(ended.is_err());
        assert!(start.elapsed() >= Duration::from_secs(1));
        // Afterwards all is as it was.
        is_ended(|| other.read(&mut [0]));
    });
}
