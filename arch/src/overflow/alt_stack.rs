//! Stacks for signal handlers.

#![expect(unsafe_code, reason = "gives memory to the kernel")]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use crate::os;
use crate::page;

/// What handlers may use, ours and others'. Std gives its threads 8 KiB or little more, frame
/// included.
const HANDLER_BYTES: usize = 64 * 1024;

/// An alternate signal stack of the calling OS thread, with a guard, for as long as the value
/// lives.
///
/// Cannot be sent: the drop must happen on the same thread. It restores the stack that was there
/// before, unless somebody has changed it meanwhile. If they have disabled it, as std does at the
/// end of its threads, it stays disabled; if they have put theirs on top, ours stays mapped, for
/// theirs may restore it.
pub struct AltStack {
    mapping: Range<usize>,
    ours: libc::stack_t,
    previous: libc::stack_t,
    /// Not `Send`, not `Sync`.
    thread: PhantomData<*mut ()>,
}

impl AltStack {
    /// Maps a stack of at least 64 KiB and makes it the calling thread's alternate signal stack.
    ///
    /// # Errors
    ///
    /// Those of `mmap(2)` and `mprotect(2)`; `PermissionDenied` in a signal handler that runs on an
    /// alternate stack.
    pub fn install() -> io::Result<AltStack> {
        let bytes = (HANDLER_BYTES + os::signal_frame_bytes()).next_multiple_of(page::size());
        let low = os::map(page::size() + bytes, os::MAP_FLAGS_STACK)?;
        let mapping = low..low + page::size() + bytes;
        let usable = low + page::size();
        // SAFETY: the mapping is new, nobody uses it.
        let result = unsafe { os::forbid(low..usable) }.and_then(|()| {
            let ours = libc::stack_t {
                ss_sp: ptr::with_exposed_provenance_mut(usable),
                ss_flags: 0,
                ss_size: bytes,
            };
            // SAFETY: the memory stays mapped until `drop` has put another stack in its place.
            let previous = unsafe { exchange(Some(&ours)) }?;
            Ok((ours, previous))
        });
        match result {
            Ok((ours, previous)) => Ok(AltStack {
                mapping,
                ours,
                previous,
                thread: PhantomData,
            }),
            Err(error) => {
                // SAFETY: the mapping is whole, and the kernel has refused it.
                unsafe { os::unmap(mapping) };
                Err(error)
            }
        }
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: asks only.
        let Ok(current) = (unsafe { exchange(None) }) else {
            return;
        };
        if current.ss_flags & libc::SS_DISABLE == 0 {
            if current.ss_sp != self.ours.ss_sp {
                return;
            }
            // SAFETY: the previous stack's owner left it in place when ours came, and whoever takes
            // it away from the thread disables the alternate stack first.
            if unsafe { exchange(Some(&self.previous)) }.is_err() {
                // We are running on it.
                return;
            }
        }
        // SAFETY: the mapping is whole, and no handler of this thread can run on it any more.
        unsafe { os::unmap(self.mapping.clone()) };
    }
}

/// Makes `new` the calling thread's alternate signal stack, or leaves it, and returns what it was.
///
/// # Safety
///
/// `new` stays mapped, and nobody else uses it, for as long as the thread can have a signal.
unsafe fn exchange(new: Option<&libc::stack_t>) -> io::Result<libc::stack_t> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let mut previous = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: the caller answers for `new`; `previous` is a place for the answer.
    let result = unsafe { libc::sigaltstack(new, previous.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroes are a valid stack_t, and the kernel has filled it besides.
    Ok(unsafe { previous.assume_init() })
}

impl fmt::Debug for AltStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltStack")
            .field("mapping", &format_args!("{:#x?}", self.mapping))
            .finish()
    }
}
