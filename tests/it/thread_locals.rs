//! Whose thread-locals green threads see.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use greenrt::lowlevel::cancel;
use greenrt::{Cancelled, Generator, Runtime, ThreadLocals, sleep, spawn, spawn_local, yield_now};

use crate::support::{
    Child, EXPECTED, HOUR, in_both_modes, join_all, limited, thread_locals_are_private, wait_until,
};

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

/// Whatever way a member ends, the others keep what they share, and the last one destroys it.
#[test]
fn members_may_panic_and_be_cancelled() {
    limited(|| {
        for n_workers in [1, 2] {
            private(n_workers).run(|| {
                let n_dropped = Arc::new(AtomicUsize::new(0));
                let counted = Counted(Arc::clone(&n_dropped));
                let founder = spawn(move || {
                    COUNTED.set(Some(counted));
                    LAZY.with_borrow_mut(|all| all.push(1));
                    let panics = spawn_local(|| {
                        LAZY.with_borrow_mut(|all| all.push(2));
                        panic!("{EXPECTED}");
                    });
                    let cancelled = spawn_local(|| {
                        LAZY.with_borrow_mut(|all| all.push(3));
                        sleep(HOUR);
                    });
                    let stays = spawn_local(|| {
                        for _ in 0..20 {
                            yield_now();
                            COUNTED.with_borrow(|counted| assert!(counted.is_some()));
                        }
                        LAZY.with_borrow(|all| assert_eq!(all[..], [7, 1, 2, 3]));
                    });
                    assert!(panics.join().is_err());
                    yield_now();
                    cancel(cancelled.thread());
                    assert!(cancelled.join().unwrap_err().is::<Cancelled>());
                    // The founder ends by a panic, too.
                    drop(stays);
                    panic!("{EXPECTED}");
                });
                assert!(founder.join().is_err());
                assert_eq!(n_dropped.load(Relaxed), 0);
                wait_until(|| n_dropped.load(Relaxed) == 1);
                // The stacks are used again by others, who find everything fresh.
                join_all(
                    (0..20)
                        .map(|n| {
                            spawn(move || {
                                LAZY.with_borrow_mut(|all| {
                                    all.push(n);
                                    assert_eq!(all[..], [7, n]);
                                });
                            })
                        })
                        .collect::<Vec<_>>(),
                );
            });
        }
    });
}

/// What is not `Send` may be tied to the thread-locals of whoever made it.
#[test]
fn what_is_not_send_finds_its_thread_locals() {
    thread_local!(static POOL: RefCell<Vec<Rc<Cell<usize>>>> = const { RefCell::new(Vec::new()) });

    /// A place in the thread's pool, which it relies on.
    struct Ticket(usize, PhantomData<*const ()>);

    impl Ticket {
        fn new() -> Ticket {
            POOL.with_borrow_mut(|pool| {
                pool.push(Rc::default());
                Ticket(pool.len() - 1, PhantomData)
            })
        }

        fn count(&self) {
            POOL.with_borrow(|pool| pool[self.0].set(pool[self.0].get() + 1));
        }
    }

    impl Drop for Ticket {
        fn drop(&mut self) {
            let count = POOL.with_borrow(|pool| pool[self.0].get());
            assert!(count > 0);
        }
    }

    let everything = || {
        let ticket = Rc::new(Ticket::new());
        let members: Vec<_> = (0..10)
            .map(|_| {
                let ticket = Rc::clone(&ticket);
                spawn_local(move || {
                    for _ in 0..5 {
                        ticket.count();
                        yield_now();
                    }
                    ticket
                })
            })
            .collect();
        drop(ticket);
        // Results go to whoever joins, who has the same ones.
        for ticket in join_all(members) {
            ticket.count();
        }
        let mut generator = {
            let ticket = Ticket::new();
            Generator::new(move |out, ()| {
                ticket.count();
                out.yield_(());
                ticket.count();
            })
        };
        generator.next();
        let rest = spawn_local(move || generator.next());
        assert_eq!(rest.join().unwrap(), None);
    };
    limited(|| {
        let ticket = Ticket::new();
        greenrt::run(|| {
            ticket.count();
            spawn_local(|| Ticket::new().count()).join().unwrap();
            everything();
        });
        drop(ticket);
    });
    in_both_modes(move || {
        everything();
        join_all((0..10).map(|_| spawn(everything)).collect::<Vec<_>>());
    });
}

/// Two members of a family are one thread to parking_lot, which has one place to wait for each thread.
#[test]
fn members_wait_for_locks_that_strangers_hold() {
    limited(|| {
        for n_workers in [1, 2] {
            private(n_workers).run(|| {
                let lock = Arc::new(parking_lot::Mutex::new(0));
                let threads: Vec<_> = (0..5)
                    .map(|_| {
                        let lock = Arc::clone(&lock);
                        spawn(move || {
                            // A member that only waits makes this a family.
                            let member = spawn_local(|| {
                                yield_now();
                                yield_now();
                            });
                            for _ in 0..10 {
                                *lock.lock() += 1;
                                yield_now();
                            }
                            member.join().unwrap();
                        })
                    })
                    .collect();
                join_all(threads);
                assert_eq!(*lock.lock(), 50);
            });
        }
    });
}

/// One that does not end within the time is leaked, with its family's thread-locals; the process goes
/// on, and what is leaked may still be reached.
#[test]
fn leaked_members_keep_their_thread_locals() {
    let name = "thread_locals::leaked_members_keep_their_thread_locals";
    let died = Child::new(name).run(|| {
        let runtime = Runtime::builder()
            .workers(1)
            .thread_locals(ThreadLocals::Private)
            .shutdown_timeout(Duration::from_millis(50))
            .build()
            .unwrap();
        let n_dropped = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&n_dropped));
        let lock = Arc::new(std::sync::Mutex::new(()));
        let guard = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        runtime.run(move || {
            let founder = spawn(move || {
                COUNTED.set(Some(counted));
                spawn_local(move || drop(theirs.lock()));
            });
            founder.join().unwrap();
            yield_now();
        });
        drop(runtime);
        assert_eq!(n_dropped.load(Relaxed), 0);
        drop(guard);
        // Others go on as ever.
        private(2).run(|| join_all((0..100).map(|_| spawn(yield_now)).collect::<Vec<_>>()));
        assert_eq!(n_dropped.load(Relaxed), 0);
    });
    died.expect_success();
    assert!(died.stderr.contains("they are leaked"), "{died:?}");
}
