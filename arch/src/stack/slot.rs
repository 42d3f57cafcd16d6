//! One slot, and the table entry that stands for it.

#![expect(unsafe_code, reason = "a slot can be passed as a word")]

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

use super::{Class, depot};
use crate::thread_block::{self, Block, Support};

/// Slots at this many different offsets from the end of their page.
const COLOURS: usize = 16;

/// Bytes between two colours: two cache lines, which CPUs like to fetch together.
const COLOUR_BYTES: usize = 128;

/// What the low bits of `Entry::place` say. A page has at least 12 of them.
///
/// | bits | meaning                                         |
/// |------|-------------------------------------------------|
/// | 0..3 | index of the class                              |
/// | 3..7 | colour                                          |
/// | 7    | the guard is not set yet, see `guard::complete` |
const PLACE_BITS: usize = 0xfff;
const COLOUR_SHIFT: usize = 3;
const UNGUARDED: usize = 1 << 7;

/// The side of a slot that is not in the slot: one per slot, in its slab's table, for the life of
/// the process.
///
/// Every field is atomic because the signal handler may read it at any time. Otherwise only the
/// slot's owner touches it, or, while the slot is free, whoever holds the lock of its depot; that
/// lock is what orders the accesses, so all of them are relaxed.
pub(crate) struct Entry {
    /// What the owner said; 0 while the slot is free.
    owner: AtomicUsize,
    /// The slot's lowest address, and the bits above.
    place: AtomicUsize,
    /// The free slot below this one in its chain.
    next: AtomicPtr<Entry>,
    /// Where the thread-local block at the top begins; 0 if there is none.
    block: AtomicUsize,
}

impl Entry {
    /// An entry for slot `idx` of a slab, at `low`, which is the begin of a page.
    pub(crate) fn new(class: Class, idx: usize, low: usize, guarded: bool) -> Entry {
        debug_assert_eq!(low & PLACE_BITS, 0);
        let colour = (idx % COLOURS) << COLOUR_SHIFT;
        let unguarded = if guarded { 0 } else { UNGUARDED };
        Entry {
            owner: AtomicUsize::new(0),
            place: AtomicUsize::new(low | class.index() | colour | unguarded),
            next: AtomicPtr::default(),
            block: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(crate) fn class(&self) -> Class {
        Class::ALL[self.place.load(Relaxed) & ((1 << COLOUR_SHIFT) - 1)]
    }

    #[inline]
    pub(crate) fn low(&self) -> usize {
        self.place.load(Relaxed) & !PLACE_BITS
    }

    #[inline]
    pub(crate) fn top(&self) -> usize {
        let colour = (self.place.load(Relaxed) >> COLOUR_SHIFT) % COLOURS;
        self.low() + self.class().slot_bytes() - colour * COLOUR_BYTES
    }

    #[inline]
    pub(crate) fn owner(&self) -> usize {
        self.owner.load(Relaxed)
    }

    /// Destroys the thread-local block, if there is one. Called when the slot is given back, when
    /// nobody runs on it any more.
    #[inline]
    pub(crate) fn strip(&self) {
        if self.block.load(Relaxed) != 0 {
            self.strip_slow();
        }
    }

    #[cold]
    fn strip_slow(&self) {
        let at = self.block.swap(0, Relaxed);
        let support = thread_block::support();
        if let Some(block) = support.ok().and_then(|support| support.block_at(at)) {
            // SAFETY: built by `dress`; whoever gives a slot back does not use it.
            unsafe { block.destroy() };
        }
    }

    pub(crate) fn forget_owner(&self) {
        self.owner.store(0, Relaxed);
    }

    pub(crate) fn is_guarded(&self) -> bool {
        self.place.load(Relaxed) & UNGUARDED == 0
    }

    /// Says that the guard is set now.
    pub(crate) fn set_guarded(&self) {
        self.place.fetch_and(!UNGUARDED, Relaxed);
    }

    /// The entry below this one, if this one is in a chain.
    pub(crate) fn next(&self) -> Option<&'static Entry> {
        // SAFETY: `set_next` is the only writer, and takes entries that live for ever.
        unsafe { self.next.load(Relaxed).as_ref() }
    }

    /// Puts this entry on top of `next`.
    pub(crate) fn set_next(&self, next: Option<&'static Entry>) {
        let next = next.map_or(std::ptr::null(), std::ptr::from_ref);
        self.next.store(next.cast_mut(), Relaxed);
    }
}

/// One stack slot, owned. Its memory is the owner's alone.
///
/// Dropping it gives it back to the depot as [`give_back`](super::give_back) does, which is slower
/// than giving back many at once. A slot whose stack is still in use must be forgotten, not
/// dropped.
#[repr(transparent)]
pub struct Slot {
    entry: &'static Entry,
}

impl Slot {
    /// The slot of `entry`, which nobody else may have.
    pub(crate) fn new(entry: &'static Entry) -> Slot {
        Slot { entry }
    }

    /// The entry, without giving the slot back.
    pub(crate) fn into_entry(self) -> &'static Entry {
        ManuallyDrop::new(self).entry
    }

    pub(crate) fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// Highest address of the stack, exclusive: the stack grows down from here. A multiple of 64.
    ///
    /// The colour is off already, up to 1920 bytes below the end of the slot, and so is the
    /// thread-local block, if there is one.
    #[inline]
    #[must_use]
    pub fn top(&self) -> usize {
        match self.entry.block.load(Relaxed) {
            0 => self.entry.top(),
            block => block & !63,
        }
    }

    /// The thread-local block for the slot's next user, at its top: built now, or that of its last
    /// user, renewed. It goes when the slot is given back.
    ///
    /// # Errors
    ///
    /// As [`Support::build`].
    ///
    /// # Safety
    ///
    /// Nobody runs on the slot, its last user with a block has run
    /// [`Block::run_destructors`], and `home` is as for [`Support::build`].
    #[inline]
    pub unsafe fn dress(&self, support: &Support, home: Block) -> io::Result<Block> {
        let at = self.entry.block.load(Relaxed);
        if let Some(block) = support.block_at(at) {
            // SAFETY: nobody uses it, says the caller.
            unsafe { block.renew(home) };
            return Ok(block);
        }
        // SAFETY: as the caller promises.
        unsafe { self.dress_first(support, home) }
    }

    #[cold]
    unsafe fn dress_first(&self, support: &Support, home: Block) -> io::Result<Block> {
        let at = (self.entry.top() - support.bytes()) & !(support.align() - 1);
        let guard_bytes = self.class().guard_bytes();
        let stack = self.limit() + guard_bytes..at;
        // SAFETY: the top of the slot is ours, and nobody runs on it.
        let block = unsafe { support.build(at, stack, guard_bytes, home)? };
        self.entry.block.store(at, Relaxed);
        Ok(block)
    }

    /// Lowest address of the slot. The guard begins here.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> usize {
        self.entry.low()
    }

    /// Bytes between the guard and the top.
    #[inline]
    #[must_use]
    pub fn usable_bytes(&self) -> usize {
        self.top() - self.limit() - self.class().guard_bytes()
    }

    /// The slot's class.
    #[inline]
    #[must_use]
    pub fn class(&self) -> Class {
        self.entry.class()
    }

    /// Says whose stack this is, in any word, for [`find`](super::find) and the overflow report; 0
    /// is nobody.
    ///
    /// One store, which the calling thread's signal handler sees from then on. A slot from the
    /// depot has 0.
    #[inline]
    pub fn set_owner(&self, owner: usize) {
        self.entry.owner.store(owner, Relaxed);
    }

    /// What [`set_owner`](Slot::set_owner) said last.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> usize {
        self.entry.owner()
    }

    /// The slot as one word. It stays taken until [`from_raw`](Slot::from_raw) makes a slot of the
    /// word again.
    ///
    /// The word is not an address in the slot.
    #[inline]
    #[must_use]
    pub fn into_raw(self) -> NonNull<u8> {
        NonNull::from(self.into_entry()).cast()
    }

    /// The slot that was made into this word.
    ///
    /// # Safety
    ///
    /// `raw` came from [`into_raw`](Slot::into_raw), and this is the first call with it since.
    #[inline]
    #[must_use]
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Slot {
        // SAFETY: the caller promises that this is an entry's address, and entries live for ever.
        let entry = unsafe { raw.cast::<Entry>().as_ref() };
        Slot::new(entry)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        depot::give_back_one(self.entry);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("class", &self.class())
            .field("limit", &format_args!("{:#x}", self.limit()))
            .field("top", &format_args!("{:#x}", self.top()))
            .field("owner", &format_args!("{:#x}", self.owner()))
            .finish()
    }
}
