//! Which blocks are live, and what modules opened later have in them.
//!
//! # Rule
//!
//! A block is in the list before its area is used. [`opened`] copies the initial thread-locals of a
//! new module into every block in the list, and `link` those of all modules opened so far into a
//! new one, both under the lock. A renewed block gets them under the lock too, but only if there
//! are any: those that were there when blocks became possible are part of the template.
//!
//! Nothing that could park runs under the lock: a green thread takes it in `dlopen` only, and
//! allocates nothing meanwhile.

#![expect(unsafe_code, reason = "writes into blocks")]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock::{Guard, Lock};
use super::modules::{Module, Modules};
use super::{Block, Header, Support};

/// Blocks at one time; so many ids are left for each, see `Header::tid`.
const BLOCKS_MAX: u32 = 1 << 24;

/// Ids that a block uses in turn.
const TURNS: u32 = 63;

/// The first thread id that no process has: above the kernel's largest, 2^22.
const TID_FIRST: u32 = (1 << 22) + 1;

// Ids fit the bits that futexes have for them.
const _: () = assert!(TID_FIRST as u64 + BLOCKS_MAX as u64 * (TURNS as u64) < 1 << 30);

/// The number of a live block, which no other live block has, and which of its ids is in use. So
/// ids of live blocks differ without a common counter, and one comes again after `TURNS` threads.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Number {
    block: u32,
    turn: u32,
}

impl Number {
    #[inline]
    pub(super) fn next_turn(self) -> Number {
        let turn = if self.turn + 1 == TURNS {
            0
        } else {
            self.turn + 1
        };
        Number { turn, ..self }
    }

    /// The thread id, for libc.
    #[inline]
    pub(super) fn tid(self) -> u32 {
        TID_FIRST + self.block * TURNS + self.turn
    }
}

struct Registry {
    /// The newest block.
    first: Option<Block>,
    n_live: usize,
    /// Numbers below this were given out; the free ones of them.
    n_numbers: u32,
    free_numbers: Vec<Number>,
    /// Modules that were opened since the template was taken.
    opened: Modules,
}

static REGISTRY: Lock<Registry> = Lock::new(Registry {
    first: None,
    n_live: 0,
    n_numbers: 0,
    free_numbers: Vec::new(),
    opened: Modules { all: Vec::new() },
});

/// Whether `Registry::opened` may have any. Changes under the lock.
static ANY_OPENED: AtomicBool = AtomicBool::new(false);

fn registry() -> Guard<'static, Registry> {
    // Nothing under this lock panics half-way.
    REGISTRY.lock()
}

/// Takes the lock, until [`release`].
pub(super) fn hold() {
    std::mem::forget(registry());
}

/// Gives the lock back.
///
/// # Safety
///
/// [`hold`] took it, for the calling thread.
pub(super) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { REGISTRY.unlock() };
}

/// Live blocks.
#[cfg(test)]
pub(super) fn n_live() -> usize {
    registry().n_live
}

/// Enters a block, whose header is initialised, and gives it a number. False if there are too many.
///
/// # Safety
///
/// The block is filled, not in the list and not in use.
pub(super) unsafe fn link(support: &Support, block: Block) -> bool {
    let mut registry = registry();
    let number = match registry.free_numbers.pop() {
        Some(number) => number.next_turn(),
        None if registry.n_numbers == BLOCKS_MAX => return false,
        None => {
            registry.n_numbers += 1;
            Number {
                block: registry.n_numbers - 1,
                turn: 0,
            }
        }
    };
    let next = registry.first.replace(block);
    registry.n_live += 1;
    // SAFETY: the header is initialised.
    let header = unsafe { header(support, block) };
    header.number.set(number);
    header.links.set(Links {
        previous: None,
        next,
    });
    if let Some(next) = next {
        // SAFETY: a block in the list.
        unsafe { self::header(support, next) }.set_previous(Some(block));
    }
    for module in &registry.opened.all {
        // SAFETY: the caller's block is not in use.
        unsafe { fresh(block, module) };
    }
    true
}

/// Takes a block out.
///
/// # Safety
///
/// It is in the list.
pub(super) unsafe fn unlink(support: &Support, block: Block) {
    let mut registry = registry();
    // SAFETY: a block in the list.
    let header = unsafe { header(support, block) };
    let Links { previous, next } = header.links.get();
    match previous {
        // SAFETY: a block in the list.
        Some(previous) => unsafe { self::header(support, previous) }.set_next(next),
        None => registry.first = next,
    }
    if let Some(next) = next {
        // SAFETY: a block in the list.
        unsafe { self::header(support, next) }.set_previous(previous);
    }
    registry.n_live -= 1;
    registry.free_numbers.push(header.number.get());
}

/// Gives a block, which gets a new owner, the initial thread-locals of modules opened since the
/// template was taken.
///
/// # Safety
///
/// The block is in the list and not in use.
#[inline]
pub(super) unsafe fn refill(block: Block) {
    // Relaxed: a module that is being opened meanwhile is copied by whoever opens it.
    if ANY_OPENED.load(Ordering::Relaxed) {
        // SAFETY: as the caller promises.
        unsafe { refill_opened(block) };
    }
}

#[cold]
unsafe fn refill_opened(block: Block) {
    for module in &registry().opened.all {
        // SAFETY: the caller's block is not in use.
        unsafe { fresh(block, module) };
    }
}

/// Before a module is opened: forgets those that were closed, and clears, in the caller's block,
/// what the new one may get.
///
/// Modules that were opened without our knowledge are taken for known from now on: blocks that live
/// may be using them. A `nested` call comes from the constructor of a module that is being opened,
/// which is not among those.
pub(super) fn before_open(support: &Support, caller: Option<Block>, nested: bool) {
    let mut now = Modules::scan(&support.symbols);
    now.all.retain(|module| !support.modules.contains(module));
    let mut registry = registry();
    if nested {
        now.all.retain(|module| registry.opened.contains(module));
    }
    let gone = std::mem::replace(&mut registry.opened, now);
    ANY_OPENED.store(!registry.opened.all.is_empty(), Ordering::Relaxed);
    if let Some(block) = caller {
        let below = support.symbols.below();
        let mut free = 0..below - support.template.used();
        // In pieces between the modules that are there, from the lowest address up.
        while !free.is_empty() {
            let taken = registry
                .opened
                .all
                .iter()
                .map(|module| below - module.offset..below - module.offset + module.bytes)
                .filter(|taken| taken.end > free.start && taken.start < free.end)
                .min_by_key(|taken| taken.start);
            let taken = taken.unwrap_or(free.end..free.end);
            // SAFETY: no module that is open has this part of the caller's block.
            unsafe { clear(block.tp() - below, free.start..taken.start) };
            free.start = taken.end.max(free.start + 1);
        }
    }
    drop(registry);
    drop(gone);
}

/// After modules were opened: initialises them in every block.
///
/// In the block of the caller the constructors have run already: what they have stored stays.
pub(super) fn opened(support: &Support, caller: Option<Block>) {
    let mut now = Modules::scan(&support.symbols);
    now.all.retain(|module| !support.modules.contains(module));
    let mut registry = registry();
    for module in now
        .all
        .iter()
        .filter(|module| !registry.opened.contains(module))
    {
        let mut at = registry.first;
        while let Some(block) = at {
            if Some(block) == caller {
                // SAFETY: the caller's own block, which it does not use in here.
                unsafe { complete(block, module) };
            } else {
                // SAFETY: the block is live. Its owner cannot use the module's thread-locals yet,
                // for nobody had the module before.
                unsafe { fresh(block, module) };
            }
            // SAFETY: a block in the list.
            at = unsafe { header(support, block) }.links.get().next;
        }
    }
    let before = std::mem::replace(&mut registry.opened, now);
    ANY_OPENED.store(!registry.opened.all.is_empty(), Ordering::Relaxed);
    drop(registry);
    drop(before);
}

/// Neighbours in the list of live blocks; the lock's.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Links {
    previous: Option<Block>,
    next: Option<Block>,
}

impl Header {
    fn set_previous(&self, previous: Option<Block>) {
        let links = self.links.get();
        self.links.set(Links { previous, ..links });
    }

    fn set_next(&self, next: Option<Block>) {
        let links = self.links.get();
        self.links.set(Links { next, ..links });
    }
}

/// # Safety
///
/// The block's header is initialised, and the lock held, which `links` belongs to.
unsafe fn header(support: &Support, block: Block) -> &Header {
    // SAFETY: the caller promises a header; nobody makes a unique reference to one.
    unsafe { &*block.header(support) }
}

/// Writes the module's initial thread-locals.
///
/// # Safety
///
/// Nobody uses them in this block.
unsafe fn fresh(block: Block, module: &Module) {
    let start = block.tp() - module.offset;
    let place = ptr::with_exposed_provenance_mut::<u8>(start);
    let image = &module.image[..];
    // SAFETY: the module's part of the block.
    unsafe { ptr::copy_nonoverlapping(image.as_ptr(), place, image.len()) };
    // SAFETY: the rest of it.
    unsafe { clear(start, image.len()..module.bytes) };
}

/// As [`fresh`], where what is not zero was stored by the module's constructors.
///
/// # Safety
///
/// As [`fresh`].
unsafe fn complete(block: Block, module: &Module) {
    let start = ptr::with_exposed_provenance_mut::<u8>(block.tp() - module.offset);
    for (idx, &byte) in module.image.iter().enumerate() {
        let place = start.wrapping_add(idx);
        // SAFETY: the module's part of the block.
        if unsafe { place.read() } == 0 {
            // SAFETY: as above.
            unsafe { place.write(byte) };
        }
    }
}

/// # Safety
///
/// Nobody uses `range` of the memory at `start`.
unsafe fn clear(start: usize, range: Range<usize>) {
    let place = ptr::with_exposed_provenance_mut::<u8>(start + range.start);
    // SAFETY: the caller promises the range.
    unsafe { place.write_bytes(0, range.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_and_come_again_after_all_of_a_block() {
        let last = Number {
            block: BLOCKS_MAX - 1,
            turn: TURNS - 1,
        };
        assert!(last.tid() < 1 << 30);
        assert_eq!(last.next_turn().tid(), last.tid() - (TURNS - 1));
        let second = Number { block: 1, turn: 0 };
        assert_eq!(second.tid(), TID_FIRST + TURNS);
        assert_eq!(second.next_turn().tid(), TID_FIRST + TURNS + 1);
    }
}
