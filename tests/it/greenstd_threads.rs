//! Where greenstd's threads are more than std's: cancellation, stacks, the runtime they run on.

use greenrt::lowlevel::{cancel, on_green_thread};
use greenrt::{Cancelled, Runtime, ThreadLocals, spawn};
use greenstd::thread;

use crate::support::{Child, Log, limited, on_each_runtime, on_each_runtime_and_off, wait_until};

#[test]
fn a_thread_is_green_wherever_it_is_spawned() {
    on_each_runtime_and_off(|| {
        assert!(thread::spawn(on_green_thread).join().unwrap());
        assert!(thread::scope(|s| s.spawn(on_green_thread).join().unwrap()));
    });
}

fn waits_to_join(thread: &greenrt::Thread) -> bool {
    let dump = greenrt::debug::dump();
    let mut threads = dump.threads.iter();
    threads.any(|info| info.id == thread.id() && info.waits_for.starts_with("join"))
}

#[test]
fn join_is_not_a_point() {
    on_each_runtime(|| {
        let child = thread::spawn(|| {
            thread::park();
            7
        });
        let child_thread = child.thread().clone();
        let joiner = spawn(move || {
            let seven = child.join().unwrap();
            assert_eq!(seven, 7);
            greenrt::sleep(std::time::Duration::ZERO);
        });
        wait_until(|| waits_to_join(joiner.thread()));
        cancel(joiner.thread());
        child_thread.unpark();
        assert!(joiner.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn join_in_a_scope_is_not_a_point() {
    on_each_runtime(|| {
        let owner = spawn(|| {
            thread::scope(|s| {
                let child = s.spawn(|| {
                    thread::park();
                    7
                });
                let child_thread = child.thread().clone();
                let waker = s.spawn(move || {
                    thread::park();
                    child_thread.unpark();
                });
                let waker_thread = waker.thread().clone();
                let me = thread::current();
                s.spawn(move || {
                    wait_until(|| waits_to_join(&me));
                    cancel(&me);
                    waker_thread.unpark();
                });
                assert_eq!(child.join().unwrap(), 7);
            });
            greenrt::sleep(std::time::Duration::ZERO);
        });
        assert!(owner.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_cancelled_owner_cancels_its_scope() {
    on_each_runtime(|| {
        let owner = spawn(|| {
            thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| thread::sleep(crate::support::HOUR));
                }
            });
        });
        wait_until(|| {
            let dump = greenrt::debug::dump();
            dump.threads
                .iter()
                .any(|t| t.id == owner.thread().id() && t.waits_for.contains("scope"))
        });
        cancel(owner.thread());
        assert!(owner.join().unwrap_err().is::<Cancelled>());
    });
}

/// Uses so many bytes of stack.
fn use_stack(bytes: usize) {
    #[inline(never)]
    fn go_down(to: usize) -> u8 {
        let room = std::hint::black_box([1_u8; 1024]);
        let here = room.as_ptr().addr();
        if here > to {
            room[0].wrapping_add(go_down(to))
        } else {
            room[1]
        }
    }
    let here = 0_u8;
    std::hint::black_box(go_down((&raw const here).addr() - bytes));
}

#[test]
fn stacks_are_as_large_as_asked_for() {
    limited(|| {
        thread::spawn(|| use_stack(700 << 10)).join().unwrap();
        let builder = thread::Builder::new().stack_size(8 << 20);
        builder
            .spawn(|| use_stack(6 << 20))
            .unwrap()
            .join()
            .unwrap();
        let error = thread::Builder::new()
            .stack_size(64 << 20)
            .spawn(|| ())
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    });
}

#[test]
fn the_environment_sets_the_stack() {
    for (bytes, used) in [
        ("4194304", 3 << 20),
        ("1000000000", 6 << 20),
        ("x", 700 << 10),
    ] {
        let child = Child::new("greenstd_threads::the_environment_sets_the_stack");
        let died = child
            .env("RUST_MIN_STACK", bytes)
            .env("USED", &used.to_string())
            .run(|| {
                let used = std::env::var("USED").unwrap().parse().unwrap();
                thread::spawn(move || use_stack(used)).join().unwrap();
            });
        died.expect_success();
    }
}

greenstd::thread_local! {
    static NOTE: std::cell::RefCell<Option<crate::support::NotedDrop>> = const {
        std::cell::RefCell::new(None)
    };
    static NUMBER: std::cell::Cell<i32> = const { std::cell::Cell::new(0) };
}

std::thread_local! {
    static STDS: std::cell::Cell<i32> = const { std::cell::Cell::new(0) };
}

fn of_kind(thread_locals: ThreadLocals) -> Runtime {
    let builder = Runtime::builder().workers(1);
    builder.thread_locals(thread_locals).build().unwrap()
}

#[test]
fn thread_locals_are_each_green_threads_own_also_where_stds_are_shared() {
    limited(|| {
        let [stds, ours] = [0, 1].map(|which| {
            of_kind(ThreadLocals::Shared).run(move || {
                let set = move || {
                    STDS.set(STDS.get() + 1);
                    NUMBER.set(NUMBER.get() + 1);
                    [STDS.get(), NUMBER.get()][which]
                };
                [(); 3].map(|()| spawn(set).join().unwrap())
            })
        });
        assert_eq!((stds, ours), ([1, 2, 3], [1, 1, 1]));
    });
}

#[test]
fn local_threads_share_thread_locals_with_their_spawner() {
    limited(|| {
        for thread_locals in [ThreadLocals::Private, ThreadLocals::Shared] {
            let log = Log::new();
            let inner = log.clone();
            of_kind(thread_locals).run(move || {
                let log = inner;
                let noted = log.on_drop("dropped");
                let last = log.clone();
                let founder = spawn(move || {
                    NUMBER.set(1);
                    NOTE.set(Some(noted));
                    // Outlives its founder.
                    greenrt::spawn_local(move || {
                        assert_eq!(NUMBER.get(), 1);
                        (0..10).for_each(|_| greenrt::yield_now());
                        NOTE.with_borrow(|note| assert!(note.is_some()));
                        last.note("last");
                    });
                    spawn(|| assert_eq!(NUMBER.get(), 0)).join().unwrap();
                });
                founder.join().unwrap();
                assert_eq!(log.text(), "");
                wait_until(|| log.len() == 2);
            });
            assert_eq!(log.text(), "last dropped");
        }
    });
}

#[test]
fn the_closure_of_run_has_the_thread_locals_of_its_caller() {
    for kind in ["private", "shared"] {
        let child =
            Child::new("greenstd_threads::the_closure_of_run_has_the_thread_locals_of_its_caller");
        let died = child.env("GREENRT_THREAD_LOCALS", kind).run(|| {
            NUMBER.set(20);
            greenrt::run(|| {
                assert_eq!(NUMBER.get(), 20);
                NUMBER.set(21);
                greenrt::spawn_local(|| assert_eq!(NUMBER.get(), 21))
                    .join()
                    .unwrap();
                spawn(|| assert_eq!(NUMBER.get(), 0)).join().unwrap();
            });
            assert_eq!(NUMBER.get(), 21);
        });
        died.expect_success();
    }
}

#[test]
fn a_thread_may_borrow_if_somebody_promises() {
    on_each_runtime_and_off(|| {
        let mut text = String::from("sow");
        #[expect(unsafe_code, reason = "what is tested")]
        // SAFETY: joined before `text` goes.
        let thread = unsafe { thread::Builder::new().spawn_unchecked(|| text.push_str(" reap")) };
        thread.unwrap().join().unwrap();
        assert_eq!(text, "sow reap");
    });
}
