//! Std's own locks between green threads of one OS thread: they park, and do not block it. Linux on x86-64 only; elsewhere this program stands still.
//!
//! ```text
//! cargo run --example std_locks
//! ```

use std::sync::{Arc, Condvar, Mutex};

fn main() {
    greenrt::run(|| {
        let count = Arc::new((Mutex::new(0), Condvar::new()));
        for _ in 0..100 {
            let count = Arc::clone(&count);
            greenrt::spawn(move || {
                let (count, all_done) = &*count;
                let mut count = count.lock().unwrap();
                // The others find the lock taken.
                greenrt::yield_now();
                *count += 1;
                all_done.notify_one();
            });
        }
        let (count, all_done) = &*count;
        let count = count.lock().unwrap();
        let count = all_done.wait_while(count, |count| *count < 100).unwrap();
        println!("{count} green threads took turns at a std::sync::Mutex");
    });
}
