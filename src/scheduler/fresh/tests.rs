//! Order, growth and wrapping by one thread; then millions of entries among real threads.

use std::hint;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

/// An entry that stands for a number. It is never followed.
fn entry(number: usize) -> NonNull<u8> {
    NonNull::new(ptr::without_provenance_mut(number + 1)).unwrap()
}

fn push(fresh: &Fresh<u8>, number: usize) {
    // SAFETY: in each test one thread calls this.
    unsafe { fresh.push(entry(number)) };
}

fn take(fresh: &Fresh<u8>) -> Option<usize> {
    fresh.take().map(|entry| entry.as_ptr().addr() - 1)
}

#[test]
fn an_empty_queue_gives_nothing() {
    let fresh = Fresh::<u8>::new();
    assert!(fresh.is_empty());
    assert_eq!(take(&fresh), None);
    push(&fresh, 0);
    assert!(!fresh.is_empty());
    assert_eq!(take(&fresh), Some(0));
    assert_eq!(take(&fresh), None);
    assert!(fresh.is_empty());
}

#[test]
fn first_in_first_out_across_growth() {
    let fresh = Fresh::new();
    let n = FIRST_CAPACITY * 8 + 3;
    (0..n).for_each(|number| push(&fresh, number));
    let taken: Vec<usize> = std::iter::from_fn(|| take(&fresh)).collect();
    assert_eq!(taken, (0..n).collect::<Vec<_>>());
}

#[test]
fn growth_in_the_middle_of_the_ring_keeps_the_order() {
    for start in [1, FIRST_CAPACITY / 2, FIRST_CAPACITY - 1] {
        let fresh = Fresh::new();
        (0..start).for_each(|number| push(&fresh, number));
        (0..start).for_each(|number| assert_eq!(take(&fresh), Some(number)));
        let numbers = start..start + FIRST_CAPACITY * 2 + 1;
        numbers.clone().for_each(|number| push(&fresh, number));
        numbers.for_each(|number| assert_eq!(take(&fresh), Some(number)));
        assert_eq!(take(&fresh), None);
    }
}

#[test]
fn a_full_ring_that_is_drained_does_not_grow() {
    let fresh = Fresh::new();
    for number in 0..FIRST_CAPACITY {
        push(&fresh, number);
    }
    for number in FIRST_CAPACITY..FIRST_CAPACITY * 10 {
        assert_eq!(take(&fresh), Some(number - FIRST_CAPACITY));
        push(&fresh, number);
    }
    // SAFETY: nobody pushes now.
    let rings = unsafe { &*fresh.rings.get() };
    assert_eq!(rings.len(), 1);
}

#[test]
fn numbers_wrap_around() {
    let fresh = Fresh::new();
    let start = usize::MAX - FIRST_CAPACITY / 2;
    fresh.head.store(start, Relaxed);
    fresh.tail.store(start, Relaxed);
    assert!(fresh.is_empty());
    assert_eq!(take(&fresh), None);
    // The ring is full, and then grows, while the numbers wrap.
    let n = FIRST_CAPACITY * 2;
    (0..n).for_each(|number| push(&fresh, number));
    assert!(!fresh.is_empty());
    assert_eq!(fresh.span(), (start, start.wrapping_add(n)));
    (0..n).for_each(|number| assert_eq!(take(&fresh), Some(number)));
    assert!(fresh.is_empty());
}

#[test]
fn the_span_tells_what_has_aged() {
    let fresh = Fresh::new();
    (0..5).for_each(|number| push(&fresh, number));
    let (_, tail_then) = fresh.span();
    (5..9).for_each(|number| push(&fresh, number));
    (0..2).for_each(|number| assert_eq!(take(&fresh), Some(number)));
    let (head, _) = fresh.span();
    assert_eq!(tail_then.wrapping_sub(head), 3);
}

/// A few steps of a thread's own random numbers.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Bursts of `1..=burst_max`, of which the worker then takes some, and two thieves the rest.
fn stress(n: usize, burst_max: u64, seed: u64) {
    let fresh = Fresh::new();
    let taken: Vec<AtomicBool> = (0..n).map(|_| AtomicBool::new(false)).collect();
    let done = AtomicBool::new(false);
    let note = |number: usize, last: &mut Option<usize>| {
        assert!(
            *last < Some(number),
            "seed {seed}: {number} taken after {last:?}"
        );
        *last = Some(number);
        assert!(
            !taken[number].swap(true, Relaxed),
            "seed {seed}: {number} taken twice"
        );
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = None;
                while !done.load(Acquire) {
                    match take(&fresh) {
                        Some(number) => note(number, &mut last),
                        None => hint::spin_loop(),
                    }
                }
            });
        }
        let mut seed = seed | 1;
        let mut last = None;
        let mut pushed = 0;
        while pushed < n {
            for _ in 0..=next(&mut seed) % burst_max {
                if pushed < n {
                    push(&fresh, pushed);
                    pushed += 1;
                }
            }
            for _ in 0..next(&mut seed) % burst_max {
                match take(&fresh) {
                    Some(number) => note(number, &mut last),
                    None => break,
                }
            }
        }
        while let Some(number) = take(&fresh) {
            note(number, &mut last);
        }
        done.store(true, Release);
    });
    // A thief may hold the last ones a moment longer, but not beyond the scope.
    let missing = taken.iter().position(|taken| !taken.load(Relaxed));
    assert_eq!(missing, None, "seed {seed}: lost");
}

const MANY: usize = if cfg!(debug_assertions) {
    200_000
} else {
    4_000_000
};

#[test]
fn each_of_millions_is_taken_once_in_a_short_ring() {
    stress(MANY, 4, 0x5eed_0001);
}

#[test]
fn each_of_millions_is_taken_once_while_the_ring_grows() {
    stress(MANY, 3000, 0x5eed_0002);
}

#[test]
fn many_short_lives_grow_under_thieves() {
    // The first rings are the ones that grow most often.
    for round in 0..MANY as u64 / 20_000 {
        stress(
            4 * FIRST_CAPACITY,
            2 * FIRST_CAPACITY as u64,
            0x5eed_0003 + round,
        );
    }
}
