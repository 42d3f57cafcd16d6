//! Answers for the kernel when somebody calls the futex through libc.
//!
//! Std's locks and parking_lot's do, and so does everything that is built on them. What a green
//! thread waits for is then waited for in the table, and its worker runs the others.
//!
//! # To the letter
//!
//! A wait on an OS thread is the kernel's. What is odd about a call, and may be an error, is left to
//! the kernel on any thread. A wait that is served here never ends with `EINTR`, and its deadline is
//! never early. `FUTEX_CLOCK_REALTIME` follows a clock that is set back at once, and one that is set
//! forward when the time would have been up. Where a runtime has a manual clock, what is left of the
//! time passes on that one; code that then looks at the real time waits again.
//!
//! # Fairness
//!
//! Std's locks are taken by whoever is there first, and a green thread that unlocks and locks again
//! without waiting is always there first. We cannot hand such a lock over, but we can see it coming:
//! a thread that was woken for a word and comes back to wait for it, without having been switched
//! away from in between, was passed over. It waits in front of the others then, and whoever wakes
//! it, or one who has waited for more than half a millisecond, yields. So the one who was woken runs
//! before the one who woke it can lock again.
//!
//! # Shared thread-locals
//!
//! What follows is about all green threads of a worker, where they share its thread-locals, and
//! elsewhere about local threads and their spawner.
//!
//! Some waits are for a thread, and not for a lock. `parking_lot` queues threads by way of a
//! thread-local of theirs; std's `thread::park`, and with it its channels and crossbeam's, has a
//! token for each thread and compares their numbers. Two green threads that share their
//! thread-locals must never wait so at once: one would be taken for the other, wait for ever, or be
//! told that it has the other's lock. Then the kernel answers and the worker stops, as it always has
//! where threads share. Parking_lot's waits are known by being a plain `FUTEX_WAIT`, which std does
//! not use, and std's by the address of the worker's token, which it betrays when the worker starts.
//! Like every call that stops the worker, such a wait must not be for what a sibling has yet to do.
//!
//! And a thread that panics does so for all that share its thread-locals: if another one of them
//! panicked while the first one is about to print its message, std would abort the process. The
//! locks that std takes there are held by other OS threads that print. So a thread that panics waits
//! in the kernel for a second, and parks only then: it may be its own sibling that holds what a
//! destructor of the user's waits for.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use greenrt_arch::futex::{self as arch, Answer, Call, Operation, Until};

use super::{PATIENCE_NS, TABLE, Waited};
use super::{lock, table::Woken};
use crate::clock;
use crate::park::{self, Wake};
use crate::scheduler::{self, Caller, with_local};

/// How long a thread that panics keeps its worker from running those that share its panic.
const PANIC_NS: u64 = 1_000_000_000;

/// What std's own `thread::park` expects. It is no lock that somebody else may take first, and a
/// lock of std's that has this value is a contended one for reading and writing.
const STD_PARKED: u32 = u32::MAX;

thread_local! {
    /// On a worker's own thread-locals: the address of std's token for its `thread::park`, while it
    /// is sought [`UNKNOWN`].
    static TOKEN: Cell<usize> = const { Cell::new(0) };
    /// A signal handler came while the thread held a lock of the table, and wanted somebody woken.
    static MISSED: Cell<bool> = const { Cell::new(false) };
}

/// No address of a futex.
const UNKNOWN: usize = 1;

/// Begins to answer. `false`: here std's locks cannot be made to park green threads.
pub(crate) fn install() -> bool {
    arch::install(answer)
}

/// Called by a worker on its own stack, before it runs green threads.
pub(crate) fn worker_starts() {
    if TOKEN.get() == 0 && arch::is_linked() {
        seek_token();
    }
}

/// Has std wait for the calling OS thread's token, for no time, and notes where.
#[expect(
    clippy::disallowed_methods,
    reason = "it is std's own that is asked, and it does not wait"
)]
fn seek_token() {
    TOKEN.set(UNKNOWN);
    thread::park_timeout(Duration::ZERO);
    if TOKEN.get() == UNKNOWN {
        // It was there, and is gone now.
        thread::park_timeout(Duration::ZERO);
        thread::current().unpark();
    }
    if TOKEN.get() == UNKNOWN {
        TOKEN.set(0);
    }
}

fn answer(call: &Call) -> Answer {
    match call.operation() {
        Operation::Wait {
            expected,
            bits,
            is_bitset,
        } => wait(call, expected, bits, is_bitset),
        Operation::Wake { n, bits } => wake(call, n, bits),
        Operation::Requeue {
            n_wake,
            n_move,
            to,
            expected,
        } => requeue(call, (n_wake, n_move), to, expected),
    }
}

/// Called whenever the thread has let go of a lock of the table: does what a signal handler that came
/// meanwhile could not do. For whom it was is not known any more, so all are woken, which
/// they must bear.
#[inline]
pub(super) fn catch_up() {
    if MISSED.get() {
        catch_up_slow();
    }
}

#[cold]
fn catch_up_slow() {
    while MISSED.take() {
        let caller = Caller::now();
        TABLE.wake_everyone(|woken| wake_from(&caller, woken.wake));
    }
}

fn wait(call: &Call, expected: u32, bits: u32, is_bitset: bool) -> Answer {
    let address = call.address();
    if TOKEN.get() == UNKNOWN {
        TOKEN.set(address);
        return Answer::TIMED_OUT;
    }
    let Caller::User(section) = Caller::now() else {
        return TABLE.in_kernel(address, || call.ask_kernel());
    };
    let is_alone = section.has_own_thread_locals();
    // The token of a family that is not the worker's is not known.
    let is_token = match TOKEN.get() {
        0 => expected == STD_PARKED,
        token => token == address,
    };
    let for_a_thread = !is_bitset || is_token;
    let served = !lock::is_held() && (!for_a_thread || is_alone);
    let until = call.until();
    let (true, Ok(until)) = (served, until) else {
        drop(section);
        return TABLE.in_kernel(address, || call.ask_kernel());
    };
    if !is_alone && thread::panicking() {
        let wait = || call.wait_in_kernel(expected, bits, PANIC_NS);
        let mut answer = Answer::INTERRUPTED;
        while answer == Answer::INTERRUPTED {
            answer = TABLE.in_kernel(address, wait);
        }
        if answer != Answer::TIMED_OUT {
            return answer;
        }
    }
    let local = section.local();
    let passed_over = !for_a_thread && expected != STD_PARKED && local.woken_for() == address;
    loop {
        let deadline = until.and_then(on_our_clock);
        let seen = Cell::new(Some(expected));
        let holds = || {
            seen.set(call.load());
            seen.get() == Some(expected)
        };
        return match super::wait(address, holds, bits, passed_over, deadline) {
            Waited::Changed => {
                drop(section);
                if seen.get().is_none() {
                    return call.ask_kernel();
                }
                if !thread::panicking() {
                    scheduler::spend_credit();
                }
                Answer::CHANGED
            }
            Waited::TimedOut if until.is_some_and(is_yet_to_come) => continue,
            Waited::TimedOut => Answer::TIMED_OUT,
            Waited::Woken | Waited::HandedOver => {
                local.set_woken_for(address);
                Answer::WOKEN
            }
        };
    }
}

/// The deadline on the clock of the calling green thread.
fn on_our_clock(until: Until) -> Option<u64> {
    let manual = with_local(|local| local.clock().manual().is_some()) == Some(true);
    match until {
        Until::After(ns) => park::now().checked_add(ns),
        Until::Monotonic(at) if !manual => Some(at),
        Until::Monotonic(at) => park::now().checked_add(at.saturating_sub(clock::monotonic())),
        Until::Realtime(at) => park::now().checked_add(at.saturating_sub(realtime())),
    }
}

/// Whether the clock that people set was set back meanwhile.
fn is_yet_to_come(until: Until) -> bool {
    let system = with_local(|local| local.clock().manual().is_none()) == Some(true);
    matches!(until, Until::Realtime(at) if system && realtime() < at)
}

fn realtime() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn wake(call: &Call, n: usize, bits: u32) -> Answer {
    let address = call.address();
    if lock::is_held() {
        return miss(address, call);
    }
    let caller = Caller::now();
    let mut should_yield = false;
    let mut answer = Answer::of(0);
    let n_woken = TABLE.wake_both(
        address,
        n,
        bits,
        |woken| {
            should_yield |= n == 1 && is_impatient(&caller, &woken);
            wake_from(&caller, woken.wake);
        },
        |left| {
            answer = if left == n {
                call.ask_kernel()
            } else {
                call.ask_kernel_for(left, 0)
            };
            answer.count()
        },
    );
    catch_up();
    if let Caller::User(section) = &caller
        && should_yield
        && !thread::panicking()
    {
        section.yield_now();
    }
    n_woken.map_or(answer, Answer::of)
}

fn requeue(call: &Call, counts: (usize, usize), to: usize, expected: Option<u32>) -> Answer {
    let from = call.address();
    if lock::is_held() {
        return miss(from, call);
    }
    if !TABLE.may_have(from) {
        return call.ask_kernel();
    }
    let caller = Caller::now();
    let holds = || expected.is_none_or(|expected| call.load() == Some(expected));
    let wake = |woken: Woken<Wake>| wake_from(&caller, woken.wake);
    let done = TABLE.requeue((from, to), counts, holds, wake);
    catch_up();
    let Some((n_woken, n_moved)) = done else {
        // It is not as expected, or cannot be read.
        return call.ask_kernel();
    };
    let more = call.ask_kernel_for(counts.0 - n_woken, counts.1 - n_moved);
    Answer::of(n_woken + n_moved + more.count().unwrap_or(0))
}

/// In a signal handler that has come while the thread held a lock of the table: the kernel's
/// waiters are woken, and ours as soon as the lock is free.
fn miss(address: usize, call: &Call) -> Answer {
    if TABLE.may_have(address) {
        MISSED.set(true);
    }
    call.ask_kernel()
}

/// Whether the one who was woken should run before the one who wakes goes on.
fn is_impatient(caller: &Caller, woken: &Woken<Wake>) -> bool {
    let Caller::User(section) = caller else {
        return false;
    };
    // In a signal handler that runs on a stack of its own nobody may be switched away from.
    if !section.is_on_own_stack() {
        return false;
    }
    let waited = section.local().round_began().saturating_sub(woken.since);
    woken.passed_over || waited > PATIENCE_NS
}

/// Makes runnable who was woken by a call from `caller`.
fn wake_from(caller: &Caller, wake: Wake) {
    match caller {
        Caller::Runtime => wake.wake_through_inbox(),
        Caller::User(section) => wake.wake_in(section),
        Caller::Other => wake.wake(),
    }
}
