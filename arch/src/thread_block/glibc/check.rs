//! The self-check: a block is installed, and everything about it compared.

#![expect(unsafe_code, reason = "installs a block")]

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, ThreadId};

use super::super::Unavailable;
use super::{Block, Support, TRAVELLERS, own_address};

thread_local! {
    static PLAIN: Cell<u32> = const { Cell::new(7) };
    static WITH_DESTRUCTOR: Dropped = const { Dropped(Cell::new(7)) };
}

struct Dropped(Cell<u32>);

/// Destructors run by this check. It runs once per process.
static N_DROPPED: AtomicUsize = AtomicUsize::new(0);

impl Drop for Dropped {
    fn drop(&mut self) {
        N_DROPPED.fetch_add(1, Relaxed);
    }
}

/// What a thread sees of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct View {
    own: usize,
    this: usize,
    errno: usize,
    id: ThreadId,
    plain: u32,
    with_destructor: u32,
    ctype: bool,
    stack: Option<Range<usize>>,
    travellers: [usize; 2 * TRAVELLERS.len()],
}

/// Builds a block, uses it as two green threads one after the other, and destroys it.
pub(super) fn run(support: &Support) -> Result<(), Unavailable> {
    let layout = Layout::from_size_align(support.bytes(), support.align())
        .map_err(|error| Unavailable::new(format!("a block of {support:?}: {error}")))?;
    // SAFETY: a block has bytes.
    let memory = unsafe { alloc::alloc(layout) };
    if memory.is_null() {
        return Err(Unavailable::new("no memory for a block"));
    }
    let at = memory.expose_provenance();
    let result = check(support, at);
    // SAFETY: allocated above, and the block in it is destroyed.
    unsafe { alloc::dealloc(memory, layout) };
    result
}

fn check(support: &Support, at: usize) -> Result<(), Unavailable> {
    let failed =
        |what: &str, view: &View| Err(Unavailable::new(format!("self-check: {what}: {view:x?}")));
    // Not a stack; nothing runs on it.
    let stack = at..at + support.bytes();
    let home = Block::home();
    let at_home = view();
    // SAFETY: the memory is the block's until the end of this function, and large enough.
    let block = unsafe { support.build(at, stack.clone(), 0, home) }
        .map_err(|error| Unavailable::new(format!("self-check: {error}")))?;
    let first = on(block, home);
    let n_dropped = N_DROPPED.load(Relaxed);
    // SAFETY: the block is not in use, and its destructors have run.
    unsafe { block.renew(home) };
    let second = on(block, home);
    // SAFETY: as above.
    unsafe { block.destroy() };
    let at_home_again = view();

    for view in [&first, &second] {
        if view.own != block.tp() || view.this != block.tp() {
            return failed("the block is not the thread's", view);
        }
        if !stack.contains(&view.errno) {
            return failed("errno is elsewhere", view);
        }
        if view.plain != 7 || view.with_destructor != 7 {
            return failed("thread-locals are not fresh", view);
        }
        if view.id == at_home.id || !view.ctype {
            return failed("std or libc do not see a new thread", view);
        }
        if view.stack.as_ref() != Some(&stack) {
            return failed("pthread_getattr_np does not know the stack", view);
        }
        let (before, after) = view.travellers.split_at(TRAVELLERS.len());
        if before != after {
            return failed("malloc does not keep what it was given", view);
        }
    }
    if first.id == second.id {
        return failed("std sees the same thread again", &second);
    }
    if n_dropped != 1 {
        return failed("a destructor did not run", &first);
    }
    if (at_home.own, at_home.this, at_home.id) != (0, at_home_again.this, at_home_again.id) {
        return failed("the thread's own block has changed", &at_home_again);
    }
    Ok(())
}

/// What a green thread with this block would see, from its first to its last moment.
#[inline(never)]
fn on(block: Block, home: Block) -> View {
    let mut seen = MaybeUninit::<View>::uninit();
    // SAFETY: built or renewed for this thread. Only functions that are not inlined run until home
    // is installed again.
    unsafe { block.install(home) };
    live(&mut seen);
    // SAFETY: home is this thread's.
    unsafe { home.install(block) };
    // SAFETY: written by `live`.
    unsafe { seen.assume_init() }
}

#[inline(never)]
fn live(seen: &mut MaybeUninit<View>) {
    seen.write(view());
    PLAIN.set(8);
    WITH_DESTRUCTOR.with(|local| local.0.set(8));
    // SAFETY: the last thing that happens with this block.
    unsafe { Block::run_destructors() };
}

#[inline(never)]
fn view() -> View {
    let mut travellers = [0; 2 * TRAVELLERS.len()];
    let (before, after) = travellers.split_at_mut(TRAVELLERS.len());
    // The first allocation may give the OS thread a cache; afterwards, it has one.
    drop(std::hint::black_box(Box::new(0)));
    look(before);
    drop(std::hint::black_box(Box::new([0_u64; 5])));
    let stack = own_stack();
    look(after);
    View {
        own: own_word(),
        // SAFETY: asks only.
        this: unsafe { libc::pthread_self() } as usize,
        // SAFETY: asks only.
        errno: unsafe { libc::__errno_location() }.addr(),
        id: thread::current().id(),
        plain: PLAIN.get(),
        with_destructor: WITH_DESTRUCTOR.with(|local| local.0.get()),
        ctype: knows_letters(),
        stack,
        travellers,
    }
}

fn own_word() -> usize {
    // SAFETY: our thread-local.
    unsafe { ptr::with_exposed_provenance::<usize>(own_address()).read() }
}

fn look(words: &mut [usize]) {
    let tp = Block::current().tp();
    for (word, offset) in words.iter_mut().zip(&TRAVELLERS) {
        let place =
            ptr::with_exposed_provenance::<usize>(tp.wrapping_add_signed(offset.load(Relaxed)));
        // SAFETY: a word of the installed block.
        *word = unsafe { place.read_volatile() };
    }
}

fn knows_letters() -> bool {
    // SAFETY: asks only.
    let is_letter = |byte: u8| unsafe { libc::isalpha(byte.into()) } != 0;
    is_letter(b'a') && !is_letter(b'1')
}

/// Where libc believes the stack to be.
pub(super) fn own_stack() -> Option<Range<usize>> {
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    // SAFETY: asks only.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: a place for attributes.
    if unsafe { libc::pthread_getattr_np(this, attr.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut low, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: attributes, and places for the answers.
    unsafe { libc::pthread_attr_getstack(attr.as_ptr(), &mut low, &mut bytes) };
    // SAFETY: initialised above, not used any more.
    unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
    Some(low.addr()..low.addr() + bytes)
}
