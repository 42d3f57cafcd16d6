#![expect(unsafe_code, reason = "installs blocks")]

use std::alloc::{self, Layout};
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::testing::time_limit;

/// A block in memory of its own.
struct Owned {
    block: Block,
    memory: *mut u8,
    layout: Layout,
}

impl Owned {
    fn new() -> Owned {
        let support = support().unwrap();
        let layout = Layout::from_size_align(support.bytes(), support.align()).unwrap();
        // SAFETY: a block has bytes.
        let memory = unsafe { alloc::alloc(layout) };
        assert!(!memory.is_null());
        let at = memory.expose_provenance();
        let stack = at..at + support.bytes();
        // SAFETY: the memory is the block's until it is destroyed.
        let block = unsafe { support.build(at, stack, 0, Block::home()) }.unwrap();
        Owned {
            block,
            memory,
            layout,
        }
    }

    /// Runs `f` as a green thread would, on this stack.
    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: `on` returns, and the block is not installed.
        unsafe { on(self.block, f) }
    }

    fn end(&self) {
        // SAFETY: the test uses the block no more.
        self.run(|| unsafe { Block::run_destructors() });
    }

    fn renew(&self) {
        // SAFETY: not installed, and ended.
        unsafe { self.block.renew(Block::home()) };
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: not installed, and ended.
        unsafe { self.block.destroy() };
        // SAFETY: allocated in `new`.
        unsafe { alloc::dealloc(self.memory, self.layout) };
    }
}

/// # Safety
///
/// The block is for this OS thread, and not installed.
#[inline(never)]
unsafe fn on<R>(block: Block, f: impl FnOnce() -> R) -> R {
    let home = Block::current();
    let mut result = None;
    // SAFETY: as the caller promises. `call` is not inlined.
    unsafe { block.install(home) };
    call(f, &mut result);
    // SAFETY: home was installed before.
    unsafe { home.install(block) };
    result.unwrap()
}

#[inline(never)]
fn call<R>(f: impl FnOnce() -> R, result: &mut Option<R>) {
    *result = Some(f());
}

#[test]
fn sizes_and_traits() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Block>();
    is_send_and_sync::<Support>();
    is_send_and_sync::<Unavailable>();
    assert_eq!(size_of::<Block>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Block>>(), size_of::<usize>());
}

#[test]
fn it_is_available_here() {
    let support = support().unwrap();
    // Two of malloc's, and in newer ones one of `getrandom`.
    assert!((2..=3).contains(&support.template.travellers.len()));
    assert!(support.bytes() < 8192);
}

/// Other threads write into a thread's record: whoever begins or ends next to it in libc's list of
/// threads changes its links, and whoever joins it writes its name there.
#[test]
fn threads_that_come_and_go_meanwhile_do_not_change_what_is_learned() {
    let _limit = time_limit(60);
    let support = support().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    thread::spawn(|| ()).join().unwrap();
                }
            });
        }
        for _ in 0..1000 {
            let taken = Template::take(&support.symbols, &support.modules, support.own);
            let taken = taken
                .inspect_err(|_| done.store(true, Ordering::Relaxed))
                .unwrap();
            let same = taken.has_learned_what(&support.template);
            done.fetch_or(!same, Ordering::Relaxed);
            assert!(same, "{taken:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_a_libc_lacks_is_said() {
    let reason = symbols::required(c"no such thing").unwrap_err();
    assert_eq!(
        reason.to_string(),
        "this libc does not export no such thing"
    );
    // 32 bits at the place that it says, but not within 8 bytes.
    let reason = symbols::one(c"_thread_db_pthread_tid", 32, 8).unwrap_err();
    assert!(
        reason.to_string().contains("_thread_db_pthread_tid"),
        "{reason}"
    );
    let reason = symbols::one(c"_thread_db_pthread_tid", 64, 8192).unwrap_err();
    assert!(
        reason.to_string().contains("_thread_db_pthread_tid"),
        "{reason}"
    );
    let reason = symbols::size(c"_thread_db_sizeof_pthread", 0..100).unwrap_err();
    assert!(
        reason.to_string().contains("_thread_db_sizeof_pthread"),
        "{reason}"
    );
}

#[test]
fn a_program_without_thread_locals_in_place_is_told() {
    let _limit = time_limit(60);
    let support = support().unwrap();
    // As if this code were in a library that was opened later.
    let own = 1 << 40;
    let reason = Template::take(&support.symbols, &support.modules, own).unwrap_err();
    assert!(reason.to_string().contains("dlopen"), "{reason}");
}

/// The thread id that libc would use for a block.
fn tid(block: Block) -> u32 {
    // SAFETY: a field of a live block.
    unsafe { block.tid_field(support().unwrap()).read() }
}

#[test]
fn thread_ids_of_live_blocks_differ() {
    let _limit = time_limit(60);
    let range = (1 << 22) + 1..1 << 30;
    let blocks = [(); 20].map(|()| Owned::new());
    let mut seen = Vec::new();
    for _ in 0..63 {
        for owned in &blocks {
            let id = tid(owned.block);
            assert!(range.contains(&id));
            seen.push(id);
            owned.renew();
        }
    }
    let n = seen.len();
    let first = seen[0];
    seen.sort_unstable();
    seen.dedup();
    // No block ever had what another has, and none had one twice.
    assert_eq!(seen.len(), n);
    // Then they begin again.
    assert_eq!(tid(blocks[0].block), first);
}

#[test]
fn a_new_block_has_not_the_id_of_one_just_destroyed() {
    let _limit = time_limit(60);
    let ids = [(); 50].map(|()| tid(Owned::new().block));
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

#[test]
fn live_blocks_are_counted() {
    let blocks = [(); 3].map(|()| Owned::new());
    assert!(registry::n_live() >= 3);
    drop(blocks);
}

#[test]
fn thread_locals_are_set_from_outside() {
    thread_local!(static LOCAL: Cell<u32> = const { Cell::new(1) });

    let _limit = time_limit(60);
    let owned = Owned::new();
    let home = Block::home();
    let place = LOCAL.with(|local| owned.block.locate(home, local.as_ptr()));
    // SAFETY: the block is not in use.
    unsafe { place.unwrap().write(2) };
    assert_eq!(LOCAL.get(), 1);
    owned.run(|| assert_eq!(LOCAL.replace(3), 2));
    owned.end();
    owned.renew();
    owned.run(|| assert_eq!(LOCAL.get(), 1));
    // What is no thread-local has no place.
    static ELSEWHERE: u32 = 0;
    assert_eq!(owned.block.locate(home, &ELSEWHERE), None);
    assert_eq!(owned.block.locate(home, &*Box::new(0)), None);
}
