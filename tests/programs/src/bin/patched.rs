//! A program in plain std, but for the first line of `main`.
//!
//! `tests/linking.rs` builds it in the ways in which programs are linked, and expects that it is green.

#![expect(clippy::disallowed_methods, reason = "green by the first line of main")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

fn main() {
    greenlibc::patch_all();
    // On one worker, what blocks it never ends.
    thread::spawn(work).join().unwrap();
    println!("green");
}

fn work() {
    assert!(greenrt::lowlevel::on_green_thread());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read(&mut byte).unwrap() == 1 {
                    stream.write_all(&byte).unwrap();
                }
            });
        }
    });
    let clients: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&[n]).unwrap();
                thread::sleep(Duration::from_millis(1));
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [n]);
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(Command::new("true").status().unwrap()));
    assert!(receiver.recv().unwrap().success());
    assert!(("localhost", 1).to_socket_addrs().unwrap().count() > 0);
    let calls = greenlibc::calls();
    assert!(calls.iter().all(|calls| calls.n_blocking == 0), "{calls:?}");
}
