//! Every function with std's type, at its path, and what may be done with each type: exactly what std
//! says of its own. That it compiles is the test.

use std::fmt::Debug;
use std::io::{BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::root::io::{
    IsTerminal, Lines, PipeReader, PipeWriter, Result, Stderr, StderrLock, Stdin, StdinLock,
    Stdout, StdoutLock, pipe, stderr, stdin, stdout,
};
use super::root::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use super::root::os::unix::net::{Incoming, UnixDatagram, UnixListener, UnixStream};

/// `is`: it has all these traits; `not`: it has none of those.
macro_rules! traits {
    ($($T:ty: is [$($Is:path),*] not [$($Not:path),*];)*) => {$(
        const _: fn() = || {
            $({
                fn is<T: ?Sized + $Is>() {}
                is::<$T>();
            })*
            $({
                // With the trait there are two of these, and which one is meant is not clear.
                trait Not<A> {
                    fn not() {}
                }
                impl<T: ?Sized> Not<()> for T {}
                struct Has;
                impl<T: ?Sized + $Not> Not<Has> for T {}
                <$T as Not<_>>::not();
            })*
        };
    )*};
}

traits! {
    UdpSocket: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, AsFd, AsRawFd, FromRawFd, IntoRawFd, From<OwnedFd>, Into<OwnedFd>] not [Clone, Read, Write, Into<Stdio>, IsTerminal];
    UnixDatagram: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, AsFd, AsRawFd, FromRawFd, IntoRawFd, From<OwnedFd>, Into<OwnedFd>] not [Clone, Read, Write, Into<Stdio>];
    UnixListener: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, AsFd, AsRawFd, FromRawFd, IntoRawFd, From<OwnedFd>, Into<OwnedFd>] not [Clone, IntoIterator];
    UnixStream: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Read, Write, AsFd, AsRawFd, FromRawFd, IntoRawFd, From<OwnedFd>, Into<OwnedFd>] not [Clone];
    &'static UnixListener: is [IntoIterator] not [];
    &'static UnixStream: is [Read, Write] not [];
    Incoming<'static>: is [Iterator, Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Clone];

    PipeReader: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Read, AsFd, AsRawFd, FromRawFd, IntoRawFd, From<OwnedFd>, Into<OwnedFd>, Into<Stdio>] not [Clone, Write];
    PipeWriter: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Write, AsFd, AsRawFd, FromRawFd, IntoRawFd, From<OwnedFd>, Into<OwnedFd>, Into<Stdio>] not [Clone, Read];
    &'static PipeReader: is [Read] not [];
    &'static PipeWriter: is [Write] not [];

    Stdin: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Read, AsFd, AsRawFd, IsTerminal] not [Clone, BufRead, IntoRawFd, Into<Stdio>];
    Stdout: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Write, AsFd, AsRawFd, IsTerminal, Into<Stdio>] not [Clone, IntoRawFd];
    Stderr: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Write, AsFd, AsRawFd, IsTerminal, Into<Stdio>] not [Clone, IntoRawFd];
    &'static Stdin: is [Read] not [];
    &'static Stdout: is [Write] not [];
    &'static Stderr: is [Write] not [];
    StdinLock<'static>: is [Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Read, BufRead, AsFd, AsRawFd, IsTerminal] not [Send, Clone];
    StdoutLock<'static>: is [Unpin, UnwindSafe, RefUnwindSafe, Debug, Write, AsFd, AsRawFd, IsTerminal] not [Send, Sync, Clone, Into<Stdio>];
    StderrLock<'static>: is [Unpin, UnwindSafe, RefUnwindSafe, Debug, Write, AsFd, AsRawFd, IsTerminal] not [Send, Sync, Clone, Into<Stdio>];
}

type Timeout = Option<Duration>;
type Error = Option<std::io::Error>;

/// What all sockets have but those that listen.
macro_rules! settings {
    ($Socket:ident) => {
        let _: fn(&$Socket) -> Result<$Socket> = $Socket::try_clone;
        let _: fn(&$Socket, Timeout) -> Result<()> = $Socket::set_read_timeout;
        let _: fn(&$Socket, Timeout) -> Result<()> = $Socket::set_write_timeout;
        let _: fn(&$Socket) -> Result<Timeout> = $Socket::read_timeout;
        let _: fn(&$Socket) -> Result<Timeout> = $Socket::write_timeout;
        let _: fn(&$Socket) -> Result<Error> = $Socket::take_error;
        let _: fn(&$Socket, bool) -> Result<()> = $Socket::set_nonblocking;
    };
}

#[test]
fn udp() {
    settings!(UdpSocket);
    let _: fn(SocketAddr) -> Result<UdpSocket> = UdpSocket::bind::<SocketAddr>;
    let _: fn(&UdpSocket, SocketAddr) -> Result<()> = UdpSocket::connect::<SocketAddr>;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<(usize, SocketAddr)> = UdpSocket::recv_from;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<(usize, SocketAddr)> = UdpSocket::peek_from;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<usize> = UdpSocket::recv;
    let _: fn(&UdpSocket, &mut [u8]) -> Result<usize> = UdpSocket::peek;
    let _: fn(&UdpSocket, &[u8]) -> Result<usize> = UdpSocket::send;
    let _: fn(&UdpSocket, &[u8], SocketAddr) -> Result<usize> = UdpSocket::send_to::<SocketAddr>;
    let _: fn(&UdpSocket) -> Result<SocketAddr> = UdpSocket::peer_addr;
    let _: fn(&UdpSocket) -> Result<SocketAddr> = UdpSocket::local_addr;
    let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_broadcast;
    let _: fn(&UdpSocket) -> Result<bool> = UdpSocket::broadcast;
    let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_multicast_loop_v4;
    let _: fn(&UdpSocket) -> Result<bool> = UdpSocket::multicast_loop_v4;
    let _: fn(&UdpSocket, u32) -> Result<()> = UdpSocket::set_multicast_ttl_v4;
    let _: fn(&UdpSocket) -> Result<u32> = UdpSocket::multicast_ttl_v4;
    let _: fn(&UdpSocket, bool) -> Result<()> = UdpSocket::set_multicast_loop_v6;
    let _: fn(&UdpSocket) -> Result<bool> = UdpSocket::multicast_loop_v6;
    let _: fn(&UdpSocket, u32) -> Result<()> = UdpSocket::set_ttl;
    let _: fn(&UdpSocket) -> Result<u32> = UdpSocket::ttl;
    let _: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()> = UdpSocket::join_multicast_v4;
    let _: fn(&UdpSocket, &Ipv4Addr, &Ipv4Addr) -> Result<()> = UdpSocket::leave_multicast_v4;
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()> = UdpSocket::join_multicast_v6;
    let _: fn(&UdpSocket, &Ipv6Addr, u32) -> Result<()> = UdpSocket::leave_multicast_v6;
}

#[test]
fn the_unix_domain() {
    settings!(UnixStream);
    let _: fn(PathBuf) -> Result<UnixStream> = UnixStream::connect::<PathBuf>;
    let _: fn(&UnixAddr) -> Result<UnixStream> = UnixStream::connect_addr;
    let _: fn() -> Result<(UnixStream, UnixStream)> = UnixStream::pair;
    let _: fn(&UnixStream) -> Result<UnixAddr> = UnixStream::local_addr;
    let _: fn(&UnixStream) -> Result<UnixAddr> = UnixStream::peer_addr;
    let _: fn(&UnixStream, Shutdown) -> Result<()> = UnixStream::shutdown;

    let _: fn(PathBuf) -> Result<UnixListener> = UnixListener::bind::<PathBuf>;
    let _: fn(&UnixAddr) -> Result<UnixListener> = UnixListener::bind_addr;
    let _: fn(&UnixListener) -> Result<(UnixStream, UnixAddr)> = UnixListener::accept;
    let _: fn(&UnixListener) -> Result<UnixListener> = UnixListener::try_clone;
    let _: fn(&UnixListener) -> Result<UnixAddr> = UnixListener::local_addr;
    let _: fn(&UnixListener, bool) -> Result<()> = UnixListener::set_nonblocking;
    let _: fn(&UnixListener) -> Result<Error> = UnixListener::take_error;
    let _: fn(&UnixListener) -> Incoming<'_> = UnixListener::incoming;

    settings!(UnixDatagram);
    let _: fn(PathBuf) -> Result<UnixDatagram> = UnixDatagram::bind::<PathBuf>;
    let _: fn(&UnixAddr) -> Result<UnixDatagram> = UnixDatagram::bind_addr;
    let _: fn() -> Result<UnixDatagram> = UnixDatagram::unbound;
    let _: fn() -> Result<(UnixDatagram, UnixDatagram)> = UnixDatagram::pair;
    let _: fn(&UnixDatagram, PathBuf) -> Result<()> = UnixDatagram::connect::<PathBuf>;
    let _: fn(&UnixDatagram, &UnixAddr) -> Result<()> = UnixDatagram::connect_addr;
    let _: fn(&UnixDatagram) -> Result<UnixAddr> = UnixDatagram::local_addr;
    let _: fn(&UnixDatagram) -> Result<UnixAddr> = UnixDatagram::peer_addr;
    let _: fn(&UnixDatagram, &mut [u8]) -> Result<(usize, UnixAddr)> = UnixDatagram::recv_from;
    let _: fn(&UnixDatagram, &mut [u8]) -> Result<usize> = UnixDatagram::recv;
    let _: fn(&UnixDatagram, &[u8], PathBuf) -> Result<usize> = UnixDatagram::send_to::<PathBuf>;
    let _: fn(&UnixDatagram, &[u8], &UnixAddr) -> Result<usize> = UnixDatagram::send_to_addr;
    let _: fn(&UnixDatagram, &[u8]) -> Result<usize> = UnixDatagram::send;
    let _: fn(&UnixDatagram, Shutdown) -> Result<()> = UnixDatagram::shutdown;
}

#[test]
fn pipes_and_standard_streams() {
    let _: fn() -> Result<(PipeReader, PipeWriter)> = pipe;
    let _: fn(&PipeReader) -> Result<PipeReader> = PipeReader::try_clone;
    let _: fn(&PipeWriter) -> Result<PipeWriter> = PipeWriter::try_clone;
    let _: fn() -> Stdin = stdin;
    let _: fn(&Stdin) -> StdinLock<'static> = Stdin::lock;
    let _: fn(&Stdin, &mut String) -> Result<usize> = Stdin::read_line;
    let _: fn(Stdin) -> Lines<StdinLock<'static>> = Stdin::lines;
    let _: fn() -> Stdout = stdout;
    let _: fn(&Stdout) -> StdoutLock<'static> = Stdout::lock;
    let _: fn() -> Stderr = stderr;
    let _: fn(&Stderr) -> StderrLock<'static> = Stderr::lock;
}
