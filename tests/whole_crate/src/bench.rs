//! A benchmark, as it is without a harness.

#![allow(clippy::disallowed_methods, reason = "written for std")]

extern crate whole_crate;

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for n in 0..10 {
        black_box(whole_crate::chat::ask(&n.to_string())?);
    }
    eprintln!(
        "{:?} each, by {}",
        start.elapsed() / 10,
        whole_crate::name_of_std()
    );
    Ok(())
}
