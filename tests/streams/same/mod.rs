//! Tests that std must pass and greenstd alike; as `tests/it/same`.

#![expect(clippy::duplicate_mod, reason = "std is one of those under test")]

mod agreement;
mod on_greenstd;
mod on_std;
mod on_std_threads;
