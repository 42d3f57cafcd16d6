//! The OS threads that make offloaded calls.
//!
//! # Rule
//!
//! There are never fewer threads on their way than jobs queued, unless the lane is full: whoever
//! queues a job wakes an idle thread, or starts one if more jobs are queued than threads idle. A
//! thread that has been woken counts as idle until it runs, so a burst of jobs starts as many threads
//! as it needs, and no more.
//!
//! A thread that ends looks at the queue under the same lock in which it is counted out.
//!
//! # Fork
//!
//! The child of a fork has no thread of the pool, and perhaps a lock that nobody will unlock. So
//! the pools note whose they are, and the child makes new ones.

use std::collections::VecDeque;
use std::process;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;
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
/// A server of names that does not answer holds up a thread for many seconds.
const N_DNS: usize = 16;
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
    n_threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    n_threads: usize,
    /// Those of them that wait for a job, or have been woken and not run yet.
    n_idle: usize,
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
    unstarted.into_iter().for_each(|job| job());
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
                general: Pool::new(
                    "greenrt-offload",
                    number_from_env("GREENRT_OFFLOAD_THREADS").unwrap_or(N_GENERAL),
                ),
                dns: Pool::new("greenrt-dns", N_DNS),
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
    fn new(name: &'static str, n_threads_max: usize) -> Self {
        Pool {
            name,
            n_threads_max,
            state: Mutex::default(),
            work: Condvar::new(),
        }
    }

    /// Queues a job. Those that it returns cannot be done by the pool, which has no thread and gets
    /// none.
    fn submit(&'static self, job: Job) -> VecDeque<Job> {
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        if state.jobs.len() <= state.n_idle {
            self.work.notify_one();
            return VecDeque::new();
        }
        if state.n_threads == self.n_threads_max {
            return VecDeque::new();
        }
        state.n_threads += 1;
        drop(state);
        if os_thread::spawn(self.name.into(), || self.work()).is_ok() {
            return VecDeque::new();
        }
        let mut state = self.state.lock();
        state.n_threads -= 1;
        if state.n_threads > 0 {
            return VecDeque::new();
        }
        mem::take(&mut state.jobs)
    }

    /// The body of a thread.
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// The next job; `None`: there was none for long, and the thread is counted out.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        let mut timed_out = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if timed_out {
                state.n_threads -= 1;
                return None;
            }
            state.n_idle += 1;
            (state, timed_out) = self.work.wait_for(state, IDLE);
            state.n_idle -= 1;
        }
    }
}
