//! An example, which gives an exit code and reads lines.

#![allow(clippy::disallowed_methods, reason = "written for std")]

extern crate whole_crate;

use std::process::ExitCode;

fn main() -> ExitCode {
    let reader = std::thread::spawn(|| std::io::stdin().lines().map_while(Result::ok).count());
    match reader.join() {
        Ok(n) => {
            println!("{} lines, by {}", n, whole_crate::name_of_std());
            ExitCode::from(n as u8)
        }
        Err(_) => ExitCode::FAILURE,
    }
}
