//! What many parked green threads hold. Each size runs in a child process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt::JoinHandle;
use greenrt_arch::{clock, usage};

use crate::harness::{Options, Spread, run_child};
use crate::mode;
use crate::quiet::Patience;

const SIZES: [(&str, u64, usize); 3] = [
    ("memory/10k_parked", 10_000, 5),
    ("memory/100k_parked", 100_000, 5),
    ("memory/million_parked", 1_000_000, 3),
];

/// Makes `n` threads that park; prints bytes resident, bytes of page table, mappings, wall and CPU
/// nanoseconds to make them, and wall nanoseconds until all have ended.
pub(crate) fn child(n: u64) {
    greenrt::run(|| {
        let before = usage::usage().expect("figures of this process");
        let n_parked = Arc::new(AtomicU64::new(0));
        let (start, cpu) = (Instant::now(), clock::process_cpu_ns());
        let threads: Vec<JoinHandle<()>> = (0..n)
            .map(|_| {
                let n_parked = Arc::clone(&n_parked);
                greenrt::spawn(move || {
                    n_parked.fetch_add(1, Relaxed);
                    greenrt::park();
                })
            })
            .collect();
        while n_parked.load(Relaxed) < n {
            greenrt::yield_now();
        }
        let (made, cpu) = (start.elapsed(), clock::process_cpu_ns() - cpu);
        let after = usage::usage().expect("figures of this process");
        let start = Instant::now();
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let ended = start.elapsed();
        let ns = |time: Duration| time.as_nanos();
        println!(
            "{} {} {} {} {} {}",
            after.rss_bytes - before.rss_bytes,
            after.page_table_bytes - before.page_table_bytes,
            after.n_mappings,
            ns(made),
            cpu,
            ns(ended),
        );
    });
}

pub(crate) fn print_table(options: &Options, patience: &mut Patience) {
    let sizes: Vec<_> = SIZES
        .iter()
        .filter(|(name, ..)| options.wants(name))
        .collect();
    if sizes.is_empty() {
        return;
    }
    println!(
        "\n{:32}  {:>9}  {:>11}  {:>6}  {:>8}  {:>16}  {:>9}  {:>8}",
        "row", "RSS each", "tables each", "sum", "mappings", "made in (s)", "CPU (s)", "ended (s)"
    );
    for &&(name, n, n_rounds) in &sizes {
        let n = if options.smoke { n / 100 } else { n };
        let n_rounds = if options.quick || options.smoke {
            1
        } else {
            n_rounds
        };
        for mode in mode::all() {
            let lines: Vec<Vec<f64>> = (0..n_rounds)
                .map(|_| {
                    let printed = patience.measure(|| run_child(mode, &["parked", &n.to_string()]));
                    printed
                        .split_whitespace()
                        .filter_map(|figure| figure.parse().ok())
                        .collect()
                })
                .collect();
            let column = |index: usize| Spread::of(lines.iter().map(|line| line[index]));
            let each = |index: usize| column(index).median / n as f64;
            let made = column(3);
            println!(
                "{:32}  {:>9.0}  {:>11.0}  {:>6.0}  {:>8.0}  {:>5.2} ({:.2}..{:.2})  {:>9.2}  {:>8.2}",
                format!("{name}, {mode}"),
                each(0),
                each(1),
                each(0) + each(1),
                column(2).median,
                made.median / 1e9,
                made.min / 1e9,
                made.max / 1e9,
                column(4).median / 1e9,
                column(5).median / 1e9,
            );
        }
    }
}
