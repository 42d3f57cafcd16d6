//! The servers on tokio: its runtime for one thread with one worker, the other with more.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::spawn;
use tokio::task::yield_now;

use super::{
    BUFFER_BYTES, Protocol, RESPONSE, Requests, SMALL_BUFFER_BYTES, compute, count_connection,
};

pub(super) fn serve(listener: std::net::TcpListener, protocol: Protocol, n_workers: usize) {
    let runtime = match n_workers {
        1 => Builder::new_current_thread().enable_all().build(),
        n => Builder::new_multi_thread()
            .worker_threads(n)
            .enable_all()
            .build(),
    };
    let accept = async move { spawn(accept(listener, protocol)).await.unwrap() };
    runtime.expect("a runtime").block_on(accept);
}

async fn accept(listener: std::net::TcpListener, protocol: Protocol) {
    listener.set_nonblocking(true).expect("a setting");
    let listener = TcpListener::from_std(listener).expect("a listener");
    if protocol == Protocol::HogEcho {
        spawn(async {
            loop {
                compute();
                yield_now().await;
            }
        });
    }
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        // Each a task as large as it must be, and no larger.
        match protocol {
            Protocol::Echo | Protocol::HogEcho => drop(spawn(echo(stream))),
            Protocol::Http => drop(spawn(http::<BUFFER_BYTES>(stream))),
            Protocol::SmallHttp => drop(spawn(http::<SMALL_BUFFER_BYTES>(stream))),
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    count_connection();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn http<const BYTES: usize>(mut stream: TcpStream) -> io::Result<()> {
    count_connection();
    let mut requests = Requests::<BYTES>::new();
    loop {
        let n = stream.read(requests.room()).await?;
        for _ in 0..requests.received(n)? {
            stream.write_all(RESPONSE).await?;
        }
        if n == 0 {
            return Ok(());
        }
    }
}
