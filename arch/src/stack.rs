//! Stack slots: guarded memory for green threads, a million of them if need be.
//!
//! A slot is address space for one stack of some [`Class`]. Slots are cut from slabs, large
//! mappings that are never unmapped. [`take`] gets slots from the depot of their class, which maps
//! a new slab when it is empty; [`give_back`] returns them, and their memory to the system. Whoever
//! takes slots keeps the warm ones: a slot that goes through the depot costs two page faults at its
//! next use.
//!
//! ```text
//!  limit()                                                          top()
//!    | guard |                    usable                              | colour |
//!    +-------+--------------------------------------------------------+--------+
//!    low                                                              low + slot_bytes()
//! ```
//!
//! # Rules
//!
//! - *A taken slot has a guard.* Guards are markers in the page tables (`guard.rs`), set for a
//!   whole slab when it is mapped. They cost no mapping, so neighbouring slabs merge into one
//!   mapping for the kernel and a million stacks fit in about thirty. Markers outlive everything
//!   that happens to a slot.
//! - *An address finds its slot without locks* (`directory.rs`), because a signal handler asks, on
//!   a stack that has just overflowed. This is why slabs are never unmapped and their tables never
//!   freed.
//! - *A slot's top is coloured*: slot `i` of a slab begins `i % 8 * 128` bytes lower. Stacks at
//!   equal offsets in their pages would compete for the same cache sets.
//!
//! # What a slot costs
//!
//! 32 bytes here, and page tables, also while nothing is touched, because its guard's marker needs
//! one: 128 bytes at 64 KiB, 512 at 256 KiB, 2 KiB at 1 MiB, 4 KiB at 2 MiB and 8 MiB.
//! `examples/million_slots.rs` measures it.
//!
//! # Considered and left out
//!
//! - A mapping for each stack: two system calls each, and with guards `vm.max_map_count` ends it at
//!   32,750.
//! - Unmapping free slabs: address space costs nothing, and `find` would need a lock or an epoch.
//! - `MADV_FREE` in place of `MADV_DONTNEED`: no cheaper when measured, and resident memory stays
//!   high.
//! - Setting a slot's guard when it is first taken: newer kernels take the lock of the whole
//!   address space for each call, and batches are twice as fast.

mod class;
mod depot;
mod directory;
mod guard;
mod slot;

pub use class::Class;
pub use depot::{ClassStats, Stats, give_back, stats, take, touch};
pub(crate) use depot::{Held, hold};
pub use guard::Kind as GuardKind;
pub use slot::Slot;

/// What [`find`] knows of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Class of the slot that the address is in.
    pub class: Class,
    /// Lowest address of the slot, guard included.
    pub slot_low: usize,
    /// The slot's [`Slot::top`].
    pub top: usize,
    /// What [`Slot::set_owner`] said last; 0 if nothing, or if nobody has the slot.
    pub owner: usize,
    /// Whether the address is in the slot's guard.
    pub in_guard: bool,
}

/// Finds the slot that `addr` is in, whether taken or not.
///
/// Async-signal-safe: takes no lock and allocates nothing. Looks at every slab: with a million
/// slots of 256 KiB that is a thousand, 1.5 µs.
#[must_use]
pub fn find(addr: usize) -> Option<Found> {
    let entry = directory::find(addr)?;
    let class = entry.class();
    let slot_low = entry.low();
    let in_guard = addr - slot_low < class.guard_bytes();
    Some(Found {
        class,
        slot_low,
        top: entry.top(),
        owner: entry.owner(),
        in_guard,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
