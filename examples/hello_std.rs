//! Says Hello, sleeps three seconds and says World, ten times; in thirty seconds.
//!
//! The same on green threads, all at once: `hello.rs`. Run with
//! `cargo run --release --example hello_std`.

#![expect(clippy::disallowed_methods, reason = "plain std, for comparison")]

use std::{io, thread, time::Duration};

fn hello() {
    println!("Hello");
    thread::sleep(Duration::from_secs(3));
    println!("World");
}

fn main() -> io::Result<()> {
    (0..10).for_each(|_| hello());
    Ok(())
}
