//! Whose thread-locals green threads see.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use greenrt::{Runtime, ThreadLocals, spawn, spawn_local, yield_now};

use crate::support::{limited, thread_locals_are_private};

fn private(n_workers: usize) -> Runtime {
    Runtime::builder()
        .workers(n_workers)
        .thread_locals(ThreadLocals::Private)
        .build()
        .unwrap()
}

thread_local! {
    static LAZY: RefCell<Vec<usize>> = RefCell::new(vec![7]);
    static CONST: Cell<usize> = const { Cell::new(3) };
}

#[test]
fn each_green_thread_has_its_own() {
    limited(|| {
        for n_workers in [1, 2] {
            private(n_workers).run(|| {
                let threads: Vec<_> = (0..100)
                    .map(|n| {
                        spawn(move || {
                            assert_eq!(CONST.get(), 3);
                            CONST.set(n);
                            LAZY.with_borrow_mut(|all| all.push(n));
                            for _ in 0..10 {
                                yield_now();
                                assert_eq!(CONST.get(), n);
                                LAZY.with_borrow(|all| assert_eq!(all[..], [7, n]));
                            }
                            std::thread::current().id()
                        })
                    })
                    .collect();
                let mut ids: Vec<_> = threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect();
                ids.sort_by_key(|id| format!("{id:?}"));
                ids.dedup();
                assert_eq!(ids.len(), 100);
            });
        }
    });
}

#[test]
fn local_threads_share_those_of_their_spawner() {
    limited(|| {
        private(1).run(|| {
            CONST.set(10);
            let child = spawn_local(|| {
                assert_eq!(CONST.get(), 10);
                let grandchild = spawn_local(|| {
                    assert_eq!(CONST.get(), 10);
                    CONST.set(11);
                });
                grandchild.join().unwrap();
                let stranger = spawn(|| assert_eq!(CONST.get(), 3));
                stranger.join().unwrap();
            });
            child.join().unwrap();
            assert_eq!(CONST.get(), 11);
        });
    });
}

#[test]
fn the_closure_of_run_has_those_of_its_caller() {
    limited(|| {
        CONST.set(20);
        greenrt::run(|| {
            assert_eq!(CONST.get(), 20);
            CONST.set(21);
            spawn_local(|| assert_eq!(CONST.get(), 21)).join().unwrap();
            if thread_locals_are_private() {
                spawn(|| assert_eq!(CONST.get(), 3)).join().unwrap();
            }
        });
        assert_eq!(CONST.get(), 21);
    });
}

/// Counts those that were destroyed.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        yield_now();
        self.0.fetch_add(1, Relaxed);
    }
}

thread_local! {
    static COUNTED: RefCell<Option<Counted>> = const { RefCell::new(None) };
}

#[test]
fn destructors_run_before_join_returns() {
    limited(|| {
        for n_workers in [1, 2] {
            private(n_workers).run(|| {
                let n_dropped = Arc::new(AtomicUsize::new(0));
                for n in 1..=100 {
                    let counted = Counted(Arc::clone(&n_dropped));
                    spawn(move || COUNTED.set(Some(counted))).join().unwrap();
                    assert_eq!(n_dropped.load(Relaxed), n);
                }
            });
        }
    });
}

#[test]
fn the_last_of_a_family_destroys_their_thread_locals() {
    limited(|| {
        private(1).run(|| {
            let n_dropped = Arc::new(AtomicUsize::new(0));
            let counted = Counted(Arc::clone(&n_dropped));
            let founder = spawn(move || {
                COUNTED.set(Some(counted));
                // Outlives its founder.
                spawn_local(|| {
                    (0..10).for_each(|_| yield_now());
                    COUNTED.with_borrow(|counted| assert!(counted.is_some()));
                });
            });
            founder.join().unwrap();
            assert_eq!(n_dropped.load(Relaxed), 0);
            while n_dropped.load(Relaxed) == 0 {
                yield_now();
            }
        });
    });
}
