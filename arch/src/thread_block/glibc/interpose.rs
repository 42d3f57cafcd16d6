//! libc's functions that must know of blocks.
//!
//! | symbol               | why                                                                      |
//! |----------------------|--------------------------------------------------------------------------|
//! | `dlopen`             | static thread-locals of what it loads must be initialised in live blocks |
//! | `pthread_getattr_np` | asks the kernel about the id in the block, which is made up, and knows   |
//! |                      | one stack for each record                                                |
//!
//! Defined here, they take the place of libc's for the whole program. On OS threads
//! `pthread_getattr_np` is libc's to the letter. `dlopen` is too as long as the process has no
//! support for blocks. Afterwards it is called from here, so a name without a slash is searched in
//! the `RUNPATH` of this program, not of the library that called.
//!
//! `fork` is left alone; handlers around it have the worker's own block installed while libc works,
//! which gives the child a record of its only thread in libc's list of threads.

#![expect(unsafe_code, reason = "takes the place of libc's functions")]

use std::arch::naked_asm;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::super::Unavailable;
use super::symbols::{self, Dlopen, PthreadGetattrNp};
use super::{Block, ready, registry};
use crate::{context, stack};

/// Original of a symbol, found at its first call.
struct Original(AtomicUsize);

static DLOPEN: Original = Original(AtomicUsize::new(0));
static GETATTR: Original = Original(AtomicUsize::new(0));

impl Original {
    /// 0 if there is none.
    fn find(&self, name: &CStr) -> usize {
        match self.0.load(Relaxed) {
            0 => {
                let address = symbols::next(name).unwrap_or(0);
                self.0.store(address, Relaxed);
                address
            }
            address => address,
        }
    }
}

thread_local! {
    /// In an OS thread's own block: the block that was installed when `fork` began, or 0.
    static FORKING: Cell<usize> = const { Cell::new(0) };
}

/// Held while modules are opened, by one thread, which takes it again if their constructors open
/// others.
static OPENING: Opening = Opening {
    mutex: UnsafeCell::new(libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP),
    depth: Cell::new(0),
};

struct Opening {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    /// How often its owner has it.
    depth: Cell<usize>,
}

// SAFETY: a mutex is made to be used by several threads, and guards `depth`.
unsafe impl Sync for Opening {}

struct OpeningGuard(&'static Opening);

impl Opening {
    fn lock(&'static self) -> OpeningGuard {
        // SAFETY: initialised, never destroyed.
        unsafe { libc::pthread_mutex_lock(self.mutex.get()) };
        self.depth.set(self.depth.get() + 1);
        OpeningGuard(self)
    }
}

impl OpeningGuard {
    fn is_nested(&self) -> bool {
        self.0.depth.get() > 1
    }
}

impl Drop for OpeningGuard {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() - 1);
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0.mutex.get()) };
    }
}

thread_local! {
    static PTHREAD_SELF: Cell<usize> = const { Cell::new(0) };
}

/// Says by which number the calling thread knows itself, if not by that of its record; an odd one.
/// Zero: by that.
pub fn set_pthread_self(number: usize) {
    PTHREAD_SELF.set(number);
}

/// Checks that the program uses the functions defined here, and registers what runs at `fork`.
pub(super) fn install() -> Result<(), Unavailable> {
    let ours: [(&CStr, *const ()); 2] = [
        (c"dlopen", dlopen as *const ()),
        (c"pthread_getattr_np", pthread_getattr_np as *const ()),
    ];
    for (name, ours) in ours {
        if symbols::global(name) != Some(ours.addr()) {
            let name = name.to_string_lossy();
            return Err(Unavailable::new(format!(
                "{name} of this program is not the one that greenrt defines"
            )));
        }
    }
    // SAFETY: the handlers are made to be called around `fork`.
    match unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) } {
        0 => Ok(()),
        error => {
            let error = io::Error::from_raw_os_error(error);
            Err(Unavailable::new(format!("pthread_atfork: {error}")))
        }
    }
}

/// `dlopen(3)`.
///
/// # Safety
///
/// As libc's.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void {
    // libc's function looks at its return address, so it must be jumped to where nothing is left to
    // do afterwards.
    naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {target}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        target = sym dlopen_target,
    )
}

/// Where `dlopen` goes on.
extern "C" fn dlopen_target() -> usize {
    let original = DLOPEN.find(c"dlopen");
    if original == 0 {
        return (no_dlopen as *const ()).addr();
    }
    match ready() {
        Some(_) => (dlopen_into_blocks as *const ()).addr(),
        None => original,
    }
}

/// There is nothing to load with.
extern "C" fn no_dlopen(_: *const c_char, _: c_int) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn dlopen_into_blocks(file: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: found by this name, or we would not be here.
    let original: Dlopen = unsafe { mem::transmute::<usize, Dlopen>(DLOPEN.find(c"dlopen")) };
    let Some(support) = ready() else {
        // SAFETY: as the caller promises.
        return unsafe { original(file, flags) };
    };
    let opening = OPENING.lock();
    let caller = Block::installed(support);
    registry::before_open(support, caller, opening.is_nested());
    // SAFETY: as the caller promises.
    let handle = unsafe { original(file, flags) };
    if !handle.is_null() {
        registry::opened(support, caller);
    }
    drop(opening);
    handle
}

/// `pthread_getattr_np(3)`.
///
/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_getattr_np(
    thread: libc::pthread_t,
    attr: *mut libc::pthread_attr_t,
) -> c_int {
    let original = GETATTR.find(c"pthread_getattr_np");
    if original == 0 {
        return libc::ENOSYS;
    }
    let asked = thread;
    let own = ready().and_then(|support| Some((support, Block::installed(support)?)));
    let thread = match (asked as usize, own) {
        (number, Some((_, own))) if number != 0 && number == PTHREAD_SELF.get() => {
            own.tp() as libc::pthread_t
        }
        // Such a number is somebody else's, of a thread that libc does not know.
        (number, _) if number % 2 == 1 => return libc::ESRCH,
        _ => asked,
    };
    // SAFETY: found by this name.
    let original: PthreadGetattrNp = unsafe { mem::transmute::<usize, PthreadGetattrNp>(original) };
    // SAFETY: as the caller promises.
    let call = || unsafe { original(thread, attr) };
    let error = match own {
        Some((support, own)) if own.tp() == thread as usize => own.with_os_tid(support, call),
        _ => call(),
    };
    // SAFETY: no conditions.
    if error == 0 && asked == unsafe { libc::pthread_self() } {
        // SAFETY: `original` has filled it.
        unsafe { correct_bounds(attr) };
    }
    error
}

/// If the caller runs on a stack of ours, and `attr` is about another one, writes that one's bounds: who
/// shares the thread-locals of another thread has a stack of its own.
///
/// # Safety
///
/// `attr` is initialised.
unsafe fn correct_bounds(attr: *mut libc::pthread_attr_t) {
    let here = context::registers().sp;
    let (mut low, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: as the caller promises.
    unsafe { libc::pthread_attr_getstack(attr, &raw mut low, &raw mut bytes) };
    let low = low.expose_provenance();
    if (low..low.saturating_add(bytes)).contains(&here) {
        return;
    }
    if let Some(found) = stack::find(here) {
        let guard_bytes = found.class.guard_bytes();
        let low = found.slot_low + guard_bytes;
        let stack = ptr::with_exposed_provenance_mut(low);
        // SAFETY: as the caller promises.
        unsafe { libc::pthread_attr_setstack(attr, stack, found.top - low) };
        // SAFETY: as the caller promises.
        unsafe { libc::pthread_attr_setguardsize(attr, guard_bytes) };
    }
}

extern "C" fn before_fork() {
    let Some(support) = ready() else { return };
    // First, while thread-locals are whose they were: the child shall not find it taken.
    registry::hold();
    if let Some(own) = Block::installed(support) {
        let home = own.home_of(support);
        // SAFETY: home is this OS thread's. Nothing in this function touches a thread-local
        // afterwards, and `after_fork` installs `own` again.
        unsafe { home.install(own) };
        remember(own.tp());
    }
}

extern "C" fn after_fork() {
    let own = remember(0);
    if let Some(own) = Block::from_tp(own) {
        let home = Block::current();
        // SAFETY: `own` was installed on this OS thread when `before_fork` was called.
        unsafe { own.install(home) };
    }
    if ready().is_some() {
        // SAFETY: held since `before_fork`, by this thread, in the child too.
        unsafe { registry::release() };
    }
}

/// Out of line, so that it finds its thread-local when it is called, not before.
#[inline(never)]
fn remember(tp: usize) -> usize {
    FORKING.replace(tp)
}
