//! How a green thread is to be made.

#![expect(unsafe_code, reason = "closures of scoped threads borrow")]

use std::io;
use std::panic::Location;

use super::{JoinHandle, Scope, ScopedJoinHandle, Thread};
use crate::record::packet::{self, Hook};
use crate::record::{RecordRef, Start};
use crate::runtime::{self, Runtime};
use crate::scheduler::with_local;

/// Configures a green thread: its name, its stack, its worker.
///
/// As [`std::thread::Builder`], plus [`worker`](Builder::worker).
///
/// # Examples
///
/// ```
/// let worker = greenrt::Builder::new()
///     .name("acceptor".into())
///     .stack_size(64 * 1024)
///     .spawn(|| greenrt::current().name().map(String::from))?;
/// assert_eq!(worker.join().unwrap().as_deref(), Some("acceptor"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "must be used to spawn a thread"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    worker: Option<usize>,
}

impl Builder {
    /// A green thread without a name, with the runtime's stack, on any worker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its name, for the dump, the overflow report and the panic message.
    ///
    /// # Panics
    ///
    /// When spawned, if the name has a null byte, as std.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// The size of its stack in bytes: 64 KiB, 256 KiB, 1 MiB, 2 MiB or 8 MiB, whichever is the
    /// next not below `bytes`.
    ///
    /// The guard (4 or 16 KiB) and the thread's own data (about 1 KiB) are taken off it. Memory is
    /// used only as far as the stack is. A panic with a backtrace takes about 22 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// The worker that runs it, counted from zero. Without this any worker may.
    pub fn worker(mut self, index: usize) -> Self {
        self.worker = Some(index);
        self
    }

    /// Spawns a green thread.
    ///
    /// On a worker it goes to that worker's runtime, elsewhere to the global one.
    ///
    /// # Errors
    ///
    /// If no stack can be had, if the stack size is above 8 MiB, if there is no such worker, or
    /// if the global runtime cannot be started.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: neither closure nor result borrows.
        unsafe { self.spawn_with(f, (), Location::caller(), Place::Anywhere(None)) }
    }

    /// Spawns a green thread that may borrow, as [`std::thread::Builder::spawn_unchecked`].
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow must outlive the thread, and the result that nobody has taken.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Builder::spawn).
    #[track_caller]
    pub unsafe fn spawn_unchecked<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: the caller's promise.
        unsafe { self.spawn_with(f, (), Location::caller(), Place::Anywhere(None)) }
    }

    /// Spawns a green thread on a given runtime.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Builder::spawn).
    #[track_caller]
    pub fn spawn_on<F, T>(self, runtime: &Runtime, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: neither closure nor result borrows.
        unsafe { self.spawn_with(f, (), Location::caller(), Place::Anywhere(Some(runtime))) }
    }

    /// Spawns a green thread on the caller's worker, which need not be `Send`.
    ///
    /// # Errors
    ///
    /// If the caller is not on a worker, or no stack can be had.
    ///
    /// # Panics
    ///
    /// If [`worker`](Builder::worker) names another worker than the caller's.
    #[track_caller]
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        // SAFETY: neither closure nor result borrows, and `Here` keeps both on this thread.
        unsafe { self.spawn_with(f, (), Location::caller(), Place::Here) }
    }

    /// Spawns a green thread that may borrow from outside its scope; see
    /// [`scope`](super::scope).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Builder::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let site = Location::caller();
        scope.spawn_with(|hook| {
            // SAFETY: the hook counts the thread in, and the scope does not end before it is
            // counted out, which it is after its result was stored, or dropped with its handle.
            unsafe { self.spawn_with(f, hook, site, Place::Anywhere(None)) }
        })
    }

    /// # Safety
    ///
    /// If `F` or `T` borrow, the caller makes sure that the thread ends, and its result is gone,
    /// in time. If one of them is not `Send`, `place` is `Here`.
    unsafe fn spawn_with<F, T, H>(
        self,
        f: F,
        hook: H,
        site: &'static Location<'static>,
        place: Place<'_>,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
        H: Hook,
    {
        let name = self.name.map(|name| {
            assert!(
                !name.contains('\0'),
                "thread name may not contain interior null bytes"
            );
            name.into_boxed_str()
        });
        let make = |default: greenrt_arch::stack::Class, placed: bool| {
            let stack_class = match self.stack_size {
                Some(bytes) => runtime::stack_class(bytes)?,
                None => default,
            };
            Ok::<_, io::Error>(Start {
                name,
                stack_class,
                site,
                placed,
            })
        };
        let finish = |start: Start| {
            // SAFETY: the caller's promise.
            let (record, handle) = unsafe { packet::new(f, hook, start) };
            (record, JoinHandle::new(Thread::green(handle)))
        };
        // On a worker of the runtime it is to run on?
        let local = with_local(|local| {
            let here = match place {
                Place::Here | Place::Anywhere(None) => true,
                Place::Anywhere(Some(runtime)) => {
                    std::ptr::eq(&raw const **local.runtime(), &raw const **runtime.core())
                }
            };
            let index = local.shared().index;
            match place {
                Place::Here => assert!(
                    self.worker.is_none_or(|worker| worker == index),
                    "a local green thread runs on the caller's worker, {index}"
                ),
                Place::Anywhere(_) => {}
            }
            let elsewhere = self.worker.is_some_and(|worker| worker != index);
            here.then(|| {
                (
                    local.runtime().stack_class(),
                    elsewhere,
                    self.worker.is_some(),
                )
            })
        });
        match (local.flatten(), place) {
            (Some((default, false, placed)), place) => {
                let start = make(default, placed || matches!(place, Place::Here))?;
                let spawned = with_local(|local| {
                    local.reserve_stack(start.stack_class)?;
                    let (record, handle) = finish(start);
                    if matches!(place, Place::Here) {
                        local.share_thread_locals(&record);
                    }
                    local.spawn(record);
                    Ok(handle)
                });
                spawned.expect("greenrt: the worker went away")
            }
            (None, Place::Here) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a local green thread needs a worker to run on, and the caller is not on one",
            )),
            (local, place) => {
                let core = match (local, place) {
                    (Some(_), _) => with_local(|local| std::sync::Arc::clone(local.runtime())),
                    (None, Place::Anywhere(Some(runtime))) => Some(runtime.core().clone()),
                    (None, _) => None,
                };
                let core = match core {
                    Some(core) => core,
                    None => runtime::global()?.core().clone(),
                };
                if core.is_lost() {
                    let message = "the runtime has not come along a fork";
                    return Err(io::Error::other(message));
                }
                if let Some(worker) = self.worker.filter(|&worker| worker >= core.workers().len()) {
                    let n = core.workers().len();
                    let message = format!("worker {worker} of a runtime with {n} workers");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
                let start = make(core.stack_class(), self.worker.is_some())?;
                let (record, handle): (RecordRef, JoinHandle<T>) = finish(start);
                core.spawn_from_outside(record, self.worker);
                Ok(handle)
            }
        }
    }
}

/// Spawns as a builder without any settings does: the shortest way on a worker.
#[inline]
pub(super) fn spawn_plain<F, T>(f: F, site: &'static Location<'static>) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let mut f = Some(f);
    let handle = with_local(|local| {
        let stack_class = local.runtime().stack_class();
        local.reserve_stack(stack_class).ok()?;
        let start = Start {
            name: None,
            stack_class,
            site,
            placed: false,
        };
        // SAFETY: neither closure nor result borrows.
        let (record, handle) = unsafe { packet::new(f.take()?, (), start) };
        local.spawn(record);
        Some(JoinHandle::new(Thread::green(handle)))
    });
    match (handle.flatten(), f) {
        (Some(handle), _) => Ok(handle),
        // SAFETY: neither closure nor result borrows.
        (None, Some(f)) => unsafe { Builder::new().spawn_with(f, (), site, Place::Anywhere(None)) },
        (None, None) => unreachable!("the closure is taken only if the handle is made"),
    }
}

/// Where a green thread may run.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// On the given runtime, or the caller's, or the global one.
    Anywhere(Option<&'a Runtime>),
    /// On the caller's worker.
    Here,
}
