//! What TCP programs import and call: every stable item of std, with its type, at its path.
//!
//! Most of this is proven by being compiled.

use std::fmt::Debug;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::root::io::prelude::*;
use super::root::io::{self, BufReader, BufWriter, IoSlice, IoSliceMut};
use super::root::net::{
    AddrParseError, Incoming, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4,
    SocketAddrV6, TcpListener, TcpStream, ToSocketAddrs,
};
use super::root::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use super::root::os::linux::net::TcpStreamExt;
use super::root::os::{raw, unix};
use super::root::time::Duration;
use super::root::{net, thread};
use super::run;

#[test]
#[expect(deprecated, reason = "there all the same")]
fn every_function_has_the_type_of_stds() {
    type Of<T> = io::Result<T>;

    let _: fn(SocketAddr) -> Of<TcpStream> = TcpStream::connect::<SocketAddr>;
    let _: fn(&SocketAddr, Duration) -> Of<TcpStream> = TcpStream::connect_timeout;
    let _: fn(&TcpStream) -> Of<SocketAddr> = TcpStream::peer_addr;
    let _: fn(&TcpStream) -> Of<SocketAddr> = TcpStream::local_addr;
    let _: fn(&TcpStream, Shutdown) -> Of<()> = TcpStream::shutdown;
    let _: fn(&TcpStream) -> Of<TcpStream> = TcpStream::try_clone;
    let _: fn(&TcpStream, Option<Duration>) -> Of<()> = TcpStream::set_read_timeout;
    let _: fn(&TcpStream, Option<Duration>) -> Of<()> = TcpStream::set_write_timeout;
    let _: fn(&TcpStream) -> Of<Option<Duration>> = TcpStream::read_timeout;
    let _: fn(&TcpStream) -> Of<Option<Duration>> = TcpStream::write_timeout;
    let _: fn(&TcpStream, &mut [u8]) -> Of<usize> = TcpStream::peek;
    let _: fn(&TcpStream, bool) -> Of<()> = TcpStream::set_nodelay;
    let _: fn(&TcpStream) -> Of<bool> = TcpStream::nodelay;
    let _: fn(&TcpStream, u32) -> Of<()> = TcpStream::set_ttl;
    let _: fn(&TcpStream) -> Of<u32> = TcpStream::ttl;
    let _: fn(&TcpStream) -> Of<Option<io::Error>> = TcpStream::take_error;
    let _: fn(&TcpStream, bool) -> Of<()> = TcpStream::set_nonblocking;
    let _: fn(&TcpStream, bool) -> Of<()> = <TcpStream as TcpStreamExt>::set_quickack;
    let _: fn(&TcpStream) -> Of<bool> = <TcpStream as TcpStreamExt>::quickack;

    let _: fn(SocketAddr) -> Of<TcpListener> = TcpListener::bind::<SocketAddr>;
    let _: fn(&TcpListener) -> Of<SocketAddr> = TcpListener::local_addr;
    let _: fn(&TcpListener) -> Of<TcpListener> = TcpListener::try_clone;
    let _: fn(&TcpListener) -> Of<(TcpStream, SocketAddr)> = TcpListener::accept;
    let _: fn(&TcpListener) -> Incoming<'_> = TcpListener::incoming;
    let _: fn(&TcpListener, u32) -> Of<()> = TcpListener::set_ttl;
    let _: fn(&TcpListener) -> Of<u32> = TcpListener::ttl;
    let _: fn(&TcpListener, bool) -> Of<()> = TcpListener::set_only_v6;
    let _: fn(&TcpListener) -> Of<bool> = TcpListener::only_v6;
    let _: fn(&TcpListener) -> Of<Option<io::Error>> = TcpListener::take_error;
    let _: fn(&TcpListener, bool) -> Of<()> = TcpListener::set_nonblocking;
}

#[test]
fn every_type_has_the_traits_of_stds() {
    fn socket<T>()
    where
        T: AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd>,
        T: Debug + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe,
    {
    }
    fn stream<T: Read + Write>()
    where
        for<'a> &'a T: Read + Write,
    {
    }
    fn incoming<'a, T>()
    where
        T: Iterator<Item = io::Result<TcpStream>> + FusedIterator + Debug + Send + Sync + 'a,
    {
    }
    socket::<TcpStream>();
    socket::<TcpListener>();
    stream::<TcpStream>();
    incoming::<Incoming<'_>>();
}

#[test]
fn what_never_blocks_is_stds_own() {
    let _: fn(std::net::IpAddr) -> IpAddr = |address| address;
    let _: fn(std::net::Ipv4Addr) -> Ipv4Addr = |address| address;
    let _: fn(std::net::Ipv6Addr) -> Ipv6Addr = |address| address;
    let _: fn(std::net::SocketAddr) -> SocketAddr = |address| address;
    let _: fn(std::net::SocketAddrV4) -> SocketAddrV4 = |address| address;
    let _: fn(std::net::SocketAddrV6) -> SocketAddrV6 = |address| address;
    let _: fn(std::net::AddrParseError) -> AddrParseError = |error| error;
    let _: fn(std::net::Shutdown) -> Shutdown = |how| how;
    let _: fn(std::os::fd::OwnedFd) -> OwnedFd = |fd| fd;
    let _: fn(std::os::fd::RawFd) -> RawFd = |fd| fd;
    let _: for<'a> fn(std::os::fd::BorrowedFd<'a>) -> BorrowedFd<'a> = |fd| fd;
    let _: fn(unix::io::RawFd) -> raw::c_int = |fd| fd;
    let _: fn(std::os::unix::net::SocketAddr) -> unix::net::SocketAddr = |address| address;
    fn resolves<T: ToSocketAddrs + std::net::ToSocketAddrs>() {}
    resolves::<(Ipv4Addr, u16)>();
    {
        use unix::prelude::*;
        assert_eq!(std::ffi::OsStr::new("a").as_bytes(), b"a");
    }
}

/// A program as people write them, with a line protocol.
#[test]
fn a_program_runs_as_it_is() {
    fn serve(stream: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut output = BufWriter::new(&stream);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            let answer = match line.trim_end().split_once(' ') {
                Some(("add", numbers)) => {
                    let numbers = numbers.split(' ').map(str::parse::<u64>);
                    numbers.sum::<Result<u64, _>>().map_err(io::Error::other)?
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            writeln!(output, "{answer}")?;
            output.flush()?;
            line.clear();
        }
        stream.shutdown(Shutdown::Both)
    }
    run(|| {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let connections: Vec<_> = listener
                .incoming()
                .take(3)
                .map(|stream| thread::spawn(move || serve(stream?)))
                .collect();
            let ends = connections.into_iter().map(|c| c.join().unwrap());
            ends.map(|end| end.is_ok()).collect::<Vec<_>>()
        });
        for n in 0..3_u64 {
            let mut stream = net::TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            let question = format!("add {n} 10\n");
            let slices = [
                IoSlice::new(question.as_bytes()),
                IoSlice::new(b"add 1 2\n"),
            ];
            assert_eq!(stream.write_vectored(&slices).unwrap(), question.len() + 8);
            let mut start = [0; 2];
            let mut rest = [0; 1];
            stream.read_exact(&mut start).unwrap();
            let n_read = stream
                .read_vectored(&mut [IoSliceMut::new(&mut rest)])
                .unwrap();
            assert_eq!((start, n_read, rest), ([b'1', b'0' + n as u8], 1, *b"\n"));
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(io::read_to_string(stream).unwrap(), "3\n");
        }
        assert_eq!(server.join().unwrap(), [true; 3]);
    });
}

#[test]
fn quick_acknowledgements() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for on in [false, true] {
            stream.set_quickack(on).unwrap();
            assert_eq!(stream.quickack().unwrap(), on);
        }
    });
}
