//! Sleeping; also reachable as in std, through [`thread`](crate::thread).

pub use greenrt::{sleep, sleep_until};
