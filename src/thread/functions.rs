//! The free functions, with the names and, off a green thread, the behaviour of std's.

#![expect(
    clippy::disallowed_methods,
    reason = "off a green thread these are std's"
)]

use std::panic::Location;
use std::time::{Duration, Instant};

use super::{Builder, JoinHandle, Thread};
use crate::cancel::{self, Interrupt};
use crate::clock;
use crate::park::reason::Reason;
use crate::park::word::Ends;
use crate::park::{self, Ended, Episode};
use crate::scheduler::{Section, on_green_thread};

/// Spawns a green thread.
///
/// As [`std::thread::spawn`]: the closure runs concurrently with the caller, its result or the
/// payload of its panic comes from [`JoinHandle::join`], and a dropped handle detaches it. It
/// starts when its spawner waits or yields, or earlier on another worker if there is one with
/// nothing to do. On one worker green threads start and run in the order of their spawns.
///
/// On a worker the thread goes to that worker's runtime; elsewhere to the global runtime, which
/// the first spawn starts. When `main` returns the process ends, as with OS threads.
///
/// # Panics
///
/// If no stack can be had, or the global runtime cannot be started; use [`Builder::spawn`] to
/// recover from that.
///
/// # Examples
///
/// ```
/// let answer = greenrt::spawn(|| 6 * 7).join().unwrap();
/// assert_eq!(answer, 42);
/// ```
///
/// What is not `Send` stays with its thread:
///
/// ```compile_fail,E0277
/// let shared = std::rc::Rc::new(1);
/// greenrt::spawn(move || println!("{shared}"));
/// ```
///
/// And what is borrowed must outlive it (or use [`scope`](crate::scope)):
///
/// ```compile_fail,E0597
/// let number = 1;
/// let borrowed = &number;
/// greenrt::spawn(move || println!("{borrowed}"));
/// ```
#[track_caller]
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    super::builder::spawn_plain(f, Location::caller()).expect("failed to spawn a green thread")
}

/// Spawns a green thread on the caller's worker; neither closure nor result need be `Send`.
///
/// # Panics
///
/// If the caller is not on a worker, or no stack can be had; use [`Builder::spawn_local`] to
/// recover from that.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// greenrt::run(|| {
///     let sum = Rc::new(Cell::new(0));
///     let threads: Vec<_> = (1..=3).map(|n| {
///         let sum = Rc::clone(&sum);
///         greenrt::spawn_local(move || sum.set(sum.get() + n))
///     }).collect();
///     threads.into_iter().for_each(|thread| thread.join().unwrap());
///     assert_eq!(sum.get(), 6);
/// });
/// ```
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new()
        .spawn_local(f)
        .expect("failed to spawn a local green thread")
}

/// Spawns a green thread that runs `f` once `delay` has passed, never earlier.
///
/// It has a stack while it waits, and can be cancelled before it begins.
///
/// # Panics
///
/// As [`spawn`].
#[track_caller]
pub fn spawn_after<F, T>(delay: Duration, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn(move || {
        sleep(delay);
        f()
    })
}

/// The calling thread, green or not.
///
/// # Differences from std
///
/// On a green thread `std::thread::current()` is the worker's OS thread; this is the green thread.
pub fn current() -> Thread {
    super::current_record().map_or_else(Thread::current_os, Thread::green)
}

/// Lets the other runnable green threads of this worker run first.
///
/// Not a point of cancellation. Off a green thread this is [`std::thread::yield_now`].
#[inline(always)]
pub fn yield_now() {
    match Section::enter_green() {
        Some(section) => section.yield_now(),
        None => std::thread::yield_now(),
    }
}

/// Waits for at least `duration`.
///
/// The calling green thread parks; its worker runs others meanwhile. A sleep of no length yields.
/// A cancelled green thread unwinds from here. Off a green thread this is [`std::thread::sleep`], which
/// a [`timeout`](crate::timeout) ends all the same.
#[inline]
pub fn sleep(duration: Duration) {
    match Section::enter_green() {
        Some(section) if duration.is_zero() => {
            cancel::check(&section);
            section.yield_now();
        }
        None if !cancel::has_limits() => std::thread::sleep(duration),
        _ => sleep_to(park::deadline_after(duration)),
    }
}

/// Waits until `deadline`, never less long.
///
/// As [`sleep`]; the deadline is one of the runtime's clock, the system's unless it was given a
/// [`ManualClock`](crate::ManualClock). A deadline that has passed yields.
pub fn sleep_until(deadline: Instant) {
    if on_green_thread() || cancel::has_limits() {
        sleep_to(clock::from_instant(deadline));
    } else {
        let left = deadline.saturating_duration_since(Instant::now());
        std::thread::sleep(left);
    }
}

fn sleep_to(deadline: Option<u64>) {
    loop {
        match park::until(Reason::SLEEP, deadline) {
            Ended::Interrupted(interrupt) => interrupt.unwind(),
            Ended::Again => {}
            Ended::Deadline | Ended::Woken(_) | Ended::Token => return,
        }
    }
}

/// Waits until the calling thread's token is available, and takes it; see [`Thread::unpark`].
///
/// May return without one, as [`std::thread::park`], which it is off a green thread. Not a point
/// of cancellation.
#[inline(always)]
pub fn park() {
    match Section::enter_green() {
        Some(section) => park_to(section, None),
        None => std::thread::park(),
    }
}

/// As [`park`], for at most `timeout`.
pub fn park_timeout(timeout: Duration) {
    match Section::enter_green() {
        Some(section) => park_to(section, park::deadline_after(timeout)),
        None => std::thread::park_timeout(timeout),
    }
}

#[inline(always)]
fn park_to(section: Section, deadline: Option<u64>) {
    let ends = Ends {
        by_token: true,
        by_cancel: false,
    };
    let ended = match Episode::open_green(section, Reason::PARK, ends) {
        Ok(episode) => episode.park(deadline),
        Err(ended) => ended,
    };
    debug_assert!(!matches!(ended, Ended::Interrupted(Interrupt::Cancelled)));
}
