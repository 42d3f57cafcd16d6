//! A million green threads with libc's malloc.

#![expect(unsafe_code, reason = "counts what is allocated")]
#![allow(clippy::disallowed_methods, reason = "a watchdog is an OS thread")]

mod churn;

use churn::Counting;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);

fn main() {
    churn::run("glibc", 20_000);
}
