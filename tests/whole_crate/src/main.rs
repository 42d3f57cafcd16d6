//! Prints more than anybody reads at first, and tells meanwhile on standard error that it lives.

#![allow(clippy::disallowed_methods, reason = "written for std")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

static PRINTED: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let printer = thread::spawn(|| {
        for n in 0..3000 {
            println!("{} {}", n, "x".repeat(90));
            PRINTED.store(n, Ordering::Relaxed);
        }
    });
    while PRINTED.load(Ordering::Relaxed) < 100 {
        thread::yield_now();
    }
    let teller = thread::spawn(|| eprintln!("alive"));
    teller.join().unwrap();
    printer.join().unwrap();
    print!("the end, in {}", whole_crate::name_of_std());
}
