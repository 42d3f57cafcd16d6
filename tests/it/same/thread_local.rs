//! Thread-locals.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::root::thread_local;
use super::{run, thread};

thread_local! {}

thread_local! {
    /// With a comment, and an attribute.
    #[allow(dead_code, reason = "an attribute")]
    pub(crate) static LAZY: RefCell<Vec<usize>> = RefCell::new(vec![7]);
    static CONST: Cell<usize> = const { Cell::new(3) };
    static SHARED: Rc<Cell<usize>> = Rc::default()
}

thread_local!(static ALIGNED: Aligned = const { Aligned(Cell::new(1)) });

#[repr(align(128))]
struct Aligned(Cell<u8>);

/// Runs `f` in a thread of its own.
fn in_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(f).join().unwrap()
}

#[test]
fn each_thread_has_its_own() {
    run(|| {
        let threads: Vec<_> = (0..50)
            .map(|n| {
                thread::spawn(move || {
                    assert_eq!(CONST.get(), 3);
                    assert_eq!(SHARED.with(Rc::strong_count), 1);
                    CONST.set(n);
                    LAZY.with_borrow_mut(|all| all.push(n));
                    SHARED.with(|shared| shared.set(n));
                    let kept = SHARED.with(Rc::clone);
                    for _ in 0..10 {
                        thread::yield_now();
                        assert_eq!((CONST.get(), kept.get()), (n, n));
                        LAZY.with_borrow(|all| assert_eq!(all[..], [7, n]));
                    }
                    assert!(SHARED.with(|shared| Rc::ptr_eq(shared, &kept)));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_value_stays_where_it_is() {
    run(|| {
        in_thread(|| {
            let at = ALIGNED.with(|aligned| (&raw const *aligned).addr());
            assert_eq!(at % 128, 0);
            thread::yield_now();
            ALIGNED.with(|aligned| {
                aligned.0.set(2);
                LAZY.with_borrow_mut(|all| all.extend(0..100));
                thread::yield_now();
                assert_eq!(((&raw const *aligned).addr(), aligned.0.get()), (at, 2));
            });
        });
    });
}

#[test]
fn cells_have_shortcuts() {
    run(|| {
        in_thread(|| {
            assert_eq!(CONST.replace(4), 3);
            assert_eq!((CONST.take(), CONST.get()), (4, 0));
            assert_eq!(LAZY.replace(vec![1]), [7]);
            LAZY.set(vec![2]);
            assert_eq!(LAZY.with_borrow(|all| all[0]), 2);
            assert_eq!((LAZY.take(), LAZY.take()), (vec![2], vec![]));
            let borrowed = || LAZY.with_borrow(|_| LAZY.with_borrow_mut(|_| ()));
            assert!(catch_unwind(borrowed).is_err());
        });
    });
}

#[test]
fn what_is_set_first_is_not_made() {
    thread_local! {
        static NEVER: Cell<i32> = panic!("made");
        static NEITHER: RefCell<String> = panic!("made");
    }
    run(|| {
        in_thread(|| {
            NEVER.set(1);
            NEVER.set(NEVER.get() + 1);
            assert_eq!(NEVER.get(), 2);
            NEITHER.set("x".into());
            NEITHER.set(NEITHER.take() + "y");
            assert_eq!(NEITHER.take(), "xy");
        });
        let made = thread::spawn(|| catch_unwind(|| NEVER.get()).is_err());
        assert!(made.join().unwrap());
    });
}

/// Keys of the same type, made in the same way, are not one.
#[test]
fn keys_are_told_apart() {
    thread_local! {
        static A: Cell<i32> = const { Cell::new(0) };
        static B: Cell<i32> = const { Cell::new(0) };
    }
    fn counted<T: Default>() -> i32 {
        thread_local!(static N: Cell<i32> = const { Cell::new(0) });
        N.set(N.get() + 1);
        let _ = T::default();
        N.get()
    }
    run(|| {
        in_thread(|| {
            A.set(1);
            assert_eq!((A.get(), B.get()), (1, 0));
            // One for all types, as a static is.
            assert_eq!((counted::<u8>(), counted::<u16>()), (1, 2));
        });
    });
}

#[test]
fn making_may_use_others_and_itself() {
    thread_local! {
        static FIRST: i32 = i32::from(true);
        static SECOND: i32 = FIRST.with(|first| first + 1);
        static DEPTH: Cell<u32> = const { Cell::new(0) };
        static AGAIN: Vec<u32> = {
            DEPTH.set(DEPTH.get() + 1);
            let depth = DEPTH.get();
            if depth < 3 {
                AGAIN.with(|inner| assert_eq!(inner[..], [depth + 1]));
            }
            vec![depth]
        };
    }
    run(|| {
        in_thread(|| {
            assert_eq!(SECOND.with(|second| *second), 2);
            // The outer one replaces what the inner one has made.
            AGAIN.with(|outer| assert_eq!(outer[..], [1]));
        });
    });
}

/// Does something when it is destroyed.
struct OnDrop(Option<Box<dyn FnOnce()>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

thread_local! {
    static X: RefCell<Option<OnDrop>> = const { RefCell::new(None) };
    static Y: RefCell<Option<OnDrop>> = RefCell::default();
    static Z: RefCell<Option<OnDrop>> = RefCell::default();
}

fn on_drop(act: impl FnOnce() + 'static) -> Option<OnDrop> {
    Some(OnDrop(Some(Box::new(act))))
}

#[test]
fn destroyed_before_join_returns_the_last_first() {
    run(|| {
        for panics in [false, true] {
            let log = Arc::new(Mutex::new(String::new()));
            let note = |text: &'static str| {
                let log = Arc::clone(&log);
                move || {
                    thread::yield_now();
                    log.lock().unwrap().push_str(text);
                }
            };
            let (x, y, z) = (note("x"), note("y"), note("z"));
            let thread = thread::spawn(move || {
                Y.set(on_drop(y));
                X.set(on_drop(x));
                Z.set(on_drop(z));
                Y.with_borrow(|_| thread::yield_now());
                if panics {
                    std::panic::resume_unwind(Box::new(()));
                }
            });
            assert_eq!(thread.join().is_err(), panics);
            assert_eq!(*log.lock().unwrap(), "zxy");
        }
    });
}

#[test]
fn destructors_may_use_others_but_not_what_is_gone() {
    run(|| {
        let n = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n);
        in_thread(move || {
            let inner = Arc::clone(&counter);
            LAZY.with_borrow_mut(|all| all.push(8));
            X.set(on_drop(move || {
                // Being destroyed, gone, still there, never destroyed, made only now.
                let error = X.try_with(|_| ()).unwrap_err();
                assert_eq!(error.to_string(), "already destroyed");
                assert!(Y.try_with(|_| ()).is_err());
                LAZY.with_borrow(|all| assert_eq!(all[..], [7, 8]));
                assert_eq!(CONST.get(), 5);
                Z.set(on_drop(move || _ = inner.fetch_add(10, Relaxed)));
                counter.fetch_add(1, Relaxed);
            }));
            Y.set(on_drop(|| ()));
            CONST.set(5);
        });
        assert_eq!(n.load(Relaxed), 11);
    });
}

#[test]
fn what_is_gone_says_so() {
    run(|| {
        let text = Arc::new(Mutex::new(Vec::new()));
        let texts = Arc::clone(&text);
        in_thread(move || {
            X.set(on_drop(move || {
                let payload = catch_unwind(AssertUnwindSafe(|| X.with(|_| ()))).unwrap_err();
                let error = X.try_with(|_| ()).unwrap_err();
                assert_eq!(error, error.clone());
                let mut texts = texts.lock().unwrap();
                texts.extend(payload.downcast_ref::<String>().cloned());
                texts.push(format!("{error:?} {error}"));
                texts.push(format!("{X:?}"));
            }));
        });
        let says = [
            "cannot access a Thread Local Storage value during or after destruction: AccessError",
            "AccessError already destroyed",
            "LocalKey { .. }",
        ];
        assert_eq!(*text.lock().unwrap(), says);
    });
}
