//! Tests that std must pass and greenstd alike.
//!
//! Their files are included once for each that they test: std on OS threads, greenstd on green
//! threads and off them, and greenstd's sockets on std's threads. Each of these supplies the modules
//! under test and a `run` for the test's body.

#![expect(clippy::disallowed_methods, reason = "std is one of those under test")]
#![expect(clippy::duplicate_mod, reason = "and so is the other")]

mod agreement;
mod on_greenstd;
mod on_std;
mod on_std_threads;
