//! What greenstd mirrors of std's networking and streams besides TCP: UDP, the Unix domain, pipes,
//! standard input and output. Bodies in `same/` run on std too.

#![allow(
    clippy::type_complexity,
    dead_code,
    reason = "as in `tests/it`, whose support this shares"
)]

#[path = "../it/support.rs"]
mod support;

mod calls;
mod conversions;
mod limits;
mod names;
mod places;
mod same;
mod server;
mod standard;
mod waits;
