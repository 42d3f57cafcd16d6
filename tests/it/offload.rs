//! Calls that are made on OS threads while the green thread that wants their result parks.

use std::cell::Cell;
use std::fs;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use greenrt::lowlevel::{self, Lane, offload_borrowing, offload_to};
use greenrt::{Cancelled, Runtime, offload, spawn, timeout};

use crate::support::{
    Child, EXPECTED, HOUR, Log, join_all, limited, on_each_runtime, on_each_runtime_and_off,
    on_one_worker, os_thread, os_thread_name, panic_of, panic_text, runtime, wait_until,
};

/// How many OS threads of this process have names that begin so.
fn n_os_threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let is_one = |task: &fs::DirEntry| {
        let comm = fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.starts_with(name))
    };
    tasks.filter_map(Result::ok).filter(is_one).count()
}

#[test]
fn the_result_comes_back() {
    on_each_runtime_and_off(|| {
        let text = String::from("owned");
        assert_eq!(
            offload(move || text + " and returned"),
            "owned and returned"
        );
        assert_eq!(offload_to(Lane::Dns, || 7), 7);
        let (mut n, step) = (1, 2);
        offload_borrowing(Lane::General, || n += step);
        assert_eq!(n, 3);
    });
}

#[test]
fn on_a_green_thread_the_call_is_made_by_the_pool() {
    on_each_runtime(|| {
        let here = os_thread();
        assert_eq!(offload(os_thread_name), "greenrt-offload");
        assert_eq!(offload_to(Lane::Dns, os_thread_name), "greenrt-dns");
        assert_eq!(os_thread(), here);
    });
}

#[test]
fn on_an_os_thread_the_call_is_made_right_there() {
    limited(|| {
        let here = os_thread();
        assert_eq!(offload(os_thread), here);
        assert_eq!(offload_borrowing(Lane::Dns, os_thread), here);
        // So it is inside an offloaded call.
        let (outer, inner) = greenrt::run(|| offload(|| (os_thread(), offload(os_thread))));
        assert_eq!(outer, inner);
    });
}

#[test]
fn the_worker_runs_others_meanwhile() {
    on_one_worker(|| {
        let (sender, receiver) = channel();
        let sibling = spawn(move || sender.send(1).unwrap());
        // An OS thread waits for what only this worker can do.
        assert_eq!(offload(move || receiver.recv().unwrap()), 1);
        sibling.join().unwrap();
    });
}

#[test]
fn a_panic_is_passed_on() {
    on_each_runtime_and_off(|| {
        assert_eq!(
            panic_of(|| offload(|| panic!("{EXPECTED} 1"))),
            "expected panic 1"
        );
        let borrowed = String::from(EXPECTED);
        let text = panic_of(|| offload_borrowing(Lane::General, || panic!("{borrowed} 2")));
        assert_eq!(text, "expected panic 2");
        assert_eq!(offload(|| 3), 3);
    });
}

#[test]
fn when_cancelled_the_caller_leaves_and_the_call_goes_on() {
    on_each_runtime(|| {
        let log = Log::new();
        let (proceed, wait) = channel();
        let (began, begun) = channel();
        let caller = {
            let (captured, result) = (log.on_drop("captured"), log.on_drop("result"));
            let log = log.clone();
            spawn(move || {
                let _here = log.on_drop("unwound");
                offload(move || {
                    let _captured = captured;
                    began.send(()).unwrap();
                    wait.recv().unwrap();
                    result
                })
            })
        };
        begun.recv().unwrap();
        lowlevel::cancel(caller.thread());
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        assert_eq!(log.text(), "unwound");
        proceed.send(()).unwrap();
        wait_until(|| log.len() == 3);
        assert_eq!(log.text(), "unwound captured result");
    });
}

#[test]
fn a_cancelled_thread_does_not_begin_a_call() {
    on_each_runtime(|| {
        let log = Log::new();
        let caller = {
            let log = log.clone();
            spawn(move || {
                greenrt::park();
                offload(move || log.note("called"));
            })
        };
        lowlevel::cancel(caller.thread());
        caller.thread().unpark();
        assert!(caller.join().unwrap_err().is::<Cancelled>());
        assert_eq!(log.text(), "");
    });
}

#[test]
fn a_limit_ends_the_wait() {
    on_each_runtime(|| {
        let (proceed, wait) = channel::<()>();
        let limited = timeout(Duration::from_millis(2), || offload(move || wait.recv()));
        assert!(limited.is_err());
        drop(proceed);
    });
}

#[test]
fn a_call_that_borrows_is_waited_for_by_a_cancelled_thread() {
    on_each_runtime(|| {
        let (proceed, wait) = channel();
        let (began, begun) = channel();
        let caller = spawn(move || {
            let (mut n, wait) = (0, Mutex::new(wait));
            let limited = timeout(Duration::from_millis(1), || {
                offload_borrowing(Lane::General, || {
                    began.send(()).unwrap();
                    wait.lock().unwrap().recv().unwrap();
                    n += 1;
                });
                n
            });
            limited.unwrap()
        });
        begun.recv().unwrap();
        lowlevel::cancel(caller.thread());
        greenrt::yield_now();
        assert!(!caller.is_finished());
        proceed.send(()).unwrap();
        assert_eq!(caller.join().unwrap(), 1);
    });
}

#[test]
fn what_is_dropped_on_the_pool_may_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("{EXPECTED} in a destructor");
        }
    }
    on_each_runtime(|| {
        let bomb = Bomb;
        let payload = spawn(|| offload(move || drop(bomb))).join().unwrap_err();
        assert!(panic_text(&*payload).starts_with(EXPECTED));
        // A result that nobody takes.
        let (proceed, wait) = channel();
        let (began, begun) = channel();
        let caller = spawn(move || {
            offload(move || {
                began.send(()).unwrap();
                wait.recv().unwrap();
                Bomb
            })
        });
        begun.recv().unwrap();
        lowlevel::cancel(caller.thread());
        assert!(caller.join().is_err());
        proceed.send(()).unwrap();
        assert_eq!(offload(|| 1), 1);
    });
}

#[test]
fn thousands_at_once_take_a_few_threads() {
    on_each_runtime(|| {
        static N_DONE: AtomicUsize = AtomicUsize::new(0);
        N_DONE.store(0, Relaxed);
        let threads = (0..2000).map(|n| {
            spawn(move || {
                offload(move || {
                    N_DONE.fetch_add(1, Relaxed);
                    n
                })
            })
        });
        let results = join_all(threads.collect::<Vec<_>>());
        assert!(results.into_iter().eq(0..2000));
        assert_eq!(N_DONE.load(Relaxed), 2000);
        assert!(n_os_threads("greenrt-offload") <= 32);
    });
}

#[test]
fn as_many_calls_at_once_as_there_may_be_threads() {
    let test = "offload::as_many_calls_at_once_as_there_may_be_threads";
    let child = Child::new(test).env("GREENRT_OFFLOAD_THREADS", "5");
    let body = || {
        greenrt::run(|| {
            let met = Arc::new(Barrier::new(5));
            let threads = (0..5).map(|_| {
                let met = Arc::clone(&met);
                spawn(|| offload(move || met.wait().is_leader()))
            });
            let leaders = join_all(threads.collect::<Vec<_>>());
            assert_eq!(leaders.into_iter().filter(|&leader| leader).count(), 1);
            assert_eq!(n_os_threads("greenrt-offload"), 5);
        });
    };
    child.run(body).expect_success();
}

#[test]
fn names_are_looked_up_though_everything_else_is_stuck() {
    let test = "offload::names_are_looked_up_though_everything_else_is_stuck";
    let body = || {
        greenrt::run(|| {
            let (proceed, wait) = sync_channel::<()>(0);
            let wait = Arc::new(Mutex::new(wait));
            let stuck = (0..40).map(|_| {
                let wait = Arc::clone(&wait);
                spawn(move || offload(move || drop(wait.lock().unwrap().recv())))
            });
            let stuck = stuck.collect::<Vec<_>>();
            wait_until(|| n_os_threads("greenrt-offload") == 32);
            assert_eq!(offload_to(Lane::Dns, || 1), 1);
            drop(proceed);
            join_all(stuck);
        });
    };
    Child::new(test).run(body).expect_success();
}

#[test]
fn threads_end_when_there_is_nothing_to_do() {
    let test = "offload::threads_end_when_there_is_nothing_to_do";
    let body = || {
        greenrt::run(|| {
            for _ in 0..2 {
                join_all((0..8).map(|_| spawn(|| offload(|| ()))).collect::<Vec<_>>());
                assert!(n_os_threads("greenrt-offload") > 0);
                while n_os_threads("greenrt-offload") > 0 {
                    greenrt::sleep(Duration::from_millis(50));
                }
            }
        });
    };
    Child::new(test).run(body).expect_success();
}

#[test]
fn where_no_thread_can_be_started_the_call_is_made_here() {
    #![expect(unsafe_code, reason = "limits the memory of a process")]
    let test = "offload::where_no_thread_can_be_started_the_call_is_made_here";
    let body = || {
        greenrt::run(|| {
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
            let limit = libc::rlimit {
                rlim_cur: pages * 4096 + (1 << 20),
                rlim_max: libc::RLIM_INFINITY,
            };
            // SAFETY: no conditions.
            let error = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
            assert_eq!(error, 0);
            let here = os_thread();
            assert_eq!(offload(os_thread), here);
            assert_eq!(panic_of(|| offload(|| panic!("{EXPECTED}"))), EXPECTED);
        });
    };
    Child::new(test).run(body).expect_success();
}

#[test]
fn a_runtime_may_end_while_a_call_goes_on() {
    limited(|| {
        let (proceed, wait) = channel::<()>();
        let (began, begun) = channel();
        let runtime = runtime(2);
        runtime.spawn(move || {
            offload(move || {
                began.send(()).unwrap();
                wait.recv()
            })
        });
        begun.recv().unwrap();
        drop(runtime);
        drop(proceed);
        // One that does not let itself be cancelled.
        let (proceed, wait) = channel::<()>();
        let (began, begun) = channel();
        let runtime = Runtime::builder().workers(1).shutdown_timeout(HOUR);
        let runtime = runtime.build().unwrap();
        let caller = runtime.spawn(move || {
            let wait = Mutex::new(wait);
            offload_borrowing(Lane::General, || {
                began.send(()).unwrap();
                wait.lock().unwrap().recv().is_err()
            })
        });
        begun.recv().unwrap();
        let ends = thread::spawn(move || drop(runtime));
        drop(proceed);
        assert!(caller.join().unwrap());
        ends.join().unwrap();
    });
}

#[test]
fn it_has_the_thread_locals_of_its_thread() {
    thread_local!(static HERE: Cell<u32> = const { Cell::new(0) });
    on_each_runtime(|| {
        HERE.set(1);
        assert_eq!(offload(|| HERE.replace(0)), 0);
        assert_eq!(HERE.get(), 1);
    });
}

#[test]
fn the_dump_names_the_wait() {
    on_each_runtime(|| {
        let (proceed, wait) = channel::<()>();
        let caller = spawn(move || drop(offload(move || wait.recv())));
        wait_until(|| {
            greenrt::debug::dump()
                .to_string()
                .contains("an offloaded call")
        });
        drop(proceed);
        caller.join().unwrap();
    });
}
