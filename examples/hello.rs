//! Ten green threads that say Hello, sleep three seconds, and say World; in three seconds.
//!
//! The same on std, one after the other: `hello_std.rs`. Run with
//! `cargo run --release --example hello`.

use greenstd::{io, thread, time::Duration};

fn hello() {
    println!("Hello");
    thread::sleep(Duration::from_secs(3));
    println!("World");
}

fn main() -> io::Result<()> {
    let hellos: Vec<_> = (0..10).map(|_| thread::spawn(hello)).collect();
    hellos.into_iter().for_each(|hello| hello.join().unwrap());
    Ok(())
}
