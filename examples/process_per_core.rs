//! One process for each core, all on one port: `cargo run --release --example process_per_core`.
//!
//! Each process binds a socket of its own with `SO_REUSEPORT`, and the system deals the connections
//! out. What shares nothing scales, and a process that dies takes only its own connections along.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use greenrt::Server;
use greenstd::net::{TcpListener, TcpStream};
use socket2::{Domain, Socket, Type};

/// A listener on a port that other processes of the same user listen on too.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::MAX)?;
    Ok(TcpListener::from(OwnedFd::from(socket)))
}

/// One process: says the number of the process to whoever connects, until standard input ends.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    greenrt::run(|| {
        let server = Server::start(listen(address)?, |(mut stream, _): (TcpStream, _)| {
            let _ = writeln!(stream, "{}", std::process::id());
        })?;
        println!("ready");
        greenstd::io::stdin().read_to_end(&mut Vec::new())?;
        server.stop(std::time::Duration::from_secs(10));
        Ok(())
    })
}

/// All of them. Each ends when its standard input is closed, so also when this process dies.
fn start(program: &str, arguments: &[&str], n: usize) -> io::Result<Vec<Child>> {
    (0..n)
        .map(|_| {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped());
            command.spawn()
        })
        .collect()
}

fn main() -> io::Result<()> {
    let address = "127.0.0.1:7878".parse().expect("an address");
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    if arguments.next().as_deref() == Some("serve") {
        return serve(address);
    }
    let n = std::thread::available_parallelism()?.get();
    let children = start(&program, &["serve"], n)?;
    println!("{n} processes on {address}; end of input ends them");
    io::stdin().read_to_end(&mut Vec::new())?;
    for mut child in children {
        drop(child.stdin.take());
        #[expect(clippy::disallowed_methods, reason = "there are no green threads here")]
        child.wait()?;
    }
    Ok(())
}
