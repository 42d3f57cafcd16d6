//! The servers on greenrt, as one writes them with std.

use std::io;

use greenstd::net::{TcpListener, TcpStream};

use super::{
    BUFFER_BYTES, Protocol, SMALL_BUFFER_BYTES, announce, compute, count_connection, echo, http,
};
use crate::Runtime;

pub(super) fn serve(kind: Runtime, protocol: Protocol, n_workers: usize) {
    let accept = move || {
        kind.verify_thread_locals();
        accept(protocol);
    };
    if n_workers == 1 {
        greenrt::run(accept);
    } else {
        let runtime = greenrt::Runtime::builder()
            .workers(n_workers)
            .build()
            .expect("a runtime");
        runtime.run(accept);
    }
}

fn accept(protocol: Protocol) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    announce(listener.local_addr());
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
