//! Waiting for several things at once, and doing one of them.
//!
//! [`select!`](crate::select) is the short form. [`Select`] is for arms whose number is known only
//! when the program runs.
//!
//! # How it works
//!
//! First every arm is tried, in random order. If none can be done the thread queues a waiter for each, all with one claim word, and parks: whoever claims the word first (somebody who
//! sends, a closing channel, a deadline, a cancel) has chosen the arm, and has done its operation on
//! the way. The other waiters leave; whoever tries to claim them meanwhile fails and goes on to the
//! next in its list. So exactly one arm is done, and no message goes to one that is not.
//!
//! An arm that finds, while the waiters are queued one after the other, that it could be done at
//! once makes the thread take back its claim word and try again from the start. It counts only what
//! others offer: a thread that sends and receives on one channel does not meet itself.

mod arm;
mod channel;
mod others;

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

pub use self::arm::{Arm, Operation};
use self::arm::{Private, Who};
pub use self::channel::{RecvArm, SendArm};
pub use self::others::{JoinArm, ReadyArm, TimeArm};
use super::wait::{self, POINT, Until};
use crate::park::reason::Reason;
use crate::park::{Ended, Episode};
use crate::scheduler::Section;

const PRIVATE: Private = Private(());

/// Arms to choose from.
///
/// # Examples
///
/// ```
/// use greenrt::sync::{channel, select::{RecvArm, Select}};
///
/// let ends: Vec<_> = (0..3).map(|_| channel::unbounded()).collect();
/// ends[1].0.send("hello").unwrap();
///
/// let mut arms: Vec<_> = ends.iter().map(|(_, receiver)| RecvArm::new(receiver)).collect();
/// let mut select = Select::new();
/// for arm in &mut arms {
///     select.add(arm);
/// }
/// let chosen = select.wait();
/// assert_eq!(chosen, 1);
/// assert_eq!(arms[chosen].result(), Some(Ok("hello")));
/// ```
#[derive(Default)]
pub struct Select<'a> {
    arms: Vec<Numbered<'a>>,
}

/// An arm and its number; a select changes their order while it goes on.
#[doc(hidden)]
pub struct Numbered<'a> {
    arm: &'a mut dyn Arm,
    number: usize,
}

impl<'a> Numbered<'a> {
    /// Its number is told when it is needed.
    #[inline(always)]
    pub fn new(arm: &'a mut dyn Arm) -> Self {
        Numbered { arm, number: 0 }
    }
}

impl fmt::Debug for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbered")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// So many arms can be told apart in the claim word.
const ARMS_MAX: usize = 1 << 20;

impl<'a> Select<'a> {
    /// Without arms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an arm; its number.
    pub fn add(&mut self, arm: &'a mut dyn Arm) -> usize {
        self.arms.push(Numbered::new(arm));
        self.arms.len() - 1
    }

    /// Waits until one of the arms was done; its number.
    ///
    /// If several can be done, each is equally likely, though not each time anew. A select that need not wait spends a credit.
    ///
    /// A cancelled green thread unwinds from here; then none was done.
    ///
    /// # Panics
    ///
    /// If there are no arms, so that it would wait for ever.
    #[track_caller]
    pub fn wait(mut self) -> usize {
        assert!(!self.arms.is_empty(), "a select without arms");
        let chosen = select(&mut self.arms, Until::Done);
        chosen.expect("greenrt: a select without a deadline has ended by it")
    }

    /// As [`wait`](Select::wait), for at most `timeout`. `None`: the time is up, and none was done.
    pub fn wait_timeout(mut self, timeout: Duration) -> Option<usize> {
        select(&mut self.arms, Until::After(timeout))
    }

    /// As [`wait`](Select::wait), until `deadline` on the runtime's clock.
    pub fn wait_deadline(mut self, deadline: Instant) -> Option<usize> {
        select(&mut self.arms, Until::instant(deadline))
    }

    /// Does one of the arms, if any can be done without waiting. Always spends a credit.
    pub fn try_now(mut self) -> Option<usize> {
        select(&mut self.arms, Until::Now)
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select")
            .field("n_arms", &self.arms.len())
            .finish_non_exhaustive()
    }
}

/// What [`select!`](crate::select) calls: as [`Select::wait`], or [`Select::try_now`].
#[doc(hidden)]
#[inline]
pub fn select_among(arms: &mut [Numbered<'_>], waits: bool) -> Option<usize> {
    select(arms, if waits { Until::Done } else { Until::Now })
}

/// Does one of the arms, which stand in their order.
#[inline(always)]
fn select(arms: &mut [Numbered<'_>], until: Until) -> Option<usize> {
    let section = wait::begin();
    let mut tried = None;
    if !arms.is_empty() {
        let first = match &section {
            Some(section) => section.local().seldom_random_below(arms.len()),
            None => os_random_below(arms.len()),
        };
        if arms[first].arm.attempt(PRIVATE) {
            wait::end(section);
            return Some(first);
        }
        tried = Some(first);
    }
    drop(section);
    select_slow(arms, tried, until)
}

/// As `select`, when one that was taken at random could not be done.
#[cold]
#[inline(never)]
fn select_slow(arms: &mut [Numbered<'_>], tried: Option<usize>, mut until: Until) -> Option<usize> {
    assert!(arms.len() <= ARMS_MAX, "a select with too many arms");
    for (number, arm) in arms.iter_mut().enumerate() {
        arm.number = number;
    }
    let mut n_left = arms.len();
    if let Some(tried) = tried {
        n_left -= 1;
        arms.swap(tried, n_left);
    }
    loop {
        let section = wait::begin();
        let left = &mut arms[..n_left];
        shuffle(&section, left);
        if let Some(done) = left.iter().find(|arm| arm.arm.attempt(PRIVATE)) {
            wait::end(section);
            return Some(done.number);
        }
        n_left = arms.len();
        let times = arms.iter();
        let time = times.filter_map(|arm| Some((arm.arm.deadline(PRIVATE)?, arm.number)));
        let time = time.min();
        if let Until::Now = until {
            wait::end(section);
            return time
                .filter(|&(at, _)| at <= crate::park::now())
                .map(|(_, number)| number);
        }
        drop(section);
        let own = until.deadline();
        let deadline = match (own, time) {
            (Some(own), Some((time, _))) => Some(own.min(time)),
            (own, time) => own.or(time.map(|(time, _)| time)),
        };
        match wait(arms, deadline) {
            Some(Ended::Woken(number)) => {
                let mut woken = arms.iter().filter(|arm| arm.number == number as usize);
                if woken.any(|arm| arm.arm.woken(PRIVATE)) {
                    return Some(number as usize);
                }
            }
            Some(Ended::Deadline) => {
                return time
                    .filter(|&(at, _)| Some(at) == deadline)
                    .map(|(_, number)| number);
            }
            Some(Ended::Interrupted(interrupt)) => interrupt.unwind(),
            None | Some(Ended::Again | Ended::Token) => {}
        }
    }
}

/// Waits in all arms, and leaves them. `None`: one of them may be done without waiting.
fn wait(arms: &[Numbered<'_>], deadline: Option<u64>) -> Option<Ended> {
    let episode = match Episode::open(Reason::SELECT, POINT) {
        Ok(episode) => episode,
        Err(ended) => return Some(ended),
    };
    let target = episode.target();
    let mut queued = Queued { arms, n: 0 };
    for Numbered { arm, number } in arms {
        let who = Who {
            target: &target,
            tag: *number as u32,
        };
        queued.n += 1;
        if !arm.queue(&who, PRIVATE) {
            return episode.give_up();
        }
    }
    Some(episode.park(deadline))
}

/// The arms that wait; they leave when this is dropped.
struct Queued<'a, 'b> {
    arms: &'a [Numbered<'b>],
    n: usize,
}

impl Drop for Queued<'_, '_> {
    fn drop(&mut self) {
        for Numbered { arm, .. } in &self.arms[..self.n] {
            arm.leave(PRIVATE);
        }
    }
}

/// Any order is equally likely, so each of the arms that can be done comes first of them as often.
fn shuffle(section: &Option<Section>, arms: &mut [Numbered<'_>]) {
    for n in (2..=arms.len()).rev() {
        arms.swap(n - 1, random_below(section, n));
    }
}

fn random_below(section: &Option<Section>, n: usize) -> usize {
    match section {
        Some(section) => section.local().random_below(n),
        None => os_random_below(n),
    }
}

/// For OS threads. Only has to spread, so that no arm is starved.
fn os_random_below(n: usize) -> usize {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    static SEEDS: AtomicU64 = AtomicU64::new(1);
    let mut x = STATE.try_with(Cell::get).unwrap_or(0);
    if x == 0 {
        x = SEEDS
            .fetch_add(1, Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            | 1;
    }
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    let _ = STATE.try_with(|state| state.set(x));
    (((x >> 32) as usize) * n) >> 32
}

/// Waits for several things at once, and does one of them.
///
/// ```text
/// recv(receiver) -> result => ..      a message, or that there will be none
/// send(sender, message) -> result =>  the message was sent, or cannot be
/// join(handle) -> result => ..        a green thread has ended; the handle is `mut`, and consumed
/// readable(io) => ..                  a `lowlevel::Io` can be read
/// writable(io) => ..                  or written
/// timeout(duration) => ..             so much time has passed
/// deadline(instant) => ..             it is so late, on the runtime's clock
/// default => ..                       none of them can be done at once: then nothing waits
/// ```
///
/// What stands in the parentheses is evaluated first, in order. If several arms can be done, each is
/// equally likely to be. Exactly one is, and no other takes or loses a message; the message of a
/// `send` that is not chosen is dropped (use [`SendArm`](crate::sync::select::SendArm) and
/// [`into_message`](crate::sync::select::SendArm::into_message) to keep it). The value is that of the
/// chosen arm, in which `break`, `return` and `?` are those of the surrounding code.
///
/// A green thread parks; an OS thread blocks. (An OS thread that waits for a descriptor makes use of
/// the global runtime.) A cancelled green thread unwinds from here; then none was done.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use greenrt::{select, sync::channel};
///
/// greenrt::run(|| {
///     let (numbers, receive_numbers) = channel::bounded(1);
///     let (words, receive_words) = channel::bounded::<&str>(1);
///     let mut worker = greenrt::spawn(move || numbers.send(6).is_ok());
///     loop {
///         select! {
///             recv(receive_numbers) -> number => match number {
///                 Ok(number) => assert_eq!(number, 6),
///                 Err(_) => break,
///             },
///             recv(receive_words) -> word => panic!("{word:?}"),
///             timeout(Duration::from_secs(9)) => panic!("it does not take so long"),
///         }
///     }
///     let sent = select! {
///         join(worker) -> result => result.unwrap(),
///         default => panic!("it has ended"),
///     };
///     assert!(sent);
///     drop(words);
/// });
/// ```
#[macro_export]
macro_rules! select {
    // All arms are known. Each is: (statements) (variable) (pattern = value) (body).
    (@arms [$({ ($($make:tt)*) ($arm:ident) ($pattern:pat = $value:expr) ($body:expr) })*] [$($default:tt)*]) => {{
        $($($make)*)*
        let chosen = $crate::sync::select::select_among(
            &mut [$($crate::sync::select::Numbered::new(&mut $arm)),*],
            $crate::select!(@waits $($default)*),
        );
        $crate::select!(@choose chosen (0) [$({ ($pattern = $value) ($body) })*] [$($default)*])
    }};
    (@waits) => { true };
    (@waits $default:expr) => { false };
    (@choose $chosen:ident ($n:expr) [{ ($pattern:pat = $value:expr) ($body:expr) } $($rest:tt)*] $default:tt) => {
        if $chosen == Some($n) {
            let $pattern = $value;
            $body
        } else {
            $crate::select!(@choose $chosen ($n + 1) [$($rest)*] $default)
        }
    };
    (@choose $chosen:ident ($n:expr) [] []) => { unreachable!("greenrt: no arm was chosen") };
    (@choose $chosen:ident ($n:expr) [] [$default:expr]) => { $default };

    // One arm after the other: first what it is, then its body.
    (@munch $arms:tt $default:tt recv($receiver:expr) -> $result:pat => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let receiver = &$receiver; let mut arm = $crate::sync::select::RecvArm::new(receiver);)
            (arm)
            ($result = arm.result().expect("greenrt: a chosen arm without a result"))
        } $($rest)*)
    };
    (@munch $arms:tt $default:tt send($sender:expr, $message:expr) -> $result:pat => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let sender = &$sender; let mut arm = $crate::sync::select::SendArm::new(sender, $message);)
            (arm)
            ($result = arm.result().expect("greenrt: a chosen arm without a result"))
        } $($rest)*)
    };
    (@munch $arms:tt $default:tt join($handle:ident) -> $result:pat => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let mut arm = $crate::sync::select::JoinArm::new(&mut $handle);)
            (arm)
            ($result = $handle.join())
        } $($rest)*)
    };
    (@munch $arms:tt $default:tt readable($io:expr) => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let io = &$io; let mut arm = $crate::sync::select::ReadyArm::readable(io);)
            (arm)
            (() = ())
        } $($rest)*)
    };
    (@munch $arms:tt $default:tt writable($io:expr) => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let io = &$io; let mut arm = $crate::sync::select::ReadyArm::writable(io);)
            (arm)
            (() = ())
        } $($rest)*)
    };
    (@munch $arms:tt $default:tt timeout($timeout:expr) => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let mut arm = $crate::sync::select::TimeArm::after($timeout);)
            (arm)
            (() = ())
        } $($rest)*)
    };
    (@munch $arms:tt $default:tt deadline($deadline:expr) => $($rest:tt)*) => {
        $crate::select!(@body $arms $default {
            (let mut arm = $crate::sync::select::TimeArm::at($deadline);)
            (arm)
            (() = ())
        } $($rest)*)
    };
    (@munch $arms:tt [] default => $($rest:tt)*) => {
        $crate::select!(@default $arms $($rest)*)
    };
    (@munch $arms:tt $default:tt) => { $crate::select!(@arms $arms $default) };
    (@munch $arms:tt $default:tt $($rest:tt)*) => {
        compile_error!(concat!("not an arm of select!: ", stringify!($($rest)*)))
    };

    (@body [$($arms:tt)*] $default:tt {$($head:tt)*} $body:block, $($rest:tt)*) => {
        $crate::select!(@munch [$($arms)* {$($head)* ($body)}] $default $($rest)*)
    };
    (@body [$($arms:tt)*] $default:tt {$($head:tt)*} $body:block $($rest:tt)*) => {
        $crate::select!(@munch [$($arms)* {$($head)* ($body)}] $default $($rest)*)
    };
    (@body [$($arms:tt)*] $default:tt {$($head:tt)*} $body:expr, $($rest:tt)*) => {
        $crate::select!(@munch [$($arms)* {$($head)* ($body)}] $default $($rest)*)
    };
    (@body [$($arms:tt)*] $default:tt {$($head:tt)*} $body:expr) => {
        $crate::select!(@munch [$($arms)* {$($head)* ($body)}] $default)
    };

    (@default $arms:tt $body:block, $($rest:tt)*) => {
        $crate::select!(@munch $arms [$body] $($rest)*)
    };
    (@default $arms:tt $body:block $($rest:tt)*) => {
        $crate::select!(@munch $arms [$body] $($rest)*)
    };
    (@default $arms:tt $body:expr, $($rest:tt)*) => {
        $crate::select!(@munch $arms [$body] $($rest)*)
    };
    (@default $arms:tt $body:expr) => {
        $crate::select!(@munch $arms [$body])
    };

    (@ $($rest:tt)*) => { compile_error!("select! does not understand this") };
    ($($arms:tt)+) => { $crate::select!(@munch [] [] $($arms)+) };
}
