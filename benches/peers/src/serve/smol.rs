//! The servers on smol: its executor for one thread with one worker, the other with more.

use std::io;
use std::net::TcpListener;

use smol::future::yield_now;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{Async, Executor, LocalExecutor, Task};

use super::{
    BUFFER_BYTES, Protocol, RESPONSE, Requests, SMALL_BUFFER_BYTES, compute, count_connection,
};

pub(super) fn serve(listener: TcpListener, protocol: Protocol, n_workers: usize) {
    if n_workers == 1 {
        let executor: &LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
        let spawn = |connection| executor.spawn(connection);
        smol::block_on(executor.run(accept(listener, protocol, spawn)));
    } else {
        let executor: &Executor<'static> = Box::leak(Box::new(Executor::new()));
        for _ in 1..n_workers {
            std::thread::spawn(|| smol::block_on(executor.run(std::future::pending::<()>())));
        }
        let spawn = |connection| executor.spawn(connection);
        smol::block_on(executor.run(executor.spawn(accept(listener, protocol, spawn))));
    }
}

/// What there is to run: one type, as large as the largest.
enum Connection {
    Echo(TcpStream),
    Http(TcpStream),
    SmallHttp(TcpStream),
    Hog,
}

async fn accept(
    listener: TcpListener,
    protocol: Protocol,
    spawn: impl Fn(
        std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
    ) -> Task<io::Result<()>>,
) {
    let spawn = |connection: Connection| match connection {
        Connection::Echo(stream) => spawn(Box::pin(echo(stream))).detach(),
        Connection::Http(stream) => spawn(Box::pin(http::<BUFFER_BYTES>(stream))).detach(),
        Connection::SmallHttp(stream) => {
            spawn(Box::pin(http::<SMALL_BUFFER_BYTES>(stream))).detach();
        }
        Connection::Hog => spawn(Box::pin(hog())).detach(),
    };
    let listener = Async::new(listener).expect("a listener");
    if protocol == Protocol::HogEcho {
        spawn(Connection::Hog);
    }
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let stream = TcpStream::from(stream);
        spawn(match protocol {
            Protocol::Echo | Protocol::HogEcho => Connection::Echo(stream),
            Protocol::Http => Connection::Http(stream),
            Protocol::SmallHttp => Connection::SmallHttp(stream),
        });
    }
}

async fn hog() -> io::Result<()> {
    loop {
        compute();
        yield_now().await;
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
