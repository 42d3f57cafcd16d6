//! One worker that pushes and takes, and thieves. The first ring has room for two.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// What is spawned; its data is written just before the push.
struct Item {
    number: usize,
    data: AtomicUsize,
}

/// The queue, and the items that the model pushes to it.
struct Model {
    fresh: Fresh<Item>,
    items: Vec<Item>,
}

impl Model {
    fn new(n_items: usize) -> Arc<Model> {
        let item = |number| Item {
            number,
            data: AtomicUsize::new(0),
        };
        Arc::new(Model {
            fresh: Fresh::new(),
            items: (0..n_items).map(item).collect(),
        })
    }

    /// Only the main thread of a model calls this.
    fn push(&self, number: usize) {
        let item = &self.items[number];
        item.data.store(1, Relaxed);
        // SAFETY: the main thread is the worker.
        unsafe { self.fresh.push(NonNull::from(item)) };
    }

    fn take(&self) -> Option<usize> {
        let item = self.fresh.take()?;
        // SAFETY: points into `items`, which the model keeps.
        let item = unsafe { item.as_ref() };
        assert_eq!(
            item.data.load(Relaxed),
            1,
            "what the spawner wrote is visible"
        );
        Some(item.number)
    }

    fn take_n(&self, n: usize) -> Vec<usize> {
        (0..n).filter_map(|_| self.take()).collect()
    }

    /// Called when nobody else runs: all pushed items were taken once, each taker's in order.
    fn check(&self, mut takers: Vec<Vec<usize>>) {
        takers.push(std::iter::from_fn(|| self.take()).collect());
        assert!(self.fresh.is_empty());
        for taken in &takers {
            assert!(taken.is_sorted(), "{taken:?}");
        }
        let mut all = takers.concat();
        all.sort_unstable();
        assert_eq!(all, (0..self.items.len()).collect::<Vec<_>>());
    }
}

fn thief(model: &Arc<Model>, n: usize) -> thread::JoinHandle<Vec<usize>> {
    let model = Arc::clone(model);
    thread::spawn(move || model.take_n(n))
}

/// Explores all orders with up to `n` preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn bounded(n: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(n));
    builder.check(model);
}

#[test]
fn worker_and_thief_take_each_entry_once() {
    bounded(4, || {
        let model = Model::new(2);
        let thief = thief(&model, 2);
        model.push(0);
        model.push(1);
        let mine = model.take_n(2);
        let stolen = thief.join().unwrap();
        model.check(vec![mine, stolen]);
    });
}

#[test]
fn two_thieves_take_each_entry_once() {
    bounded(3, || {
        let model = Model::new(2);
        model.push(0);
        let thieves = [thief(&model, 1), thief(&model, 1)];
        model.push(1);
        let mine = model.take_n(1);
        let mut takers = thieves.map(|thief| thief.join().unwrap()).to_vec();
        takers.push(mine);
        model.check(takers);
    });
}

#[test]
fn the_ring_grows_under_a_thief() {
    loom::model(|| {
        let model = Model::new(3);
        model.push(0);
        model.push(1);
        let thief = thief(&model, 2);
        model.push(2);
        let stolen = thief.join().unwrap();
        model.check(vec![stolen]);
    });
}

#[test]
fn the_ring_grows_under_two_thieves() {
    bounded(2, || {
        let model = Model::new(4);
        model.push(0);
        model.push(1);
        let thieves = [thief(&model, 2), thief(&model, 1)];
        model.push(2);
        model.push(3);
        let mine = model.take_n(1);
        let mut takers = thieves.map(|thief| thief.join().unwrap()).to_vec();
        takers.push(mine);
        model.check(takers);
    });
}

#[test]
fn the_ring_grows_twice_under_a_thief() {
    bounded(2, || {
        let model = Model::new(6);
        let thief = thief(&model, 2);
        (0..5).for_each(|number| model.push(number));
        let mine = model.take_n(1);
        model.push(5);
        let stolen = thief.join().unwrap();
        model.check(vec![mine, stolen]);
    });
}

#[test]
fn a_slot_is_used_again_under_a_thief() {
    bounded(3, || {
        let model = Model::new(4);
        model.push(0);
        model.push(1);
        let thief = thief(&model, 2);
        // Each take frees the slot that the next push fills, if the thief was not faster.
        let mut mine = model.take_n(1);
        model.push(2);
        mine.extend(model.take());
        model.push(3);
        let stolen = thief.join().unwrap();
        model.check(vec![mine, stolen]);
    });
}

#[test]
fn an_entry_that_was_there_is_found() {
    loom::model(|| {
        let model = Model::new(2);
        model.push(0);
        let thief = thief(&model, 1);
        model.push(1);
        // One of two entries is left, whatever the thief does.
        let mine = model.take_n(1);
        assert_eq!(mine.len(), 1);
        let stolen = thief.join().unwrap();
        assert_eq!(stolen.len(), 1);
        model.check(vec![mine, stolen]);
    });
}

#[test]
fn the_span_never_shows_an_empty_queue_that_is_not() {
    loom::model(|| {
        let model = Model::new(2);
        model.push(0);
        model.push(1);
        let thief = thief(&model, 1);
        let (head, tail) = model.fresh.span();
        assert!(head <= 1 && tail == 2);
        assert!(!model.fresh.is_empty());
        let stolen = thief.join().unwrap();
        model.check(vec![stolen]);
    });
}
