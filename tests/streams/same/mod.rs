//! Tests that std must pass and greenstd alike; as `tests/it/same`.

#![expect(clippy::disallowed_methods, reason = "std is one of those under test")]
#![expect(clippy::duplicate_mod, reason = "and so is the other")]

mod agreement;
mod on_greenstd;
mod on_std;
mod on_std_threads;
