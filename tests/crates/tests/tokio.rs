//! tokio: inside of green threads, and beside them.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

use crate::support::{tests, wait_until};
use crate::{lets_others_run, no_more_os_threads, starts_os_threads};

tests! {
    a_runtime_inside_a_green_thread_lets_others_run
    runtimes_inside_of_green_threads_talk
    a_runtime_on_os_threads_is_not_disturbed
    what_a_runtime_on_os_threads_watches_stays_as_it_is
    a_runtime_on_green_threads
}

fn a_runtime_inside_a_green_thread_lets_others_run() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    lets_others_run(3, || {
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
        });
    });
}

async fn echo(listener: tokio::net::TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 100];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return,
            n => stream.write_all(&buffer[..n]).await.unwrap(),
        }
    }
}

fn runtimes_inside_of_green_threads_talk() {
    no_more_os_threads(|| {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            runtime().block_on(async {
                echo(tokio::net::TcpListener::from_std(listener).unwrap()).await
            });
        });
        let client = thread::spawn(move || {
            runtime().block_on(async {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                for n in 0..50_u8 {
                    stream.write_all(&[n; 10]).await.unwrap();
                    let mut answer = [0; 10];
                    stream.read_exact(&mut answer).await.unwrap();
                    assert_eq!(answer, [n; 10]);
                }
            });
        });
        client.join().unwrap();
        server.join().unwrap();
    });
}

fn with_echo_of(runtime: &tokio::runtime::Runtime) {
    let (tell, told) = std::sync::mpsc::channel();
    let server = runtime.spawn(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        echo(listener).await;
    });
    let mut stream = TcpStream::connect(told.recv().unwrap()).unwrap();
    for n in 0..50_u8 {
        stream.write_all(&[n; 10]).unwrap();
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [n; 10]);
    }
    drop(stream);
    wait_until(|| server.is_finished());
}

fn a_runtime_on_os_threads_is_not_disturbed() {
    let runtime = starts_os_threads(2, || {
        let runtime = greenlibc::os_threads(|| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
        });
        let green = runtime.spawn(async { greenrt::lowlevel::on_green_thread() });
        wait_until(|| green.is_finished());
        assert!(!runtime.block_on(green).unwrap());
        with_echo_of(&runtime);
        runtime
    });
    runtime.shutdown_background();
}

/// Green threads use descriptors beside its own, and duplicates of these.
fn what_a_runtime_on_os_threads_watches_stays_as_it_is() {
    let runtime = greenlibc::os_threads(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    });
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let (near, far) = UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            let duplicate = near.try_clone().unwrap();
            let server = runtime.spawn(async move {
                let mut stream = tokio::net::UnixStream::from_std(near).unwrap();
                let mut buffer = [0; 100];
                loop {
                    match stream.read(&mut buffer).await.unwrap() {
                        0 => return,
                        n => stream.write_all(&buffer[..n]).await.unwrap(),
                    }
                }
            });
            thread::spawn(move || {
                for n in 0..50_u8 {
                    (&far).write_all(&[n; 10]).unwrap();
                    let mut answer = [0; 10];
                    (&far).read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [n; 10]);
                    // Both are in the mode in which they were; and a duplicate comes and goes, after
                    // it was waited for.
                    assert!(is_nonblocking(&duplicate) && !is_nonblocking(&far));
                    let another = duplicate.try_clone().unwrap();
                    assert_eq!(
                        (&another).read(&mut [0]).unwrap_err().kind(),
                        ErrorKind::WouldBlock
                    );
                    let waited = greenrt::lowlevel::wait_readable(
                        another.as_fd(),
                        Some(Duration::from_micros(100)),
                    );
                    assert!(!waited.unwrap());
                }
                drop((far, duplicate));
                wait_until(|| server.is_finished());
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    runtime.shutdown_background();
}

fn is_nonblocking(fd: &impl AsFd) -> bool {
    greenrt::lowlevel::is_nonblocking(fd.as_fd()).unwrap()
}

fn a_runtime_on_green_threads() {
    no_more_os_threads(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let green = runtime.spawn(async { greenrt::lowlevel::on_green_thread() });
        assert!(runtime.block_on(green).unwrap());
        with_echo_of(&runtime);
    });
}
