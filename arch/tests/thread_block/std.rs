//! What std and thread-locals of Rust see.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use crate::green::{Green, this_thread};
use crate::testing::time_limit;

thread_local! {
    static CONST: Cell<u32> = const { Cell::new(7) };
    static LAZY: RefCell<Vec<usize>> = RefCell::new(vec![this_thread() as usize]);
    static LOG: RefCell<Option<Rc<RefCell<Vec<&'static str>>>>> = const { RefCell::new(None) };
}

#[test]
fn thread_locals_are_its_own_and_fresh() {
    let _limit = time_limit(60);
    CONST.set(1);
    LAZY.with_borrow_mut(|lazy| lazy.push(1));
    let greens = [Green::new(), Green::new()];
    for _ in 0..3 {
        for green in &greens {
            green.run(|| {
                assert_eq!(CONST.replace(8), 7);
                LAZY.with_borrow_mut(|lazy| {
                    assert_eq!(*lazy, [this_thread() as usize]);
                    lazy.push(2);
                });
            });
        }
        for green in &greens {
            green.run(|| {
                assert_eq!(CONST.get(), 8);
                assert_eq!(LAZY.with_borrow(|lazy| lazy.len()), 2);
            });
            green.renew();
        }
        assert_eq!(CONST.get(), 1);
        assert_eq!(LAZY.with_borrow(|lazy| lazy.len()), 2);
    }
}

/// Says when it is dropped, and uses another thread-local then.
struct Says(&'static str);

impl Drop for Says {
    fn drop(&mut self) {
        let log = LOG.with_borrow(|log| log.clone()).unwrap();
        log.borrow_mut().push(self.0);
        if self.0 == "first" {
            LATE.with(|_| ());
        }
    }
}

thread_local! {
    static FIRST: Says = const { Says("first") };
    static SECOND: Says = Says("second".trim());
    static LATE: Says = const { Says("late") };
}

#[test]
fn destructors_run_at_the_end_and_may_use_thread_locals() {
    let _limit = time_limit(60);
    let green = Green::new();
    for _ in 0..3 {
        let log = Rc::new(RefCell::new(Vec::new()));
        green.run(|| {
            LOG.set(Some(log.clone()));
            FIRST.with(|_| ());
            SECOND.with(|_| ());
        });
        assert!(log.borrow().is_empty());
        green.end();
        log.borrow_mut().sort_unstable();
        assert_eq!(*log.borrow(), ["first", "late", "second"]);
        // The log itself was in a thread-local, which is gone.
        assert_eq!(Rc::strong_count(&log), 1);
        green.renew();
    }
}

#[test]
fn each_is_a_thread_of_its_own_to_std() {
    let _limit = time_limit(60);
    let at_home = thread::current().id();
    let greens = [Green::new(), Green::new()];
    let mut ids = vec![at_home];
    for _ in 0..3 {
        for green in &greens {
            let id = green.run(|| {
                let id = thread::current().id();
                assert_eq!(id, thread::current().id());
                id
            });
            assert!(!ids.contains(&id));
            ids.push(id);
            green.renew();
        }
    }
    assert_eq!(thread::current().id(), at_home);
}

#[test]
fn unwinding_is_its_own() {
    /// Looks around while it is dropped by an unwinding.
    struct Looks<'a>(&'a Green);

    impl Drop for Looks<'_> {
        fn drop(&mut self) {
            assert!(thread::panicking());
            self.0.run(|| {
                assert!(!thread::panicking());
                // It may panic itself, which would abort the thread that unwinds.
                assert!(panic::catch_unwind(|| panic::resume_unwind(Box::new(2))).is_err());
                assert!(!thread::panicking());
            });
            assert!(thread::panicking());
        }
    }

    let _limit = time_limit(60);
    let (green, other) = (Green::new(), Green::new());
    let payload = green.run(|| {
        panic::catch_unwind(AssertUnwindSafe(|| {
            let _looks = Looks(&other);
            panic::resume_unwind(Box::new(1_i32));
        }))
        .unwrap_err()
    });
    assert_eq!(payload.downcast_ref::<i32>(), Some(&1));
    green.run(|| assert!(!thread::panicking()));
    assert!(!thread::panicking());
}

#[test]
fn std_works_as_on_any_thread() {
    static N_DONE: AtomicUsize = AtomicUsize::new(0);

    let _limit = time_limit(60);
    let greens = [Green::new(), Green::new(), Green::new()];
    for round in 0..100 {
        for green in &greens {
            green.run(|| {
                let map: HashMap<_, _> = (0..100).map(|n| (n, n.to_string())).collect();
                let (sender, receiver) = mpsc::channel();
                let handle = thread::spawn(move || {
                    for (n, text) in map {
                        sender.send((n, text.len())).unwrap();
                    }
                });
                assert_eq!(receiver.iter().map(|(_, len)| len).sum::<usize>(), 190);
                handle.join().unwrap();
                N_DONE.fetch_add(1, Relaxed);
            });
            if round % 10 == 0 {
                green.renew();
            }
        }
    }
    assert_eq!(N_DONE.load(Relaxed), 300);
}

#[test]
fn switching_between_green_threads_directly_works_as_through_home() {
    let _limit = time_limit(60);
    let (outer, inner) = (Green::new(), Green::new());
    for round in 0..100 {
        let kept = outer.run(|| {
            CONST.set(10);
            let from_inner = inner.run(|| {
                CONST.set(20);
                vec![round; 100]
            });
            assert_eq!(CONST.get(), 10);
            (from_inner, vec![round; 200])
        });
        inner.run(|| assert_eq!(CONST.get(), 20));
        inner.renew();
        drop(kept);
    }
}
