//! The OS threads that start children. They never end.
//!
//! There is one, and one more whenever a child is to be started while all of them are busy, up to one
//! for each CPU: a thread that starts a child stops until that has become its program, and may have
//! to wait for a CPU that long.
//!
//! They also wait for those whom nobody else waits for any more (`OnDrop`), so that they do not stay
//! as zombies: they look at them between their jobs, and while there are no jobs, ever more rarely down to
//! once a second. While there is neither they sleep.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};
use std::thread::{Builder, available_parallelism};
use std::time::Duration;

use greenrt_arch::process::{States, Which, look};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::lowlevel::{futex_wait, futex_wake};
use crate::scheduler::Section;

/// How soon it looks again at those who run on.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// Those of this process; null before the first job. Never freed: its threads do not end.
static SPAWNER: AtomicPtr<Spawner> = AtomicPtr::new(ptr::null_mut());
static STARTING: Mutex<()> = Mutex::new(());

type Job = Box<dyn FnOnce() + Send>;

struct Spawner {
    queue: Mutex<Queue>,
    more: Condvar,
    n_threads_max: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    orphans: Vec<Orphan>,
    n_threads: usize,
    /// Of these, those that wait for a job.
    n_idle: usize,
}

/// A child that nobody waits for.
pub(super) struct Orphan {
    pub(super) pid: u32,
    pub(super) descriptor: Option<OwnedFd>,
}

impl Orphan {
    /// Looks whether it has ended, and takes its end.
    pub(super) fn has_ended(&self) -> bool {
        let which = match &self.descriptor {
            Some(descriptor) => Which::Descriptor(descriptor.as_raw_fd()),
            None => Which::Process(self.pid),
        };
        // An error says that somebody else has taken it.
        !matches!(look(which, States::ENDED, false), Ok(None))
    }
}

/// Keeps others from starting the first thread.
pub(crate) fn hold_starting() -> MutexGuard<'static, ()> {
    STARTING.lock()
}

/// In the child of a fork: the threads have not come along, and the next child starts another.
pub(crate) fn forget() {
    SPAWNER.store(ptr::null_mut(), Relaxed);
}

impl Spawner {
    /// The one of this process, started now if it does not run yet.
    ///
    /// # Errors
    ///
    /// If the thread cannot be had; the next call tries again.
    fn get() -> io::Result<&'static Spawner> {
        // Acquire: pairs with the release below.
        let mut spawner = SPAWNER.load(Acquire);
        if spawner.is_null() {
            spawner = Spawner::start()?;
        }
        #[expect(unsafe_code, reason = "a static that is made when it is needed")]
        // SAFETY: leaked by `start`, and never freed.
        Ok(unsafe { &*spawner })
    }

    #[cold]
    fn start() -> io::Result<*mut Spawner> {
        let _starting = STARTING.lock();
        let there = SPAWNER.load(Acquire);
        if !there.is_null() {
            return Ok(there);
        }
        let spawner = Box::leak(Box::new(Spawner {
            queue: Mutex::default(),
            more: Condvar::new(),
            n_threads_max: available_parallelism().map_or(1, NonZeroUsize::get),
        }));
        let place = ptr::from_mut(spawner);
        let spawner: &Spawner = spawner;
        spawner.start_thread(&mut spawner.queue.lock())?;
        SPAWNER.store(place, Release);
        Ok(place)
    }

    fn start_thread(&'static self, queue: &mut Queue) -> io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "it is an OS thread")]
        Builder::new()
            .name("greenrt-spawner".into())
            .spawn(move || self.work())?;
        queue.n_threads += 1;
        Ok(())
    }

    fn work(&self) -> ! {
        let mut pause = LOOK_FIRST;
        loop {
            let mut queue = self.queue.lock();
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break Some(job);
                }
                queue.n_idle += 1;
                let timed_out = if queue.orphans.is_empty() {
                    self.more.wait(&mut queue);
                    false
                } else {
                    self.more.wait_for(&mut queue, pause).timed_out()
                };
                queue.n_idle -= 1;
                if timed_out {
                    pause = (pause * 2).min(LOOK_LAST);
                    break None;
                }
                pause = LOOK_FIRST;
            };
            queue.orphans.retain(|orphan| !orphan.has_ended());
            drop(queue);
            if let Some(job) = job {
                job();
            }
        }
    }

    fn give_job(&'static self, job: Job) {
        let mut queue = self.queue.lock();
        queue.jobs.push_back(job);
        if queue.n_idle < queue.jobs.len() && queue.n_threads < self.n_threads_max {
            // Not without: then those who are there do it, one after the other.
            let _ = self.start_thread(&mut queue);
        }
        drop(queue);
        self.more.notify_one();
    }

    fn give_orphan(&self, orphan: Orphan) {
        self.queue.lock().orphans.push(orphan);
        self.more.notify_one();
    }
}

/// Starts the first thread, if it does not run yet. Then no job fails for want of it.
///
/// # Errors
///
/// If it cannot be had.
pub(super) fn start() -> io::Result<()> {
    let _section = Section::enter_green();
    Spawner::get().map(drop)
}

/// Runs `f` on a thread that starts children; see
/// [`lowlevel::process::on_spawning_thread`](crate::lowlevel::process::on_spawning_thread).
pub(crate) fn on_spawning_thread<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    struct Answer<T> {
        given: AtomicU32,
        result: Mutex<Option<std::thread::Result<T>>>,
    }
    let answer = Arc::new(Answer {
        given: AtomicU32::new(0),
        result: Mutex::new(None),
    });
    let ours = Arc::clone(&answer);
    let job = move || {
        let result = panic::catch_unwind(AssertUnwindSafe(f));
        *answer.result.lock() = Some(result);
        answer.given.store(1, Release);
        futex_wake(&answer.given, 1);
    };
    {
        let _section = Section::enter_green();
        Spawner::get()?.give_job(Box::new(job));
    }
    // Acquire: pairs with the release of the job.
    while ours.given.load(Acquire) == 0 {
        futex_wait(&ours.given, 0, None);
    }
    let _section = Section::enter_green();
    let result = ours.result.lock().take();
    match result.expect("greenrt: an answer without a result") {
        Ok(value) => Ok(value),
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Takes over the wait for a child.
pub(super) fn adopt(orphan: Orphan) {
    let _section = Section::enter_green();
    // Without the thread it stays a zombie until this process ends, and there is nobody to tell.
    if let Ok(spawner) = Spawner::get() {
        spawner.give_orphan(orphan);
    }
}
