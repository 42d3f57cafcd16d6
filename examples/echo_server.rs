//! Sends back what it gets: a thread for each connection, as one writes it with std.
//!
//! Run with `cargo run --release --example echo_server [address]`, and talk to it with
//! `nc 127.0.0.1 1234`.

use greenstd::io;
use greenstd::net::{TcpListener, TcpStream};
use greenstd::thread;

pub(crate) fn echo(stream: TcpStream) {
    if let Err(error) = io::copy(&mut &stream, &mut &stream) {
        eprintln!("{stream:?}: {error}");
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:1234".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening at {}", listener.local_addr()?);
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(thread::spawn(move || echo(stream))),
            Err(error) => eprintln!("no connection: {error}"),
        }
    }
    Ok(())
}
