//! The dump: every green thread, what it waits for, and where.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use greenrt::debug::{ThreadInfo, dump};
use greenrt::lowlevel::cancel;
use greenrt::{Builder, JoinHandle, current, park, scope, sleep, spawn, timeout, yield_now};

use super::support::{
    EXPECTED, HOUR, OnDrop, Stream, limited, on_each_runtime, on_each_runtime_and_off,
    on_one_worker, on_os_thread, runtime, wait_until,
};

/// The entry of one thread, if it is in the dump.
fn entry(thread: &greenrt::Thread) -> Option<ThreadInfo> {
    dump()
        .threads
        .into_iter()
        .find(|info| info.id == thread.id())
}

/// Waits until a thread waits for `what`, and ends it.
#[track_caller]
fn waits_for<T>(what: &str, thread: JoinHandle<T>) {
    wait_until(|| entry(thread.thread()).is_some_and(|info| info.waits_for.starts_with(what)));
    let info = entry(thread.thread()).unwrap();
    assert_eq!(info.id, thread.thread().id());
    assert!(info.spawned_at.file().ends_with("debug.rs"));
    assert!(!info.cancelled);
    for pointer in [info.stack_pointer, info.instruction_pointer] {
        assert_ne!(pointer, 0, "{info}");
    }
    cancel(thread.thread());
    thread.thread().unpark();
    drop(thread.join());
}

#[test]
fn a_thread_that_waits_says_for_what() {
    on_each_runtime_and_off(|| {
        waits_for("sleep", spawn(|| sleep(HOUR)));
        waits_for("sleep", spawn(|| timeout(HOUR, || sleep(HOUR))));
        waits_for("park", spawn(park));
        waits_for("park", spawn(|| greenrt::park_timeout(HOUR)));
        let joined = spawn(|| sleep(HOUR));
        let (id, handle) = (joined.thread().id(), joined.thread().clone());
        waits_for(
            &format!("join of green thread {}", id.as_u64()),
            spawn(|| joined.join()),
        );
        cancel(&handle);
        waits_for(
            "end of scope, not cancellable here",
            spawn(|| scope(|s| drop(s.spawn(|| sleep(HOUR))))),
        );
        let (near, far) = Stream::pair();
        waits_for("readable: fd ", spawn(move || near.read_byte()));
        waits_for(
            "writable: fd ",
            spawn(move || {
                let (near, _far) = Stream::pair();
                drop(far);
                loop {
                    near.write(&[0; 4096]).unwrap();
                }
            }),
        );
    });
}

#[test]
fn a_thread_that_does_not_wait_says_so() {
    on_one_worker(|| {
        let fresh = spawn(|| ());
        let info = entry(fresh.thread()).unwrap();
        assert_eq!(info.waits_for, "not started");
        assert_eq!((info.stack_pointer, info.instruction_pointer), (0, 0));
        let here = entry(&current()).unwrap();
        assert_eq!(here.waits_for, "running");
        assert_eq!(here.name.as_deref(), Some("main"));
        let runnable = spawn(yield_now);
        yield_now();
        assert_eq!(entry(runnable.thread()).unwrap().waits_for, "runnable");
        let woken = spawn(park);
        yield_now();
        woken.thread().unpark();
        assert_eq!(entry(woken.thread()).unwrap().waits_for, "park, woken");
        for thread in [fresh, runnable, woken] {
            let handle = thread.thread().clone();
            thread.join().unwrap();
            assert!(entry(&handle).is_none(), "ended, and still in the dump");
        }
    });
}

#[test]
fn an_entry_reads_well() {
    on_one_worker(|| {
        let named = Builder::new().name("a \"b\"".into()).spawn(park).unwrap();
        yield_now();
        cancel(named.thread());
        let info = entry(named.thread()).unwrap();
        assert!(info.cancelled);
        let text = info.to_string();
        let id = named.thread().id().as_u64();
        let expected = format!(
            "green thread {id} \"a \\\"b\\\"\": park, cancelled; spawned at {}; sp 0x",
            info.spawned_at
        );
        assert!(text.starts_with(&expected), "{text}");
        let line = dump()
            .to_string()
            .lines()
            .find(|line| line.contains(&expected))
            .map(String::from);
        assert_eq!(line, Some(format!("  {text}")));
        let text = dump().to_string();
        let first = text.lines().next().unwrap();
        assert!(first.ends_with(" green threads"), "{text}");
        named.thread().unpark();
        named.join().unwrap();
    });
}

#[test]
fn the_spawn_site_is_that_of_the_caller() {
    #[track_caller]
    fn helper(f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        spawn(f)
    }
    on_each_runtime_and_off(|| {
        let line = line!() + 1;
        let threads = [spawn(park), helper(park)];
        let builder = Builder::new().spawn(park).unwrap();
        for thread in &threads {
            assert_eq!(entry(thread.thread()).unwrap().spawned_at.line(), line);
        }
        assert_eq!(entry(builder.thread()).unwrap().spawned_at.line(), line + 1);
        scope(|s| {
            let thread = s.spawn(park);
            assert_eq!(entry(thread.thread()).unwrap().spawned_at.line(), line + 7);
            thread.thread().unpark();
        });
        let after = greenrt::spawn_after(HOUR, || ());
        assert_eq!(entry(after.thread()).unwrap().spawned_at.line(), line + 11);
        cancel(after.thread());
        for thread in threads.into_iter().chain([builder]) {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_dump_shows_every_thread() {
    on_each_runtime_and_off(|| {
        let threads: Vec<_> = (0..2000)
            .map(|n| {
                spawn(move || match n % 3 {
                    0 => park(),
                    1 => drop(timeout(HOUR, park)),
                    _ => (0..n % 20).for_each(|_| park()),
                })
            })
            .collect();
        let shown = dump().threads;
        assert!(shown.is_sorted_by_key(|info| info.id.as_u64()));
        for thread in &threads {
            let found =
                shown.binary_search_by_key(&thread.thread().id().as_u64(), |info| info.id.as_u64());
            assert!(found.is_ok() || thread.is_finished());
        }
        for thread in threads {
            while !thread.is_finished() {
                thread.thread().unpark();
                yield_now();
            }
        }
    });
}

#[test]
fn a_thread_in_the_destructor_of_its_result_is_shown() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            park();
        }
    }
    on_one_worker(|| {
        let thread = spawn(|| Waits);
        let handle = thread.thread().clone();
        drop(thread);
        yield_now();
        let info = entry(&handle).expect("it has not ended");
        assert_eq!(info.waits_for, "park");
        handle.unpark();
        (0..5).for_each(|_| yield_now());
        assert!(entry(&handle).is_none());
    });
}

#[test]
fn a_dump_may_be_taken_while_threads_come_and_go() {
    limited(|| {
        for n_workers in [1, 2, 4] {
            let runtime = runtime(n_workers);
            let over = Arc::new(AtomicBool::new(false));
            let n_dumps = Arc::new(AtomicUsize::new(0));
            let dumpers: Vec<_> = (0..2)
                .map(|_| {
                    let (over, n_dumps) = (Arc::clone(&over), Arc::clone(&n_dumps));
                    std::thread::spawn(move || {
                        while !over.load(Relaxed) {
                            for info in dump().threads {
                                // Read every part of it.
                                assert!(!info.to_string().is_empty());
                                assert!(info.spawned_at.line() > 0);
                                if let Some(name) = info.name {
                                    assert!(
                                        ["main", "named"].contains(&&*name) || name.len() < 200
                                    );
                                }
                            }
                            n_dumps.fetch_add(1, Relaxed);
                        }
                    })
                })
                .collect();
            let spawners: Vec<_> = (0..4)
                .map(|_| {
                    runtime.spawn(|| {
                        for n in 0..2500 {
                            let threads: Vec<_> = (0..30)
                                .map(|k| {
                                    let builder = Builder::new();
                                    let builder = match k % 3 {
                                        0 => builder.name("named".into()),
                                        _ => builder,
                                    };
                                    let large = [k as u8; 300];
                                    let act = move || match k % 5 {
                                        0 => yield_now(),
                                        1 => drop(std::hint::black_box(large)),
                                        _ => {}
                                    };
                                    builder.spawn(act).unwrap()
                                })
                                .collect();
                            if n % 100 == 0 {
                                assert!(!dump().threads.is_empty());
                            }
                            threads
                                .into_iter()
                                .for_each(|thread| thread.join().unwrap());
                        }
                    })
                })
                .collect();
            spawners
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            over.store(true, Relaxed);
            dumpers
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            assert!(n_dumps.load(Relaxed) > 0);
        }
    });
}

#[test]
fn a_dump_may_be_taken_from_anywhere() {
    on_each_runtime(|| {
        let threads: Vec<_> = (0..100).map(|_| spawn(park)).collect();
        on_os_thread(|| assert!(dump().threads.len() >= 100));
        let in_drop = spawn(|| {
            let _in_drop = OnDrop(|| assert!(dump().threads.len() >= 100));
            panic!("{EXPECTED}");
        });
        assert!(in_drop.join().is_err());
        for thread in threads {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    });
    limited(|| drop(dump().to_string()));
}
