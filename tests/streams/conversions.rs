//! greenstd's types from std's, and back: mode and timeouts go along, and nobody else changes them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as unix;
use std::time::Duration;
use std::{io, net};

use greenrt::lowlevel::is_nonblocking;
use greenstd::net::{TcpListener, TcpStream, UdpSocket};
use greenstd::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use greenstd::process::{ChildStderr, ChildStdin, ChildStdout};
use greenstd::{io::PipeReader, io::PipeWriter};
use socket2::SockRef;

use crate::places::TempPath;
use crate::support::on_each_runtime_and_off;

/// There and back, with the mode that its user asks for on the way.
fn there_and_back<S, T>(stds: S, set_mode: impl Fn(&T, bool))
where
    S: AsFd + Into<OwnedFd> + From<T>,
    T: AsFd + From<S> + From<OwnedFd> + Into<OwnedFd>,
{
    let other = stds.as_fd().try_clone_to_owned().unwrap();
    let mode = || is_nonblocking(other.as_fd()).unwrap();
    let (mut stds, mut before) = (stds, false);
    assert!(!mode());
    for wanted in [false, true, true, false] {
        let ours = T::from(stds);
        assert_eq!(mode(), before);
        set_mode(&ours, wanted);
        // Through a descriptor, and another one of ours.
        let ours = T::from(ours.into());
        assert_eq!(mode(), wanted);
        stds = S::from(ours);
        assert_eq!(mode(), wanted);
        before = wanted;
    }
}

/// As `set_nonblocking` of whatever has none.
fn set_flag(fd: &impl AsFd, nonblocking: bool) {
    SockRef::from(fd).set_nonblocking(nonblocking).unwrap();
}

#[test]
fn modes_go_along() {
    on_each_runtime_and_off(|| {
        let path = TempPath::new();
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        there_and_back(listener, |s: &TcpListener, on| {
            s.set_nonblocking(on).unwrap()
        });
        there_and_back(stream, |s: &TcpStream, on| s.set_nonblocking(on).unwrap());
        let socket = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        there_and_back(socket, |s: &UdpSocket, on| s.set_nonblocking(on).unwrap());
        let listener = unix::UnixListener::bind(&path).unwrap();
        there_and_back(listener, |s: &UnixListener, on| {
            s.set_nonblocking(on).unwrap()
        });
        let (stream, _far) = unix::UnixStream::pair().unwrap();
        there_and_back(stream, |s: &UnixStream, on| s.set_nonblocking(on).unwrap());
        let (socket, _far) = unix::UnixDatagram::pair().unwrap();
        there_and_back(socket, |s: &UnixDatagram, on| {
            s.set_nonblocking(on).unwrap()
        });
        let (reader, writer) = io::pipe().unwrap();
        there_and_back::<_, PipeReader>(reader, set_flag);
        there_and_back::<_, PipeWriter>(writer, set_flag);
    });
}

#[test]
fn timeouts_go_along() {
    on_each_runtime_and_off(|| {
        let long = |seconds: u64| Some(Duration::from_secs(1000 + seconds));
        macro_rules! check {
            ($stds:expr, $Ours:ident, $Stds:ty) => {{
                let stds = $stds;
                stds.set_read_timeout(long(1)).unwrap();
                let ours = $Ours::from(stds);
                assert_eq!(ours.read_timeout().unwrap(), long(1));
                assert_eq!(ours.write_timeout().unwrap(), None);
                ours.set_write_timeout(long(2)).unwrap();
                let stds = <$Stds>::from(ours);
                assert_eq!(stds.read_timeout().unwrap(), long(1));
                assert_eq!(stds.write_timeout().unwrap(), long(2));
            }};
        }
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        check!(stream, TcpStream, net::TcpStream);
        let socket = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        check!(socket, UdpSocket, net::UdpSocket);
        let (stream, _far) = unix::UnixStream::pair().unwrap();
        check!(stream, UnixStream, unix::UnixStream);
        let (socket, _far) = unix::UnixDatagram::pair().unwrap();
        check!(socket, UnixDatagram, unix::UnixDatagram);
    });
}

#[test]
fn children_and_their_pipes() {
    fn both_ways<S: From<T>, T: From<S>>() {}
    both_ways::<std::process::ChildStdin, ChildStdin>();
    both_ways::<std::process::ChildStdout, ChildStdout>();
    both_ways::<std::process::ChildStderr, ChildStderr>();
}
