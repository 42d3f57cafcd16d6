//! The servers on OS threads.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::{BUFFER_BYTES, Protocol, SMALL_BUFFER_BYTES, compute, count_connection, echo, http};

pub(super) fn serve(listener: TcpListener, protocol: Protocol, _n_workers: usize) {
    if protocol == Protocol::HogEcho {
        thread::spawn(|| {
            loop {
                compute();
                thread::yield_now();
            }
        });
    }
    loop {
        let (stream, _) = listener.accept().expect("a connection");
        thread::spawn(move || {
            count_connection();
            handle(stream, protocol)
        });
    }
}

/// As `serve`, on a thread that is as the others.
pub(super) fn serve_on_a_thread(listener: TcpListener, protocol: Protocol, n_workers: usize) {
    let server = thread::spawn(move || serve(listener, protocol, n_workers));
    let _ = server.join();
}

fn handle(stream: TcpStream, protocol: Protocol) -> io::Result<()> {
    match protocol {
        Protocol::Echo | Protocol::HogEcho => echo(stream),
        Protocol::Http => http::<BUFFER_BYTES>(stream),
        Protocol::SmallHttp => http::<SMALL_BUFFER_BYTES>(stream),
    }
}
