//! A million green threads with mimalloc, which keeps a heap for each thread.

#![expect(unsafe_code, reason = "counts what is allocated")]
#![allow(clippy::disallowed_methods, reason = "a watchdog is an OS thread")]

mod churn;

use churn::Counting;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting(MiMalloc);

fn main() {
    churn::run("mimalloc", 4_000);
}
