//! A process that forks, and its child.
//!
//! The child of `fork(2)` has one thread: the one that called it. If that was a green thread, its
//! worker has come along with it, and the worker's other green threads as memory only. They belong to
//! the parent, and must not run twice; so in the child there is that one green thread and no other. It
//! goes on as in the parent: it may spawn, wait and be waited for, become another program, or end. If
//! it was not the main thread of [`run`](crate::run), the process ends with it, and with what it has
//! spawned, as a process does whose last thread ends.
//!
//! # What is done
//!
//! - *Before*: the forking thread takes the locks of the process that guard short changes, so that in
//!   the child none is held by somebody who is not there. Their order is that of this file, and nobody
//!   else takes two of them but in that order.
//! - *In the child*: queues, timers and waiters are forgotten, not dropped: they are the parent's. The
//!   worker gets another poller, for the parent's is shared. Records of threads that are lost are marked,
//!   so that nobody who wakes them makes them run. What is registered, or waited for, elsewhere tells
//!   by the *generation*, the number of forks between it and now, that it is the parent's.
//! - Runtimes whose workers have not come along are *lost*: nothing can be spawned there. The global
//!   one is started anew when it is needed.
//!
//! # What is not
//!
//! Locks that somebody else holds at that moment stay held in the child: of the user's, of a channel, of
//! a descriptor that another worker is just waiting for. Whoever joins a thread that is lost waits for
//! ever. What an OS thread that waits has on its stack goes with it. POSIX says what all that means:
//! where there were several OS threads the child should do little before it becomes another program.
//! Where there was one, as under [`run`](crate::run), it may do everything.
//!
//! # Considered and left out
//!
//! - Letting all green threads of the worker run on in the child, as gevent does: they would use the
//!   same connections as those of the parent.

#![expect(unsafe_code, reason = "keeps locks from one handler to the next")]

use std::cell::UnsafeCell;
use std::io;
use std::mem;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};

use parking_lot::{Mutex, MutexGuard};

use crate::futex;
use crate::process;
use crate::record::{Record, arena};
use crate::runtime::{self, Core, Held};
use crate::scheduler::{Section, with_local};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between this process and the first.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Whether this process has forked: then its descriptors may have copies in another one.
#[inline]
pub(crate) fn has_forked() -> bool {
    FORKED.load(Relaxed)
}

static FORKED: AtomicBool = AtomicBool::new(false);

/// Has forks of this process handled. Later calls do nothing.
///
/// # Errors
///
/// If there is no memory.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock();
    if !*installed {
        greenrt_arch::fork::install(before, in_parent, in_child)?;
        *installed = true;
    }
    Ok(())
}

/// What the forking thread holds. Dropped from the first to the last.
struct Locks {
    /// If a green thread forks.
    worker: Option<Worker>,
    _arch: greenrt_arch::fork::Held,
    arena: arena::Held,
    _spawner: MutexGuard<'static, ()>,
    _global: MutexGuard<'static, ()>,
}

/// The worker of the green thread that forks.
struct Worker {
    /// Borrows from `core`.
    held: Held<'static>,
    core: Arc<Core>,
    index: usize,
    current: NonNull<Record>,
}

impl Worker {
    fn hold(core: Arc<Core>, index: usize, current: NonNull<Record>) -> Worker {
        let held = core.hold(index);
        // SAFETY: `core` is kept beside it, and dropped after it.
        let held = unsafe { mem::transmute::<Held<'_>, Held<'static>>(held) };
        Worker {
            held,
            core,
            index,
            current,
        }
    }
}

/// Whoever forks has this, from before to after.
struct Forking {
    taken: AtomicBool,
    locks: UnsafeCell<Option<Locks>>,
}

// SAFETY: the locks are touched by the thread that has `taken` it, which puts them there and drops them.
unsafe impl Sync for Forking {}

static FORKING: Forking = Forking {
    taken: AtomicBool::new(false),
    locks: UnsafeCell::new(None),
};

extern "C" fn before() {
    let _errno = greenrt_arch::errno::keep();
    // Whatever is waited for here the OS thread waits for.
    let _section = Section::enter_green();
    // Acquire: pairs with the release in `take_locks`.
    while FORKING.taken.swap(true, Acquire) {
        #[expect(clippy::disallowed_methods, reason = "it is the OS thread that waits")]
        std::thread::yield_now();
    }
    FORKED.store(true, Relaxed);
    let global = runtime::hold_starting();
    let spawner = process::hold_starting();
    let arena = arena::hold();
    let arch = greenrt_arch::fork::hold();
    let green = with_local(|local| {
        let current = local.current()?;
        Some((Arc::clone(local.runtime()), local.shared().index, current))
    });
    let locks = Locks {
        worker: green
            .flatten()
            .map(|(core, index, current)| Worker::hold(core, index, current)),
        _arch: arch,
        arena,
        _spawner: spawner,
        _global: global,
    };
    // SAFETY: taken above.
    unsafe { *FORKING.locks.get() = Some(locks) };
}

/// What `before` has put there.
fn take_locks() -> Option<Locks> {
    // SAFETY: taken by `before`, on this thread.
    let locks = unsafe { (*FORKING.locks.get()).take() };
    FORKING.taken.store(false, Release);
    locks
}

extern "C" fn in_parent() {
    let _errno = greenrt_arch::errno::keep();
    let _section = Section::enter_green();
    drop(take_locks());
}

extern "C" fn in_child() {
    let _errno = greenrt_arch::errno::keep();
    let _section = Section::enter_green();
    let Some(mut locks) = take_locks() else {
        return;
    };
    GENERATION.fetch_add(1, Relaxed);
    process::forget();
    // SAFETY: in the child of a fork there is no other thread, and this one, in libc's `fork`, is not
    // in the middle of a wait or a wake.
    unsafe { futex::forget_all() };
    if let Some(worker) = &mut locks.worker {
        worker.core.survive(worker.index, &mut worker.held.manual);
        let current = worker.current;
        locks.arena.for_each_live(|record| {
            if !ptr::eq(record, current.as_ptr()) {
                record.lose();
            }
        });
        // SAFETY: the thread that runs has a record.
        unsafe { current.as_ref() }.lose_joiner();
        let slots = &mut worker.held.slots;
        // SAFETY: as above; and these are the slots of the worker of the green thread that calls.
        with_local(|local| unsafe { local.survive_fork(current, slots) });
        // Green threads wait for std's locks here too.
        futex::hook::install();
    }
    runtime::forget_lost_global();
}
