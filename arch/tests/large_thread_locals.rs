//! A program with 64 KiB of static thread-locals, some of which want a page of their own.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![expect(unsafe_code, reason = "installs blocks")]
#![allow(
    clippy::disallowed_methods,
    reason = "below the runtime, and on OS threads alone"
)]

use std::cell::UnsafeCell;

use greenrt_arch::thread_block::support;

use green::Green;

#[path = "thread_block/green.rs"]
#[allow(dead_code, reason = "made for another test")]
mod green;

#[repr(align(4096))]
struct Aligned([u8; 4096]);

thread_local! {
    static LARGE: UnsafeCell<[u8; 65536]> = const { UnsafeCell::new([3; 65536]) };
    static ZERO: UnsafeCell<[u8; 4000]> = const { UnsafeCell::new([0; 4000]) };
    static ALIGNED: UnsafeCell<Aligned> = const { UnsafeCell::new(Aligned([5; 4096])) };
}

fn assert_fresh() {
    // SAFETY: the thread's own, and no reference outlives the closure.
    LARGE.with(|large| assert!(unsafe { &*large.get() }.iter().all(|&byte| byte == 3)));
    // SAFETY: as above.
    ZERO.with(|zero| assert!(unsafe { &*zero.get() }.iter().all(|&byte| byte == 0)));
    ALIGNED.with(|aligned| {
        assert_eq!(aligned.get().addr() % 4096, 0);
        // SAFETY: as above.
        let aligned = unsafe { &*aligned.get() };
        assert!(aligned.0.iter().all(|&byte| byte == 5));
    });
}

fn write(value: u8) {
    // SAFETY: the thread's own.
    LARGE.with(|large| unsafe { large.get().write([value; 65536]) });
    // SAFETY: as above.
    ZERO.with(|zero| unsafe { zero.get().write([value; 4000]) });
    // SAFETY: as above.
    ALIGNED.with(|aligned| unsafe { aligned.get().write(Aligned([value; 4096])) });
}

#[test]
fn large_thread_locals_are_private_too() {
    let support = support().unwrap();
    assert!(support.bytes() > 65536 + 4096 && support.align() >= 4096);
    assert_fresh();
    write(9);
    let greens = [Green::new(), Green::new()];
    for _ in 0..5 {
        for green in &greens {
            green.run(|| {
                assert_fresh();
                write(1);
            });
        }
        greens.iter().for_each(Green::renew);
    }
    // SAFETY: the thread's own.
    LARGE.with(|large| assert!(unsafe { &*large.get() }.iter().all(|&byte| byte == 9)));
}
