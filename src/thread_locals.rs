//! Whose thread-locals a green thread sees.
//!
//! # Families
//!
//! With private thread-locals a spawned green thread has a block of its own, as an OS thread has.
//! Those that need not be `Send` do not: what is not `Send` may point into the thread-locals of
//! the thread that made it, so whoever gets it must have the same ones. A thread that was spawned
//! with [`spawn_local`](crate::spawn_local) shares those of its spawner, and the closure of
//! [`run`](crate::run) those of the OS thread that called it. A *family* is all who share a block.
//! The block lies on the stack of its *founder*; it is destroyed, with destructors, by the last
//! member to end, and the founder's stack stays until then (`scheduler/switch.rs`).

use std::io;
use std::sync::Once;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use greenrt_arch::thread_block::{self, Support};

/// Whether green threads have thread-locals of their own.
///
/// Private ones are the default on Linux on x86-64 with glibc. There `thread_local!`,
/// `std::thread::panicking`, `std::thread::current().id()`, `errno`, and whatever else code keeps
/// for each thread belong to the green thread, as if it were an OS thread. Elsewhere, and under
/// tools that do not know how to follow (valgrind, the sanitizers), all green threads of a worker
/// share the worker's; then a warning on stderr says why.
///
/// A green thread that was spawned with [`spawn_local`](crate::spawn_local) shares the thread-locals
/// of its spawner, and the closure of [`run`](crate::run) has those of the calling OS thread: what
/// is not `Send` may depend on them.
///
/// What one costs depends on the allocator too, which may keep a heap for each thread that has used
/// it. With thousands parked, each of which has allocated once, in an unoptimised build: 14 KB of
/// memory each with glibc's malloc, page tables included, 43 KB with jemalloc, 155 KB with mimalloc
/// (`cargo test --test heap_glibc`, `heap_jemalloc`, `heap_mimalloc`, the line for one worker).
/// It comes back when the threads have ended.
///
/// Shared ones take half the memory and a tenth of the time of a switch. They are chosen by
/// [`RuntimeBuilder::thread_locals`](crate::RuntimeBuilder::thread_locals), or by
/// `GREENRT_THREAD_LOCALS=shared` in the environment. Then code that keeps something for each thread
/// must not wait while it relies on it: another green thread finds, and may change, the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadLocals {
    /// Each green thread has its own.
    Private,
    /// All green threads of a worker have the worker's.
    Shared,
}

/// Blocks up to this size fit beside what a stack class promises.
const SMALL_BLOCK: usize = 8 * 1024;

/// Blocks up to this size fit on the largest stacks, with as much again to run on.
const LARGEST_BLOCK: usize = 4 << 20;

/// What is added to each stack for the block on it, if that is large.
static EXTRA_BYTES: AtomicUsize = AtomicUsize::new(0);

impl ThreadLocals {
    /// What the environment asks for; a value that is not known is reported and ignored.
    pub(crate) fn from_env() -> Option<ThreadLocals> {
        let value = std::env::var_os("GREENRT_THREAD_LOCALS")?;
        match value.to_str() {
            Some("private") => Some(ThreadLocals::Private),
            Some("shared") => Some(ThreadLocals::Shared),
            _ => {
                eprintln!(
                    "greenrt: GREENRT_THREAD_LOCALS={value:?} is neither `private` nor `shared`; \
                     ignored"
                );
                None
            }
        }
    }
}

/// What blocks are made by, if green threads are to have them.
///
/// # Errors
///
/// If private ones are asked for and cannot be had.
pub(crate) fn choose(wish: Option<ThreadLocals>) -> io::Result<Option<&'static Support>> {
    static WARN: Once = Once::new();
    if wish == Some(ThreadLocals::Shared) {
        return Ok(None);
    }
    let support = thread_block::support()
        .map_err(|reason| reason.to_string())
        .and_then(|support| match support.bytes() + support.align() {
            bytes @ ..=LARGEST_BLOCK => Ok((support, bytes)),
            bytes => Err(format!(
                "those of this program take {bytes} bytes, and a stack has room for {LARGEST_BLOCK}"
            )),
        });
    match support {
        Ok((support, bytes)) => {
            if bytes > SMALL_BLOCK {
                EXTRA_BYTES.store(bytes, Relaxed);
            }
            Ok(Some(support))
        }
        Err(reason) if wish.is_some() => {
            let message = format!("green threads cannot have thread-locals of their own: {reason}");
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }
        Err(reason) => {
            WARN.call_once(|| {
                eprintln!(
                    "greenrt: green threads share the thread-locals of their worker: {reason} \
                     (GREENRT_THREAD_LOCALS=shared makes this silent)"
                );
            });
            Ok(None)
        }
    }
}

/// Bytes that a stack needs beside what its user asked for.
pub(crate) fn extra_bytes() -> usize {
    EXTRA_BYTES.load(Relaxed)
}
