//! Guards: what makes a stack that overflows fault.
//!
//! | kind      | set                          | costs                       | system           |
//! |-----------|------------------------------|-----------------------------|------------------|
//! | `Marker`  | for a slab, when mapped      | 0.25 µs, no mapping         | Linux since 6.13 |
//! | `Protect` | for a slot, when first taken | 1-2 µs, two mappings a slot | everywhere       |
//!
//! A slab is mapped as the first kind; where the system refuses, as the second from then on.
//! `Protect` waits until the slot is taken because `vm.max_map_count`, 65530 unless somebody raised
//! it, ends it near 32,750 slots: those in the depot shall not use them up.
//! `GREENRT_STACK_GUARDS=mprotect` forces it.
//!
//! A marker gives `SEGV_MAPERR`, a protected page `SEGV_ACCERR`; so an overflow is recognised by
//! its address alone.

#![expect(unsafe_code, reason = "changes the protection of memory")]

use std::env;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::slot::{Entry, Slot};
use super::{Class, depot};
use crate::os;

/// Set to `mprotect`, it makes every guard one of [`Kind::Protect`].
const ENV_GUARDS: &str = "GREENRT_STACK_GUARDS";

/// How guards are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Markers in the page tables, which cost no mapping.
    Marker,
    /// Protected pages, which cost two mappings for each stack.
    Protect,
}

/// Whether the system has refused markers.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Slots with a guard of kind `Protect`.
static N_PROTECTED: AtomicUsize = AtomicUsize::new(0);

/// The kind that the next slab gets. Before the first slab it is not known whether the system
/// refuses.
pub(crate) fn kind() -> Kind {
    static FORCED: OnceLock<bool> = OnceLock::new();
    let forced =
        *FORCED.get_or_init(|| env::var_os(ENV_GUARDS).is_some_and(|value| value == "mprotect"));
    if forced || REFUSED.load(Relaxed) {
        Kind::Protect
    } else {
        Kind::Marker
    }
}

/// How many slots have a guard of kind `Protect`.
pub(crate) fn n_protected() -> usize {
    N_PROTECTED.load(Relaxed)
}

/// Sets the guards of all slots in a new slab, and returns true; or false if each is to be set
/// later.
///
/// # Errors
///
/// Those of `madvise(2)`: no memory for page tables.
///
/// # Safety
///
/// `slots` is memory that was just mapped for slots of `class`, and nobody uses it.
pub(crate) unsafe fn guard_slab(class: Class, slots: &Range<usize>) -> io::Result<bool> {
    if kind() == Kind::Protect {
        return Ok(false);
    }
    let lows = slots.clone().step_by(class.slot_bytes());
    // SAFETY: the caller promises unused memory, and a guard is whole pages at the begin of its
    // slot.
    match unsafe { os::guard(lows.map(|low| low..low + class.guard_bytes())) } {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            REFUSED.store(true, Relaxed);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Sets the guards that `slots[first..]` lack. If that fails, the rest goes back to the depot.
///
/// # Errors
///
/// If not even the first slot could get its guard.
pub(crate) fn complete(slots: &mut Vec<Slot>, first: usize) -> io::Result<()> {
    for idx in first..slots.len() {
        let entry = slots[idx].entry();
        if entry.is_guarded() {
            continue;
        }
        if let Err(error) = protect(entry) {
            let class = entry.class();
            depot::put_back(class, slots.drain(idx..).map(Slot::into_entry));
            return if idx > first {
                Ok(())
            } else {
                Err(explain(class, &error))
            };
        }
    }
    Ok(())
}

fn protect(entry: &Entry) -> io::Result<()> {
    let low = entry.low();
    // SAFETY: the slot is ours, and nothing is in it yet: it was never taken before.
    unsafe { os::forbid(low..low + entry.class().guard_bytes()) }?;
    entry.set_guarded();
    N_PROTECTED.fetch_add(1, Relaxed);
    Ok(())
}

fn explain(class: Class, error: &io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return mappings_used_up(class);
    }
    os::context(
        format_args!("cannot set the guard of a {class} stack"),
        error,
    )
}

/// What to say when there are no mappings left.
pub(crate) fn mappings_used_up(class: Class) -> io::Error {
    let n_stacks = n_protected();
    let max = os::mappings_max().map_or(String::new(), |max| format!(" = {max}"));
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "cannot guard another {class} stack beside {n_stacks} others: \
             each takes two mappings of vm.max_map_count{max}; \
             raise that, or use Linux 6.13 or newer, where guards take none"
        ),
    )
}
