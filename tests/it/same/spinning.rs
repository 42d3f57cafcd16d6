//! Locks that are waited for by trying.

use std::time::Duration;

use super::sync::{Arc, Mutex};
use super::{run, thread};

/// Whoever waits by trying gets it all the same.
#[test]
fn try_lock_in_a_loop_gets_it() {
    run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let other = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || loop {
                if let Ok(mut n) = mutex.try_lock() {
                    *n += 1;
                    return;
                }
            }
        });
        thread::sleep(Duration::from_millis(1));
        drop(guard);
        other.join().unwrap();
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}
