//! Asking again and again, where nothing tells when.

use std::time::Duration;

use crate::thread;

/// The time between two attempts at what nothing announces, longer from one to the next: from 50
/// microseconds to 10 milliseconds.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use greenrt::lowlevel::Pause;
///
/// greenrt::run(|| {
///     let mut n_attempts = 1;
///     let mut pause = Pause::new(Some(Duration::from_millis(1)));
///     while pause.wait() {
///         n_attempts += 1;
///     }
///     assert!(n_attempts > 2);
/// });
/// ```
#[derive(Debug)]
pub struct Pause {
    next: Duration,
    left: Option<Duration>,
}

impl Pause {
    const FIRST: Duration = Duration::from_micros(50);
    const MAX: Duration = Duration::from_millis(10);

    /// All pauses together take no longer than `timeout`.
    pub fn new(timeout: Option<Duration>) -> Self {
        Pause {
            next: Self::FIRST,
            left: timeout,
        }
    }

    /// What is left of the time that all may take.
    pub fn left(&self) -> Option<Duration> {
        self.left
    }

    /// Sleeps; `false` if the time is up. A point of cancellation.
    pub fn wait(&mut self) -> bool {
        let pause = self.next.min(self.left.unwrap_or(self.next));
        self.next = (self.next * 2).min(Self::MAX);
        if pause.is_zero() {
            return false;
        }
        thread::sleep(pause);
        if let Some(left) = &mut self.left {
            *left -= pause;
        }
        true
    }
}
