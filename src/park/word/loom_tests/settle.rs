//! Where a descriptor is registered, and for what: with exactly one worker, whoever waits from
//! wherever, and for writing too once somebody has waited for that.
//!
//! Mirrors `is_home`, `settle`, `watch_writes` and `lose_home` of `reactor/source.rs`, with epolls that
//! are a cell each. Whoever changes one changes both.

use loom::sync::{Arc, Mutex};

use super::{beside, bounded};
use crate::primitive::atomic::AtomicBool;
use crate::primitive::atomic::Ordering::Relaxed;

/// Waits in a row from another worker, after which the descriptor moves there.
const MOVE_AFTER: u32 = 2;

#[derive(Default)]
struct State {
    /// The worker, and its token there.
    home: Option<(usize, u32)>,
    n_foreign: u32,
    moving: bool,
    /// Waits that nobody has ended.
    n_waiting: usize,
}

struct Source {
    reads_only: AtomicBool,
    state: Mutex<State>,
    /// The token under which each worker's epoll knows the descriptor, and whether for writing too.
    epolls: [Mutex<Option<(u32, bool)>>; 3],
}

impl Source {
    fn new() -> Arc<Source> {
        let epoll = || Mutex::new(None);
        Arc::new(Source {
            reads_only: AtomicBool::new(true),
            state: Mutex::new(State::default()),
            epolls: [epoll(), epoll(), epoll()],
        })
    }

    /// `EPOLL_CTL_ADD`, or `EPOLL_CTL_MOD` if that says `EEXIST`.
    fn register(&self, worker: usize, token: u32, all: bool) {
        *self.epolls[worker].lock().unwrap() = Some((token, all));
    }

    /// `EPOLL_CTL_MOD`.
    fn watch_all(&self, worker: usize, token: u32) {
        *self.epolls[worker].lock().unwrap() = Some((token, true));
    }

    /// `EPOLL_CTL_DEL`, which asks for no token.
    fn deregister(&self, worker: usize) {
        *self.epolls[worker].lock().unwrap() = None;
    }

    /// Whether a wait may begin, which it then does.
    fn queue(&self, here: usize) -> bool {
        let mut state = self.state.lock().unwrap();
        let is_home = Self::is_home(&mut state, here);
        state.n_waiting += usize::from(is_home);
        is_home
    }

    fn is_home(state: &mut State, here: usize) -> bool {
        match state.home {
            None => state.moving,
            Some((home, _)) if home == here => {
                state.n_foreign = 0;
                true
            }
            Some(_) => {
                state.n_foreign += 1;
                state.n_foreign < MOVE_AFTER || state.moving
            }
        }
    }

    fn settle(&self, here: usize, token: u32) {
        {
            let mut state = self.state.lock().unwrap();
            if state.moving {
                return;
            }
            state.moving = true;
        }
        let reads_only = self.reads_only.load(Relaxed);
        self.register(here, token, !reads_only);
        let old = {
            let mut state = self.state.lock().unwrap();
            state.n_foreign = 0;
            if reads_only && !self.reads_only.load(Relaxed) {
                self.watch_all(here, token);
            }
            state.home.replace((here, token))
        };
        if let Some((worker, _)) = old {
            self.deregister(worker);
        }
        self.state.lock().unwrap().moving = false;
    }

    fn watch_writes(&self) {
        let state = self.state.lock().unwrap();
        if !self.reads_only.load(Relaxed) {
            return;
        }
        if let Some((home, token)) = state.home {
            self.watch_all(home, token);
        }
        self.reads_only.store(false, Relaxed);
    }

    /// As `wait`, until something can be written.
    fn wait_to_write(&self, here: usize, token: u32) {
        if self.reads_only.load(Relaxed) {
            self.watch_writes();
        }
        self.wait(here, token);
    }

    /// A wait on a worker: it parks as soon as this returns.
    fn wait(&self, here: usize, token: u32) {
        while !self.queue(here) {
            self.settle(here, token);
        }
    }

    /// A worker ends, and wakes all who wait.
    fn lose_home(&self, worker: usize) {
        let mut state = self.state.lock().unwrap();
        state.home.take_if(|(home, _)| *home == worker);
        state.n_waiting = 0;
    }

    /// Called when nobody else runs: somebody who waits waits for something.
    fn check(&self) {
        let state = self.state.lock().unwrap();
        assert!(!state.moving);
        let Some((home, token)) = state.home else {
            assert_eq!(state.n_waiting, 0, "registered nowhere");
            return;
        };
        for (worker, epoll) in self.epolls.iter().enumerate() {
            let all = !self.reads_only.load(Relaxed);
            let expected = (worker == home).then_some((token, all));
            assert_eq!(*epoll.lock().unwrap(), expected, "of worker {worker}");
        }
    }
}

#[test]
fn the_first_to_wait_on_two_workers_register_once() {
    loom::model(|| {
        let source = Source::new();
        let other = beside(&source, |source| source.wait(1, 10));
        source.wait(0, 0);
        other.join().unwrap();
        source.check();
    });
}

#[test]
fn a_move_does_not_lose_the_registration() {
    bounded(4, || {
        let source = Source::new();
        source.wait(0, 0);
        let other = beside(&source, |source| {
            (10..13).for_each(|token| source.wait(1, token))
        });
        (1..4).for_each(|token| source.wait(0, token));
        other.join().unwrap();
        source.check();
    });
}

#[test]
fn who_waits_to_write_has_it_registered_for_that() {
    bounded(4, || {
        let source = Source::new();
        let other = beside(&source, |source| source.wait_to_write(1, 10));
        source.wait(0, 0);
        other.join().unwrap();
        assert!(!source.reads_only.load(Relaxed));
        source.check();
    });
}

#[test]
fn it_is_registered_for_writing_wherever_it_moves() {
    bounded(4, || {
        let source = Source::new();
        source.wait(0, 0);
        let other = beside(&source, |source| {
            (10..13).for_each(|token| source.wait(1, token))
        });
        source.wait_to_write(0, 1);
        other.join().unwrap();
        assert!(!source.reads_only.load(Relaxed));
        source.check();
    });
}

#[test]
fn three_workers_pull_at_one_descriptor() {
    bounded(3, || {
        let source = Source::new();
        let others = [1, 2].map(|worker| {
            beside(&source, move |source| {
                let first = 10 * worker as u32;
                (first..first + 2).for_each(|token| source.wait(worker, token));
            })
        });
        (0..2).for_each(|token| source.wait(0, token));
        for other in others {
            other.join().unwrap();
        }
        source.check();
    });
}

#[test]
fn a_worker_that_ends_leaves_nobody_waiting_there() {
    loom::model(|| {
        let source = Source::new();
        source.wait(0, 0);
        let other = beside(&source, |source| {
            (10..13).for_each(|token| source.wait(1, token))
        });
        source.lose_home(0);
        other.join().unwrap();
        assert!(
            source
                .state
                .lock()
                .unwrap()
                .home
                .is_none_or(|(home, _)| home == 1)
        );
        // Its epoll goes with it, whatever is still in there.
        *source.epolls[0].lock().unwrap() = None;
        source.check();
    });
}
