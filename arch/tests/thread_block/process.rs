//! Signals, `fork`, and what concerns all threads of a process.

use std::cell::Cell;
use std::env;
use std::ffi::c_int;
use std::process::{self, Command};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use greenrt_arch::thread_block::{Block, support};

use crate::green::{Green, errno, set_errno, this_thread};
use crate::testing::{assert_done, assert_killed, in_child, time_limit};

thread_local!(static N_HERE: Cell<usize> = const { Cell::new(0) });

static N_SIGNALS: AtomicUsize = AtomicUsize::new(0);
static N_IN_GREEN: AtomicUsize = AtomicUsize::new(0);
static HOME: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_alarm(_: c_int) {
    let saved = errno();
    // Everything that a handler may use is there, whatever is installed.
    let this = this_thread() as usize;
    if this != HOME.load(Relaxed) {
        N_IN_GREEN.fetch_add(1, Relaxed);
    }
    assert_eq!(Block::current(), Block::current());
    N_HERE.set(N_HERE.get() + 1);
    N_SIGNALS.fetch_add(1, Relaxed);
    // SAFETY: a bad descriptor; sets errno.
    unsafe { libc::close(-1) };
    assert_eq!(errno(), libc::EBADF);
    set_errno(saved);
}

#[test]
fn signals_may_come_at_any_moment() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        let greens = [Green::new(), Green::new()];
        HOME.store(this_thread() as usize, Relaxed);
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGPROF, on_alarm as *const () as libc::sighandler_t) };
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: 1000,
        };
        let timer = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // CPU time, so that the thread that gets the signal is the one that runs.
        // SAFETY: a complete timer.
        unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, ptr::null_mut()) };
        let start = Instant::now();
        let mut n_rounds = 0;
        while start.elapsed() < Duration::from_millis(500) || N_SIGNALS.load(Relaxed) < 50 {
            for green in &greens {
                let before = N_HERE.get();
                green.run(|| set_errno(5));
                assert!(N_HERE.get() >= before);
                green.run(|| assert_eq!(errno(), 5));
                green.renew();
            }
            n_rounds += 1;
        }
        assert!(n_rounds > 100 && N_IN_GREEN.load(Relaxed) > 0);
    });
    assert_done(&child);
}

fn wait(child: libc::pid_t) -> c_int {
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

#[test]
fn a_green_thread_forks() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        let body = || {
            let (green, other) = (Green::new(), Green::new());
            let home = this_thread();
            let this = green.thread_pointer() as libc::pthread_t;
            green.run(|| {
                // SAFETY: the child does what a thread may, for it is the only one.
                match unsafe { libc::fork() } {
                    0 => {
                        // In the child libc knows this OS thread by its own block, so that threads
                        // get other stacks, and each other's locks.
                        let fine = this_thread() == this
                            && thread::spawn(|| vec![1; 100].len()).join().is_ok()
                            && other.run(this_thread) != this
                            && this_thread() == this;
                        process::exit(if fine { 17 } else { 1 });
                    }
                    child => {
                        assert_eq!(this_thread(), this);
                        assert_eq!(libc::WEXITSTATUS(wait(child)), 17);
                    }
                }
            });
            assert_eq!(this_thread(), home);
            // Home may fork too.
            // SAFETY: the child only ends.
            match unsafe { libc::fork() } {
                0 => process::exit(17),
                child => assert_eq!(libc::WEXITSTATUS(wait(child)), 17),
            }
        };
        body();
        thread::spawn(body).join().unwrap();
    });
    assert_done(&child);
}

#[test]
fn a_green_thread_starts_processes() {
    let _limit = time_limit(60);
    let green = Green::new();
    green.run(|| {
        assert!(Command::new("true").status().unwrap().success());
        let text = Command::new("echo").arg("green").output().unwrap().stdout;
        assert_eq!(text, b"green\n");
    });
}

/// libc signals every thread that it knows, and waits for all.
#[test]
fn the_group_can_be_changed_by_and_around_green_threads() {
    fn change() {
        // SAFETY: asks only.
        let group = unsafe { libc::getgid() };
        // SAFETY: changes nothing.
        let result = unsafe { libc::setresgid(group, group, group) };
        assert_eq!(result, 0);
    }

    let child = in_child(&[], || {
        let _limit = time_limit(20);
        // By a green thread of a worker, and of the main thread.
        let by_green = || Green::new().run(change);
        thread::spawn(by_green).join().unwrap();
        by_green();
        // Around one that runs.
        static STATE: AtomicUsize = AtomicUsize::new(0);
        let worker = thread::spawn(|| {
            Green::new().run(|| {
                STATE.store(1, Relaxed);
                while STATE.load(Relaxed) == 1 {
                    std::hint::spin_loop();
                }
            });
        });
        while STATE.load(Relaxed) == 0 {
            thread::yield_now();
        }
        for _ in 0..10 {
            change();
        }
        STATE.store(2, Relaxed);
        worker.join().unwrap();
    });
    assert_done(&child);
}

#[test]
fn a_green_thread_aborts() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        Green::new().run(|| process::abort());
    });
    assert_killed(&child, libc::SIGABRT);
}

#[test]
fn a_green_thread_raises_signals() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        // SAFETY: ends the process.
        Green::new().run(|| unsafe { libc::raise(libc::SIGUSR1) });
    });
    assert_killed(&child, libc::SIGUSR1);
}

#[test]
fn a_green_thread_signals_itself() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        // SAFETY: ends the process.
        Green::new().run(|| unsafe { libc::pthread_kill(this_thread(), libc::SIGUSR2) });
    });
    assert_killed(&child, libc::SIGUSR2);
}

#[test]
fn home_is_the_thread_s_own() {
    let _limit = time_limit(60);
    let green = Green::new();
    let home = Block::home();
    assert_eq!(home, Block::current());
    green.run(|| {
        assert_eq!(Block::home(), home);
        assert_ne!(Block::current(), home);
    });
    thread::spawn(move || assert_ne!(Block::home(), home))
        .join()
        .unwrap();
}

#[test]
fn valgrind_is_a_reason() {
    let _limit = time_limit(200);
    if env::var_os("GREENRT_ARCH_UNDER_VALGRIND").is_some() {
        let reason = support().unwrap_err().to_string();
        assert!(reason.contains("valgrind"), "{reason}");
        return;
    }
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=none", "--quiet"])
        .arg(env::current_exe().unwrap())
        .args(["valgrind_is_a_reason", "--test-threads=1"])
        .env("GREENRT_ARCH_UNDER_VALGRIND", "1");
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        // Nothing to test with.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}
