//! Sleeps: what they cost, and how late they end.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt::JoinHandle;

use crate::harness::{Row, Sample, Size, figure};

const N_SLEEPS: u64 = 3;
const SHORTEST_NS: u64 = 10_000_000;
const LONGEST_NS: u64 = 1_000_000_000;

/// What the rows say besides their line in the table.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, op, n_ops, n_rounds, run| Row {
        name,
        op,
        size: Size::Fixed(n_ops, n_rounds),
        waits: true,
        run,
    };
    vec![
        row(
            "timer/100k_threads_3_sleeps",
            "a sleep of 10 to 1000 ms",
            300_000,
            3,
            random_sleeps,
        ),
        row("timer/ticker_1ms", "a sleep of 1 ms", 300, 3, ticker),
    ]
}

/// The notes of all rounds so far.
pub(crate) fn notes() -> Vec<String> {
    std::mem::take(&mut *NOTES.lock().unwrap())
}

/// Sleeps, and returns by how much too long.
fn lateness(duration: Duration) -> u64 {
    let before = Instant::now();
    greenrt::sleep(duration);
    let late = before
        .elapsed()
        .checked_sub(duration)
        .expect("a sleep ended early");
    late.as_nanos() as u64
}

fn random_sleeps(n_ops: u64) -> Sample {
    let n_threads = n_ops / N_SLEEPS;
    let lates: Vec<AtomicU64> = (0..n_threads * N_SLEEPS)
        .map(|_| AtomicU64::new(0))
        .collect();
    let lates: &'static [AtomicU64] = lates.leak();
    let sample = greenrt::run(|| {
        Sample::of(n_threads * N_SLEEPS, || {
            let threads: Vec<JoinHandle<()>> = lates
                .chunks_exact(N_SLEEPS as usize)
                .zip(0_u64..)
                .map(|(lates, number)| greenrt::spawn(move || sleeper(lates, number)))
                .collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        })
    });
    note(
        "timer/100k_threads_3_sleeps",
        sample,
        lates.iter().map(|late| late.load(Relaxed)),
    );
    sample
}

fn sleeper(lates: &[AtomicU64], number: u64) {
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for late in lates {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let ns = SHORTEST_NS + random % (LONGEST_NS - SHORTEST_NS);
        late.store(lateness(Duration::from_nanos(ns)), Relaxed);
    }
}

fn ticker(n_ops: u64) -> Sample {
    let mut lates = Vec::with_capacity(n_ops as usize);
    let sample = greenrt::run(|| {
        Sample::of(n_ops, || {
            lates.extend((0..n_ops).map(|_| lateness(Duration::from_millis(1))));
        })
    });
    note("timer/ticker_1ms", sample, lates.into_iter());
    sample
}

fn note(name: &str, sample: Sample, lates: impl Iterator<Item = u64>) {
    let mut lates: Vec<u64> = lates.collect();
    lates.sort_unstable();
    let at = |share: f64| {
        let index = (lates.len() as f64 * share) as usize;
        figure(lates[index.min(lates.len() - 1)] as f64 / 1000.0)
    };
    let note = format!(
        "{name}: wall {:.2} s, CPU {:.3} s; late by p50 {} us, p99 {} us, p99.9 {} us, at most {} us; none early",
        sample.wall_ns as f64 / 1e9,
        sample.cpu_ns as f64 / 1e9,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
    NOTES.lock().unwrap().push(note);
}
