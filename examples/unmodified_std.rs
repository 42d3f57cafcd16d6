//! A server with a thread per connection and its clients, in plain std: a thousand threads at once,
//! as green threads, by the first line of `main`. Run it with and without that line:
//!
//! ```sh
//! cargo run --release --example unmodified_std
//! cargo run --release --example unmodified_std -- unpatched
//! ```

#![expect(clippy::disallowed_methods, reason = "green by the first line of main")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 1000;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() != Some("unpatched") {
        greenlibc::patch_all();
    }
    let began = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener));
    let all_connected = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let all_connected = Arc::clone(&all_connected);
            thread::spawn(move || ask(address, n, &all_connected))
        })
        .collect();
    all_connected.wait();
    println!("{CLIENTS} clients connected; {} OS threads", os_threads()?);
    for client in clients {
        client.join().unwrap()?;
    }
    println!("done after {:.1?}", began.elapsed());
    Ok(())
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::spawn(move || -> io::Result<()> {
            let mut buffer = [0; 64];
            loop {
                let n = stream.read(&mut buffer)?;
                if n == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..n])?;
            }
        });
    }
    Ok(())
}

fn ask(address: SocketAddr, n: usize, all_connected: &Barrier) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    all_connected.wait();
    let question = format!("client {n}");
    for _ in 0..10 {
        stream.write_all(question.as_bytes())?;
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, question.as_bytes());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn os_threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}
