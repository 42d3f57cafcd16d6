//! Echoes over UDP and over streams of the Unix domain: greenrt, tokio, bare epoll.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::{BUFFER_BYTES, Protocol, echo, epoll};
use crate::Runtime;

#[derive(Clone, Copy)]
pub(super) enum Transport {
    /// One socket and one thread or task for all clients.
    Udp,
    /// A thread or task for each connection.
    Unix,
}

impl Transport {
    pub(super) fn from_protocol(protocol: &str) -> Option<Transport> {
        match protocol {
            "udp_echo" => Some(Transport::Udp),
            "unix_echo" => Some(Transport::Unix),
            _ => None,
        }
    }
}

pub(super) fn serve(transport: Transport, runtime: Runtime) {
    match transport {
        Transport::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            println!("udp:{}", socket.local_addr().expect("its address").port());
            match runtime {
                Runtime::Epoll => bare_udp(&socket),
                Runtime::Tokio => on_tokio(tokio_udp(socket)),
                _ if runtime.is_greenrt() => greenrt::run(|| {
                    runtime.verify_thread_locals();
                    green_udp(socket.into())
                }),
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }
        Transport::Unix => {
            let name = format!("greenrt-peers-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).expect("a name");
            if runtime.is_greenrt() {
                return greenrt::run(|| {
                    runtime.verify_thread_locals();
                    green_unix(&address, &name)
                })
                .expect("a server");
            }
            let listener = UnixListener::bind_addr(&address).expect("a listener");
            println!("unix:{name}");
            match runtime {
                // The loop knows nothing of addresses.
                Runtime::Epoll => {
                    let listener = TcpListener::from(OwnedFd::from(listener));
                    epoll::serve(listener, Protocol::Echo, 1);
                    Ok(())
                }
                Runtime::Tokio => on_tokio(tokio_unix(listener)),
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }
    }
    .expect("a server");
}

fn green_udp(socket: greenstd::net::UdpSocket) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let (n, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..n], peer)?;
    }
}

fn green_unix(address: &SocketAddr, name: &str) -> io::Result<()> {
    let listener = greenstd::os::unix::net::UnixListener::bind_addr(address)?;
    println!("unix:{name}");
    loop {
        let (stream, _) = listener.accept()?;
        greenrt::spawn(move || echo(stream));
    }
}

fn on_tokio(server: impl Future<Output = io::Result<()>> + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { tokio::spawn(server).await.expect("no panic") })
}

async fn tokio_udp(socket: UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let (n, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..n], peer).await?;
    }
}

async fn tokio_unix(listener: UnixListener) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = [0; BUFFER_BYTES];
            loop {
                let n = stream.read(&mut buffer).await?;
                if n == 0 {
                    return Ok::<(), io::Error>(());
                }
                stream.write_all(&buffer[..n]).await?;
            }
        });
    }
}

/// Receives until there is no more, for each edge.
fn bare_udp(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut epoll = epoll::Epoll::new()?;
    epoll.add(socket.as_raw_fd(), 0, libc::EPOLLIN | libc::EPOLLET)?;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        epoll.wait(-1)?.for_each(drop);
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((n, peer)) => _ = socket.send_to(&buffer[..n], peer)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
