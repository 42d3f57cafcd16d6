//! Every slab there is, findable by address without a lock.
//!
//! # Rule
//!
//! The directory only grows. A slab gets the next number, and its cell is written once: a reader
//! sees the whole slab or none. The cells are in chunks, each twice as large as the one before, so
//! that no cell ever moves. A reader that overtakes the writer misses a slab from which no slot has
//! been taken yet.
//!
//! # Considered and left out
//!
//! - A sorted table: writers would move cells under readers. Looking at a thousand slabs takes
//!   microseconds and happens once per fault.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Class;
use super::slot::Entry;

/// Cells in the first chunk.
const CHUNK_FIRST: usize = 64;

/// Chunks: enough for 10^9 slabs, which the address space is not.
const CHUNKS_MAX: usize = 24;

/// Slots that were mapped together, side by side from `low` upwards.
pub(crate) struct Slab {
    pub(crate) low: usize,
    pub(crate) class: Class,
    pub(crate) entries: &'static [Entry],
}

type Chunk = Box<[OnceLock<Slab>]>;

static CHUNKS: [OnceLock<Chunk>; CHUNKS_MAX] = [const { OnceLock::new() }; CHUNKS_MAX];

/// Numbers given out. The last few cells may not be written yet.
static N_SLABS: AtomicUsize = AtomicUsize::new(0);

/// Makes `slab` findable, for ever.
pub(crate) fn add(slab: Slab) {
    // Relaxed: the cell itself publishes the slab.
    let (chunk, cell) = place(N_SLABS.fetch_add(1, Relaxed));
    let cells =
        CHUNKS[chunk].get_or_init(|| (0..CHUNK_FIRST << chunk).map(|_| OnceLock::new()).collect());
    let newly_set = cells[cell].set(slab).is_ok();
    debug_assert!(newly_set, "a number is given out once");
}

/// The entry of the slot that `addr` is in. Async-signal-safe.
pub(crate) fn find(addr: usize) -> Option<&'static Entry> {
    (0..N_SLABS.load(Relaxed)).find_map(|idx| {
        let (chunk, cell) = place(idx);
        let slab = CHUNKS[chunk].get()?[cell].get()?;
        slab.entries
            .get(addr.checked_sub(slab.low)? / slab.class.slot_bytes())
    })
}

/// Chunk and cell of slab `idx`.
fn place(idx: usize) -> (usize, usize) {
    let chunk = (idx / CHUNK_FIRST + 1).ilog2() as usize;
    let before = CHUNK_FIRST * ((1 << chunk) - 1);
    (chunk, idx - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_without_gaps() {
        let (mut chunk, mut cell) = (0, 0);
        for idx in 0..10_000 {
            assert_eq!(place(idx), (chunk, cell));
            cell += 1;
            if cell == CHUNK_FIRST << chunk {
                (chunk, cell) = (chunk + 1, 0);
            }
        }
    }
}
