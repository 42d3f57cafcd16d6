//! A green thread without a stack.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::thread::Result;

use greenrt_arch::thread_block::{Block, support};

/// A block, in memory of its own, that lives through one green thread after another.
pub(crate) struct Green {
    block: Block,
    memory: *mut u8,
    layout: Layout,
    begun: Cell<bool>,
}

impl Green {
    pub(crate) fn new() -> Green {
        let support = match support() {
            Ok(support) => support,
            Err(reason) => panic!("{reason}"),
        };
        let layout = Layout::from_size_align(support.bytes(), support.align()).unwrap();
        // SAFETY: a block has bytes.
        let memory = unsafe { alloc::alloc(layout) };
        assert!(!memory.is_null());
        // What a block finds in its memory must not matter.
        // SAFETY: just allocated.
        unsafe { memory.write_bytes(0xa5, layout.size()) };
        let at = memory.expose_provenance();
        // SAFETY: the memory is the block's until it is destroyed.
        let block = unsafe { support.build(at, stack(at, &layout), 0, Block::home()) }.unwrap();
        Green {
            block,
            memory,
            layout,
            begun: Cell::new(false),
        }
    }

    /// What libc should believe to be its stack.
    pub(crate) fn stack(&self) -> Range<usize> {
        stack(self.memory.addr(), &self.layout)
    }

    /// Runs `f` with the block installed, from any other green thread of this OS thread too.
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let begins = !self.begun.replace(true);
        let f = || {
            if begins {
                // SAFETY: its block is installed, and nothing was called yet.
                unsafe { Block::begin() };
            }
            f()
        };
        on(self.block, f)
    }

    /// Ends the green thread.
    pub(crate) fn end(&self) {
        if self.begun.replace(false) {
            // SAFETY: its block is installed, and `run` will only be called after `renew`.
            on(self.block, || unsafe { Block::run_destructors() });
        }
    }

    /// Ends the green thread; the next one begins.
    pub(crate) fn renew(&self) {
        self.end();
        // SAFETY: not installed, and ended.
        unsafe { self.block.renew(Block::home()) };
    }

    /// From `new` to `drop` without being run.
    pub(crate) fn thread_pointer(&self) -> usize {
        self.run(|| this_thread() as usize)
    }
}

impl Drop for Green {
    fn drop(&mut self) {
        self.end();
        // SAFETY: not installed, and ended.
        unsafe { self.block.destroy() };
        // SAFETY: allocated in `new`.
        unsafe { alloc::dealloc(self.memory, self.layout) };
    }
}

fn stack(at: usize, layout: &Layout) -> Range<usize> {
    at..at + layout.size()
}

/// Out of line, as is `call`: a function sees one block.
#[inline(never)]
fn on<R>(block: Block, f: impl FnOnce() -> R) -> R {
    let before = Block::current();
    let mut result = None;
    // SAFETY: the block was made on this OS thread, and is not installed.
    unsafe { block.install(before) };
    call(f, &mut result);
    // SAFETY: it was installed before.
    unsafe { before.install(block) };
    match result.unwrap() {
        Ok(result) => result,
        Err(payload) => panic::resume_unwind(payload),
    }
}

#[inline(never)]
fn call<R>(f: impl FnOnce() -> R, result: &mut Option<Result<R>>) {
    *result = Some(panic::catch_unwind(AssertUnwindSafe(f)));
}

pub(crate) fn this_thread() -> libc::pthread_t {
    // SAFETY: asks only.
    unsafe { libc::pthread_self() }
}

pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

pub(crate) fn set_errno(value: i32) {
    // SAFETY: asks only.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's.
    unsafe { place.write(value) };
}
