//! The sizes that slots come in.

use std::fmt;

use crate::page;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest slab: 256 MiB of address space, and at most 512 KiB of page tables for its guards.
const SLAB_BYTES_MAX: usize = 256 * MIB;

/// Slots in the largest slab. Mapping it takes 0.4 ms, which is what a `take` may have to wait.
const SLAB_SLOTS_MAX: usize = 1024;

/// The first slab of a class: a small program has few slots, and pays little for the spare ones.
const SLAB_BYTES_FIRST: usize = 32 * MIB;
const SLAB_SLOTS_FIRST: usize = 16;

/// Size class of stack slots. A slot's bytes include its guard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum Class {
    /// 64 KiB, one page of it guard.
    Kib64,
    /// 256 KiB, 16 KiB of it guard.
    Kib256,
    /// 1 MiB, 16 KiB of it guard.
    Mib1,
    /// 2 MiB, 16 KiB of it guard.
    Mib2,
    /// 8 MiB, 16 KiB of it guard.
    Mib8,
}

impl Class {
    /// Every class, smallest first, so that `ALL[class.index()] == class`.
    pub const ALL: [Class; 5] = [
        Class::Kib64,
        Class::Kib256,
        Class::Mib1,
        Class::Mib2,
        Class::Mib8,
    ];

    /// How many classes there are.
    pub const COUNT: usize = Class::ALL.len();

    /// The smallest class whose slots have at least `bytes`, guard included; `None` above 8 MiB.
    ///
    /// A class that would be mostly guard, because pages are large here, is passed over.
    #[must_use]
    pub fn for_size(bytes: usize) -> Option<Class> {
        let bytes = bytes.max(4 * page::size());
        Class::ALL
            .into_iter()
            .find(|class| class.slot_bytes() >= bytes)
    }

    /// The class's place in [`Class::ALL`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Bytes of address space in a slot, guard included.
    #[inline]
    #[must_use]
    pub const fn slot_bytes(self) -> usize {
        match self {
            Class::Kib64 => 64 * KIB,
            Class::Kib256 => 256 * KIB,
            Class::Mib1 => MIB,
            Class::Mib2 => 2 * MIB,
            Class::Mib8 => 8 * MIB,
        }
    }

    /// Bytes of guard at the low end of a slot: a page for the smallest class, at least 16 KiB for
    /// the others.
    #[inline]
    #[must_use]
    pub fn guard_bytes(self) -> usize {
        match self {
            Class::Kib64 => page::size(),
            _ => page::size().max(16 * KIB),
        }
    }

    /// Slots in the first slab of this class. Every further slab has twice as many as the one
    /// before.
    pub(crate) fn slab_slots_first(self) -> usize {
        (SLAB_BYTES_FIRST / self.slot_bytes()).min(SLAB_SLOTS_FIRST)
    }

    /// Slots in the largest slab of this class.
    pub(crate) fn slab_slots_max(self) -> usize {
        (SLAB_BYTES_MAX / self.slot_bytes()).min(SLAB_SLOTS_MAX)
    }

    /// Bytes by which a slab of this class is to begin and end beside a boundary of 2 MiB, the
    /// reach of one page table.
    ///
    /// Two page tables serve the ends of a slot that is larger than that, its top and its guard.
    /// Beside the boundary, the top of one slot and the guard of the next are in the same one: half
    /// the page tables.
    pub(crate) fn slab_offset(self) -> usize {
        if self.slot_bytes() > 2 * MIB {
            64 * KIB
        } else {
            0
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Kib64 => "64 KiB",
            Class::Kib256 => "256 KiB",
            Class::Mib1 => "1 MiB",
            Class::Mib2 => "2 MiB",
            Class::Mib8 => "8 MiB",
        })
    }
}
