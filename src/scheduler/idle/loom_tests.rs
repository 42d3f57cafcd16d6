//! Nobody sleeps while there is something to run: the sleeper with an inbox, the search with fresh
//! queues, and the whole way of a wake-up from one worker to another.
//!
//! What a worker sleeps in (`Bell`) remembers a wake-up, as the reactor's waker does. A model in
//! which somebody sleeps for ever is a deadlock, which the checker reports.

#![expect(
    unsafe_code,
    reason = "items of an inbox are linked through themselves"
)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::{self, NonNull};

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;
use crate::park::word::{CLAIM_DEADLINE, CLAIM_TOKEN, CLAIM_WOKEN, Claim, Ends, WaitWord};
use crate::primitive::atomic::Ordering::Release;
use crate::primitive::atomic::{AtomicBool, AtomicPtr};
use crate::scheduler::fresh::Fresh;
use crate::scheduler::inbox::{Inbox, Linked};

/// Explores all orders with up to `n` preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn bounded(n: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(n));
    builder.check(model);
}

/// Runs `f` on another thread with what it shares.
fn beside<T, R>(shared: &Arc<T>, f: impl FnOnce(&T) -> R + 'static) -> thread::JoinHandle<R>
where
    T: 'static,
    R: 'static,
{
    let shared = Arc::clone(shared);
    thread::spawn(move || f(&shared))
}

/// The system call in which a worker sleeps.
struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    fn new() -> Self {
        Bell {
            rung: Mutex::new(false),
            condvar: Condvar::new(),
        }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.condvar.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !std::mem::take(&mut *rung) {
            rung = self.condvar.wait(rung).unwrap();
        }
    }
}

// The sleeper with an inbox.

/// A record, or what of it belongs to the models.
struct Green {
    link: AtomicPtr<Green>,
    word: WaitWord,
    /// Written by whoever wakes it.
    data: AtomicUsize,
    /// How often it was put into an inbox or run queue. Not part of the model.
    n_pushed: std::sync::atomic::AtomicUsize,
}

impl Green {
    fn new() -> Self {
        Green {
            link: AtomicPtr::new(ptr::null_mut()),
            word: WaitWord::new(),
            data: AtomicUsize::new(0),
            n_pushed: std::sync::atomic::AtomicUsize::new(0),
        }
    }
}

impl Linked for Green {
    fn link(&self) -> &AtomicPtr<Green> {
        &self.link
    }
}

/// The part of a worker that others may touch.
struct Shared {
    inbox: Inbox<Green>,
    sleeper: Sleeper,
    bell: Bell,
    /// How many system calls were made to wake it. Not part of the model.
    n_wakes: std::sync::atomic::AtomicUsize,
}

impl Shared {
    fn new() -> Self {
        Shared {
            inbox: Inbox::new(),
            sleeper: Sleeper::new(),
            bell: Bell::new(),
            n_wakes: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    fn push(&self, green: &Green) {
        green.n_pushed.fetch_add(1, Relaxed);
        // SAFETY: the models keep their green threads to the end, and claim before they push.
        unsafe { self.inbox.push(ptr::from_ref(green).cast_mut()) };
        if self.sleeper.notify() {
            self.n_wakes.fetch_add(1, Relaxed);
            self.bell.ring();
        }
    }

    /// What a worker does that has nothing to run.
    fn idle(&self) {
        self.sleeper.prepare();
        if self.inbox.is_empty() {
            self.bell.wait();
        }
        self.sleeper.awake();
    }
}

#[test]
fn a_push_is_seen_or_wakes() {
    loom::model(|| {
        let shared = Arc::new((Shared::new(), Green::new()));
        let pusher = beside(&shared, |(worker, green)| worker.push(green));
        let (worker, _) = &*shared;
        while worker.inbox.is_empty() {
            worker.idle();
        }
        assert_eq!(worker.inbox.take().count(), 1);
        pusher.join().unwrap();
        assert!(worker.n_wakes.load(Relaxed) <= 1);
    });
}

#[test]
fn two_pushers_wake_a_sleeping_worker_once() {
    loom::model(|| {
        let shared = Arc::new((Shared::new(), [Green::new(), Green::new()]));
        // Asleep from the beginning, and looks no more.
        shared.0.sleeper.prepare();
        let pushers =
            [0, 1].map(|which| beside(&shared, move |(worker, green)| worker.push(&green[which])));
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert_eq!(shared.0.n_wakes.load(Relaxed), 1);
        assert!(!shared.0.sleeper.is_sleeping());
    });
}

#[test]
fn two_pushers_never_leave_the_worker_asleep() {
    bounded(3, || {
        let shared = Arc::new((Shared::new(), [Green::new(), Green::new()]));
        let pushers =
            [0, 1].map(|which| beside(&shared, move |(worker, green)| worker.push(&green[which])));
        let (worker, _) = &*shared;
        let mut n_taken = 0;
        while n_taken < 2 {
            n_taken += worker.inbox.take().count();
            if n_taken < 2 {
                worker.idle();
            }
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn a_worker_that_sleeps_again_and_again_misses_nothing() {
    bounded(4, || {
        let shared = Arc::new((Shared::new(), [Green::new(), Green::new(), Green::new()]));
        let pusher = beside(&shared, |(worker, green)| {
            green.iter().for_each(|g| worker.push(g))
        });
        let (worker, _) = &*shared;
        let mut n_taken = 0;
        while n_taken < 3 {
            worker.idle();
            n_taken += worker.inbox.take().count();
        }
        pusher.join().unwrap();
        // Never more than one call for each time it slept, nor for each push.
        assert!(worker.n_wakes.load(Relaxed) <= 3);
    });
}

/// A shutdown, as `Core::begin_shutdown` and the worker's `idle`: a flag instead of an inbox.
#[test]
fn a_worker_does_not_sleep_through_a_shutdown() {
    loom::model(|| {
        let shared = Arc::new((Shared::new(), AtomicBool::new(false)));
        let owner = beside(&shared, |(worker, over)| {
            over.store(true, Release);
            if worker.sleeper.notify() {
                worker.bell.ring();
            }
        });
        let (worker, over) = &*shared;
        while !over.load(Relaxed) {
            worker.sleeper.prepare();
            if worker.inbox.is_empty() && !over.load(Relaxed) {
                worker.bell.wait();
            }
            worker.sleeper.awake();
        }
        owner.join().unwrap();
    });
}

// The search with fresh queues.

/// The workers of a runtime, as far as they spawn and steal. The first one spawns.
struct Pool {
    fresh: [Fresh<usize>; 3],
    search: Search,
    sleepers: [Sleeper; 3],
    bells: [Bell; 3],
    /// Woken, and not back in the loop yet. A worker that is will search before it sleeps again.
    n_wakes: AtomicUsize,
    items: [usize; 2],
}

impl Pool {
    fn new() -> Pool {
        let new = || (Fresh::new(), Sleeper::new());
        let [a, b, c] = [new(), new(), new()];
        Pool {
            fresh: [a.0, b.0, c.0],
            search: Search::new(),
            sleepers: [a.1, b.1, c.1],
            bells: [Bell::new(), Bell::new(), Bell::new()],
            n_wakes: AtomicUsize::new(0),
            items: [0, 1],
        }
    }

    /// As `Local::push_fresh`, on worker `me`.
    fn spawn(&self, me: usize, item: usize) {
        // SAFETY: each model calls this on one thread for each worker.
        unsafe { self.fresh[me].push(NonNull::from(&self.items[item])) };
        self.wake_searcher(me);
    }

    /// As `Core::wake_searcher`.
    fn wake_searcher(&self, me: usize) {
        if self.search.wants_wake() {
            for offset in 1..3 {
                let other = (me + offset) % 3;
                if self.sleepers[other].notify() {
                    self.n_wakes.fetch_add(1, Relaxed);
                    return self.bells[other].ring();
                }
            }
        }
    }

    /// As `Local::look`.
    fn look(&self, me: usize) -> bool {
        (0..3).any(|other| {
            let (head, tail) = self.fresh[other].span();
            other != me && head != tail
        })
    }

    fn steal(&self, me: usize) -> bool {
        (0..3).any(|other| other != me && self.fresh[other].take().is_some())
    }

    /// As `Local::search`, with naps that take no time. `false`: sleeps.
    fn search(&self, me: usize) -> bool {
        self.search.begin();
        loop {
            if self.look(me) && self.steal(me) {
                if self.search.found() {
                    self.wake_searcher(me);
                }
                return true;
            }
            self.sleepers[me].prepare();
            self.search.give_up();
            if !self.look(me) {
                return false;
            }
            self.sleepers[me].awake();
            self.search.resume();
        }
    }

    /// The loop of a worker that has nothing of its own, until somebody has stolen something.
    fn run(&self, me: usize, over: &AtomicBool) {
        while !over.load(Relaxed) {
            if self.search(me) {
                over.store(true, Relaxed);
                for other in 0..3 {
                    if self.sleepers[other].notify() {
                        self.bells[other].ring();
                    }
                }
                return;
            }
            if !over.load(Relaxed) {
                self.bells[me].wait();
            }
            self.sleepers[me].awake();
            self.search.woken();
        }
    }

    /// A searching worker finds something of its own.
    fn find_own(&self, me: usize) {
        self.search.begin();
        if self.search.found() {
            self.wake_searcher(me);
        }
    }

    /// Called in the end, when each of `others` sleeps or runs what it has stolen: something is
    /// left only if somebody was woken for it, or does not sleep and will search later.
    fn check(&self, sleep: &[bool]) {
        let is_left = self.look(usize::MAX);
        let all_asleep = sleep.iter().all(|&sleeps| sleeps);
        assert!(
            !(is_left && all_asleep && self.n_wakes.load(Relaxed) == 0),
            "left with all asleep"
        );
        assert_eq!(self.search.searching.load(Relaxed), 0);
        let n_sleeping = sleep.iter().filter(|&&sleeps| sleeps).count();
        assert_eq!(self.search.sleeping.load(Relaxed), n_sleeping);
    }
}

#[test]
fn a_spawn_is_seen_by_the_last_searcher_or_wakes_it() {
    loom::model(|| {
        let pool = Arc::new(Pool::new());
        let searcher = beside(&pool, |pool| !pool.search(1));
        pool.spawn(0, 0);
        let sleeps = searcher.join().unwrap();
        pool.check(&[sleeps]);
    });
}

#[test]
fn a_spawn_meets_two_searchers() {
    bounded(2, || {
        let pool = Arc::new(Pool::new());
        let searchers = [1, 2].map(|me| beside(&pool, move |pool| !pool.search(me)));
        pool.spawn(0, 0);
        let sleep = searchers.map(|searcher| searcher.join().unwrap());
        pool.check(&sleep);
    });
}

#[test]
fn two_spawns_meet_two_searchers() {
    bounded(2, || {
        let pool = Arc::new(Pool::new());
        let searchers = [1, 2].map(|me| beside(&pool, move |pool| !pool.search(me)));
        pool.spawn(0, 0);
        pool.spawn(0, 1);
        let sleep = searchers.map(|searcher| searcher.join().unwrap());
        pool.check(&sleep);
    });
}

/// The spawner is busy with something long, and others have to take what it has spawned.
#[test]
fn a_closure_is_stolen_in_the_end() {
    bounded(2, || {
        let shared = Arc::new((Pool::new(), AtomicBool::new(false)));
        let thieves = [1, 2].map(|me| beside(&shared, move |(pool, over)| pool.run(me, over)));
        shared.0.spawn(0, 0);
        for thief in thieves {
            thief.join().unwrap();
        }
        assert!(!shared.0.look(usize::MAX));
    });
}

/// The spawner saw that one searched; that one leaves with work of its own, and is the last.
#[test]
fn a_searcher_that_finds_its_own_hands_the_search_on() {
    bounded(3, || {
        let pool = Arc::new(Pool::new());
        let gives_up = beside(&pool, |pool| !pool.search(1));
        let finds = beside(&pool, |pool| pool.find_own(2));
        pool.spawn(0, 0);
        let sleeps = gives_up.join().unwrap();
        finds.join().unwrap();
        // The one with work of its own may be busy with it for long.
        pool.check(&[sleeps]);
    });
}

#[test]
fn a_worker_that_spawns_wakes_one_that_sleeps_already() {
    loom::model(|| {
        let pool = Arc::new(Pool::new());
        assert!(!pool.search(1));
        let other = beside(&pool, |pool| pool.spawn(2, 1));
        pool.spawn(0, 0);
        other.join().unwrap();
        assert_eq!(pool.n_wakes.load(Relaxed), 1, "one sleeps, so one is woken");
    });
}

// The whole: green threads of two workers wake each other.

/// What a green thread does next: `None` if it parks.
type Body = fn(&World, &Local<'_>, step: usize) -> Option<Step>;

enum Step {
    Goes(usize),
    Ends,
}

/// Two workers with a green thread each.
struct World {
    workers: [Shared; 2],
    green: [Green; 2],
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            workers: [Shared::new(), Shared::new()],
            green: [Green::new(), Green::new()],
        })
    }
}

/// The part of a worker that only it touches.
struct Local<'a> {
    index: usize,
    world: &'a World,
    ready: RefCell<VecDeque<*const Green>>,
    n_resumed: Cell<usize>,
    /// What ended its green thread's last wait.
    outcome: Cell<Option<Claim>>,
}

impl<'a> Local<'a> {
    fn new(world: &'a World, index: usize) -> Self {
        Local {
            index,
            world,
            ready: RefCell::new(VecDeque::new()),
            n_resumed: Cell::new(0),
            outcome: Cell::new(None),
        }
    }

    fn me(&self) -> &Green {
        &self.world.green[self.index]
    }

    /// As `scheduler::make_runnable`.
    fn make_runnable(&self, which: usize) {
        let green = &self.world.green[which];
        if which == self.index {
            green.n_pushed.fetch_add(1, Relaxed);
            self.ready.borrow_mut().push_back(ptr::from_ref(green));
        } else {
            self.world.workers[which].push(green);
        }
    }

    fn unpark(&self, which: usize) {
        let green = &self.world.green[which];
        green.data.fetch_add(1, Relaxed);
        if green.word.unpark() {
            self.make_runnable(which);
        }
    }

    /// As `Local::run`: its one green thread runs `body`, until that has ended.
    fn run(&self, body: Body) {
        let mut step = 0;
        loop {
            // The green thread runs until it parks.
            loop {
                match body(self.world, self, step) {
                    Some(Step::Goes(next)) => step = next,
                    Some(Step::Ends) => return,
                    None => break,
                }
            }
            step += 1;
            while self.ready.borrow_mut().pop_front().is_none() {
                let worker = &self.world.workers[self.index];
                self.ready
                    .borrow_mut()
                    .extend(worker.inbox.take().map(<*mut Green>::cast_const));
                if self.ready.borrow().is_empty() {
                    worker.idle();
                }
            }
            self.n_resumed.set(self.n_resumed.get() + 1);
            self.outcome.set(self.me().word.outcome());
            assert!(
                self.outcome.get().is_some(),
                "resumed with its episode open"
            );
        }
    }

    /// Called when the green thread has ended and nobody else runs.
    fn check(&self) {
        assert!(self.ready.borrow().is_empty());
        assert!(self.world.workers[self.index].inbox.is_empty());
        assert_eq!(self.me().n_pushed.load(Relaxed), self.n_resumed.get());
    }
}

const PARK: Ends = Ends {
    by_token: true,
    by_cancel: false,
};

/// Begins a park in step `step`, which step + 1 finds ended.
fn park(green: &Green, step: usize) -> Option<Step> {
    match green.word.open(PARK) {
        Ok(()) => None,
        Err(claim) => {
            assert_eq!(claim, CLAIM_TOKEN);
            Some(Step::Goes(step + 1))
        }
    }
}

#[test]
fn park_and_unpark_between_two_workers() {
    loom::model(|| {
        let world = World::new();
        let other = beside(&world, |world| {
            Local::new(world, 1).run(|_, local, _| {
                local.unpark(0);
                Some(Step::Ends)
            });
        });
        let local = Local::new(&world, 0);
        local.run(|_, local, step| match step {
            0 => park(local.me(), 0),
            _ => {
                assert_eq!(local.me().data.load(Relaxed), 1);
                Some(Step::Ends)
            }
        });
        other.join().unwrap();
        local.check();
    });
}

#[test]
fn a_ball_between_two_workers() {
    bounded(2, || {
        let world = World::new();
        let other = beside(&world, |world| {
            let local = Local::new(world, 1);
            local.run(|_, local, step| match step {
                0 => park(local.me(), 0),
                1 => {
                    assert_eq!(local.me().data.load(Relaxed), 1);
                    local.unpark(0);
                    park(local.me(), 1)
                }
                _ => {
                    assert_eq!(local.me().data.load(Relaxed), 2);
                    local.unpark(0);
                    Some(Step::Ends)
                }
            });
            local.check();
        });
        let local = Local::new(&world, 0);
        local.run(|_, local, step| match step {
            0 | 1 => {
                assert_eq!(local.me().data.load(Relaxed), step);
                local.unpark(1);
                park(local.me(), step)
            }
            _ => {
                assert_eq!(local.me().data.load(Relaxed), 2);
                Some(Step::Ends)
            }
        });
        other.join().unwrap();
        local.check();
    });
}

/// While a green thread stops, another worker wakes it, an OS thread does, and its deadline passes.
#[test]
fn a_thread_woken_from_three_sides_is_resumed_once() {
    bounded(3, || {
        let world = World::new();
        let claim = |world: &World, claim: Claim| {
            let green = &world.green[0];
            let claimed = green.word.claim(claim);
            if claimed {
                green.data.fetch_add(1, Relaxed);
                world.workers[0].push(green);
            }
            claimed
        };
        let queue = beside(&world, move |world| claim(world, CLAIM_WOKEN));
        let unparker = beside(&world, |world| Local::new(world, 1).unpark(0));
        let local = Local::new(&world, 0);
        local.run(|_, local, step| {
            match step {
                0 => {
                    let waits = park(local.me(), 0);
                    // The worker's own timer, while the thread is on its way.
                    if waits.is_none() && local.me().word.claim(CLAIM_DEADLINE) {
                        local.make_runnable(0);
                    }
                    waits
                }
                _ => Some(Step::Ends),
            }
        });
        unparker.join().unwrap();
        let queued = queue.join().unwrap();
        local.check();
        let (n_resumed, outcome) = (local.n_resumed.get(), local.outcome.get());
        assert_eq!(n_resumed, usize::from(outcome.is_some()));
        assert_eq!(queued, outcome == Some(CLAIM_WOKEN));
        // The token has ended the wait, or prevented it, or is still there.
        let used = outcome.is_none_or(|outcome| outcome == CLAIM_TOKEN);
        let left = local.me().word.open(PARK) == Err(CLAIM_TOKEN);
        assert!(used != left);
    });
}
