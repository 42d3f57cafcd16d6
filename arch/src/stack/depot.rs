//! Where free slots wait: one stack of them per class, last in, first out.
//!
//! # Rules
//!
//! - *The lock covers pointers only.* Mapping, guarding and giving memory back happen outside it;
//!   vectors are made long enough before it; no code of the user runs under it, the global
//!   allocator included. When two threads find a depot empty, each maps a slab, and the depot has
//!   some slots more.
//! - *A free slot's chain pointer is in its entry*, so a free slot needs no memory elsewhere, and
//!   many are put back as one chain.
//! - *A slab has twice the slots of the one before*, from 16 to 1024 and 256 MiB: a small program
//!   maps little, and a million slots are a thousand slabs. If the system refuses a slab, a smaller
//!   one is tried, and then a free slot of a larger class serves: addresses are never unmapped.
//!
//! A process that forks while another of its threads is in here would find the lock taken in the child,
//! for ever: so whoever forks takes them all before ([`crate::fork`]).

#![expect(unsafe_code, reason = "maps slabs, and gives memory back")]

use std::io;
use std::iter;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::directory::{self, Slab};
use super::slot::{Entry, Slot};
use super::{Class, GuardKind, guard};
use crate::os;

/// Distance between two boundaries of page tables.
const PAGE_TABLE_REACH: usize = 2 << 20;

/// Slots that one `take` gets at most, so that others wait a few microseconds at most.
const TAKE_MAX: usize = 256;

/// The free slots of one class.
struct Depot {
    top: Option<&'static Entry>,
    n_free: usize,
    n_slots: usize,
    n_slabs: usize,
    /// Slots in the last slab; 0 before the first.
    n_slab_slots: usize,
}

static DEPOTS: [Mutex<Depot>; Class::COUNT] = [const { Mutex::new(Depot::new()) }; Class::COUNT];

fn depot(class: Class) -> MutexGuard<'static, Depot> {
    // Nothing under this lock panics, so a poisoned depot is whole too.
    DEPOTS[class.index()]
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// The locks of all depots.
pub(crate) struct Held(
    #[expect(dead_code, reason = "held")] [MutexGuard<'static, Depot>; Class::COUNT],
);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

/// Takes the locks of all depots. Nobody else has more than one at a time.
pub(crate) fn hold() -> Held {
    Held(Class::ALL.map(depot))
}

impl Depot {
    const fn new() -> Depot {
        Depot {
            top: None,
            n_free: 0,
            n_slots: 0,
            n_slabs: 0,
            n_slab_slots: 0,
        }
    }

    fn pop(&mut self) -> Option<Slot> {
        let entry = self.top?;
        self.top = entry.next();
        self.n_free -= 1;
        Some(Slot::new(entry))
    }

    fn push(&mut self, chain: Chain) {
        let Some((top, bottom)) = chain.ends else {
            return;
        };
        bottom.set_next(self.top);
        self.top = Some(top);
        self.n_free += chain.len;
    }
}

/// Entries that are linked to each other and to nothing else.
#[derive(Default)]
struct Chain {
    ends: Option<(&'static Entry, &'static Entry)>,
    len: usize,
}

impl Chain {
    fn push(&mut self, entry: &'static Entry) {
        entry.set_next(self.ends.map(|(top, _)| top));
        let bottom = self.ends.map_or(entry, |(_, bottom)| bottom);
        self.ends = Some((entry, bottom));
        self.len += 1;
    }
}

/// Appends slots of `class` to `out`: at least one, at most `n`, of those that are at hand.
///
/// Maps a new slab if none are, which takes 20 to 400 µs at 256 KiB; a slot from the depot takes 2
/// to 15 ns. For `n == 0` does nothing. The memory of a slot reads as zero or as its last owner
/// left it. Where the system gives no more address space, one free slot of a larger class is taken.
///
/// # Errors
///
/// If the system gives no address space for a slab of even one slot, or no memory for its page
/// tables, and no larger slot is free: the error has its kind and says what was tried. Where guards take mappings
/// ([`GuardKind::Protect`]) and there are none left, an error of kind `OutOfMemory` that names
/// `vm.max_map_count` and how many stacks there are. In either case nothing is lost and `out` is as
/// it was.
pub fn take(class: Class, n: usize, out: &mut Vec<Slot>) -> io::Result<()> {
    if n == 0 {
        return Ok(());
    }
    let first = out.len();
    while !take_free(class, n, out) {
        let n_last = depot(class).n_slab_slots;
        let (chain, slab_slots) = match map_slab(class, n_last) {
            Ok(mapped) => mapped,
            Err(error) => {
                let mut larger = Class::ALL[class.index() + 1..].iter();
                if larger.any(|&larger| take_free(larger, 1, out)) {
                    break;
                }
                return Err(error);
            }
        };
        let mut depot = depot(class);
        depot.n_slots += slab_slots;
        depot.n_slabs += 1;
        depot.n_slab_slots = slab_slots;
        depot.push(chain);
    }
    guard::complete(out, first)
}

/// Appends up to `n` free slots to `out`. False if there are none.
fn take_free(class: Class, n: usize, out: &mut Vec<Slot>) -> bool {
    loop {
        let mut depot = depot(class);
        let n = n.min(depot.n_free).min(TAKE_MAX);
        if out.capacity() - out.len() >= n {
            out.extend((0..n).map_while(|_| depot.pop()));
            return n > 0;
        }
        // Not under the lock. There may be more or fewer free slots afterwards.
        drop(depot);
        out.reserve(n);
    }
}

/// Maps a slab with twice the slots of the last one, or as many as the system lets us have, and
/// makes it findable. Returns its slots, and how many.
fn map_slab(class: Class, n_last: usize) -> io::Result<(Chain, usize)> {
    let mut n = match n_last {
        0 => class.slab_slots_first(),
        n => (2 * n).min(class.slab_slots_max()),
    };
    loop {
        match try_map_slab(class, n) {
            Ok(entries) => {
                let mut chain = Chain::default();
                // The lowest slot comes out first.
                entries.iter().rev().for_each(|entry| chain.push(entry));
                return Ok((chain, n));
            }
            Err(error) if n == 1 => return Err(explain(class, &error)),
            Err(_) => n /= 2,
        }
    }
}

/// Maps a slab of exactly `n` slots. A failure leaves nothing behind.
fn try_map_slab(class: Class, n: usize) -> io::Result<&'static [Entry]> {
    let mut entries: Vec<Entry> = Vec::new();
    entries
        .try_reserve_exact(n)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;

    let bytes = n * class.slot_bytes();
    let offset = class.slab_offset();
    let low = os::map(bytes + 2 * offset, os::MAP_FLAGS_STACK)?;
    let mapping = low..low + bytes + 2 * offset;
    // SAFETY: the mapping is new and whole.
    unsafe { os::keep_pages_small(mapping.clone()) };
    let low = beside_boundary(mapping.start, offset);
    let slots = low..low + bytes;

    // SAFETY: the memory is new, and nobody has it yet.
    let guarded = match unsafe { guard::guard_slab(class, &slots) } {
        Ok(guarded) => guarded,
        Err(error) => {
            // SAFETY: the mapping is whole, and nobody has ever used it.
            unsafe { os::unmap(mapping) };
            return Err(error);
        }
    };
    entries
        .extend((0..n).map(|idx| Entry::new(class, idx, low + idx * class.slot_bytes(), guarded)));
    let entries = entries.leak();
    directory::add(Slab {
        low,
        class,
        entries,
    });
    Ok(entries)
}

/// The first address from `low` on that is at least `offset` away from every boundary of page
/// tables.
fn beside_boundary(low: usize, offset: usize) -> usize {
    match low % PAGE_TABLE_REACH {
        after if after < offset => low - after + offset,
        after if after > PAGE_TABLE_REACH - offset => low - after + PAGE_TABLE_REACH + offset,
        _ => low,
    }
}

fn explain(class: Class, error: &io::Error) -> io::Error {
    let out_of_memory = error.kind() == io::ErrorKind::OutOfMemory;
    if out_of_memory
        && os::mappings_max().is_some_and(|max| 2 * guard::n_protected() > max / 10 * 9)
    {
        return guard::mappings_used_up(class);
    }
    let n_stacks: usize = stats()
        .classes
        .iter()
        .map(|class| class.n_slots - class.n_free)
        .sum();
    let hint = if out_of_memory {
        " (see ulimit -v, vm.overcommit_memory and vm.max_map_count)"
    } else {
        ""
    };
    os::context(
        format_args!("cannot map another {class} stack beside {n_stacks} others{hint}"),
        error,
    )
}

/// Makes the top page of each slot resident, many to a system call: for slots that are about to be
/// used. Costs about 0.95 µs a slot, where a page fault costs 1.35.
pub fn touch(slots: &[Slot]) {
    let page = crate::page::size();
    let tops = slots.iter().map(|slot| {
        let last = (slot.top() - 1) & !(page - 1);
        last..last + page
    });
    // SAFETY: the slots' own memory, in mappings made by `map`.
    unsafe { os::populate(tops) };
}

/// Gives slots back, and their memory to the system; leaves `slots` empty, with its capacity.
///
/// The address space stays reserved for the next [`take`], and the guards stay. Neighbours are
/// given back in one piece and the others in batches: about 0.2 µs a slot with one touched page.
/// Memory that `mlockall` holds cannot be given back and stays.
pub fn give_back(slots: &mut Vec<Slot>) {
    slots.iter().for_each(|slot| slot.entry().strip());
    slots.sort_unstable_by_key(Slot::limit);
    // Nothing to do about an error: the slot is as good as before, the memory stays resident.
    // SAFETY: we own the slots, and an owner who gives a slot back has nothing in it.
    let _ = unsafe { os::discard(stretches(slots)) };
    let mut chains: [Chain; Class::COUNT] = Default::default();
    for entry in slots.drain(..).rev().map(Slot::into_entry) {
        entry.forget_owner();
        chains[entry.class().index()].push(entry);
    }
    for (class, chain) in Class::ALL.into_iter().zip(chains) {
        if chain.len > 0 {
            depot(class).push(chain);
        }
    }
}

/// The memory of sorted slots, each without its guard, but neighbours as one piece with the guards
/// between them.
fn stretches(slots: &[Slot]) -> impl Iterator<Item = Range<usize>> {
    let mut slots = slots.iter().peekable();
    iter::from_fn(move || {
        let first = slots.next()?;
        let mut end = first.limit() + first.class().slot_bytes();
        while let Some(neighbour) = slots.next_if(|next| next.limit() == end) {
            end += neighbour.class().slot_bytes();
        }
        Some(first.limit() + first.class().guard_bytes()..end)
    })
}

/// Gives one slot back.
pub(crate) fn give_back_one(entry: &'static Entry) {
    entry.strip();
    let class = entry.class();
    let low = entry.low();
    let memory = low + class.guard_bytes()..low + class.slot_bytes();
    // As in `give_back`.
    // SAFETY: the slot is being dropped, so its owner has nothing in it.
    let _ = unsafe { os::discard(iter::once(memory)) };
    entry.forget_owner();
    put_back(class, iter::once(entry));
}

/// Puts slots back whose memory is not touched.
pub(crate) fn put_back(class: Class, entries: impl Iterator<Item = &'static Entry>) {
    let mut chain = Chain::default();
    entries.for_each(|entry| chain.push(entry));
    depot(class).push(chain);
}

/// What there is of every class, and how it is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// By [`Class::index`].
    pub classes: [ClassStats; Class::COUNT],
    /// How the next slab will be guarded, as far as is known; certain once there is a slab.
    pub guards: GuardKind,
}

/// What there is of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ClassStats {
    /// Slabs mapped.
    pub n_slabs: usize,
    /// Slots in them.
    pub n_slots: usize,
    /// Those of the slots that are in the depot.
    pub n_free: usize,
}

/// Counts slabs and slots. The classes are looked at one after another.
#[must_use]
pub fn stats() -> Stats {
    let classes = Class::ALL.map(|class| {
        let depot = depot(class);
        ClassStats {
            n_slabs: depot.n_slabs,
            n_slots: depot.n_slots,
            n_free: depot.n_free,
        }
    });
    Stats {
        classes,
        guards: guard::kind(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_keeps_its_distance_from_page_table_boundaries() {
        const OFFSET: usize = 64 << 10;
        for low in (PAGE_TABLE_REACH..2 * PAGE_TABLE_REACH).step_by(4096) {
            let moved = beside_boundary(low, OFFSET);
            assert!(
                (low..=low + 2 * OFFSET).contains(&moved),
                "{low:x} {moved:x}"
            );
            assert!(
                (OFFSET..=PAGE_TABLE_REACH - OFFSET).contains(&(moved % PAGE_TABLE_REACH)),
                "{moved:x}"
            );
            assert_eq!(beside_boundary(low, 0), low);
        }
    }
}
