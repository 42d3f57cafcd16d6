//! The heap against an ordered map, which is what it has to behave like.

use std::collections::BTreeMap;
use std::ptr;

use super::*;

/// A record that stands for a number. It is never followed.
fn record(number: usize) -> NonNull<Record> {
    NonNull::new(ptr::without_provenance_mut((number + 1) * 32)).unwrap()
}

fn number(record: NonNull<Record>) -> usize {
    record.as_ptr().addr() / 32 - 1
}

/// Threads of which each has at most one timer, and what the map says of them.
struct Model {
    timers: Timers,
    /// The last timer that each thread has set.
    last: Vec<Option<Key>>,
    /// By deadline, then by the order in which they were set.
    map: BTreeMap<(u64, u64), usize>,
    /// The key of each one that is set.
    keys: Vec<Option<(u64, u64)>>,
    n_set: u64,
}

impl Model {
    fn new(n: usize) -> Self {
        Model {
            timers: Timers::new(),
            last: vec![None; n],
            map: BTreeMap::new(),
            keys: vec![None; n],
            n_set: 0,
        }
    }

    fn insert(&mut self, which: usize, deadline: u64) {
        assert_eq!(self.keys[which], None);
        self.last[which] = Some(self.timers.insert(record(which), deadline));
        let key = (deadline, self.n_set);
        self.n_set += 1;
        self.keys[which] = Some(key);
        self.map.insert(key, which);
    }

    /// Removes a thread's timer, also if it has fired and its key is another's by now.
    fn remove(&mut self, which: usize) {
        if let Some(key) = self.last[which] {
            self.timers.remove(key, record(which));
        }
        if let Some(key) = self.keys[which].take() {
            self.map.remove(&key);
        }
    }

    /// Pops one, and checks that it is the right one.
    fn pop_due(&mut self, now: u64) -> Option<usize> {
        let popped = self.timers.pop_due(now).map(number);
        let due = self.map.first_entry().filter(|entry| entry.key().0 <= now);
        let expected = due.map(|entry| entry.remove());
        assert_eq!(popped, expected);
        if let Some(which) = popped {
            self.keys[which] = None;
        }
        popped
    }

    fn check_cheap(&self) {
        assert_eq!(
            self.timers.nearest(),
            self.map.first_key_value().map(|(key, _)| key.0)
        );
        assert_eq!(self.timers.heap.len(), self.map.len());
    }

    fn check(&self) {
        self.check_cheap();
        for (at, entry) in self.timers.heap.iter().enumerate() {
            assert_eq!(self.timers.positions[entry.key.0 as usize] as usize, at);
            if at > 0 {
                assert!(!entry.is_before(&self.timers.heap[(at - 1) / CHILDREN]));
            }
        }
        let is_set = |slot: &Slot| matches!(slot, Slot::Set(_));
        let n_set = self.timers.slots.iter().filter(|slot| is_set(slot)).count();
        assert_eq!(n_set, self.map.len());
        let next = |key: Key| match self.timers.slots[key.0 as usize] {
            Slot::Free(next) => next,
            Slot::Set(_) => panic!("a key is free and set"),
        };
        let n_free = std::iter::successors(self.timers.free, |&key| next(key)).count();
        assert_eq!(n_set + n_free, self.timers.slots.len(), "no key is lost");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Random steps on `n` timers, with deadlines of which `n_deadlines` are different.
fn random_steps(n: usize, n_deadlines: u64, n_steps: u32, first_number: u32, seed: u64) {
    let mut random = Random(seed);
    let mut model = Model::new(n);
    model.timers.next_number = first_number;
    let mut now = 0;
    for step in 0..n_steps {
        let which = random.below(n as u64) as usize;
        match random.below(8) {
            0..4 if model.keys[which].is_none() => {
                let deadline = now + random.below(n_deadlines);
                model.insert(which, deadline);
            }
            0..6 => model.remove(which),
            6 => drop(model.pop_due(now)),
            _ => {
                now += random.below(n_deadlines / 4 + 2);
                while model.pop_due(now).is_some() {}
            }
        }
        model.check_cheap();
        if step % 64 == 0 || n < 32 {
            model.check();
        }
    }
    while model.pop_due(u64::MAX).is_some() {}
    model.check();
}

#[test]
fn nothing_is_set_at_first() {
    let mut timers = Timers::new();
    assert_eq!(timers.nearest(), None);
    assert_eq!(timers.pop_due(u64::MAX), None);
}

#[test]
fn fires_at_its_deadline_and_never_before() {
    let mut model = Model::new(1);
    model.insert(0, 1000);
    assert_eq!(model.pop_due(999), None);
    assert_eq!(model.pop_due(1000), Some(0));
    assert_eq!(model.pop_due(u64::MAX), None);
}

#[test]
fn a_timer_in_the_past_fires_at_once() {
    let mut model = Model::new(2);
    model.insert(0, 0);
    model.insert(1, u64::MAX);
    assert_eq!(model.timers.nearest(), Some(0));
    assert_eq!(model.pop_due(5), Some(0));
    assert_eq!(model.pop_due(u64::MAX - 1), None);
    assert_eq!(model.pop_due(u64::MAX), Some(1));
}

#[test]
fn a_removed_timer_does_not_fire_and_can_be_set_again() {
    let mut model = Model::new(3);
    (0..3).for_each(|which| model.insert(which, 10 + which as u64));
    model.remove(1);
    model.remove(1);
    model.check();
    model.insert(1, 5);
    assert_eq!(
        [(); 4].map(|()| model.pop_due(100)),
        [Some(1), Some(0), Some(2), None]
    );
}

#[test]
fn equal_deadlines_fire_in_the_order_in_which_they_were_set() {
    let mut model = Model::new(1000);
    for which in 0..1000 {
        model.insert(which, 7);
    }
    for which in 0..1000 {
        assert_eq!(model.pop_due(7), Some(which));
    }
}

#[test]
fn equal_deadlines_keep_their_order_when_some_in_the_middle_go() {
    let mut model = Model::new(1000);
    (0..1000).for_each(|which| model.insert(which, 7));
    (0..1000)
        .filter(|which| which % 3 == 1)
        .for_each(|which| model.remove(which));
    model.check();
    let mut last = None;
    while let Some(which) = model.pop_due(7) {
        assert!(Some(which) > last);
        last = Some(which);
    }
}

#[test]
fn equal_deadlines_keep_their_order_when_the_numbers_wrap_around() {
    let mut model = Model::new(1000);
    model.timers.next_number = u32::MAX - 500;
    (0..1000).for_each(|which| model.insert(which, 7));
    model.check();
    (0..1000).for_each(|which| assert_eq!(model.pop_due(7), Some(which)));
}

/// Numbers that lie too far apart to compare spoil the order of equal deadlines, and nothing else.
#[test]
fn deadlines_keep_their_order_even_if_numbers_do_not() {
    let mut random = Random(0x71e5);
    let mut timers = Timers::new();
    let keys: Vec<Key> = (0..500)
        .map(|number| {
            timers.next_number = random.below(1 << 32) as u32;
            timers.insert(record(number), random.below(4))
        })
        .collect();
    for (number, key) in keys.into_iter().enumerate().step_by(3) {
        timers.remove(key, record(number));
    }
    let mut last = 0;
    while let Some(nearest) = timers.nearest() {
        assert!(nearest >= last);
        last = nearest;
        assert!(timers.pop_due(nearest).is_some());
    }
}

#[test]
fn a_fired_timer_does_not_remove_the_one_that_has_its_key_now() {
    let mut timers = Timers::new();
    let first = timers.insert(record(0), 1);
    assert_eq!(timers.pop_due(1), Some(record(0)));
    let second = timers.insert(record(1), 2);
    assert_eq!(first, second);
    timers.remove(first, record(0));
    assert_eq!(timers.nearest(), Some(2));
    assert_eq!(timers.pop_due(2), Some(record(1)));
    timers.remove(first, record(0));
    timers.remove(second, record(1));
}

#[test]
fn behaves_like_an_ordered_map() {
    let n_steps = if cfg!(debug_assertions) {
        5_000
    } else {
        100_000
    };
    for seed in 0..8 {
        for (n, n_deadlines) in [(3, 2), (10, 3), (30, 1000), (300, 20), (3000, 1 << 40)] {
            println!("seed {seed}, {n} timers, {n_deadlines} deadlines");
            random_steps(n, n_deadlines, n_steps, 0, seed);
            random_steps(n, n_deadlines, n_steps, u32::MAX - n_steps / 4, seed);
        }
    }
}

#[test]
fn a_hundred_thousand_at_once() {
    const N: usize = 100_000;
    let mut random = Random(0xca11);
    let mut model = Model::new(N);
    model.timers.next_number = u32::MAX - N as u32 / 2;
    for which in 0..N {
        let deadline = random.below(N as u64 / 2);
        model.insert(which, deadline);
    }
    model.check();
    // Most timers are removed long before they are due.
    for _ in 0..N / 2 {
        let which = random.below(N as u64) as usize;
        model.remove(which);
    }
    model.check();
    let mut now = 0;
    while model.timers.nearest().is_some() {
        now += 1;
        while model.pop_due(now).is_some() {}
    }
    model.check();
}

/// What a read timeout does: set at the end of the heap, and taken out again.
#[test]
fn a_timeout_that_does_not_pass_leaves_nothing_behind() {
    let mut model = Model::new(100);
    (0..99).for_each(|which| model.insert(which, which as u64));
    for round in 0..10_000 {
        model.insert(99, 1000 + round);
        model.remove(99);
    }
    model.check();
    assert_eq!(model.timers.heap.len(), 99);
    assert_eq!(model.timers.slots.len(), 100, "its key is used again");
}
