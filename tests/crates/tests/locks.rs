//! Locks, channels and pools of threads: parking_lot, crossbeam-channel, rayon.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::no_more_os_threads;
use crate::support::tests;

tests! {
    parking_lot_is_waited_for
    crossbeam_channels_pass_messages
    rayon_computes_on_green_threads
}

fn parking_lot_is_waited_for() {
    no_more_os_threads(|| {
        let shared = Arc::new((parking_lot::Mutex::new(0), parking_lot::Condvar::new()));
        let threads: Vec<_> = (0..50)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut count = shared.0.lock();
                    while *count != n {
                        shared.1.wait(&mut count);
                    }
                    *count += 1;
                    thread::yield_now();
                    shared.1.notify_all();
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(*shared.0.lock(), 50);
    });
}

fn crossbeam_channels_pass_messages() {
    no_more_os_threads(|| {
        let (sender, receiver) = crossbeam_channel::bounded(2);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let receiver = receiver.clone();
                thread::spawn(move || {
                    let mut sum = 0;
                    loop {
                        crossbeam_channel::select! {
                            recv(receiver) -> message => match message {
                                Ok(n) => sum += n,
                                Err(_) => return sum,
                            },
                            default(Duration::from_secs(60)) => panic!("nothing for a minute"),
                        }
                    }
                })
            })
            .collect();
        (1..=1000_u64).for_each(|n| sender.send(n).unwrap());
        drop(sender);
        let sum: u64 = receivers
            .into_iter()
            .map(|receiver| receiver.join().unwrap())
            .sum();
        assert_eq!(sum, 500_500);
    });
}

/// Its threads are green: they compute on the workers, and take turns with everybody else there.
fn rayon_computes_on_green_threads() {
    use rayon::prelude::*;
    no_more_os_threads(|| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(4)
            .build()
            .unwrap();
        let sum: u64 = pool.install(|| (0..100_000_u64).into_par_iter().map(|n| n % 7).sum());
        assert_eq!(sum, (0..100_000).map(|n| n % 7).sum());
        let green = pool.broadcast(|_| greenrt::lowlevel::on_green_thread());
        assert_eq!(green, [true; 4]);
    });
}
