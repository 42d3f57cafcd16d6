//! The OS threads that make offloaded calls.
//!
//! # Rule
//!
//! There are never fewer threads on their way than jobs queued, unless the lane is busy: whoever
//! queues a job wakes an idle thread, or starts one if more jobs are queued than threads look for one.
//! A thread looks for one until it has it, so a burst of jobs starts as many threads as it needs, and
//! no more.
//!
//! A thread that ends looks at the queue under the same lock in which it is counted out.
//!
//! # Impatience
//!
//! A lane that is busy may have still more threads, for jobs that have been queued for a while
//! ([`PATIENCE`]): if those that are being done take no longer than they should, the next one is not
//! queued for so long, and more threads would help nobody; if they wait for somebody who is dead,
//! nothing that is queued behind them is held up. So while jobs are queued at a busy lane that may
//! grow, one thread watches the first of them until it is done or has become old. Whoever takes a job
//! and leaves others behind sees to it that there is such a thread.
//!
//! # Fork
//!
//! The child of a fork has no thread of the pool, and perhaps a lock that nobody will unlock. So
//! the pools note whose they are, and the child makes new ones.

use std::collections::VecDeque;
use std::process;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::{Duration, Instant};
use std::{mem, ptr};

use super::Lane;
use crate::os_condvar::{Condvar, Mutex};
use crate::os_thread;
use crate::runtime::number_from_env;
use crate::scheduler::Section;

/// Never unwinds.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// How many calls at once, if nobody says.
const N_GENERAL: usize = 32;
/// Names, where the servers answer.
const N_DNS: usize = 16;
/// A server of names that does not answer holds up a thread for many seconds.
const N_DNS_MAX: usize = 256;
/// How long a job is queued at a busy lane before it gets a thread of its own, if the lane may grow.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long a thread waits for something to do before it ends.
const IDLE: Duration = Duration::from_secs(2);

/// The lanes of one process.
struct Pools {
    pid: u32,
    general: Pool,
    dns: Pool,
}

struct Pool {
    name: &'static str,
    /// With as many busy threads the lane is busy.
    n_busy_max: usize,
    n_threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// With the time at which each was queued.
    jobs: VecDeque<(Job, Instant)>,
    n_threads: usize,
    /// Those of them that do a job. The others wait for one, or have yet to begin.
    n_busy: usize,
}

/// Has a job done.
pub(super) fn submit(lane: Lane, job: Job) {
    let unstarted = {
        let _section = Section::enter_green();
        let pools = Pools::current();
        match lane {
            Lane::General => pools.general.submit(job),
            Lane::Dns => pools.dns.submit(job),
        }
    };
    // Without a thread to do it it is done here.
    unstarted.into_iter().for_each(|(job, _)| job());
}

impl Pools {
    /// Those of this process.
    fn current() -> &'static Pools {
        static CURRENT: AtomicPtr<Pools> = AtomicPtr::new(ptr::null_mut());
        let pid = process::id();
        let mut known = CURRENT.load(Acquire);
        loop {
            // SAFETY: what was stored here is never freed.
            if let Some(pools) = unsafe { known.as_ref() }
                && pools.pid == pid
            {
                return pools;
            }
            let new = Box::into_raw(Box::new(Pools {
                pid,
                general: {
                    let n = number_from_env("GREENRT_OFFLOAD_THREADS").unwrap_or(N_GENERAL);
                    Pool::new("greenrt-offload", n, n)
                },
                dns: Pool::new("greenrt-dns", N_DNS, N_DNS_MAX),
            }));
            match CURRENT.compare_exchange(known, new, AcqRel, Acquire) {
                // Those of a parent process stay where they are: somebody may have been using them.
                Ok(_) => known = new,
                Err(other) => {
                    // SAFETY: made above, and seen by nobody.
                    drop(unsafe { Box::from_raw(new) });
                    known = other;
                }
            }
        }
    }
}

impl Pool {
    fn new(name: &'static str, n_busy_max: usize, n_threads_max: usize) -> Self {
        Pool {
            name,
            n_busy_max,
            n_threads_max,
            state: Mutex::default(),
            work: Condvar::new(),
        }
    }

    /// Queues a job. Those that it returns cannot be done by the pool, which has no thread and gets
    /// none.
    fn submit(&'static self, job: Job) -> VecDeque<(Job, Instant)> {
        let mut state = self.state.lock();
        state.jobs.push_back((job, Instant::now()));
        if self.see_to_it(state) {
            return VecDeque::new();
        }
        let mut state = self.state.lock();
        if state.n_threads > 0 {
            return VecDeque::new();
        }
        mem::take(&mut state.jobs)
    }

    /// Sees to it that somebody looks at the jobs that are queued; `false` if that takes a thread, and
    /// none can be started.
    fn see_to_it(&'static self, mut state: MutexGuard<'_, State>) -> bool {
        let n_looking = state.n_threads - state.n_busy;
        let starts = if state.n_threads < self.n_busy_max {
            state.jobs.len() > n_looking
        } else {
            n_looking == 0 && state.n_threads < self.n_threads_max
        };
        if !starts {
            self.work.notify_one();
            return true;
        }
        state.n_threads += 1;
        drop(state);
        let started = os_thread::spawn(self.name.into(), || self.work()).is_ok();
        if !started {
            self.state.lock().n_threads -= 1;
        }
        started
    }

    /// The body of a thread.
    fn work(&'static self) {
        while let Some(job) = self.next() {
            job();
            self.state.lock().n_busy -= 1;
        }
    }

    /// The next job; `None`: there was none for long, and the thread is counted out.
    fn next(&'static self) -> Option<Job> {
        let mut state = self.state.lock();
        let mut has_waited = false;
        loop {
            let is_busy = state.n_busy >= self.n_busy_max;
            let time = match state.jobs.front() {
                None if has_waited => {
                    state.n_threads -= 1;
                    return None;
                }
                None => IDLE,
                Some((_, since)) if is_busy => PATIENCE.saturating_sub(since.elapsed()),
                Some(_) => Duration::ZERO,
            };
            if time.is_zero()
                && let Some((job, _)) = state.jobs.pop_front()
            {
                state.n_busy += 1;
                if !state.jobs.is_empty() {
                    self.see_to_it(state);
                }
                return Some(job);
            }
            let timed_out;
            (state, timed_out) = self.work.wait_for(state, time);
            has_waited = timed_out && time == IDLE;
        }
    }
}

#[cfg(test)]
mod tests;
