//! A program whose green threads hold std's locks over switches, and keep things in thread-locals.
//!
//! `tests/linking.rs` builds it in every way in which programs are linked. It says whose thread-locals
//! its threads have.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use greenrt::{Runtime, ThreadLocals, sleep, spawn, yield_now};

thread_local! {
    static CONST: Cell<usize> = const { Cell::new(3) };
    static LAZY: RefCell<Vec<usize>> = RefCell::new(vec![7]);
}

fn work(private: bool) {
    let count = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..20)
        .map(|n| {
            let count = Arc::clone(&count);
            spawn(move || {
                if private {
                    assert_eq!(CONST.replace(n), 3);
                    LAZY.with_borrow_mut(|all| all.push(n));
                }
                for _ in 0..20 {
                    let mut count = count.lock().unwrap();
                    let seen = *count;
                    yield_now();
                    sleep(std::time::Duration::from_micros(1));
                    *count = seen + 1;
                }
                if private {
                    assert_eq!(CONST.get(), n);
                    LAZY.with_borrow(|all| assert_eq!(all[..], [7, n]));
                }
                println!("{n}");
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(*count.lock().unwrap(), 400);
}

fn main() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let private = runtime.thread_locals() == ThreadLocals::Private;
    runtime.run(move || work(private));
    drop(runtime);
    greenrt::run(|| work(private));
    println!("{}", if private { "private" } else { "shared" });
}
