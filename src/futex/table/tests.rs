//! The queues, against a model that is a plain list.

use std::cell::Cell as StdCell;

use super::*;

/// Somebody who waits, by number; claimed at most once.
struct Mock {
    number: usize,
    claimed: StdCell<bool>,
}

// SAFETY: these tests have one thread.
unsafe impl Sync for Mock {}

impl Claim for &Mock {
    type Wake = usize;

    fn claim(&self, _: u32) -> Option<usize> {
        (!self.claimed.replace(true)).then_some(self.number)
    }
}

type Queued<'a> = Pin<Box<Waiter<&'a Mock>>>;

fn table<'a>() -> Box<Table<&'a Mock>> {
    // Zeroes, as in a static; too large for a stack.
    // SAFETY: an empty table is all zeroes but for the mask.
    let mut table: Box<Table<&Mock>> = unsafe { Box::new_zeroed().assume_init() };
    table.mask = AtomicUsize::new((1 << BITS_FIRST) - 1);
    table
}

fn waiter(mock: &Mock, address: usize, bits: u32, passed_over: bool) -> Queued<'_> {
    Box::pin(Waiter::new(mock, address, bits, 0, passed_over))
}

fn wake(table: &Table<&Mock>, address: usize, n: usize, bits: u32) -> Vec<usize> {
    let mut woken = Vec::new();
    let n_woken = table.wake(address, n, bits, |one| woken.push(one.wake));
    assert_eq!(n_woken, woken.len());
    woken
}

fn mocks(n: usize) -> Vec<Mock> {
    (0..n)
        .map(|number| Mock {
            number,
            claimed: StdCell::new(false),
        })
        .collect()
}

fn random(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 16) as usize
}

/// A queued waiter as the model sees it.
#[derive(Clone, Copy)]
struct Modelled {
    number: usize,
    address: usize,
    bits: u32,
    passed_over: bool,
}

/// Takes out those whom a wake should take.
fn expect(model: &mut Vec<Modelled>, address: usize, n: usize, bits: u32) -> Vec<usize> {
    let mut woken = Vec::new();
    // Those who were passed over are in front.
    for passed_over in [true, false] {
        model.retain(|one| {
            let takes = one.passed_over == passed_over
                && one.address == address
                && one.bits & bits != 0
                && woken.len() < n;
            if takes {
                woken.push(one.number);
            }
            !takes
        });
    }
    woken
}

#[test]
fn random_operations_do_what_a_list_would() {
    for seed in 1..40 {
        let mut seed = seed * 0x9e37_79b9;
        let mocks = mocks(600);
        let table = table();
        let mut waiters: Vec<Option<Queued<'_>>> = Vec::new();
        let mut model: Vec<Modelled> = Vec::new();
        let n_addresses = [3, 40, 1000][random(&mut seed) % 3];
        let addresses = |seed: &mut u64| 4096 + 4 * (random(seed) % n_addresses);
        for mock in &mocks {
            let address = addresses(&mut seed);
            let bits = [u32::MAX, 1, 6][random(&mut seed) % 3];
            let passed_over = random(&mut seed).is_multiple_of(5);
            let one = waiter(mock, address, bits, passed_over);
            // SAFETY: `waiters` keeps it until it was woken or removed.
            assert!(unsafe { table.enqueue(one.as_ref(), || true) });
            waiters.push(Some(one));
            model.push(Modelled {
                number: mock.number,
                address,
                bits,
                passed_over,
            });
            let mut woken = Vec::new();
            match random(&mut seed) % 8 {
                0..3 => {
                    let address = addresses(&mut seed);
                    let n = [1, 1, 2, usize::MAX][random(&mut seed) % 4];
                    let bits = [u32::MAX, 2][random(&mut seed) % 2];
                    woken = wake(&table, address, n, bits);
                    assert_eq!(woken, expect(&mut model, address, n, bits));
                }
                3 => {
                    // One gives up.
                    let number = random(&mut seed) % waiters.len();
                    if let Some(one) = waiters[number].take() {
                        table.remove(one.as_ref());
                        model.retain(|other| other.number != number);
                    }
                }
                4 => {
                    let (from, to) = (addresses(&mut seed), addresses(&mut seed));
                    let (n_wake, n_move) = (random(&mut seed) % 3, random(&mut seed) % 4);
                    let counts = table.requeue(
                        (from, to),
                        (n_wake, n_move),
                        || true,
                        |one| woken.push(one.wake),
                    );
                    let expected = expect(&mut model, from, n_wake, u32::MAX);
                    assert_eq!(woken, expected);
                    let moved = if from == to {
                        Vec::new()
                    } else {
                        let before = model.clone();
                        let moved = expect(&mut model, from, n_move, u32::MAX);
                        for &number in &moved {
                            let one = before.iter().find(|one| one.number == number).unwrap();
                            model.push(Modelled {
                                address: to,
                                ..*one
                            });
                        }
                        moved
                    };
                    assert_eq!(counts, Some((expected.len(), moved.len())));
                }
                _ => {}
            }
            for number in woken {
                waiters[number] = None;
            }
        }
        let n_left: u32 = table
            .counts
            .iter()
            .map(|count| count.waiters.load(Relaxed))
            .sum();
        assert_eq!(n_left as usize, model.len());
        let mut all = Vec::new();
        table.wake_everyone(|one| all.push(one.wake));
        all.sort_unstable();
        let mut left: Vec<usize> = model.iter().map(|one| one.number).collect();
        left.sort_unstable();
        assert_eq!(all, left);
        assert!(
            table
                .counts
                .iter()
                .all(|count| count.waiters.load(Relaxed) == 0)
        );
    }
}

#[test]
fn a_claimed_waiter_uses_no_wake_up() {
    let mocks = mocks(3);
    let table = table();
    let waiters: Vec<_> = mocks
        .iter()
        .map(|mock| waiter(mock, 64, 1, false))
        .collect();
    for one in &waiters {
        // SAFETY: all are woken or removed below.
        assert!(unsafe { table.enqueue(one.as_ref(), || true) });
    }
    // Its deadline was faster.
    mocks[0].claimed.set(true);
    assert_eq!(wake(&table, 64, 1, u32::MAX), [1]);
    table.remove(waiters[0].as_ref());
    assert_eq!(wake(&table, 64, 5, u32::MAX), [2]);
    assert!(!table.may_have(64));
}

#[test]
fn a_word_that_has_changed_is_not_waited_for() {
    let mocks = mocks(1);
    let table = table();
    let one = waiter(&mocks[0], 64, 1, false);
    // SAFETY: not queued.
    assert!(!unsafe { table.enqueue(one.as_ref(), || false) });
    assert!(!table.may_have(64));
}

#[test]
fn chains_stay_short_with_a_hundred_thousand_words() {
    let mocks = mocks(100_000);
    let table = table();
    let waiters: Vec<_> = mocks
        .iter()
        // Slots of stacks: addresses with many low bits alike.
        .map(|mock| waiter(mock, (1 << 40) + (mock.number << 18), u32::MAX, false))
        .collect();
    for one in &waiters {
        // SAFETY: all are woken below.
        assert!(unsafe { table.enqueue(one.as_ref(), || true) });
    }
    let longest = table.buckets.iter().map(|bucket| {
        let chain = bucket.0.lock();
        chain.find(1).1
    });
    assert!(longest.max() < Some(24));
    for mock in &mocks {
        assert_eq!(
            wake(&table, (1 << 40) + (mock.number << 18), 1, 1),
            [mock.number]
        );
    }
}

#[test]
fn a_lock_is_handed_to_the_old_only() {
    let mocks = mocks(2);
    let table = table();
    let [young, passed] =
        [(0, false), (1, true)].map(|(n, passed)| waiter(&mocks[n], 64, 1, passed));
    let stored = StdCell::new(0);
    let hand_over = || {
        let free = || stored.set(stored.get() + 1);
        match table.hand_over(64, |_, passed| passed, free) {
            Handed::Nobody => None,
            Handed::Woken(one) => Some((one.wake, false)),
            Handed::Over(one) => Some((one.wake, true)),
        }
    };
    for one in [&young, &passed] {
        // SAFETY: both are woken below.
        assert!(unsafe { table.enqueue(one.as_ref(), || true) });
    }
    assert_eq!((hand_over(), stored.get()), (Some((1, true)), 0));
    assert_eq!((hand_over(), stored.get()), (Some((0, false)), 1));
    assert_eq!((hand_over(), stored.get()), (None, 2));
}
