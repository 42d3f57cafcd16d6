//! Threads that are green.
//!
//! # Who a thread is
//!
//! A `pthread_t` of libc's is the address of its record, which is even. One of ours is that of a [`Handle`]
//! with its last bit set: one for each thread, from its creation until it is joined, or detached
//! and at its end. A function that takes a `pthread_t` and is not stood in for would take ours for an
//! address; all of libc's are, here or in `attributes`, but for `pthread_getattr_np`, which is greenrt's.
//!
//! # What stays an OS thread
//!
//! The runtime's own threads (`greenrt::lowlevel::wants_os_thread`), those that are started inside of
//! [`os_threads`](crate::os_threads), those that bring a stack of their own or want one of more than 8 MiB, and those that
//! libc starts inside.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use greenrt::{Builder, JoinHandle, lowlevel};
use libc::{clockid_t, pthread_attr_t, pthread_t, timespec};
use parking_lot::Mutex;

use crate::sleep;
use crate::symbol::{self, Symbol, interpose};

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;
type Unwinding = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// What `pthread_exit` unwinds with.
struct Exit(usize);

/// What `pthread_create` gives a thread that asks for none: what libc gives it.
const STACK_BYTES: usize = 8 << 20;
/// The largest stack of a green thread.
const STACK_BYTES_MAX: usize = 8 << 20;
/// As long as libc's, with its zero.
pub(crate) const NAME_BYTES: usize = 16;

thread_local! {
    /// On a green thread that was made here: its handle, as a `pthread_t`.
    pub(crate) static SELF: Cell<usize> = const { Cell::new(0) };
    /// Inside of `os_threads`.
    static WANTS_OS_THREADS: Cell<bool> = const { Cell::new(false) };
}

/// What a `pthread_t` points to.
pub(crate) struct Handle {
    state: Mutex<State>,
    pub(crate) name: Mutex<[u8; NAME_BYTES]>,
}

enum State {
    /// It is being created.
    New,
    /// It may be joined.
    Joinable(JoinHandle<usize>),
    /// It may not, or not any more.
    Detached,
}

impl Handle {
    /// A `pthread_t` that owns a reference.
    fn into_number(self: Arc<Self>) -> usize {
        Arc::into_raw(self).expose_provenance() | 1
    }

    /// Whose number that is; `None`: libc's.
    pub(crate) fn at(number: pthread_t) -> Option<*const Handle> {
        let number = number as usize;
        (number & 1 == 1).then(|| ptr::with_exposed_provenance(number & !1))
    }

    /// As `at`, counted.
    ///
    /// # Safety
    ///
    /// The thread was neither joined, nor detached and ended.
    pub(crate) unsafe fn of(number: pthread_t) -> Option<Arc<Handle>> {
        let at = Handle::at(number)?;
        // SAFETY: the caller's promise: the number's reference is still there.
        unsafe { Arc::increment_strong_count(at) };
        // SAFETY: counted just now.
        Some(unsafe { Arc::from_raw(at) })
    }
}

/// What a thread begins with.
struct Start {
    routine: Routine,
    argument: *mut c_void,
    handle: Arc<Handle>,
}

// SAFETY: whoever creates a thread by way of libc has seen to it that its argument may go there.
unsafe impl Send for Start {}

impl Start {
    fn run(self) -> usize {
        // A reference of its own: a detached thread may ask for itself until its end.
        let number = self.handle.into_number();
        SELF.set(number);
        lowlevel::set_pthread_self(number);
        // The first of its thread-locals to be made, so the last one to be destroyed.
        if OWN.try_with(|own| own.0.set(number)).is_err() {
            release(number);
        }
        // SAFETY: the same but for what is said of unwinding, which `pthread_exit` does.
        let routine = unsafe { mem::transmute::<Routine, Unwinding>(self.routine) };
        let argument = self.argument;
        match panic::catch_unwind(AssertUnwindSafe(|| routine(argument).expose_provenance())) {
            Ok(value) => value,
            Err(payload) => match payload.downcast::<Exit>() {
                Ok(exit) => exit.0,
                Err(payload) => panic::resume_unwind(payload),
            },
        }
    }
}

thread_local! {
    /// The thread's own reference to its handle.
    static OWN: Own = const { Own(Cell::new(0)) };
}

struct Own(Cell<usize>);

impl Drop for Own {
    fn drop(&mut self) {
        SELF.set(0);
        lowlevel::set_pthread_self(0);
        release(self.0.get());
    }
}

/// Gives up a reference.
fn release(number: usize) {
    if let Some(at) = Handle::at(number as pthread_t) {
        // SAFETY: the number's own reference, which is used up by this.
        drop(unsafe { Arc::from_raw(at) });
    }
}

interpose! {
    /// `pthread_create(3)`: makes a green thread.
    all fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        routine: Routine,
        argument: *mut c_void,
    ) -> c_int {
        // Std takes it for a bug if two of its threads have the same thread-locals.
        let shares = lowlevel::shares_thread_locals();
        if shares {
            Symbol::pthread_create.blocks();
        }
        let stays = shares || symbol::is_forked() || lowlevel::wants_os_thread() || WANTS_OS_THREADS.get();
        // SAFETY: as the caller promises.
        let wish = if stays { None } else { unsafe { Wish::of(attributes) } };
        let Some(wish) = wish else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_create(thread, attributes, routine, argument) };
        };
        Symbol::pthread_create.counts();
        let handle = Arc::new(Handle {
            state: Mutex::new(if wish.detached { State::Detached } else { State::New }),
            name: Mutex::new([0; NAME_BYTES]),
        });
        let number = Arc::clone(&handle).into_number();
        let start = Start { routine, argument, handle: Arc::clone(&handle) };
        // Before it begins, as libc does.
        // SAFETY: as the caller promises.
        unsafe { thread.write(number as pthread_t) };
        let builder = Builder::new().stack_size(wish.stack_bytes);
        match builder.spawn(move || start.run()) {
            Ok(join) => {
                let mut state = handle.state.lock();
                if let State::New = *state {
                    *state = State::Joinable(join);
                } else {
                    drop(state);
                    drop(join);
                    if wish.detached {
                        release(number);
                    }
                }
                0
            }
            Err(_) => {
                release(number);
                libc::EAGAIN
            }
        }
    }

    /// `pthread_join(3)`: parks.
    all fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { Handle::of(thread) }) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_join(thread, value) };
        };
        if SELF.get() == thread as usize {
            return libc::EDEADLK;
        }
        let Some(join) = take(&handle) else {
            return libc::EINVAL;
        };
        Symbol::pthread_join.counts();
        let ended = join.join_uncancelled();
        if !value.is_null() {
            let result = result_of(ended);
            // SAFETY: as the caller promises.
            unsafe { value.write(result) };
        }
        release(thread as usize);
        0
    }

    /// `pthread_tryjoin_np(3)`.
    all fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { Handle::of(thread) }) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_tryjoin_np(thread, value) };
        };
        let is_running = match &*handle.state.lock() {
            State::New => true,
            State::Joinable(join) => !join.is_finished(),
            State::Detached => return libc::EINVAL,
        };
        if is_running {
            return libc::EBUSY;
        }
        // SAFETY: as the caller promises.
        unsafe { pthread_join(thread, value) }
    }

    /// `pthread_detach(3)`.
    all fn pthread_detach(thread: pthread_t) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { Handle::of(thread) }) else {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_detach(thread) };
        };
        let before = mem::replace(&mut *handle.state.lock(), State::Detached);
        match before {
            State::Detached => return libc::EINVAL,
            State::New | State::Joinable(_) => {}
        }
        drop(before);
        release(thread as usize);
        0
    }

    /// `pthread_self(3)`: as `pthread_create` has told it.
    all fn pthread_self() -> pthread_t {
        match SELF.get() {
            // SAFETY: no conditions.
            0 => unsafe { real::pthread_self() },
            number => number as pthread_t,
        }
    }

    /// `pthread_timedjoin_np(3)`: looks every millisecond.
    all fn pthread_timedjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        until: *const timespec,
    ) -> c_int {
        if Handle::at(thread).is_none() {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_timedjoin_np(thread, value, until) };
        }
        // SAFETY: as the caller promises.
        unsafe { join_until(thread, value, libc::CLOCK_REALTIME, until) }
    }

    /// `pthread_clockjoin_np(3)`: looks every millisecond.
    all fn pthread_clockjoin_np(
        thread: pthread_t,
        value: *mut *mut c_void,
        clock: clockid_t,
        until: *const timespec,
    ) -> c_int {
        if Handle::at(thread).is_none() {
            // SAFETY: as the caller promises.
            return unsafe { real::pthread_clockjoin_np(thread, value, clock, until) };
        }
        // SAFETY: as the caller promises.
        unsafe { join_until(thread, value, clock, until) }
    }
}

/// `pthread_exit(3)`: unwinds to the beginning of the green thread, through frames of C.
///
/// # Safety
///
/// As the manual page says; frames of Rust in between abort the process, as with libc's own.
// SAFETY: the name is libc's, and the function keeps what libc's promises.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    if SELF.get() != 0 {
        panic::resume_unwind(Box::new(Exit(value.expose_provenance())));
    }
    let address = Symbol::pthread_exit.real();
    // SAFETY: found by this name, whose signature this is.
    let exit =
        unsafe { mem::transmute::<usize, unsafe extern "C-unwind" fn(*mut c_void) -> !>(address) };
    // SAFETY: as the caller promises.
    unsafe { exit(value) }
}

/// As the timed joins of libc: until `deadline` on the real clock or another one.
///
/// # Safety
///
/// As the manual page says.
unsafe fn join_until(
    thread: pthread_t,
    value: *mut *mut c_void,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(until) = (unsafe { sleep::duration(until) }) else {
        return libc::EINVAL;
    };
    loop {
        // SAFETY: the caller's promise.
        match unsafe { pthread_tryjoin_np(thread, value) } {
            libc::EBUSY => {}
            error => return error,
        }
        let left = until.saturating_sub(sleep::now(clock));
        if left.is_zero() {
            return libc::ETIMEDOUT;
        }
        sleep::park(left.min(Duration::from_millis(1)));
    }
}

/// The right to join, once.
fn take(handle: &Handle) -> Option<JoinHandle<usize>> {
    loop {
        let mut state = handle.state.lock();
        match mem::replace(&mut *state, State::Detached) {
            State::Joinable(join) => return Some(join),
            State::Detached => return None,
            State::New => *state = State::New,
        }
        // Its creator, another thread, is about to have it.
        drop(state);
        greenrt::yield_now();
    }
}

/// What `pthread_join` tells.
fn result_of(ended: Result<usize, Box<dyn Any + Send>>) -> *mut c_void {
    match ended {
        Ok(value) => ptr::with_exposed_provenance_mut(value),
        // It was cancelled before it began; the payload has nothing to tell here.
        Err(payload) => {
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
            dropped.unwrap_or_else(mem::forget);
            // What `PTHREAD_CANCELED` is.
            ptr::without_provenance_mut(usize::MAX)
        }
    }
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
}

/// What attributes ask for.
struct Wish {
    stack_bytes: usize,
    detached: bool,
}

impl Wish {
    /// `None`: what a green thread cannot have.
    ///
    /// # Safety
    ///
    /// `attributes` is null or initialised.
    unsafe fn of(attributes: *const pthread_attr_t) -> Option<Wish> {
        let mut wish = Wish {
            stack_bytes: STACK_BYTES,
            detached: false,
        };
        if attributes.is_null() {
            return Some(wish);
        }
        let (mut low, mut bytes) = (ptr::null_mut(), 0);
        // SAFETY: the caller's promise.
        unsafe { libc::pthread_attr_getstack(attributes, &raw mut low, &raw mut bytes) };
        let mut detached = 0;
        // SAFETY: the caller's promise.
        unsafe { pthread_attr_getdetachstate(attributes, &raw mut detached) };
        // SAFETY: the caller's promise.
        unsafe { libc::pthread_attr_getstacksize(attributes, &raw mut wish.stack_bytes) };
        wish.detached = detached == libc::PTHREAD_CREATE_DETACHED;
        // One that was not set is at the address below which there is nothing: libc computes it from zero.
        let own = low
            .addr()
            .checked_add(bytes)
            .is_some_and(|top| top != 0 && !low.is_null());
        if own || wish.stack_bytes > STACK_BYTES_MAX {
            Symbol::pthread_create.blocks();
            return None;
        }
        Some(wish)
    }
}

/// See [`os_threads`](crate::os_threads).
pub(crate) fn os_threads<T>(f: impl FnOnce() -> T) -> T {
    struct Mark(bool);
    impl Drop for Mark {
        fn drop(&mut self) {
            WANTS_OS_THREADS.set(self.0);
        }
    }
    let _mark = Mark(WANTS_OS_THREADS.replace(true));
    f()
}
