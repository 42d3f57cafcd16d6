//! std on OS threads, whose outcomes are the ones that count.

use std as root;
use std::net;

#[path = "../it/same/random.rs"]
pub(super) mod random;
#[path = "../streams/same/random_datagrams.rs"]
pub(super) mod random_datagrams;
#[path = "../streams/same/random_pipes.rs"]
pub(super) mod random_pipes;
#[path = "../streams/same/random_streams.rs"]
pub(super) mod random_streams;

pub(super) mod thread {
    pub(crate) use std::thread::*;

    pub(crate) fn spawn<T: Send + 'static>(
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        greenlibc::os_threads(|| std::thread::spawn(f))
    }
}
