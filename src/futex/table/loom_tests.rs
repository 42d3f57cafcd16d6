//! Waiters and wakers in every order. The kernel is a second queue with a lock of its own, which
//! looks at the word under it, as the real one does.

use std::pin::pin;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;

const WORD: usize = 64;

/// One thread that waits: what claims it, and what it sleeps on.
struct Sleeper {
    /// 0: waits; 1: was woken; 2: has given up; 3: was handed the word.
    claimed: AtomicU32,
    asleep: Mutex<bool>,
    woken: Condvar,
}

impl Sleeper {
    fn new() -> Arc<Sleeper> {
        Arc::new(Sleeper {
            claimed: AtomicU32::new(0),
            asleep: Mutex::new(true),
            woken: Condvar::new(),
        })
    }

    fn claim_as(&self, what: u32) -> bool {
        let claimed = self.claimed.compare_exchange(0, what, SeqCst, Relaxed);
        claimed.is_ok()
    }

    fn wake(&self) {
        *self.asleep.lock().unwrap() = false;
        self.woken.notify_one();
    }

    /// Whoever is never woken is found by loom as a deadlock.
    fn sleep(&self) {
        let mut asleep = self.asleep.lock().unwrap();
        while *asleep {
            asleep = self.woken.wait(asleep).unwrap();
        }
    }
}

impl Claim for Arc<Sleeper> {
    type Wake = Arc<Sleeper>;

    fn claim(&self, message: u32) -> Option<Arc<Sleeper>> {
        let what = if message == 1 { 3 } else { 1 };
        self.claim_as(what).then(|| Arc::clone(self))
    }
}

/// A word, and both places where one may wait for it.
struct World {
    word: AtomicU32,
    table: Table<Arc<Sleeper>>,
    kernel: Mutex<Vec<Arc<Sleeper>>>,
}

impl World {
    fn new(word: u32) -> Arc<World> {
        Arc::new(World {
            word: AtomicU32::new(word),
            table: Table::new(),
            kernel: Mutex::new(Vec::new()),
        })
    }

    /// A green thread's wait; what has ended it, if it began.
    fn wait(&self, expected: u32, passed_over: bool) -> Option<u32> {
        let sleeper = Sleeper::new();
        let one = Waiter::new(Arc::clone(&sleeper), WORD, 1, 0, passed_over);
        let one = pin!(one);
        let holds = || self.word.load(Relaxed) == expected;
        // SAFETY: it sleeps until it was woken.
        if !unsafe { self.table.enqueue(one.as_ref(), holds) } {
            return None;
        }
        sleeper.sleep();
        Some(sleeper.claimed.load(SeqCst))
    }

    /// A green thread's wait whose deadline passes at once; whether it was woken.
    fn wait_with_deadline(&self, expected: u32) -> bool {
        let sleeper = Sleeper::new();
        let one = Waiter::new(Arc::clone(&sleeper), WORD, 1, 0, false);
        let one = pin!(one);
        let holds = || self.word.load(Relaxed) == expected;
        // SAFETY: removed below, or it was woken.
        if !unsafe { self.table.enqueue(one.as_ref(), holds) } {
            return false;
        }
        if sleeper.claim_as(2) {
            self.table.remove(one.as_ref());
            return false;
        }
        sleeper.sleep();
        true
    }

    /// An OS thread's wait.
    fn wait_in_kernel(&self, expected: u32) {
        self.table.in_kernel(WORD, || {
            let sleeper = Sleeper::new();
            {
                let mut kernel = self.kernel.lock().unwrap();
                fence(SeqCst);
                if self.word.load(Relaxed) != expected {
                    return;
                }
                kernel.push(Arc::clone(&sleeper));
            }
            sleeper.sleep();
        });
    }

    fn wake_kernel(&self, n: usize) -> usize {
        let woken: Vec<_> = {
            let mut kernel = self.kernel.lock().unwrap();
            let n = n.min(kernel.len());
            kernel.drain(..n).collect()
        };
        woken.iter().for_each(|sleeper| sleeper.wake());
        woken.len()
    }

    fn wake(&self, n: usize) -> usize {
        let kernel = |n| Some(self.wake_kernel(n));
        let woken = self
            .table
            .wake_both(WORD, n, u32::MAX, |one| one.wake.wake(), kernel);
        woken.unwrap()
    }

    /// Std's mutex, of which the word is 0: free, 1: locked, 2: locked, and somebody may wait.
    fn lock(&self, wait: impl Fn(&Self)) {
        if self.word.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            return;
        }
        while self.word.swap(2, SeqCst) != 0 {
            wait(self);
        }
    }

    fn unlock(&self) {
        if self.word.swap(0, SeqCst) == 2 {
            self.wake(1);
        }
    }
}

/// Explores all orders with up to `n` preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn bounded(n: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(n));
    builder.check(model);
}

fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || f(&world))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn a_waiter_sees_the_change_or_is_woken() {
    bounded(4, || {
        let world = World::new(0);
        let waiter = spawn(&world, |world| {
            world.wait(0, false);
        });
        // The weakest store that a user may do before a wake.
        world.word.store(1, Relaxed);
        world.wake(1);
        join([waiter]);
        assert_eq!(world.table.counts[0].waiters.load(Relaxed), 0);
    });
}

#[test]
fn one_in_the_table_and_one_in_the_kernel_are_both_woken() {
    bounded(3, || {
        let world = World::new(0);
        let green = spawn(&world, |world| {
            world.wait(0, false);
        });
        let os = spawn(&world, |world| world.wait_in_kernel(0));
        world.word.store(1, Relaxed);
        world.wake(usize::MAX);
        join([green, os]);
    });
}

#[test]
fn a_mutex_with_waiters_on_both_sides_loses_no_wake_up() {
    bounded(2, || {
        let world = World::new(1);
        let green = spawn(&world, |world| {
            world.lock(|world| {
                world.wait(2, false);
            });
            world.unlock();
        });
        let os = spawn(&world, |world| {
            world.lock(|world| world.wait_in_kernel(2));
            world.unlock();
        });
        world.unlock();
        join([green, os]);
        assert_eq!(world.word.load(Relaxed), 0);
    });
}

#[test]
fn a_wake_up_goes_to_one_who_still_waits() {
    bounded(3, || {
        let world = World::new(0);
        let gives_up = spawn(&world, |world| {
            let _ = world.wait_with_deadline(0);
        });
        let waits = spawn(&world, |world| {
            world.wait(0, false);
        });
        // One wake-up each time until the one who does not give up has gone on.
        world.word.store(1, Relaxed);
        world.wake(1);
        join([gives_up]);
        world.wake(1);
        join([waits]);
    });
}

#[test]
fn so_many_are_woken_as_were_counted() {
    bounded(3, || {
        let world = World::new(0);
        let n_woken = Arc::new(AtomicU32::new(0));
        let waiters = [(); 2].map(|()| {
            let n_woken = Arc::clone(&n_woken);
            spawn(&world, move |world| {
                let woken = world.wait_with_deadline(0);
                n_woken.fetch_add(u32::from(woken), Relaxed);
            })
        });
        let n = world.wake(1) as u32;
        join(waiters);
        assert_eq!(n_woken.load(Relaxed), n);
        assert_eq!(world.table.counts[0].waiters.load(Relaxed), 0);
    });
}

#[test]
fn a_lock_that_is_handed_over_has_one_owner() {
    fn lock(world: &World) {
        if world.word.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            return;
        }
        let mut passed_over = false;
        while world.word.swap(2, SeqCst) != 0 {
            match world.wait(2, passed_over) {
                Some(3) => return,
                woken => passed_over = woken.is_some(),
            }
        }
    }
    fn unlock(world: &World) {
        if world.word.compare_exchange(1, 0, SeqCst, SeqCst).is_ok() {
            return;
        }
        // A swap, because loom (0.7) takes a plain store for one that may lie before the swap of
        // another thread that has read what the store replaces.
        let free = || {
            world.word.swap(0, Release);
        };
        match world
            .table
            .hand_over(WORD, |_, passed_over| passed_over, free)
        {
            Handed::Nobody => {}
            Handed::Woken(one) | Handed::Over(one) => one.wake.wake(),
        }
    }
    bounded(2, || {
        let world = World::new(0);
        let owners = Arc::new(AtomicU32::new(0));
        let act = |world: &World, owners: &AtomicU32| {
            lock(world);
            assert_eq!(owners.fetch_add(1, SeqCst), 0, "two owners");
            owners.fetch_sub(1, SeqCst);
            unlock(world);
        };
        let others = [(); 2].map(|()| {
            let owners = Arc::clone(&owners);
            spawn(&world, move |world| act(world, &owners))
        });
        act(&world, &owners);
        join(others);
        assert_eq!(world.word.load(Relaxed), 0);
    });
}

#[test]
fn growing_loses_nobody() {
    bounded(2, || {
        let world = World::new(0);
        let waiter = spawn(&world, |world| {
            world.wait(0, false);
        });
        let grower = spawn(&world, |world| world.table.grow());
        world.word.store(1, Relaxed);
        world.wake(1);
        join([waiter, grower]);
    });
}

#[test]
fn one_who_is_moved_to_another_word_can_still_leave() {
    bounded(2, || {
        let world = World::new(0);
        world.table.grow();
        let gives_up = spawn(&world, |world| {
            let _ = world.wait_with_deadline(0);
        });
        // In another bucket.
        let mut words = (1..).map(|n| WORD + 4 * n);
        let other = words.find(|&word| hash(word) & 1 != hash(WORD) & 1);
        let other = other.unwrap();
        let moved = world
            .table
            .requeue((WORD, other), (0, 1), || true, |one| one.wake.wake());
        assert!(moved.unwrap().1 <= 1);
        join([gives_up]);
        assert_eq!(world.table.counts[0].waiters.load(Relaxed), 0);
    });
}
