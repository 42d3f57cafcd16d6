//! The free functions that greenrt does not have under std's signature.

use std::time::Duration;

use super::{Builder, JoinHandle, park_timeout, sleep};

/// Spawns a green thread.
///
/// As [`std::thread::spawn`], on OS threads too: the first call there starts the global runtime.
///
/// # Panics
///
/// If no stack can be had, or the global runtime cannot be started; use [`Builder::spawn`] to
/// recover from that.
///
/// # Differences from std
///
/// It has a stack of 1 MiB, or what `RUST_MIN_STACK` says; [`greenrt::spawn`] gives 256 KiB. When
/// it runs is up to its worker; see [`greenrt::spawn`].
///
/// # Examples
///
/// ```
/// use greenstd::thread;
///
/// let sum = thread::spawn(|| (1..=10).sum::<u32>());
/// assert_eq!(sum.join().unwrap(), 55);
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("failed to spawn thread")
}

/// Sleeps for `ms` milliseconds, as `std::thread::sleep_ms`.
#[deprecated(since = "0.1.0", note = "replaced by `greenstd::thread::sleep`")]
pub fn sleep_ms(ms: u32) {
    sleep(Duration::from_millis(ms.into()));
}

/// Parks for at most `ms` milliseconds, as `std::thread::park_timeout_ms`.
#[deprecated(since = "0.1.0", note = "replaced by `greenstd::thread::park_timeout`")]
pub fn park_timeout_ms(ms: u32) {
    park_timeout(Duration::from_millis(ms.into()));
}
