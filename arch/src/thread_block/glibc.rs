//! Blocks for glibc on Linux, x86-64.

#![expect(unsafe_code, reason = "builds, installs and destroys blocks")]

mod capture;
mod check;
mod credentials;
mod destructors;
mod fs;
mod interpose;
mod modules;
mod registry;
mod symbols;
mod template;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

use super::Unavailable;
use modules::Modules;
use registry::{Links, Number};
use symbols::Symbols;
use template::Template;

/// Words that travel with the OS thread, at most.
const TRAVELLERS_MAX: usize = 4;

/// Offsets of the words that travel, from the thread pointer. Unused ones repeat the first, so that
/// `install` needs no count. Set before there is a block.
static TRAVELLERS: [AtomicIsize; TRAVELLERS_MAX] = [const { AtomicIsize::new(0) }; TRAVELLERS_MAX];

/// What makes blocks, once it is known to; never freed.
static READY: AtomicPtr<Support> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The thread pointer, in a block of ours; 0 in an OS thread's own.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// What is known of this process, by which blocks are made.
pub struct Support {
    symbols: Symbols,
    template: Template,
    /// Modules whose thread-locals are in the template.
    modules: Modules,
    /// Offset of `OWN` from the thread pointer.
    own: isize,
    /// Offset of the header from the thread pointer.
    header: usize,
    /// Held while modules are opened, by one thread, again and again if need be.
    opening: Opening,
}

/// What a block has behind `struct pthread`.
#[derive(Debug)]
struct Header {
    links: Cell<Links>,
    home: Cell<Block>,
    /// By which it has its thread ids. Set when it is entered; then its owner's.
    number: Cell<Number>,
    /// A word that may travel where none must.
    idle: Cell<usize>,
}

/// A thread-local block: the thread-locals and libc's record of one thread, as its thread pointer.
///
/// Either one that was [built](Support::build) and not yet destroyed, or an OS thread's own. A
/// `Block` is a plain address: copies are the same block, and nothing happens when one is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Block(NonZeroUsize);

/// Finds out, once per process, whether there can be private thread-locals, and how.
///
/// Takes about a millisecond at the first call: starts and joins an OS thread, builds a block and
/// runs a self-check on it. Call it on an OS thread, before there are green threads.
///
/// # Errors
///
/// The reason, if this process cannot have private thread-locals. It does not change.
pub fn support() -> Result<&'static Support, &'static Unavailable> {
    static OUTCOME: OnceLock<Result<&'static Support, Unavailable>> = OnceLock::new();
    OUTCOME.get_or_init(Support::find).as_ref().copied()
}

/// What makes blocks, if `support` has found it.
#[inline(always)]
fn ready() -> Option<&'static Support> {
    // Acquire: pairs with the Release in `publish`.
    let support = READY.load(Ordering::Acquire);
    // SAFETY: null, or leaked by `publish`.
    unsafe { support.as_ref() }
}

impl Support {
    fn find() -> Result<&'static Support, Unavailable> {
        if fs::under_valgrind() {
            return Err(Unavailable::new(
                "valgrind: it does not know the instruction that sets the thread pointer",
            ));
        }
        if !fs::can_set_base() {
            return Err(Unavailable::new(
                "no FSGSBASE: the kernel or the CPU does not let programs set the thread pointer",
            ));
        }
        if let Some(name) = symbols::sanitizer() {
            return Err(Unavailable::new(format!(
                "the {name} sanitizer, which keeps its own record of each thread's memory"
            )));
        }
        let symbols = Symbols::find()?;
        let modules = Modules::scan(&symbols);
        let own = own_address().wrapping_sub(fs::base()) as isize;
        let template = Template::take(&symbols, &modules, own)?;
        let header = symbols.pthread_bytes.next_multiple_of(align_of::<Header>());
        // After the template: its thread must not be one whose memory changes hands.
        interpose::install()?;
        credentials::install().map_err(|error| {
            Unavailable::new(format!(
                "libc's handler for changes of user and group: {error}"
            ))
        })?;
        let support = Support {
            symbols,
            template,
            modules,
            own,
            header,
            opening: Opening::new(),
        };
        let support = support.publish();
        check::run(support).inspect_err(|_| {
            READY.store(ptr::null_mut(), Ordering::Release);
        })?;
        Ok(support)
    }

    /// Lets the rest of this module find it, for ever.
    fn publish(self) -> &'static Support {
        let idle = (self.header + mem::offset_of!(Header, idle)) as isize;
        let travellers = &self.template.travellers;
        for (idx, place) in TRAVELLERS.iter().enumerate() {
            let first = travellers.first().copied().unwrap_or(idle);
            place.store(
                travellers.get(idx).copied().unwrap_or(first),
                Ordering::Relaxed,
            );
        }
        let support = Box::leak(Box::new(self));
        // Release: pairs with the Acquire in `ready`.
        READY.store(support, Ordering::Release);
        support
    }

    /// Bytes of a block. Grows with the static thread-locals of the program and its libraries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let end = self.header + size_of::<Header>();
        (self.symbols.below() + end).next_multiple_of(align_of::<Header>())
    }

    /// What the address of a block is a multiple of: a power of two, 64 in most programs.
    #[must_use]
    pub fn align(&self) -> usize {
        self.symbols.align.max(align_of::<Header>())
    }

    /// Makes a block in the [`bytes`](Support::bytes) from `at`, for a green thread whose stack is
    /// `stack`, above a guard of `guard_bytes`, and which will run on the OS thread whose own block
    /// is `home`.
    ///
    /// Everything in it is as in a fresh thread: it may be installed at once. Calls the allocator,
    /// and takes a lock.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, if there is no memory for what the dynamic linker keeps of each thread, or if
    /// there are 2^24 blocks.
    ///
    /// # Safety
    ///
    /// `at` is a multiple of [`align`](Support::align), and the bytes are the block's alone until
    /// [`destroy`](Block::destroy). `home` is [`Block::home`] of a thread that lives as long as the
    /// block is used there.
    pub unsafe fn build(
        &self,
        at: usize,
        stack: Range<usize>,
        guard_bytes: usize,
        home: Block,
    ) -> io::Result<Block> {
        debug_assert_eq!(at % self.align(), 0);
        let tp = at + self.symbols.below();
        let block = Block(NonZeroUsize::new(tp).ok_or(io::ErrorKind::InvalidInput)?);
        // What lies between modules, and what later ones may get.
        // SAFETY: the caller gives the memory.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(at).write_bytes(0, self.bytes()) };
        // SAFETY: the caller gives the memory, and nobody uses it yet.
        if !unsafe { self.symbols.allocate_tls(tp) } {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: as above.
        unsafe { self.template.fill(tp, &stack, guard_bytes) };
        let header = Header {
            links: Cell::new(Links::default()),
            home: Cell::new(home),
            number: Cell::new(Number::default()),
            idle: Cell::new(0),
        };
        // SAFETY: as above; the header is aligned as the block is.
        unsafe { block.header(self).write(header) };
        // SAFETY: it is filled, new, and not in use.
        if !unsafe { registry::link(self, block) } {
            // SAFETY: allocated above.
            unsafe { self.symbols.deallocate_tls(tp) };
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: the block is not in use.
        unsafe { block.set_tid(self) };
        Ok(block)
    }
}

impl fmt::Debug for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Support")
            .field("bytes", &self.bytes())
            .field("align", &self.align())
            .finish_non_exhaustive()
    }
}

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
    /// - [`support`] has succeeded, and this block is not installed on any thread.
    /// - It is the calling OS thread's own, or was built or renewed for it.
    /// - `from` is what [`Block::current`] would say.
    /// - The calling function, with what is inlined into it, touches no thread-local (`errno`, the
    ///   allocator and panics included) from here until the block that was installed when it began
    ///   is installed again.
    #[inline(always)]
    pub unsafe fn install(self, from: Block) {
        for offset in &TRAVELLERS {
            // Relaxed: set before there was a block.
            let offset = offset.load(Ordering::Relaxed);
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
        let support = unsafe { &*READY.load(Ordering::Acquire) };
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
        let support = unsafe { &*READY.load(Ordering::Acquire) };
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
        let support = unsafe { &*READY.load(Ordering::Acquire) };
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
        let support = unsafe { &*READY.load(Ordering::Acquire) };
        debug_assert_ne!(self, Block::current());
        // SAFETY: `build` has entered it.
        unsafe { registry::unlink(support, self) };
        // SAFETY: allocated by `build` or `renew`.
        unsafe { support.symbols.deallocate_tls(self.tp()) };
    }

    /// The block that is installed, if it is not the OS thread's own.
    fn installed(support: &Support) -> Option<Block> {
        let own = fs::base().wrapping_add_signed(support.own);
        // SAFETY: our thread-local is there in every block.
        Block::from_tp(unsafe { ptr::with_exposed_provenance::<usize>(own).read() })
    }

    fn from_tp(tp: usize) -> Option<Block> {
        NonZeroUsize::new(tp).map(Block)
    }

    #[inline(always)]
    fn tp(self) -> usize {
        self.0.get()
    }

    fn header(self, support: &Support) -> *mut Header {
        ptr::with_exposed_provenance_mut(self.tp() + support.header)
    }

    /// The OS thread's own block, for a block of ours that is installed.
    fn home_of(self, support: &Support) -> Block {
        // SAFETY: an installed block has a header.
        unsafe { &*self.header(support) }.home.get()
    }

    fn tid_field(self, support: &Support) -> *mut u32 {
        ptr::with_exposed_provenance_mut(self.tp() + support.symbols.tid)
    }

    /// # Safety
    ///
    /// The block has a header, and is not in use.
    unsafe fn set_tid(self, support: &Support) {
        // SAFETY: as the caller promises.
        let header = unsafe { &*self.header(support) };
        let tid = header.number.get().tid();
        // SAFETY: a field of the block.
        unsafe { self.tid_field(support).write(tid) };
    }

    /// Calls `f` while libc believes the kernel's id of the calling thread, whose block this is.
    fn with_os_tid<R>(self, support: &Support, f: impl FnOnce() -> R) -> R {
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

/// A lock that its owner can take again: constructors of a module may open others.
struct Opening(Box<std::cell::UnsafeCell<libc::pthread_mutex_t>>);

// SAFETY: a mutex is made to be used by several threads.
unsafe impl Send for Opening {}
// SAFETY: as above.
unsafe impl Sync for Opening {}

struct OpeningGuard<'a>(&'a Opening);

impl Opening {
    fn new() -> Opening {
        let mutex = libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
        Opening(Box::new(std::cell::UnsafeCell::new(mutex)))
    }

    fn lock(&self) -> OpeningGuard<'_> {
        // SAFETY: initialised, never destroyed.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
        OpeningGuard(self)
    }
}

impl Drop for OpeningGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}

/// Out of line: `OWN` is that of the block installed when this is called.
#[inline(never)]
fn own_address() -> usize {
    OWN.with(|own| ptr::from_ref(own).expose_provenance())
}
