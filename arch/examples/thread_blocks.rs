//! What thread-local blocks cost: each step of a green thread's life, in nanoseconds.
//!
//! ```text
//! cargo run --release -p greenrt-arch --example thread_blocks
//! ```

#![expect(unsafe_code, reason = "installs blocks")]

use std::hint::black_box;
use std::time::Instant;

use greenrt_arch::thread_block::{Block, support};

/// Rounds of each measurement.
const N: u32 = 1_000_000;

fn main() -> Result<(), &'static greenrt_arch::thread_block::Unavailable> {
    let start = Instant::now();
    let support = support()?;
    println!("support                       {:>8.0?}", start.elapsed());
    println!("bytes                         {:>8}", support.bytes());
    println!("align                         {:>8}", support.align());

    let mut memory = vec![0_u8; support.bytes() + support.align()];
    let at = memory
        .as_mut_ptr()
        .expose_provenance()
        .next_multiple_of(support.align());
    let home = Block::home();
    let build = || {
        // SAFETY: one block at a time is in the memory, which outlives it.
        unsafe { support.build(at, at..at + support.bytes(), 0, home) }.expect("memory")
    };
    measure("build, destroy", || {
        // SAFETY: never installed.
        unsafe { build().destroy() };
    });
    let block = build();
    measure("renew", || {
        // SAFETY: not installed.
        unsafe { block.renew(home) };
    });
    measure("install, install home", || {
        // SAFETY: `nothing` touches no thread-local.
        unsafe { on(block, home, nothing) };
    });
    measure("the same, begin, destructors", || {
        // SAFETY: `life` is not inlined.
        unsafe { on(block, home, life) };
    });
    measure("the same, renewed before", || {
        // SAFETY: not installed, and ended.
        unsafe { block.renew(home) };
        // SAFETY: as above.
        unsafe { on(block, home, life) };
    });
    // SAFETY: not installed, and ended.
    unsafe { block.destroy() };
    Ok(())
}

fn measure(what: &str, mut step: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..N {
        step();
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(N);
    println!("{what:<29} {each:>8.1} ns");
}

/// # Safety
///
/// The block is this thread's; `f` is not inlined.
#[inline(always)]
unsafe fn on(block: Block, home: Block, f: fn()) {
    // SAFETY: as the caller promises.
    unsafe { block.install(home) };
    black_box(f)();
    // SAFETY: home was installed before.
    unsafe { home.install(block) };
}

fn nothing() {}

fn life() {
    // SAFETY: the first that happens in this green thread.
    unsafe { Block::begin() };
    // SAFETY: the last.
    unsafe { Block::run_destructors() };
}
