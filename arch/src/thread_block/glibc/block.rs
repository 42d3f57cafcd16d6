//! One block, and what can be done with it.

#![expect(unsafe_code, reason = "installs, renews and destroys blocks")]

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::ptr;
use std::slice;
use std::sync::atomic::Ordering::Relaxed;

use super::registry::{Links, Number};
use super::{Support, TRAVELLERS, destructors, fs, known, ready, registry, template};

/// What a block has behind `struct pthread`.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) links: Cell<Links>,
    pub(super) home: Cell<Block>,
    /// By which it has its thread ids. Set when it is entered; then its owner's.
    pub(super) number: Cell<Number>,
    /// A word that may travel where none must.
    pub(super) idle: Cell<usize>,
}

/// A thread-local block: the thread-locals and libc's record of one thread, as its thread pointer.
///
/// Either one that was [built](Support::build) and not yet destroyed, or an OS thread's own. A
/// `Block` is a plain address: copies are the same block, and nothing happens when one is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Block(NonZeroUsize);

impl Block {
    /// The block that is installed now.
    #[inline(always)]
    #[must_use]
    pub fn current() -> Block {
        // SAFETY: a block is not at address zero.
        Block(unsafe { NonZeroUsize::new_unchecked(fs::base()) })
    }

    /// The calling OS thread's own block, whatever is installed.
    #[must_use]
    pub fn home() -> Block {
        match ready().and_then(|support| Some((support, Block::installed(support)?))) {
            Some((support, own)) => own.home_of(support),
            None => Block::current(),
        }
    }

    /// Makes this block the thread's. `from` is the one that is installed until then.
    ///
    /// Copies the words by which malloc and `getrandom` find what belongs to the OS thread, four at
    /// most, and sets the thread pointer. Async-signal-safe, and complete at every instruction.
    ///
    /// # Safety
    ///
    /// - [`support`](super::support) has succeeded, and this block is not installed on any thread.
    /// - It is the calling OS thread's own, or was built or renewed for it.
    /// - `from` is what [`Block::current`] would say.
    /// - The calling function, with what is inlined into it, touches no thread-local (`errno`, the
    ///   allocator and panics included) from here until the block that was installed when it began
    ///   is installed again.
    #[inline(always)]
    pub unsafe fn install(self, from: Block) {
        for offset in &TRAVELLERS {
            // Relaxed: set before there was a block.
            let offset = offset.load(Relaxed);
            let source =
                ptr::with_exposed_provenance::<usize>(from.tp().wrapping_add_signed(offset));
            let target =
                ptr::with_exposed_provenance_mut::<usize>(self.tp().wrapping_add_signed(offset));
            // SAFETY: a word of the thread's own block.
            let word = unsafe { source.read() };
            // SAFETY: a word of this block, which nobody uses.
            unsafe { target.write(word) };
        }
        // SAFETY: this block is complete, as every one from `build` or of a thread.
        unsafe { fs::set_base(self.tp()) };
    }

    /// Gives a block that another green thread has had what a fresh thread has, and another thread
    /// id, for use on the OS thread whose own block is `home`.
    ///
    /// If the last green thread has used thread-locals of libraries that were opened later, they are
    /// freed, which calls the allocator; if such libraries have static ones, it takes a lock.
    ///
    /// # Safety
    ///
    /// - The block was built, and is not installed on any thread.
    /// - The last green thread has run [`run_destructors`](Block::run_destructors) and ended.
    /// - `home` is as for [`Support::build`].
    #[inline]
    pub unsafe fn renew(self, home: Block) {
        // SAFETY: there is a block, so there is support.
        let support = unsafe { known() };
        // SAFETY: the block is not in use.
        unsafe { self.free_dynamic() };
        // SAFETY: as above.
        unsafe { support.template.refill(self.tp()) };
        // SAFETY: initialised by `build`.
        let header = unsafe { &*self.header(support) };
        header.home.set(home);
        header.number.set(header.number.get().next_turn());
        // SAFETY: as above.
        unsafe { self.set_tid(support) };
        // SAFETY: as above, and it is in the list.
        unsafe { registry::refill(self) };
    }

    /// Where this block has the thread-local that block `of` has at `local`. `None` if it has no fixed
    /// place, as in a library that was loaded by `dlopen`.
    ///
    /// So a worker can set thread-locals of a green thread without installing its block. The place
    /// is valid as long as the block is; what is there is overwritten by [`renew`](Block::renew).
    #[inline]
    #[must_use]
    pub fn locate<T>(self, of: Block, local: *const T) -> Option<*mut T> {
        let support = ready()?;
        let distance = of.tp().checked_sub(local.expose_provenance())?;
        let has_place = distance <= support.symbols.below() && size_of::<T>() <= distance;
        has_place.then(|| ptr::with_exposed_provenance_mut(self.tp() - distance))
    }

    /// Begins a thread, as seen by libc: adopts the process's locale of this moment.
    ///
    /// # Safety
    ///
    /// Called on a green thread with its block installed, before what users wrote.
    #[inline]
    pub unsafe fn begin() {
        // SAFETY: there is a block, so there is support.
        let support = unsafe { known() };
        support.symbols.init_ctype();
    }

    /// Ends a thread, as seen by its thread-locals: runs their destructors, then those of
    /// thread-specific data (`pthread_key_create`), in as many rounds as libc does, and frees what
    /// libc keeps for the thread.
    ///
    /// # Safety
    ///
    /// Called on a green thread with its block installed, as the last that runs there of what users
    /// wrote. The destructors are theirs, and may do anything a green thread may, park included;
    /// those that panic abort the process, as on an OS thread.
    #[inline]
    pub unsafe fn run_destructors() {
        // SAFETY: there is a block, so there is support.
        let support = unsafe { known() };
        // SAFETY: as the caller promises.
        unsafe { destructors::run(support) };
    }

    /// Takes the block out of use, before its memory is used for anything else. Calls the
    /// allocator, and takes a lock.
    ///
    /// # Safety
    ///
    /// As [`renew`](Block::renew); nobody uses the block from now on.
    pub unsafe fn destroy(self) {
        // SAFETY: there is a block, so there is support.
        let support = unsafe { known() };
        debug_assert_ne!(self, Block::current());
        // SAFETY: `build` has entered it.
        unsafe { registry::unlink(support, self) };
        // SAFETY: allocated by `build` or `renew`.
        unsafe { support.symbols.deallocate_tls(self.tp()) };
    }

    /// The block that is installed, if it is not the OS thread's own.
    pub(super) fn installed(support: &Support) -> Option<Block> {
        let own = fs::base().wrapping_add_signed(support.own);
        // SAFETY: our thread-local is there in every block.
        Block::from_tp(unsafe { ptr::with_exposed_provenance::<usize>(own).read() })
    }

    pub(super) fn from_tp(tp: usize) -> Option<Block> {
        NonZeroUsize::new(tp).map(Block)
    }

    #[inline(always)]
    pub(super) fn tp(self) -> usize {
        self.0.get()
    }

    pub(super) fn header(self, support: &Support) -> *mut Header {
        ptr::with_exposed_provenance_mut(self.tp() + support.header)
    }

    /// The OS thread's own block, for a block of ours that is installed.
    pub(super) fn home_of(self, support: &Support) -> Block {
        // SAFETY: an installed block has a header.
        unsafe { &*self.header(support) }.home.get()
    }

    pub(super) fn tid_field(self, support: &Support) -> *mut u32 {
        ptr::with_exposed_provenance_mut(self.tp() + support.symbols.tid)
    }

    /// # Safety
    ///
    /// The block has a header, and is not in use.
    pub(super) unsafe fn set_tid(self, support: &Support) {
        // SAFETY: as the caller promises.
        let header = unsafe { &*self.header(support) };
        let tid = header.number.get().tid();
        // SAFETY: a field of the block.
        unsafe { self.tid_field(support).write(tid) };
    }

    /// Calls `f` while libc believes the kernel's id of the calling thread, whose block this is.
    pub(super) fn with_os_tid<R>(self, support: &Support, f: impl FnOnce() -> R) -> R {
        // SAFETY: a field of the OS thread's block, which does not change.
        let os_tid = unsafe { self.home_of(support).tid_field(support).read_volatile() };
        let field = self.tid_field(support);
        // SAFETY: a field of the block, which is this thread's.
        let own_tid = unsafe { field.read_volatile() };
        // SAFETY: as above.
        unsafe { field.write_volatile(os_tid) };
        let result = f();
        // SAFETY: as above.
        unsafe { field.write_volatile(own_tid) };
        result
    }

    /// What the dynamic linker knows of this block's thread-locals: an entry per module, of their
    /// address and of what to free in the end.
    ///
    /// # Safety
    ///
    /// The block was built, and is not in use.
    #[inline]
    unsafe fn vector<'a>(self) -> &'a mut [[usize; 2]] {
        let field = ptr::with_exposed_provenance::<*mut [usize; 2]>(self.tp() + template::DTV);
        // SAFETY: the field is part of the ABI, and set.
        let generation = unsafe { field.read() };
        // The generation is an entry of its own, and the number of entries the one before.
        // SAFETY: as above.
        let [n, _] = unsafe { generation.wrapping_sub(1).read() };
        // SAFETY: there are so many; nobody else uses them, as the caller promises.
        unsafe { slice::from_raw_parts_mut(generation.wrapping_add(1), n) }
    }

    /// Frees dynamic thread-locals. The next green thread will find none, and get new ones.
    ///
    /// # Safety
    ///
    /// As [`vector`](Block::vector).
    #[inline]
    unsafe fn free_dynamic(self) {
        /// Not allocated yet.
        const UNALLOCATED: usize = usize::MAX;
        // SAFETY: as the caller promises.
        let vector = unsafe { self.vector() };
        // Without a branch for each: nearly always there is nothing.
        if vector.iter().fold(0, |any, [_, to_free]| any | to_free) == 0 {
            return;
        }
        for entry in vector.iter_mut().filter(|[_, to_free]| *to_free != 0) {
            let [_, to_free] = mem::replace(entry, [UNALLOCATED, 0]);
            // SAFETY: from malloc, and the thread that used it has ended.
            unsafe { libc::free(ptr::with_exposed_provenance_mut(to_free)) };
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({:#x})", self.tp())
    }
}
