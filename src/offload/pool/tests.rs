use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Pool;

/// Jobs that wait until they are let go, and how many there are.
#[derive(Default)]
struct Gate {
    state: Mutex<Count>,
    changed: Condvar,
}

#[derive(Default)]
struct Count {
    n_inside: usize,
    n_inside_max: usize,
    n_done: usize,
    is_open: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, Count> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to become true.
    fn wait_for(&self, mut is_so: impl FnMut(&Count) -> bool) {
        let limit = Duration::from_secs(100);
        let waited = self
            .changed
            .wait_timeout_while(self.state(), limit, |count| !is_so(count));
        assert!(!waited.unwrap().1.timed_out(), "nothing happens");
    }

    fn change(&self, change: impl FnOnce(&mut Count)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn stuck(self: &Arc<Self>) -> super::Job {
        let gate = Arc::clone(self);
        Box::new(move || {
            gate.change(|count| {
                count.n_inside += 1;
                count.n_inside_max = count.n_inside_max.max(count.n_inside);
            });
            gate.wait_for(|count| count.is_open);
            gate.change(|count| {
                count.n_inside -= 1;
                count.n_done += 1;
            });
        })
    }
}

fn pool(n_busy_max: usize, n_threads_max: usize) -> &'static Pool {
    Box::leak(Box::new(Pool::new("test", n_busy_max, n_threads_max)))
}

#[test]
fn who_is_queued_behind_jobs_that_are_stuck_gets_a_thread_in_the_end() {
    let pool = pool(2, 40);
    let (gate, quick) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    quick.change(|count| count.is_open = true);
    for n_stuck in [1, 10, 30] {
        for _ in gate.state().n_inside..n_stuck {
            assert!(pool.submit(gate.stuck()).is_empty());
        }
        let n_done = quick.state().n_done;
        assert!(pool.submit(quick.stuck()).is_empty());
        quick.wait_for(|count| count.n_done == n_done + 1);
        gate.wait_for(|count| count.n_inside == n_stuck);
    }
    gate.change(|count| count.is_open = true);
    gate.wait_for(|count| count.n_done == 30);
}

#[test]
fn there_are_never_more_threads_than_there_may_be() {
    for (n_busy_max, n_threads_max) in [(1, 1), (3, 3), (1, 4), (2, 8)] {
        let pool = pool(n_busy_max, n_threads_max);
        let gate = Arc::new(Gate::default());
        for _ in 0..20 {
            assert!(pool.submit(gate.stuck()).is_empty());
        }
        gate.wait_for(|count| count.n_inside == n_threads_max);
        gate.change(|count| count.is_open = true);
        gate.wait_for(|count| count.n_done == 20);
        assert_eq!(gate.state().n_inside_max, n_threads_max);
    }
}
