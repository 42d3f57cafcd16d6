//! Pushes from several threads while the worker takes.

#![expect(unsafe_code, reason = "the items are linked through themselves")]

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::primitive::atomic::AtomicUsize;

/// What is pushed: who pushed it, as which, and something written just before.
struct Item {
    link: AtomicPtr<Item>,
    pusher: usize,
    number: usize,
    data: AtomicUsize,
}

impl Linked for Item {
    fn link(&self) -> &AtomicPtr<Item> {
        &self.link
    }
}

impl Item {
    fn new(pusher: usize, number: usize) -> Box<Item> {
        let link = AtomicPtr::new(ptr::null_mut());
        Box::new(Item {
            link,
            pusher,
            number,
            data: AtomicUsize::new(0),
        })
    }
}

type Queue = Arc<Inbox<Item>>;

fn push(inbox: &Inbox<Item>, item: Box<Item>) {
    item.data.store(1, Relaxed);
    // SAFETY: the box is given up, and made one again by whoever takes the item, once.
    unsafe { inbox.push(Box::into_raw(item)) };
}

/// Takes everything, and notes who had pushed it as which.
#[expect(
    clippy::vec_box,
    reason = "an item keeps its address, by which it may be pushed again"
)]
fn take(inbox: &Inbox<Item>, taken: &mut Vec<(usize, usize)>) -> Vec<Box<Item>> {
    let mut items = Vec::new();
    for item in inbox.take() {
        // SAFETY: `push` has given this box up, and nobody else takes it.
        let item = unsafe { Box::from_raw(item) };
        assert_eq!(
            item.data.load(Relaxed),
            1,
            "what the pusher wrote is visible"
        );
        taken.push((item.pusher, item.number));
        items.push(item);
    }
    items
}

/// Each pusher's items are there once, and in their order.
fn check(mut taken: Vec<(usize, usize)>, n_pushers: usize, n_each: usize) {
    // Stable, so it keeps the order of each pusher's own.
    taken.sort_by_key(|&(pusher, _)| pusher);
    let all: Vec<_> = (0..n_pushers)
        .flat_map(|p| (0..n_each).map(move |n| (p, n)))
        .collect();
    assert_eq!(taken, all);
}

fn pusher(inbox: &Queue, who: usize, n: usize) -> thread::JoinHandle<()> {
    let inbox = Arc::clone(inbox);
    thread::spawn(move || {
        for number in 0..n {
            push(&inbox, Item::new(who, number));
        }
    })
}

/// Explores all orders with up to `n` preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn bounded(n: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(n));
    builder.check(model);
}

#[test]
fn takes_between_the_pushes_of_one_lose_nothing() {
    loom::model(|| {
        let inbox = Queue::new(Inbox::new());
        let pusher = pusher(&inbox, 0, 3);
        let mut taken = Vec::new();
        take(&inbox, &mut taken);
        take(&inbox, &mut taken);
        pusher.join().unwrap();
        take(&inbox, &mut taken);
        assert!(inbox.is_empty());
        check(taken, 1, 3);
    });
}

#[test]
fn two_pushers_keep_their_orders() {
    bounded(4, || {
        let inbox = Queue::new(Inbox::new());
        let pushers = [0, 1].map(|who| pusher(&inbox, who, 2));
        let mut taken = Vec::new();
        take(&inbox, &mut taken);
        take(&inbox, &mut taken);
        for pusher in pushers {
            pusher.join().unwrap();
        }
        take(&inbox, &mut taken);
        check(taken, 2, 2);
    });
}

#[test]
fn three_pushers_lose_nothing() {
    bounded(2, || {
        let inbox = Queue::new(Inbox::new());
        let pushers = [0, 1, 2].map(|who| pusher(&inbox, who, 1));
        let mut taken = Vec::new();
        take(&inbox, &mut taken);
        for pusher in pushers {
            pusher.join().unwrap();
        }
        take(&inbox, &mut taken);
        check(taken, 3, 1);
    });
}

#[test]
fn an_item_may_come_back_while_others_push() {
    bounded(4, || {
        let inbox = Queue::new(Inbox::new());
        push(&inbox, Item::new(0, 0));
        let pusher = pusher(&inbox, 1, 2);
        let mut taken = Vec::new();
        // The same address is the newest again, which a pusher may have seen before.
        for item in take(&inbox, &mut taken) {
            if item.pusher == 0 {
                push(&inbox, item);
                taken.retain(|&(pusher, _)| pusher != 0);
            }
        }
        pusher.join().unwrap();
        take(&inbox, &mut taken);
        taken.sort_by_key(|&(pusher, _)| pusher);
        assert_eq!(taken, [(0, 0), (1, 0), (1, 1)]);
    });
}

#[test]
fn what_the_worker_sees_is_complete() {
    loom::model(|| {
        let inbox = Queue::new(Inbox::new());
        let pusher = pusher(&inbox, 0, 1);
        // The cheap look may be late, but if it sees something, that can be taken.
        if !inbox.is_empty() {
            let mut taken = Vec::new();
            take(&inbox, &mut taken);
            check(taken, 1, 1);
        }
        pusher.join().unwrap();
        take(&inbox, &mut Vec::new());
    });
}
