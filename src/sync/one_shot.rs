//! A result that comes once.

use std::error::Error;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::event::Event;
use super::wait::Until;
use crate::park::reason::Reason;

/// A value, or an error, that is set once, and for which any number of threads may wait.
///
/// # Examples
///
/// ```
/// use greenrt::sync::OneShot;
///
/// static ANSWER: OneShot<u32> = OneShot::new();
///
/// greenrt::run(|| {
///     let threads = [(); 3].map(|()| greenrt::spawn(|| *ANSWER.wait().unwrap()));
///     ANSWER.set(42).unwrap();
///     assert_eq!(ANSWER.set(43), Err(43)); // Only once.
///     for thread in threads {
///         assert_eq!(thread.join().unwrap(), 42);
///     }
/// });
/// ```
pub struct OneShot<T, E = Box<dyn Error + Send + Sync>> {
    result: OnceLock<Result<T, E>>,
    done: Event,
}

impl<T, E> OneShot<T, E> {
    /// Not set.
    pub const fn new() -> Self {
        OneShot {
            result: OnceLock::new(),
            done: Event::new(),
        }
    }

    /// Sets the value and wakes everybody who waits.
    ///
    /// # Errors
    ///
    /// The value, if value or error were set before.
    pub fn set(&self, value: T) -> Result<(), T> {
        match self.complete(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Sets the error and wakes everybody who waits.
    ///
    /// # Errors
    ///
    /// The error, if value or error were set before.
    pub fn fail(&self, error: E) -> Result<(), E> {
        match self.complete(Err(error)) {
            Err(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Sets value or error.
    ///
    /// # Errors
    ///
    /// What was given, if value or error were set before.
    pub fn complete(&self, result: Result<T, E>) -> Result<(), Result<T, E>> {
        self.result.set(result)?;
        self.done.set();
        Ok(())
    }

    /// Waits until value or error are set.
    ///
    /// If they are, this spends a credit. A cancelled green thread unwinds from here.
    ///
    /// # Errors
    ///
    /// The error that was set.
    pub fn wait(&self) -> Result<&T, &E> {
        self.done.wait_until(Until::Done, Reason::ONE_SHOT);
        self.get().expect("greenrt: a one-shot is done and not set")
    }

    /// As [`wait`](OneShot::wait), for at most `timeout`. `None`: the time is up.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<&T, &E>> {
        self.done
            .wait_until(Until::After(timeout), Reason::ONE_SHOT);
        self.get()
    }

    /// As [`wait`](OneShot::wait), until `deadline` on the runtime's clock. `None`: the time is up.
    pub fn wait_deadline(&self, deadline: Instant) -> Option<Result<&T, &E>> {
        self.done
            .wait_until(Until::instant(deadline), Reason::ONE_SHOT);
        self.get()
    }

    /// Value or error, if they are set.
    pub fn get(&self) -> Option<Result<&T, &E>> {
        self.result.get().map(Result::as_ref)
    }

    /// Value or error, if they are set.
    pub fn into_inner(self) -> Option<Result<T, E>> {
        self.result.into_inner()
    }
}

impl<T, E> Default for OneShot<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for OneShot<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OneShot").field(&self.get()).finish()
    }
}
