//! A program whose allocator locks by mutexes: the runtime, which allocates, must never wait for a green
//! thread that is parked in the middle of it.

#![expect(clippy::disallowed_methods, reason = "green by the first line of main")]

use std::thread;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    greenlibc::patch_all();
    for round in 0..20 {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                thread::spawn(move || {
                    // Too large for what the allocator keeps for each thread.
                    for m in 0..20 {
                        let bytes = vec![1_u8; 100_000 + (n * 7919 + m * 104_729) % 1_000_000];
                        thread::yield_now();
                        assert_eq!(bytes[round * 100], 1);
                    }
                    thread::sleep(Duration::from_micros(100));
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
    thread::spawn(lock).join().unwrap();
    let locks = greenlibc::calls();
    let locks = locks
        .iter()
        .find(|calls| calls.symbol == "pthread_mutex_lock");
    assert_eq!(locks.unwrap().n, 0, "locks stay libc's");
    println!("test jemalloc ... ok");
}

/// Would be counted if it were not libc's.
#[expect(unsafe_code, reason = "locks as C does")]
fn lock() {
    let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
    // SAFETY: initialised.
    assert_eq!(unsafe { libc::pthread_mutex_lock(&raw mut mutex) }, 0);
    // SAFETY: locked above.
    assert_eq!(unsafe { libc::pthread_mutex_unlock(&raw mut mutex) }, 0);
}
