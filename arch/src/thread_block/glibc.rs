//! Blocks for glibc on Linux, x86-64.

#![expect(unsafe_code, reason = "builds, installs and destroys blocks")]

mod block;
mod capture;
mod check;
mod credentials;
mod destructors;
mod fs;
mod interpose;
mod lock;
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
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

pub use block::Block;
pub use interpose::set_pthread_self;

use super::Unavailable;
use block::Header;
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
}

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

/// What makes blocks.
///
/// # Safety
///
/// There is a block.
#[inline(always)]
unsafe fn known() -> &'static Support {
    // Acquire: as in `ready`.
    let support = READY.load(Ordering::Acquire);
    // SAFETY: set before there is a block.
    unsafe { &*support }
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

    /// The block that was [built](Support::build) at this address; `None` at address zero.
    #[inline]
    #[must_use]
    pub fn block_at(&self, at: usize) -> Option<Block> {
        if at == 0 {
            return None;
        }
        Block::from_tp(at + self.symbols.below())
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
        let block = Block::from_tp(tp).ok_or(io::ErrorKind::InvalidInput)?;
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

/// Out of line: `OWN` is that of the block installed when this is called.
#[inline(never)]
fn own_address() -> usize {
    OWN.with(|own| ptr::from_ref(own).expose_provenance())
}
