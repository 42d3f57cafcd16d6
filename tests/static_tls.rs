//! A program with 64 KiB of thread-locals of its own.

#![allow(clippy::disallowed_methods, reason = "a watchdog is an OS thread")]

use std::cell::Cell;
use std::process::abort;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenrt::{Builder, Runtime, ThreadLocals, spawn, yield_now};

const N: usize = 64 << 10;

thread_local! {
    static LARGE: [Cell<u8>; N] = const { [const { Cell::new(5) }; N] };
}

fn use_all(n: usize) {
    let byte = n as u8;
    LARGE.with(|large| {
        assert!(large.iter().all(|cell| cell.get() == 5));
        large.iter().for_each(|cell| cell.set(byte));
        // On a stack of the smallest size there is room beside it.
        let mut on_stack = [byte; 30 << 10];
        std::hint::black_box(&mut on_stack);
        yield_now();
        assert!(on_stack.iter().all(|&other| other == byte));
        assert!(large.iter().all(|cell| cell.get() == byte));
    });
}

fn spawn_all() {
    for _ in 0..3 {
        let threads: Vec<_> = (0..50)
            .map(|n| match n % 3 {
                0 => spawn(move || use_all(n)),
                1 => Builder::new()
                    .stack_size(64 << 10)
                    .spawn(move || use_all(n))
                    .unwrap(),
                _ => Builder::new()
                    .stack_size(8 << 20)
                    .spawn(move || use_all(n))
                    .unwrap(),
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn each_green_thread_has_them() {
    let (done, watch) = mpsc::channel::<()>();
    thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            abort();
        }
    });
    for n_workers in [1, 2] {
        let builder = Runtime::builder().workers(n_workers);
        let runtime = builder.thread_locals(ThreadLocals::Private).build();
        runtime.unwrap().run(spawn_all);
    }
    if std::env::var("GREENRT_THREAD_LOCALS").as_deref() != Ok("shared") {
        // Twice: the loop of `run` has a block too.
        greenrt::run(spawn_all);
        greenrt::run(spawn_all);
    }
    drop(done);
}
