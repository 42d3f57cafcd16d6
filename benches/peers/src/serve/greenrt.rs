//! The servers on greenrt, as one writes them with std.

use std::io;

use greenstd::net::{TcpListener, TcpStream};

use super::{BUFFER_BYTES, Protocol, SMALL_BUFFER_BYTES, compute, count_connection, echo, http};

pub(super) fn serve(listener: std::net::TcpListener, protocol: Protocol, n_workers: usize) {
    if n_workers == 1 {
        greenrt::run(|| accept(listener, protocol));
    } else {
        let runtime = greenrt::Runtime::builder()
            .workers(n_workers)
            .build()
            .expect("a runtime");
        runtime.run(move || accept(listener, protocol));
    }
}

fn accept(listener: std::net::TcpListener, protocol: Protocol) {
    let listener = TcpListener::from(listener);
    if protocol == Protocol::HogEcho {
        greenrt::spawn(|| {
            loop {
                compute();
                greenrt::yield_now();
            }
        });
    }
    loop {
        let (stream, _) = listener.accept().expect("a connection");
        greenrt::spawn(move || {
            count_connection();
            handle(stream, protocol)
        });
    }
}

fn handle(stream: TcpStream, protocol: Protocol) -> io::Result<()> {
    match protocol {
        Protocol::Echo | Protocol::HogEcho => echo(stream),
        Protocol::Http => http::<BUFFER_BYTES>(stream),
        Protocol::SmallHttp => http::<SMALL_BUFFER_BYTES>(stream),
    }
}
