//! Spawning and joining: values, panics, sizes, identities, and who drops what.

use std::any::Any;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::panic::{panic_any, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::channel;
use std::time::Duration;

use greenrt::lowlevel::{cancel, on_green_thread};
use greenrt::{
    Builder, Cancelled, JoinHandle, current, park, sleep, spawn, spawn_local, yield_now,
};

use super::support::{
    EXPECTED, HOUR, Log, limited, on_each_runtime, on_each_runtime_and_off, on_manual_clocks,
    on_one_worker, on_os_thread, panic_of, panic_text, runtime, spawn_at, wait_until, with_seeds,
};

#[test]
fn join_returns_the_value() {
    on_each_runtime_and_off(|| {
        assert_eq!(spawn(|| 6 * 7).join().unwrap(), 42);
        assert_eq!(spawn(|| String::from("text")).join().unwrap(), "text");
        spawn(|| ()).join().unwrap();
    });
}

#[test]
fn join_returns_the_payload_of_a_panic() {
    #[derive(Debug, PartialEq)]
    struct Custom(u64);
    fn payload_of(f: impl FnOnce() + Send + 'static) -> Box<dyn Any + Send> {
        spawn(f).join().unwrap_err()
    }
    on_each_runtime_and_off(|| {
        let text = payload_of(|| panic!("{EXPECTED}"));
        assert_eq!(*text.downcast::<String>().unwrap(), EXPECTED);
        let text = payload_of(|| panic_any(EXPECTED));
        assert_eq!(*text.downcast::<&'static str>().unwrap(), EXPECTED);
        let custom = payload_of(|| resume_unwind(Box::new(Custom(7))));
        assert_eq!(*custom.downcast::<Custom>().unwrap(), Custom(7));
        // The payload is the very same, not a copy.
        let boxed: Box<dyn Any + Send> = Box::new([1u8; 100]);
        let address = (&raw const *boxed).cast::<u8>() as usize;
        let returned = payload_of(move || resume_unwind(boxed));
        assert_eq!((&raw const *returned).cast::<u8>() as usize, address);
    });
}

#[test]
fn a_panic_ends_its_thread_only() {
    on_each_runtime(|| {
        let threads: Vec<_> = (0..100)
            .map(|n| {
                spawn(move || {
                    yield_now();
                    assert!(n % 3 != 0, "{EXPECTED}");
                    yield_now();
                    n
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            match thread.join() {
                Ok(value) => assert_eq!(value, n),
                Err(payload) => {
                    assert_eq!(n % 3, 0);
                    assert!(panic_text(&*payload).contains(EXPECTED));
                }
            }
        }
        assert!(!std::thread::panicking());
    });
}

#[test]
fn is_finished_says_when_join_would_not_wait() {
    on_one_worker(|| {
        let thread = spawn(yield_now);
        assert!(!thread.is_finished());
        yield_now();
        assert!(!thread.is_finished());
        yield_now();
        assert!(thread.is_finished());
        thread.join().unwrap();
    });
    on_each_runtime_and_off(|| {
        let thread = spawn(|| panic!("{EXPECTED}"));
        wait_until(|| thread.is_finished());
        assert!(thread.join().is_err());
    });
}

#[test]
fn a_detached_thread_runs_on() {
    on_each_runtime_and_off(|| {
        let (send, receive) = channel();
        drop(spawn(move || {
            (0..10).for_each(|_| yield_now());
            sleep(Duration::from_millis(1));
            send.send(7).unwrap();
        }));
        wait_until(|| receive.try_recv() == Ok(7));
    });
}

/// Says on what thread it was dropped.
struct Dropped {
    log: Log,
    /// The green thread that returns it.
    owner: Option<u64>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let here = current().id().as_u64().get();
        self.log
            .note(match (current().is_green(), self.owner == Some(here)) {
                (true, true) => "by itself",
                (true, false) => "by another green thread",
                (false, _) => "by an OS thread",
            });
    }
}

fn spawn_dropped(log: &Log, before: impl FnOnce() + Send + 'static) -> JoinHandle<Dropped> {
    let log = log.clone();
    spawn(move || {
        before();
        Dropped {
            log,
            owner: Some(current().id().as_u64().get()),
        }
    })
}

#[test]
fn a_result_that_nobody_wants_is_dropped_by_its_thread() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let thread = spawn_dropped(&log, park);
        let handle = thread.thread().clone();
        drop(thread);
        handle.unpark();
        wait_until(|| log.len() == 1);
        assert_eq!(log.text(), "by itself");
    });
}

#[test]
fn a_result_that_is_there_is_dropped_with_its_handle() {
    on_each_runtime(|| {
        let log = Log::new();
        let thread = spawn_dropped(&log, || ());
        wait_until(|| thread.is_finished());
        assert_eq!(log.len(), 0);
        drop(thread);
        assert_eq!(log.text(), "by another green thread");
        let thread = spawn_dropped(&log, || ());
        wait_until(|| thread.is_finished());
        on_os_thread(move || drop(thread));
        assert_eq!(log.text(), "by another green thread by an OS thread");
        let result = spawn_dropped(&log, yield_now).join().unwrap();
        assert_eq!(log.len(), 2);
        drop(result);
        assert_eq!(log.len(), 3);
    });
}

#[test]
fn a_result_is_dropped_exactly_once_whoever_comes_last() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(5, |random| {
                let n_made = Arc::new(AtomicUsize::new(0));
                let n_dropped = Arc::new(AtomicUsize::new(0));
                struct Counted(Arc<AtomicUsize>);
                impl Drop for Counted {
                    fn drop(&mut self) {
                        self.0.fetch_add(1, Relaxed);
                    }
                }
                let act = |mut random: super::support::Random| {
                    let (n_made, n_dropped) = (Arc::clone(&n_made), Arc::clone(&n_dropped));
                    runtime.spawn(move || {
                        for _ in 0..500 {
                            let (made, dropped) = (Arc::clone(&n_made), Arc::clone(&n_dropped));
                            let mut own = random.fork();
                            let thread = spawn(move || {
                                own.dawdle(500);
                                if own.below(4) == 0 {
                                    yield_now();
                                }
                                made.fetch_add(1, Relaxed);
                                let counted = Counted(dropped);
                                if own.below(4) == 0 {
                                    resume_unwind(Box::new(counted));
                                }
                                counted
                            });
                            random.dawdle(1000);
                            match random.below(6) {
                                0 => drop(thread),
                                1 => drop(thread.join()),
                                2 => drop(std::thread::spawn(move || drop(thread))),
                                3 => drop(std::thread::spawn(move || drop(thread.join()))),
                                4 => drop(spawn(move || drop(thread))),
                                _ => drop(spawn(move || drop(thread.join()))),
                            }
                            if random.below(8) == 0 {
                                yield_now();
                            }
                        }
                    })
                };
                let actors: Vec<_> = (0..4).map(|_| act(random.fork())).collect();
                actors.into_iter().for_each(|actor| actor.join().unwrap());
                wait_until(|| runtime.n_threads() == 0);
                // OS threads may be dropping still.
                wait_until(|| n_dropped.load(Relaxed) >= n_made.load(Relaxed));
                assert_eq!(n_dropped.load(Relaxed), n_made.load(Relaxed));
                assert_eq!(n_made.load(Relaxed), 4 * 500);
            });
        }
    });
}

#[test]
fn a_closure_is_dropped_exactly_once() {
    on_each_runtime(|| {
        let log = Log::new();
        let noted = || log.on_drop("dropped");
        let (ran, panicked, never) = (noted(), noted(), noted());
        spawn(move || drop(ran)).join().unwrap();
        assert_eq!(log.len(), 1);
        let panics = spawn(move || {
            let _panicked = &panicked;
            panic!("{EXPECTED}");
        });
        assert!(panics.join().is_err());
        assert_eq!(log.len(), 2);
        let kept = spawn_at(0, move || drop(never));
        cancel(kept.thread());
        let _either = kept.join();
        assert_eq!(log.len(), 3);
        let refused = noted();
        assert!(
            Builder::new()
                .stack_size(1 << 40)
                .spawn(move || drop(refused))
                .is_err()
        );
        assert_eq!(log.len(), 4);
    });
}

#[test]
fn a_thread_cancelled_before_it_starts_does_not_run() {
    on_one_worker(|| {
        let log = Log::new();
        let (dropped, note) = (log.on_drop("dropped"), log.clone());
        let thread = spawn(move || {
            note.note("ran");
            drop(dropped);
        });
        cancel(thread.thread());
        assert_eq!(log.text(), "");
        assert!(thread.join().unwrap_err().is::<Cancelled>());
        assert_eq!(log.text(), "dropped");
    });
}

#[test]
fn a_closure_that_waits_when_dropped_unstarted_does_so_on_its_own_stack() {
    limited(|| {
        greenrt::run(|| {
            struct Waits(Log);
            impl Drop for Waits {
                fn drop(&mut self) {
                    assert!(on_green_thread());
                    greenrt::shield(|| sleep(Duration::from_millis(1)));
                    self.0.note("waited");
                }
            }
            let (log, other) = (Log::new(), Log::new());
            let waits = Waits(log.clone());
            let thread = spawn(move || drop(waits));
            cancel(thread.thread());
            let sibling = spawn({
                let other = other.clone();
                move || other.note("ran")
            });
            assert!(thread.join().unwrap_err().is::<Cancelled>());
            sibling.join().unwrap();
            assert_eq!(log.text(), "waited");
        });
    });
}

#[repr(align(64))]
struct Align64([u8; 64]);
#[repr(align(4096))]
struct Align4096([u8; 4096]);

fn assert_aligned<T>(value: &T) {
    assert_eq!((&raw const *value) as usize % align_of::<T>(), 0);
}

#[test]
fn closures_and_results_of_every_size_and_alignment_arrive() {
    fn there_and_back<T: Send + 'static>(value: T, check: fn(&T)) {
        check(&value);
        let back = spawn(move || {
            check(&value);
            yield_now();
            value
        });
        check(&back.join().unwrap());
    }
    fn sized<const N: usize>() {
        let bytes: [u8; N] = std::array::from_fn(|n| n as u8);
        there_and_back(bytes, |bytes| {
            assert!(bytes.iter().enumerate().all(|(n, &byte)| byte == n as u8));
        });
    }
    on_each_runtime_and_off(|| {
        sized::<0>();
        sized::<1>();
        sized::<31>();
        sized::<100>();
        sized::<800>();
        sized::<900>();
        sized::<960>();
        sized::<1024>();
        sized::<1100>();
        sized::<10_240>();
        there_and_back(vec![7u8; 1 << 20].into_boxed_slice(), |bytes| {
            assert!(bytes.len() == 1 << 20 && bytes.iter().all(|&byte| byte == 7));
        });
        there_and_back(Align64([7; 64]), |value| {
            assert_aligned(value);
            assert_eq!(value.0, [7; 64]);
        });
        there_and_back(Box::new(Align4096([7; 4096])), |value| {
            assert_aligned(&**value)
        });
        there_and_back(Align4096([7; 4096]), |value| {
            assert_aligned(value);
            assert_eq!(value.0, [7; 4096]);
        });
        there_and_back((), assert_aligned);
    });
}

#[test]
fn a_large_error_and_a_small_value_do_not_get_mixed_up() {
    on_each_runtime(|| {
        let fails = |n: u8| {
            spawn(move || -> [u8; 2000] {
                if n.is_multiple_of(2) {
                    resume_unwind(Box::new([n; 3000]));
                }
                [n; 2000]
            })
        };
        for n in 0..20 {
            match fails(n).join() {
                Ok(value) => assert_eq!(value, [n; 2000]),
                Err(payload) => assert_eq!(*payload.downcast::<[u8; 3000]>().unwrap(), [n; 3000]),
            }
        }
    });
}

#[test]
fn a_result_may_wait_when_it_is_dropped() {
    struct Waits(Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            yield_now();
            sleep(Duration::from_millis(1));
            spawn(|| ()).join().unwrap();
            self.0.fetch_add(1, SeqCst);
        }
    }
    on_each_runtime_and_off(|| {
        let n_dropped = Arc::new(AtomicUsize::new(0));
        let make = || {
            let n_dropped = Arc::clone(&n_dropped);
            spawn(move || Waits(n_dropped))
        };
        drop(make());
        drop(make().join().unwrap());
        let ended = make();
        wait_until(|| ended.is_finished());
        drop(ended);
        wait_until(|| n_dropped.load(SeqCst) == 3);
    });
}

#[test]
fn names_and_ids_are_the_threads_own() {
    on_each_runtime_and_off(|| {
        let named = Builder::new()
            .name("worker bee".into())
            .spawn(current)
            .unwrap();
        assert_eq!(named.thread().name(), Some("worker bee"));
        let handle = named.thread().clone();
        let inside = named.join().unwrap();
        assert_eq!(inside.name(), Some("worker bee"));
        assert_eq!(inside.id(), handle.id());
        assert!(inside.is_green());
        // They outlive their thread.
        assert_eq!(handle.name(), Some("worker bee"));
        let unnamed = spawn(|| current().name().map(String::from));
        assert_eq!(unnamed.thread().name(), None);
        assert_eq!(unnamed.join().unwrap(), None);
        let text = format!("{handle:?}");
        assert!(text.contains("worker bee"), "{text}");
    });
}

#[test]
fn current_is_the_calling_thread_green_or_not() {
    limited(|| {
        let os = current();
        assert!(!os.is_green() && !on_green_thread());
        assert_eq!(os.name(), std::thread::current().name());
        assert_eq!(os.id(), current().id());
        let green = spawn(|| (current().id(), current().is_green(), on_green_thread()));
        let id = green.thread().id();
        assert_eq!(green.join().unwrap(), (id, true, true));
        assert_ne!(id, os.id());
        assert_ne!(on_os_thread(|| current().id()), os.id());
        // A green thread is what runs, also from the middle of a run.
        greenrt::run(|| {
            assert!(on_green_thread());
            assert_ne!(current().id(), os.id());
            assert_eq!(current().name(), Some("main"));
        });
        assert!(!on_green_thread());
    });
}

#[test]
fn ids_are_never_used_twice() {
    limited(|| {
        let runtime = runtime(4);
        let mut seen = HashSet::new();
        for _ in 0..10 {
            let spawners: Vec<_> = (0..10)
                .map(|_| {
                    runtime.spawn(|| {
                        (0..1000)
                            .map(|_| spawn(|| current().id()).join().unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let outside: Vec<_> = (0..100).map(|_| runtime.spawn(|| current().id())).collect();
            for spawner in spawners {
                for id in spawner.join().unwrap() {
                    assert!(seen.insert(id));
                }
            }
            for thread in outside {
                assert!(seen.insert(thread.join().unwrap()));
            }
            assert!(seen.insert(on_os_thread(|| current().id())));
        }
    });
}

#[test]
fn a_handle_may_be_joined_anywhere() {
    on_each_runtime(|| {
        let slow = || {
            spawn(|| {
                (0..10).for_each(|_| yield_now());
                7
            })
        };
        let thread = slow();
        assert_eq!(on_os_thread(move || thread.join().unwrap()), 7);
        let thread = slow();
        assert_eq!(
            on_os_thread(move || runtime(1).run(move || thread.join().unwrap())),
            7
        );
        let thread = slow();
        assert_eq!(
            on_os_thread(move || greenrt::run(move || thread.join().unwrap())),
            7
        );
        let thread = slow();
        assert_eq!(spawn(move || thread.join().unwrap()).join().unwrap(), 7);
        assert_eq!(slow().join_uncancelled().unwrap(), 7);
    });
}

#[test]
fn a_handle_outlives_its_runtime() {
    limited(|| {
        let (ended, cancelled) = {
            let runtime = runtime(2);
            let ended = runtime.spawn(|| 7);
            wait_until(|| ended.is_finished());
            (ended, runtime.spawn(|| sleep(HOUR)))
        };
        assert_eq!(ended.join().unwrap(), 7);
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        let left = greenrt::run(|| spawn(|| sleep(HOUR)));
        left.thread().unpark();
        cancel(left.thread());
        assert!(left.join().unwrap_err().is::<Cancelled>());
        // What need not be `Send` may come back too: it is the same OS thread.
        let local = greenrt::run(|| {
            let local = spawn_local(|| std::rc::Rc::new(7));
            yield_now();
            local
        });
        assert_eq!(*local.join().unwrap(), 7);
    });
}

#[test]
fn joins_may_form_a_long_chain() {
    on_each_runtime(|| {
        let (send, receive) = channel();
        let mut last: JoinHandle<u32> =
            spawn(move || receive.recv_timeout(Duration::ZERO).unwrap_or(0));
        drop(send);
        for _ in 0..5000 {
            let previous = last;
            last = spawn(move || previous.join().unwrap() + 1);
        }
        assert_eq!(last.join().unwrap(), 5000);
    });
}

#[test]
fn joins_from_outside_and_inside_never_miss_the_end() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            with_seeds(5, |random| {
                for n in 0..2000 {
                    let mut own = random.fork();
                    let thread = runtime.spawn(move || {
                        own.dawdle(3000);
                        n
                    });
                    random.dawdle(3000);
                    match random.below(2) {
                        0 => assert_eq!(thread.join().unwrap(), n),
                        _ => {
                            let joiner = runtime.spawn(move || thread.join().unwrap());
                            assert_eq!(joiner.join().unwrap(), n);
                        }
                    }
                }
            });
        }
    });
}

/// A tree with ten branches at each node: the sum of its leaves.
fn skynet(first: u64, n_leaves: u64) -> u64 {
    if n_leaves == 1 {
        return first;
    }
    let part = n_leaves / 10;
    let branches: Vec<_> = (0..10)
        .map(|n| spawn(move || skynet(first + n * part, part)))
        .collect();
    branches
        .into_iter()
        .map(|branch| branch.join().unwrap())
        .sum()
}

#[test]
fn threads_spawn_threads_that_spawn_threads() {
    on_each_runtime(|| assert_eq!(skynet(0, 100_000), 99_999 * 100_000 / 2));
}

#[test]
fn a_builder_refuses_what_cannot_be() {
    on_each_runtime(|| {
        let error = Builder::new()
            .stack_size((8 << 20) + 1)
            .spawn(|| ())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "stack of 8388609 bytes is above the maximum of 8388608"
        );
        let error = Builder::new()
            .stack_size(usize::MAX)
            .spawn(|| ())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = Builder::new().worker(1000).spawn(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error
                .to_string()
                .starts_with("worker 1000 of a runtime with "),
            "{error}"
        );
        let text = panic_of(|| Builder::new().name("a\0b".into()).spawn(|| ()));
        assert_eq!(text, "thread name may not contain interior null bytes");
        let text = panic_of(|| Builder::new().worker(1000).spawn_local(|| ()));
        assert!(
            text.starts_with("a local green thread runs on the caller's worker"),
            "{text}"
        );
    });
}

#[test]
fn a_local_thread_needs_a_worker() {
    limited(|| {
        let error = Builder::new().spawn_local(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = panic_of(|| spawn_local(|| ()));
        assert!(
            text.starts_with("failed to spawn a local green thread"),
            "{text}"
        );
    });
}

#[test]
fn a_builder_off_a_worker_spawns_on_the_global_runtime_and_refuses_the_same() {
    limited(|| {
        assert_eq!(Builder::new().spawn(|| 7).unwrap().join().unwrap(), 7);
        let error = Builder::new().stack_size(1 << 30).spawn(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = Builder::new().worker(1000).spawn(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// Uses about `bytes` of its stack.
fn use_stack(bytes: usize) -> usize {
    let page = std::hint::black_box([bytes as u8; 1024]);
    // In debug builds a frame is a little more than its array.
    let below = if bytes > 4096 {
        use_stack(bytes - 4096)
    } else {
        0
    };
    below + usize::from(page[0] == bytes as u8)
}

#[test]
fn a_stack_is_as_large_as_was_asked_for() {
    on_each_runtime(|| {
        for bytes in [64 << 10, 256 << 10, 1 << 20, 2 << 20, 8 << 20] {
            let thread = Builder::new()
                .stack_size(bytes)
                .spawn(move || use_stack(bytes / 2));
            assert!(thread.unwrap().join().unwrap() > 0);
        }
        // The next class is taken, and the smallest for none at all.
        let thread = Builder::new()
            .stack_size((64 << 10) + 1)
            .spawn(|| use_stack(100 << 10));
        assert!(thread.unwrap().join().unwrap() > 0);
        Builder::new()
            .stack_size(0)
            .spawn(|| ())
            .unwrap()
            .join()
            .unwrap();
    });
}

#[test]
fn a_spawner_may_end_before_those_it_has_spawned() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let grandchild = spawn(|| spawn(|| sleep(HOUR))).join().unwrap();
        grandchild.join().unwrap();
        assert_eq!(clock.now() - start, HOUR);
    });
}

#[test]
fn a_thread_that_is_joined_late_has_long_ended() {
    on_each_runtime(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let thread = {
            let flag = Arc::clone(&flag);
            spawn(move || {
                park();
                flag.store(true, Relaxed);
                7
            })
        };
        thread.thread().unpark();
        wait_until(|| flag.load(Relaxed) && thread.is_finished());
        assert_eq!(thread.join().unwrap(), 7);
    });
}

#[test]
fn a_closure_that_panics_when_dropped_unstarted_is_a_panic_of_its_thread() {
    on_each_runtime(|| {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("{EXPECTED}");
            }
        }
        let panics = Panics;
        let thread = Builder::new()
            .worker(0)
            .spawn(move || std::mem::forget(panics))
            .unwrap();
        cancel(thread.thread());
        if let Err(payload) = thread.join() {
            assert_eq!(panic_text(&*payload), EXPECTED);
        }
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
    });
}
