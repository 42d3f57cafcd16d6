//! A million green threads with jemalloc, which keeps a cache for each thread.

#![expect(unsafe_code, reason = "counts what is allocated")]
#![allow(clippy::disallowed_methods, reason = "a watchdog is an OS thread")]

mod churn;

use churn::Counting;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Counting<Jemalloc> = Counting(Jemalloc);

fn main() {
    churn::run("jemalloc", 4_000);
}
