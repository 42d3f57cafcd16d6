//! libc's blocking functions on green threads: std itself, and every crate of the program, turn green.
//!
//! ```
//! use std::thread;
//! use std::time::Duration;
//!
//! fn main() {
//!     greenlibc::patch_all();
//!     // From here on plain std.
//!     let threads: Vec<_> = (0..1000)
//!         .map(|_| thread::spawn(|| thread::sleep(Duration::from_millis(100))))
//!         .collect();
//!     threads.into_iter().for_each(|thread| thread.join().unwrap());
//! }
//! ```
//!
//! A thousand green threads on as many OS threads as there are CPUs, or `GREENRT_WORKERS`.
//!
//! # How it works
//!
//! This crate defines functions of libc under their own names, so the linker takes them instead of
//! libc's, for std, for every crate, and for the C libraries that are linked. Called on a green
//! thread, once their part is patched, they park where libc's would block. Anywhere else they are
//! libc's own, with a branch in front.
//!
//! `main` stays on its OS thread, where nothing changes for it, except that the threads it spawns are
//! green. They run on greenrt's global runtime, or, spawned by a green thread, on that one's. Their
//! stacks have the size that is asked for (std asks for 2 MiB, of which memory is used only as far as
//! the stack is).
//!
//! # What is stood in for
//!
//! | part | symbols | on a green thread |
//! |---|---|---|
//! | threads | `pthread_create`, `pthread_join`, `pthread_tryjoin_np`, `pthread_detach` | a green thread; joining parks |
//! |  | `pthread_self`, `pthread_setname_np`, `pthread_getname_np`, `pthread_timedjoin_np`, `pthread_clockjoin_np`, `pthread_exit`, `pthread_getaffinity_np`, `pthread_getschedparam` | know green threads |
//! |  | `pthread_kill`, `pthread_sigqueue`, `pthread_cancel`, `pthread_getcpuclockid`, `pthread_setaffinity_np`, `pthread_setschedparam`, `pthread_setschedprio` | an error: there is no such thing for green threads |
//! |  | `sigaltstack` | noted; handlers run on the worker's |
//! | sleep | `nanosleep`, `clock_nanosleep`, `usleep`, `sleep`, `sched_yield` | park, yield |
//! | net | `accept`, `accept4`, `connect`, `recv`, `recvfrom`, `recvmsg`, `recvmmsg`, `send`, `sendto`, `sendmsg`, `sendmmsg` | park |
//! |  | `read`, `readv`, `write`, `writev` | park: sockets, pipes, terminals, eventfds |
//! |  | `poll`, `ppoll`, `select`, `pselect`, `epoll_wait`, `epoll_pwait`, `epoll_pwait2` | park |
//! |  | `socket`, `listen`, `shutdown`, `setsockopt`, `close`, `close_range`, `fcntl`, `fcntl64`, `ioctl`, `dup`, `dup2`, `dup3` | noted |
//! |  | `__read_chk`, `__recv_chk`, `__recvfrom_chk`, `__poll_chk`, `__ppoll_chk` | as those without `chk` |
//! | locks | `pthread_mutex_lock`, `pthread_mutex_timedlock`, `pthread_mutex_clocklock`, `pthread_rwlock_rdlock`, `pthread_rwlock_wrlock`, `pthread_rwlock_timedrdlock`, `pthread_rwlock_timedwrlock`, `sem_wait`, `sem_timedwait`, `sem_clockwait` | park |
//! |  | `pthread_spin_lock` | yields |
//! |  | `pthread_cond_wait`, `pthread_cond_timedwait`, `pthread_cond_clockwait`, `pthread_barrier_wait`, `pthread_once` | park |
//! |  | `pthread_mutex_unlock`, `pthread_rwlock_unlock`, `sem_post`, `pthread_cond_signal`, `pthread_cond_broadcast` | wake those |
//! |  | `pthread_cond_init`, `pthread_cond_destroy`, `pthread_barrier_init`, `pthread_barrier_destroy` | noted |
//! | processes | `wait`, `waitpid`, `wait3`, `wait4`, `waitid` | park; for any child, or one that stops, they look every 16 ms |
//! |  | `system` | on an OS thread of the pool |
//! | dns | `getaddrinfo`, `getnameinfo`, `gethostbyname`, `gethostbyname2`, `gethostbyaddr`, and with `_r` | on an OS thread of the pool, in a lane of its own |
//! | files | `read`, `readv`, `write`, `writev`, `pread`, `pwrite`, `preadv`, `pwritev`, and with `64` | what is in memory at once, the rest on an OS thread of the pool |
//! |  | `sendfile`, `sendfile64` | to a file on an OS thread of the pool; otherwise read there, and written as by `write` |
//! |  | `splice` | parks until both sides are ready, and then on an OS thread of the pool |
//! |  | `fsync`, `fdatasync`, `syncfs`, `copy_file_range` | on an OS thread of the pool |
//! |  | `flock`, `lockf`, `fcntl` that locks | ask every 10 ms, in no order; that locks of processes wait for each other in a circle is not found out |
//!
//! With the futex, which greenrt always answers, that makes std's `thread`, `sync`, `net`, `io`,
//! `process` and `fs`.
//!
//! # What is left alone
//!
//! | what | why |
//! |---|---|
//! | libc's inner calls (stdio, C11's threads and mutexes, the inside of `getaddrinfo`) | they do not go by these symbols |
//! | system calls that are made without libc (`rustix`, `io_uring`, static musl) | they cannot be seen |
//! | `open`, `stat`, `readdir`, `unlink` and the like | mostly quick; offload them where they are not: to open a FIFO waits for the other side |
//! | `fork`, `posix_spawn` | the worker waits until the child runs |
//! | `pthread_sigmask`, `sigwait`, `pause`, `sched_setaffinity`, `prctl` | mean the worker |
//! | `pthread_rwlock_clockrdlock`, `pthread_rwlock_clockwrlock`, `msgrcv`, `semop`, `mq_receive`, `preadv2`, `pwritev2`, `tcdrain` | rare; block the worker |
//! | mutexes that inherit priorities or are robust; conditions and barriers shared with other processes | libc's own, which block the worker |
//!
//! # As the manual pages say
//!
//! `errno` is the green thread's. Descriptors stay in the mode in which they are, but for listening
//! sockets, for which see [`Patch::net`]. A call on one in non-blocking mode does not wait, so the
//! descriptors of mio and tokio are not disturbed. Timeouts of sockets hold, partial results are what
//! blocking mode has. No call is ended by a signal (`EINTR`), but `ppoll` and `pselect` by one that their
//! mask lets come: the signal's handler runs on whichever OS thread it comes to, and should do no more
//! than set a flag, post to a semaphore or write to a pipe that has room.
//!
//! Where a descriptor is closed, or replaced by `dup2`, while green threads wait for it, which libc leaves
//! open, they fail with `EBADF`, and never take what comes to the next one of the same number.
//!
//! The child of a `fork` has libc as it was: its one thread may block.
//!
//! # Crates
//!
//! Tried as they are, on one worker and on two (`tests/crates`); where others on the same worker must
//! run for the test to end, or a ticker does, and no OS thread is started but those of the pool.
//!
//! | crate | what was tried |
//! |---|---|
//! | ureq, tiny_http | 20 clients and a server with four threads |
//! | reqwest's blocking client | the same; it runs tokio on a thread of its own, which is green |
//! | redis | 200 clients of Redis' server; `BLPOP`, subscriptions, pipelines, timeouts |
//! | tungstenite | a thread for each connection |
//! | rustls; native-tls, which is OpenSSL, in C | 10 clients and a thread for each at the server |
//! | postgres | 30 clients of PostgreSQL's server; it runs tokio inside |
//! | rusqlite, which is SQLite, in C | eight threads write to one database and wait for its lock |
//! | parking_lot, crossbeam-channel | locks, conditions, `select!` |
//! | rayon | works; its threads are green, so they compute on the workers, and take turns there |
//! | tokio, on one thread | inside of green threads, which park in its `epoll_wait` |
//! | tokio, on several | on green threads; and on as many OS threads as it is told to have, by [`os_threads`], undisturbed |
//!
//! # Cancellation
//!
//! No frame of C is unwound. A call of a green thread that is cancelled, or whose time limit has
//! passed ([`greenrt::timeout`]), fails with `ECANCELED` or `ETIMEDOUT`. Sleeping, joining, looking up
//! names, waiting for locks and what is done on the pool go on to their end. A thread that has not begun
//! when its runtime ends (that of [`greenrt::run`], or an explicit one) never does; who joins it is told
//! that it was cancelled, of which std makes a panic.
//!
//! # What is not cooperative?
//!
//! [`calls`] counts, for every symbol, the calls on green threads and those among them that have
//! blocked a worker all the same.

#![expect(unsafe_code, reason = "stands in for functions of libc")]

mod attributes;
mod barrier;
mod condition;
mod copy;
mod descriptor;
mod dns;
mod errno;
mod file;
mod fortified;
mod hosts;
mod io;
mod lock;
mod net;
mod offload;
mod poll;
mod process;
mod pthread;
mod sleep;
mod socket;
mod symbol;
mod table;

use std::sync::{Mutex, Once};

use symbol::{Part, Symbol};

/// Makes every part of libc green that this crate knows: [`Patch::all`], applied.
///
/// Call it first in `main`. Threads that were started before stay OS threads. To call it again changes
/// nothing.
///
/// # Panics
///
/// If green threads cannot have thread-locals of their own here (see [`greenrt::ThreadLocals`]), without
/// which std's threads cannot be green. Or if this program does not use the functions of this crate.
pub fn patch_all() {
    Patch::all().apply();
}

/// Which parts of libc are to turn green.
///
/// # Examples
///
/// ```
/// // Sockets and sleeps of threads that greenrt has spawned; std's threads stay OS threads.
/// greenlibc::Patch::all().threads(false).apply();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "nothing is patched before `apply`"]
pub struct Patch {
    parts: u32,
}

impl Patch {
    /// No part.
    pub const fn none() -> Patch {
        Patch { parts: 0 }
    }

    /// Every part.
    pub const fn all() -> Patch {
        Patch::none()
            .threads(true)
            .sleep(true)
            .net(true)
            .locks(true)
            .processes(true)
            .dns(true)
            .files(true)
    }

    const fn with(mut self, part: Part, wanted: bool) -> Patch {
        if wanted {
            self.parts |= part as u32;
        } else {
            self.parts &= !(part as u32);
        }
        self
    }

    /// Threads are green.
    pub const fn threads(self, wanted: bool) -> Patch {
        self.with(Part::Threads, wanted)
    }

    /// Sleeping parks.
    pub const fn sleep(self, wanted: bool) -> Patch {
        self.with(Part::Sleep, wanted)
    }

    /// Sockets, pipes, terminals and whatever can be polled park.
    ///
    /// A socket that this process has made to listen is set to non-blocking mode when a green thread
    /// accepts on it, because there is no other way to accept without waiting. `fcntl` and `ioctl` do
    /// not tell, and other threads of the process wait as ever; a child process that has inherited it does not.
    pub const fn net(self, wanted: bool) -> Patch {
        self.with(Part::Net, wanted)
    }

    /// Locks of C libraries park: mutexes, conditions, locks for reading and writing, semaphores.
    ///
    /// Apply it before any thread waits for a condition: these are made anew. They stay libc's if the
    /// program's allocator locks by them, as jemalloc does, because the runtime allocates.
    pub const fn locks(self, wanted: bool) -> Patch {
        self.with(Part::Locks, wanted)
    }

    /// Waiting for a child parks.
    pub const fn processes(self, wanted: bool) -> Patch {
        self.with(Part::Processes, wanted)
    }

    /// Names are looked up on an OS thread of the pool.
    pub const fn dns(self, wanted: bool) -> Patch {
        self.with(Part::Dns, wanted)
    }

    /// Files are read and written on an OS thread of the pool, unless memory suffices. Needs
    /// [`net`](Patch::net), whose functions do it.
    pub const fn files(self, wanted: bool) -> Patch {
        self.with(Part::Files, wanted)
    }

    /// Patches these parts. What was patched before stays so.
    ///
    /// # Panics
    ///
    /// As [`patch_all`].
    pub fn apply(self) {
        static APPLYING: Mutex<()> = Mutex::new(());
        let _applying = APPLYING.lock();
        let new = self.parts & !symbol::patched();
        if new & Part::Threads as u32 != 0
            && let Err(reason) = greenrt::lowlevel::has_private_thread_locals()
        {
            panic!(
                "greenlibc: std's threads cannot be green: {reason} (leave them out by \
                 `Patch::all().threads(false)`)"
            );
        }
        for symbol in Symbol::ALL {
            if let Err(message) = symbol.check() {
                panic!("{message}");
            }
        }
        static AT_FORK: Once = Once::new();
        AT_FORK.call_once(|| {
            // SAFETY: the handler stores to statics, and no more.
            unsafe { libc::pthread_atfork(None, None, Some(symbol::unpatch_in_child)) };
        });
        symbol::patch(new);
        if new & Part::Locks as u32 != 0 && lock::allocator_locks() {
            symbol::take_back(Part::Locks);
        }
    }
}

/// How often a function of libc was called on green threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Calls {
    /// Its name.
    pub symbol: &'static str,
    /// Calls on green threads since its part was patched.
    pub n: u64,
    /// Those among them that may have blocked the worker, or have made an OS thread, because there was
    /// no other way.
    pub n_blocking: u64,
}

/// Every function that this crate stands in for, and how often it was called on green threads.
///
/// # Examples
///
/// ```
/// greenlibc::patch_all();
/// std::thread::spawn(std::thread::yield_now).join().unwrap();
/// let yields = greenlibc::calls().into_iter().find(|calls| calls.symbol == "sched_yield").unwrap();
/// assert_eq!((yields.n, yields.n_blocking), (1, 0));
/// ```
pub fn calls() -> Vec<Calls> {
    let calls = |symbol: &Symbol| Calls {
        symbol: symbol.name(),
        n: symbol.n_calls(),
        n_blocking: symbol.n_blocked(),
    };
    Symbol::ALL.iter().map(calls).collect()
}

/// Runs `f`; threads that the calling thread starts meanwhile are OS threads.
///
/// # Examples
///
/// ```
/// greenlibc::patch_all();
/// let thread = greenlibc::os_threads(|| std::thread::spawn(greenrt::lowlevel::on_green_thread));
/// assert!(!thread.join().unwrap());
/// ```
pub fn os_threads<T>(f: impl FnOnce() -> T) -> T {
    pthread::os_threads(f)
}
