//! Children beyond what std does too (`it/same/process.rs`), and forks of a process that runs green
//! threads. Much of it in processes of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "std's children, and OS threads, are part of what is tested"
)]

#[path = "../it/support.rs"]
#[allow(
    dead_code,
    unfulfilled_lint_expectations,
    unused_imports,
    reason = "what other tests use"
)]
mod support;

mod children;
mod descriptors;
mod extras;
mod fork;
