//! The area of a fresh thread, from which blocks are copied.
//!
//! `capture.rs` gets it from a thread of its own, with what there is to learn of it:
//!
//! - *which words travel*: those that change at the first call of malloc and of `getrandom`. They
//!   belong to the OS thread, see `Block::install`;
//! - *which words own memory*: those that `strerror`, `strsignal` and a failed `dlsym` set, to be
//!   freed at the end of a green thread as glibc does at the end of its own;
//! - *where the stack's bounds are*: the four words that agree with `pthread_getattr_np`;
//! - *whether the descriptions for debuggers are right*, where that can be seen.

#![expect(unsafe_code, reason = "writes blocks")]

use std::mem;
use std::ops::Range;
use std::ptr;

use super::super::Unavailable;
use super::Modules;
use super::capture::Capture;
use super::symbols::Symbols;

/// Offset of the vector of dynamic thread-locals in `struct pthread`; part of the ABI.
pub(super) const DTV: usize = 8;

/// The copy, and what was learned.
#[derive(Debug)]
pub(super) struct Template {
    /// From the lowest static thread-local to the end of `struct pthread`.
    area: Vec<usize>,
    /// Bytes of `area` below the thread pointer, and of those what modules use.
    below: usize,
    used: usize,
    /// Words that are an address in the area: offset in `area`, and distance of the address from
    /// the thread pointer.
    relative: Vec<(usize, isize)>,
    /// Parts of `area` that a block gets anew for each green thread, as offsets in it.
    renewed: Vec<Range<usize>>,
    /// Those of `relative` that lie in them.
    renewed_relative: Vec<(usize, isize)>,
    /// Offset in `struct pthread` of: lowest address, bytes in all, guard bytes, guard bytes asked.
    stack_fields: usize,
    /// The words that belong to the OS thread.
    pub(super) travellers: Vec<isize>,
    /// A byte that is not 0 when there may be thread-specific data, if this libc has one.
    pub(super) specific_used: Option<usize>,
    /// Words that are null or own memory from malloc.
    pub(super) owners: Vec<isize>,
    /// The word that is not null while `dlerror` has something to say.
    pub(super) dlerror: Option<isize>,
}

impl Template {
    /// Takes the copy. `own` is the offset from the thread pointer of the thread-local that says
    /// whose block it is; `modules` are those that have static thread-locals.
    pub(super) fn take(
        symbols: &Symbols,
        modules: &Modules,
        own: isize,
    ) -> Result<Template, Unavailable> {
        let mut capture = Capture::take(symbols)?;
        let below = symbols.below();
        let stack_fields = capture.stack_fields()?;
        let rseq_below = symbols.rseq.as_ref().map_or(0, |rseq| -rseq.start).max(0);
        let used = modules.used().max(rseq_below as usize);
        let used = used.next_multiple_of(size_of::<usize>());
        if used > below {
            return Err(Unavailable::new(format!(
                "this libc is unknown: modules use {used} bytes of {below} for thread-locals"
            )));
        }
        if own < -(used as isize) || own >= 0 {
            return Err(Unavailable::new(
                "loaded by dlopen: the thread-locals of this code are not in place in each thread",
            ));
        }

        let at = |offset: isize| below.wrapping_add_signed(offset);
        let mut relative = capture.detach();
        let mut link = |offset: isize, distance: isize| {
            relative.retain(|&(other, _)| other != at(offset));
            relative.push((at(offset), distance));
        };
        // In no list: a node that is linked to itself can be taken out of it without harm.
        let list = symbols.list as isize;
        link(list, list);
        link(list + size_of::<usize>() as isize, list);
        link(own, 0);

        if let Some(rseq) = &symbols.rseq {
            if rseq.start % 8 != 0 || rseq.end > symbols.pthread_bytes as isize {
                return Err(Unavailable::new(format!(
                    "the area for restartable sequences is at {rseq:?}"
                )));
            }
            let words = at(rseq.start) / size_of::<usize>()..at(rseq.end) / size_of::<usize>();
            capture.area[words.clone()].fill(0);
            // `cpu_id_start` is 0 and `cpu_id` -2: registration failed. The kernel fills the
            // worker's area, not this one.
            capture.area[words.start] = (-2_i32 as u32 as usize) << 32;
        }

        let renewed = renewed(symbols, below, used, stack_fields);
        let renewed_relative = relative
            .iter()
            .filter(|(at, _)| renewed.iter().any(|range| range.contains(at)))
            .copied()
            .collect();
        Ok(Template {
            below,
            used,
            relative,
            renewed,
            renewed_relative,
            stack_fields,
            travellers: capture.travellers()?,
            specific_used: capture.specific_used(),
            owners: capture.owners(),
            dlerror: capture.dlerror(),
            area: capture.area,
        })
    }

    /// Fills a block, with all but the vector of dynamic thread-locals, the id, and what modules have
    /// that are not in the template.
    ///
    /// # Safety
    ///
    /// The area around `tp` is a block's, and not in use.
    pub(super) unsafe fn fill(&self, tp: usize, stack: &Range<usize>, guard_bytes: usize) {
        let area = tp - self.below;
        let vector = self.below + DTV;
        let end = mem::size_of_val(&self.area[..]);
        for range in [
            self.below - self.used..vector,
            vector + size_of::<usize>()..end,
        ] {
            // SAFETY: the caller's area is as large as ours.
            unsafe { self.copy(area, &range) };
        }
        for &(at, distance) in &self.relative {
            // SAFETY: a word of the area.
            unsafe { put(area + at, tp.wrapping_add_signed(distance)) };
        }
        let low = stack.start - guard_bytes;
        let words = [low, stack.end - low, guard_bytes, guard_bytes];
        for (idx, word) in words.into_iter().enumerate() {
            // SAFETY: a word of the area.
            unsafe { put(tp + self.stack_fields + idx * size_of::<usize>(), word) };
        }
    }

    /// Gives a block that was filled what a fresh thread has, except what does not change from one
    /// green thread to the next, and thread-specific data.
    ///
    /// # Safety
    ///
    /// As [`fill`](Template::fill), which was called for this block.
    #[inline]
    pub(super) unsafe fn refill(&self, tp: usize) {
        let area = tp - self.below;
        for range in &self.renewed {
            // SAFETY: the caller's area is as large as ours.
            unsafe { self.copy(area, range) };
        }
        for &(at, distance) in &self.renewed_relative {
            // SAFETY: a word of the area.
            unsafe { put(area + at, tp.wrapping_add_signed(distance)) };
        }
    }

    /// Whether both know the same of this libc, whatever threads they were taken from.
    #[cfg(test)]
    pub(super) fn has_learned_what(&self, other: &Template) -> bool {
        self.stack_fields == other.stack_fields
            && self.travellers == other.travellers
            && self.specific_used == other.specific_used
            && self.owners == other.owners
            && self.dlerror == other.dlerror
            && self.relative == other.relative
    }

    /// Bytes below the thread pointer that modules used when the template was taken.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// # Safety
    ///
    /// `area` is one as large as ours, and not in use; `range` lies in it.
    #[inline(always)]
    unsafe fn copy(&self, area: usize, range: &Range<usize>) {
        let from = self.area.as_ptr().cast::<u8>().wrapping_add(range.start);
        let to = ptr::with_exposed_provenance_mut::<u8>(area + range.start);
        // SAFETY: the caller promises that both have the range.
        unsafe { ptr::copy_nonoverlapping(from, to, range.len()) };
    }
}

/// # Safety
///
/// `at` is a word of a block that is not in use.
#[inline(always)]
unsafe fn put(at: usize, word: usize) {
    // SAFETY: the caller promises a word.
    unsafe { ptr::with_exposed_provenance_mut::<usize>(at).write(word) };
}

/// What changes from one green thread to the next: all but the vector of dynamic thread-locals, the
/// stack's bounds, and thread-specific data with its table, which `run_destructors` clears.
fn renewed(symbols: &Symbols, below: usize, used: usize, stack_fields: usize) -> Vec<Range<usize>> {
    let mut kept = [
        below + DTV..below + DTV + 8,
        below + stack_fields..below + stack_fields + 32,
        below + symbols.specific.start..below + symbols.specific.end,
    ];
    kept.sort_by_key(|range| range.start);
    let mut renewed = Vec::new();
    let mut start = below - used;
    for range in kept {
        renewed.push(start..range.start);
        start = range.end;
    }
    renewed.push(start..below + symbols.pthread_bytes);
    renewed.retain(|range| !range.is_empty());
    renewed
}
