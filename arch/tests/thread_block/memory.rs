//! What blocks cost, and that nothing is lost.

use std::hint::black_box;
use std::thread;

use greenrt_arch::thread_block::support;
use greenrt_arch::usage::usage;

use crate::green::Green;
use crate::testing::{assert_done, in_child, time_limit};

/// Bytes that libc's malloc has given out.
fn bytes_in_use() -> usize {
    // SAFETY: asks only.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// What a green thread may leave behind with libc.
fn leave_traces() {
    // SAFETY: answers for any number.
    unsafe { libc::strerror(100_001) };
    // SAFETY: answers for any number.
    unsafe { libc::strsignal(100_001) };
    // SAFETY: the name ends with a zero.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"no such thing".as_ptr()) };
    drop(black_box(vec![1_u8; 100]));
    thread_local!(static KEPT: Vec<u8> = vec![1; 100]);
    KEPT.with(|kept| black_box(kept.len()));
    black_box(thread::current().id());
}

#[test]
fn nothing_is_lost() {
    let child = in_child(&[], || {
        let _limit = time_limit(100);
        let kept = Green::new();
        let round = |n: usize| {
            for _ in 0..n {
                Green::new().run(leave_traces);
                kept.run(leave_traces);
                kept.renew();
            }
        };
        // Caches fill.
        round(1000);
        let (bytes, rss) = (bytes_in_use(), usage().unwrap().rss_bytes);
        round(100_000);
        let more = bytes_in_use().saturating_sub(bytes);
        assert!(more < 50_000, "{more} bytes of memory more");
        let more = usage().unwrap().rss_bytes.saturating_sub(rss);
        assert!(more < 2_000_000, "{more} bytes more are resident");
    });
    assert_done(&child);
}

/// libc keeps the configuration of the resolver for each thread that has opened it.
#[test]
fn the_resolver_is_closed() {
    unsafe extern "C" {
        safe fn __res_init() -> std::ffi::c_int;
    }

    let child = in_child(&[], || {
        let _limit = time_limit(100);
        let green = Green::new();
        let round = |n: usize| {
            for _ in 0..n {
                green.run(|| assert_eq!(__res_init(), 0));
                green.renew();
            }
        };
        round(100);
        let bytes = bytes_in_use();
        round(5000);
        let more = bytes_in_use().saturating_sub(bytes);
        assert!(more < 5000, "{more} bytes of memory more");
    });
    assert_done(&child);
}

#[test]
fn many_at_once_cost_little_and_come_back() {
    let child = in_child(&[], || {
        let _limit = time_limit(100);
        drop(Green::new());
        let before = bytes_in_use();
        let n = 10_000;
        let greens: Vec<_> = (0..n).map(|_| Green::new()).collect();
        for green in &greens {
            green.run(|| drop(black_box(vec![1_u8; 100])));
        }
        let each = (bytes_in_use() - before) / n;
        let own = support().unwrap().bytes();
        // Only the dynamic linker's table, whose length follows the number of modules: no cache.
        assert!(
            each < own + 1000,
            "{each} bytes each, {own} of them the block"
        );
        drop(greens);
        // The list of numbers that are free keeps its length.
        let more = bytes_in_use().saturating_sub(before);
        assert!(more < 20 * n, "{more} bytes of memory more");
    });
    assert_done(&child);
}

#[test]
fn memory_may_be_freed_anywhere() {
    let _limit = time_limit(100);
    let (sender, receiver) = std::sync::mpsc::channel::<Vec<u8>>();
    let thread = thread::spawn(move || {
        let greens = [Green::new(), Green::new()];
        for (n, memory) in receiver.iter().enumerate() {
            let size = memory.len();
            let copy = greens[n % 2].run(|| {
                let copy = vec![memory[0]; size];
                drop(memory);
                copy
            });
            greens[(n + 1) % 2].run(|| {
                assert!(copy.iter().all(|&byte| byte == copy[0]));
                drop(copy);
            });
        }
    });
    let green = Green::new();
    for n in 0..20_000_usize {
        let size = 1 + n * 37 % 3000;
        let memory = green.run(|| vec![n as u8; size]);
        sender.send(memory).unwrap();
        if n % 100 == 0 {
            green.renew();
        }
    }
    drop(sender);
    thread.join().unwrap();
}

/// malloc changes the thread's arena when it fails, and counts threads by arena.
#[test]
fn a_failed_allocation_is_one_thread_s_to_malloc() {
    let child = in_child(&[], || {
        let _limit = time_limit(100);
        let body = || {
            let greens: Vec<_> = (0..50).map(|_| Green::new()).collect();
            for _ in 0..3 {
                for green in &greens {
                    green.run(|| {
                        let mut memory = Vec::<u8>::new();
                        assert!(memory.try_reserve(1 << 47).is_err());
                        memory.resize(1000, 1);
                        drop(black_box(memory));
                    });
                }
            }
        };
        body();
        thread::spawn(body).join().unwrap();
    });
    assert_done(&child);
}

#[test]
fn threads_build_and_destroy_at_once() {
    let _limit = time_limit(100);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..200 {
                    let greens: Vec<_> = (0..10).map(|_| Green::new()).collect();
                    for green in greens.iter().skip(round % 3) {
                        green.run(leave_traces);
                        green.renew();
                    }
                }
            });
        }
    });
}

/// A thread that ends frees its cache; what its green threads had of it must not be used again.
#[test]
fn blocks_die_with_their_thread() {
    let _limit = time_limit(100);
    for _ in 0..50 {
        let body = || {
            let greens = [Green::new(), Green::new()];
            let memory = greens[0].run(|| vec![1_u8; 500]);
            greens[1].run(|| drop(memory));
            greens[0].run(leave_traces);
        };
        thread::spawn(body).join().unwrap();
    }
}
