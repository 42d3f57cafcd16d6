//! What the tests of allocators share: green threads come and go, and nothing is left of them.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::process::abort;
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use greenrt::{JoinHandle, Runtime, ThreadLocals, park, yield_now};

/// One after another, in all.
const N_THREADS: usize = 1_000_000;
/// Phases of many at once, after which the memory of most stacks goes back to the system.
const N_PHASES: usize = 3;

/// Bytes that Rust code has from the allocator.
static BYTES: AtomicIsize = AtomicIsize::new(0);

/// An allocator that counts what it has given away.
pub(crate) struct Counting<A>(pub(crate) A);

// SAFETY: as the allocator inside; counting changes nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(at, layout) }
    }
}

thread_local! {
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What each green thread does: allocates, keeps some of it in a thread-local, waits.
fn act(n: usize) {
    let own: Vec<u8> = vec![n as u8; 100 + n % 1000];
    KEPT.with_borrow_mut(|kept| kept.extend_from_slice(&own[..50]));
    yield_now();
    assert_eq!(KEPT.with_borrow(|kept| kept[49]), n as u8);
    black_box(own);
}

/// What the process has now: kilobytes of memory, mappings, and bytes from the allocator.
#[derive(Debug, Clone, Copy)]
struct Usage {
    resident_kb: usize,
    n_mappings: usize,
    bytes: isize,
}

fn usage() -> Usage {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    Usage {
        resident_kb: resident("VmRSS") + resident("VmPTE"),
        n_mappings: fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count(),
        bytes: BYTES.load(Relaxed),
    }
}

/// Starts and ends `n` threads, a few at a time.
fn one_after_another(n: usize) {
    for n in (0..n).step_by(10) {
        let few: [JoinHandle<()>; 10] = std::array::from_fn(|k| greenrt::spawn(move || act(n + k)));
        for thread in few {
            thread.join().unwrap();
        }
    }
}

/// `n` threads, each of which has allocated. What they take, each.
fn many_at_once(n: usize) -> usize {
    let before = usage();
    let threads: Vec<_> = (0..n)
        .map(|n| {
            greenrt::spawn(move || {
                act(n);
                park();
                act(n);
            })
        })
        .collect();
    // Each gets to its `park`.
    for _ in 0..5 {
        yield_now();
    }
    let grown = usage().resident_kb.saturating_sub(before.resident_kb);
    for thread in threads {
        thread.thread().unpark();
        thread.join().unwrap();
    }
    grown * 1024 / n
}

/// Runs everything on one worker, and on two, with `n` threads at once, or as many as the first
/// argument says.
pub(crate) fn run(name: &'static str, n: usize) {
    let wish = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let n = wish.unwrap_or(n);
    let watchdog = thread::spawn(|| {
        thread::park_timeout(Duration::from_secs(300));
        eprintln!("not done after 300 s");
        abort();
    });
    for n_workers in [1, 2] {
        let builder = Runtime::builder().workers(n_workers);
        let runtime = builder
            .thread_locals(ThreadLocals::Private)
            .build()
            .unwrap();
        runtime.run(move || {
            // What grows once: queues, arenas, spare stacks, heaps.
            one_after_another(20_000);
            let first = many_at_once(n);
            let before = usage();
            let n_rounds = 10;
            for round in 0..n_rounds {
                one_after_another(N_THREADS / 2 / n_rounds);
                if round % (n_rounds / N_PHASES) == 0 {
                    many_at_once(n);
                }
            }
            let after = usage();
            println!("{name}, {n_workers} workers: {first} bytes each; {before:?} {after:?}");
            assert!(after.bytes - before.bytes < 1 << 20, "{before:?} {after:?}");
            assert!(
                after.resident_kb < before.resident_kb + before.resident_kb / 4 + 16 * 1024,
                "{before:?} {after:?}"
            );
            assert!(
                after.n_mappings < before.n_mappings + 200,
                "{before:?} {after:?}"
            );
        });
    }
    drop(watchdog);
    // The main thread of a program with thread-locals of its own for each green thread ends as ever.
    println!("{name}: ok");
}
