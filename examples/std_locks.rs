//! Std's own locks and channels between green threads of one OS thread: they park, and do not block
//! it. Linux on x86-64 only; elsewhere this program stands still.
//!
//! ```text
//! cargo run --example std_locks
//! ```

use std::sync::{Arc, Mutex, mpsc};

fn main() {
    greenrt::run(|| {
        let count = Arc::new(Mutex::new(0));
        let (done, all_done) = mpsc::channel();
        for _ in 0..100 {
            let (count, done) = (Arc::clone(&count), done.clone());
            greenrt::spawn(move || {
                let mut count = count.lock().unwrap();
                // The others find the lock taken.
                greenrt::yield_now();
                *count += 1;
                done.send(*count).unwrap();
            });
        }
        drop(done);
        let counts: Vec<i32> = all_done.iter().collect();
        assert!(counts.into_iter().eq(1..=100));
        println!("one hundred green threads took turns at a std::sync::Mutex");
    });
}
