//! The queue by itself, and against a plain one that keeps every marker apart.

use std::collections::VecDeque;

use super::*;

fn thread(n: usize) -> NonNull<Record> {
    NonNull::new(std::ptr::without_provenance_mut(n * 32)).unwrap()
}

fn all(queue: &mut RunQueue) -> Vec<Next> {
    std::iter::from_fn(|| queue.pop()).collect()
}

#[test]
fn markers_and_threads_keep_their_order() {
    let mut queue = RunQueue::new();
    queue.push_marker();
    queue.push_marker();
    queue.push(thread(1));
    queue.push_marker();
    queue.push(thread(2));
    let expected = [
        Next::Fresh,
        Next::Fresh,
        Next::Thread(thread(1)),
        Next::Fresh,
        Next::Thread(thread(2)),
    ];
    assert_eq!(all(&mut queue), expected);
    assert!(queue.is_empty());
}

#[test]
fn a_burst_of_markers_takes_one_entry() {
    let mut queue = RunQueue::new();
    for _ in 0..1_000_000 {
        queue.push_marker();
    }
    assert_eq!(queue.ring.len(), FIRST_CAPACITY);
    assert_eq!(all(&mut queue).len(), 1_000_000);
}

#[test]
fn a_marker_after_the_ring_has_emptied_is_a_new_one() {
    let mut queue = RunQueue::new();
    queue.push_marker();
    assert_eq!(queue.pop(), Some(Next::Fresh));
    queue.push_marker();
    assert_eq!(all(&mut queue), [Next::Fresh]);
}

#[test]
fn it_grows_while_it_wraps_around_and_keeps_the_order() {
    let mut queue = RunQueue::new();
    let mut next_out = 1;
    for n in 1..=10_000 {
        queue.push(thread(n));
        if n % 3 == 0 {
            assert_eq!(queue.pop(), Some(Next::Thread(thread(next_out))));
            next_out += 1;
        }
    }
    for entry in all(&mut queue) {
        assert_eq!(entry, Next::Thread(thread(next_out)));
        next_out += 1;
    }
    assert_eq!(next_out, 10_001);
}

#[test]
fn an_empty_queue_gives_nothing() {
    let mut queue = RunQueue::new();
    assert!(queue.is_empty());
    assert_eq!(queue.pop(), None);
    assert_eq!(queue.peek(0), None);
    queue.shrink();
    assert_eq!(queue.pop(), None);
}

#[test]
fn a_marker_behind_a_thread_does_not_join_the_ones_before_it() {
    let mut queue = RunQueue::new();
    queue.push_marker();
    queue.push(thread(1));
    queue.push_marker();
    assert_eq!(queue.pop(), Some(Next::Fresh));
    assert_eq!(queue.pop(), Some(Next::Thread(thread(1))));
    // The first entry is what is left of a row of markers, which may still grow.
    queue.push_marker();
    assert_eq!(queue.pop(), Some(Next::Fresh));
    queue.push_marker();
    queue.push(thread(2));
    let expected = [Next::Fresh, Next::Fresh, Next::Thread(thread(2))];
    assert_eq!(all(&mut queue), expected);
}

#[test]
fn exactly_full_is_not_empty() {
    let mut queue = RunQueue::new();
    (1..=FIRST_CAPACITY).for_each(|n| queue.push(thread(n)));
    assert_eq!(queue.ring.len(), FIRST_CAPACITY);
    assert!(!queue.is_empty());
    // A marker takes an entry of its own, so the ring grows.
    queue.push_marker();
    assert_eq!(queue.ring.len(), 2 * FIRST_CAPACITY);
    let order = all(&mut queue);
    assert_eq!(order.len(), FIRST_CAPACITY + 1);
    assert_eq!(order.last(), Some(&Next::Fresh));
}

#[test]
fn peek_counts_a_row_of_markers_as_one() {
    let mut queue = RunQueue::new();
    queue.push(thread(1));
    queue.push_marker();
    queue.push_marker();
    queue.push(thread(2));
    let seen = [0, 1, 2, 3].map(|ahead| queue.peek(ahead));
    assert_eq!(seen, [Some(thread(1)), None, Some(thread(2)), None]);
}

#[test]
fn the_memory_of_a_burst_is_given_back_when_it_is_over() {
    let mut queue = RunQueue::new();
    let n = KEEP_CAPACITY + 1;
    (1..=n).for_each(|n| queue.push(thread(n)));
    assert!(queue.ring.len() > KEEP_CAPACITY);
    queue.shrink();
    assert!(
        queue.ring.len() > KEEP_CAPACITY,
        "not while something is in it"
    );
    assert_eq!(all(&mut queue).len(), n);
    queue.shrink();
    assert_eq!(queue.ring.len(), FIRST_CAPACITY);
    queue.push(thread(7));
    assert_eq!(all(&mut queue), [Next::Thread(thread(7))]);
}

/// Random steps, from a place in the ring and a number that is about to wrap around.
#[test]
fn behaves_like_a_plain_queue() {
    for seed in 1..=20_u64 {
        println!("seed {seed}");
        let mut random = seed;
        let mut queue = RunQueue::new();
        queue.head = usize::MAX - (seed as usize * 37) % 3000;
        queue.tail = queue.head;
        let mut plain = VecDeque::new();
        for step in 1..=20_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Phases in which it fills, and phases in which it drains.
            match (random >> 32) % if step / 1000 % 2 == 0 { 7 } else { 16 } {
                0..2 => {
                    queue.push(thread(step));
                    plain.push_back(Next::Thread(thread(step)));
                }
                2..4 => {
                    queue.push_marker();
                    plain.push_back(Next::Fresh);
                }
                4 => queue.shrink(),
                _ => assert_eq!(queue.pop(), plain.pop_front()),
            }
            assert_eq!(queue.is_empty(), plain.is_empty());
            let next = match plain.front() {
                Some(&Next::Thread(thread)) => Some(thread),
                Some(Next::Fresh) | None => None,
            };
            assert_eq!(queue.peek(0), next);
        }
        assert_eq!(all(&mut queue), Vec::from(plain));
    }
}
