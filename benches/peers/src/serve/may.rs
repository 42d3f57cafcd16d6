//! The servers on may.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};

use may::coroutine::{JoinHandle, yield_now};
use may::net::{TcpListener, TcpStream};

use super::{BUFFER_BYTES, Protocol, SMALL_BUFFER_BYTES, compute, count_connection, echo, http};

fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: nothing here uses thread-locals across a switch or overflows a stack.
    unsafe { may::coroutine::spawn(f) }
}

pub(super) fn serve(listener: std::net::TcpListener, protocol: Protocol, n_workers: usize) {
    let config = may::config();
    config.set_worker_pin(false);
    config.set_workers(n_workers);
    spawn(move || accept(listener, protocol)).join().unwrap();
}

fn accept(listener: std::net::TcpListener, protocol: Protocol) {
    // SAFETY: the descriptor is handed over.
    let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
    if protocol == Protocol::HogEcho {
        spawn(|| {
            loop {
                compute();
                yield_now();
            }
        });
    }
    loop {
        let (stream, _) = listener.accept().expect("a connection");
        spawn(move || {
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
