//! What is left behind, and what happens when something cannot be had.

#![expect(unsafe_code, reason = "limits of the system are set by libc")]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use greenrt::process::{ChildExt as _, CommandExt as _, OnDrop};
use greenrt::timeout;
use greenstd::os::unix::process::CommandExt as _;
use greenstd::process::{Command, Stdio};

use crate::extras::{cat, sh, state};
use crate::support::{Child, runtime, wait_until};

const SHORT: Duration = Duration::from_millis(1);

/// The children of this process, zombies included.
fn children() -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("children");
        let text = fs::read_to_string(path).unwrap_or_default();
        all.extend(
            text.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    all
}

fn n_descriptors() -> u64 {
    greenrt_arch::usage::descriptors().unwrap()
}

/// Each way in which a child can come and go.
fn all_ways() {
    assert!(Command::new("true").status().unwrap().success());
    assert_eq!(
        sh("echo a; echo b >&2")
            .stderr(Stdio::piped())
            .output()
            .unwrap()
            .stdout,
        b"a\n"
    );
    Command::new("/no/such/program").spawn().unwrap_err();
    Command::new("/usr").output().unwrap_err();
    let mut child = cat();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = sh("exit 3").spawn().unwrap();
    wait_until(|| state(child.id()) == Some('Z'));
    child.wait().unwrap();
    let mut child = cat();
    let stdin = child.stdin.take();
    assert_eq!(child.wait_timeout(SHORT).unwrap(), None);
    drop(stdin);
    child.wait().unwrap();
    let mut child = sh("exec 3<&0; cat <&3 & exit 7").spawn().unwrap();
    let stdin = child.stdin.take();
    child.wait().unwrap();
    drop((stdin, child));
    let mut command = sh("exec sleep 1000");
    drop(command.on_drop(OnDrop::Kill).spawn().unwrap());
    // Off a green thread limits do not end waits for descriptors.
    if greenrt::lowlevel::on_green_thread() {
        timeout(SHORT, || command.output()).unwrap_err();
    }
    let mut family = sh("sleep 1000 & wait");
    family.process_group(0).on_drop(OnDrop::Kill);
    drop(family.spawn().unwrap());
}

#[test]
fn nothing_is_left_behind() {
    let died = Child::new("descriptors::nothing_is_left_behind").run(|| {
        let settle = || wait_until(|| children().is_empty());
        // The thread that starts children, and its like, come with the first.
        all_ways();
        settle();
        let before = n_descriptors();
        for _ in 0..3 {
            all_ways();
            settle();
        }
        assert_eq!(n_descriptors(), before);
        greenrt::run(|| {
            all_ways();
            settle();
            let before = n_descriptors();
            for _ in 0..5 {
                all_ways();
                settle();
            }
            assert_eq!(n_descriptors(), before);
        });
        runtime(2).run(move || {
            all_ways();
            wait_until(|| children().is_empty());
        });
        settle();
        assert_eq!(n_descriptors(), before);
    });
    died.expect_success();
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64) -> u64 {
    // SAFETY: all zeros is one.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: a place for the limits.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    let before = limit.rlim_cur;
    limit.rlim_cur = soft;
    // SAFETY: limits as they were read, but for one that is lower.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
    before
}

const EMFILE: i32 = 24;
const EAGAIN: i32 = 11;

#[test]
fn without_descriptors_nothing_is_lost() {
    let died = Child::new("descriptors::without_descriptors_nothing_is_lost").run(|| {
        let test = || {
            all_ways();
            wait_until(|| children().is_empty());
            // Lower than any that could be opened.
            let before = limit(libc::RLIMIT_NOFILE, 3);
            let mut piped = sh("echo hello");
            for _ in 0..10 {
                assert_eq!(piped.spawn().unwrap_err().raw_os_error(), Some(EMFILE));
                assert_eq!(piped.output().unwrap_err().raw_os_error(), Some(EMFILE));
            }
            limit(libc::RLIMIT_NOFILE, before);
            assert_eq!(piped.output().unwrap().stdout, b"hello\n");
            assert!(children().is_empty());

            // There are enough to start one, but none to wait with.
            let mut plain = Command::new("true");
            for n in 3.. {
                limit(libc::RLIMIT_NOFILE, n);
                let done = plain.status();
                limit(libc::RLIMIT_NOFILE, before);
                match done {
                    // The child has the same limit, and may not get far.
                    Ok(status) => {
                        assert!(status.code().is_some());
                        break;
                    }
                    Err(error) => assert_eq!(error.raw_os_error(), Some(EMFILE)),
                }
            }
            let mut child = cat();
            let stdin = child.stdin.take();
            limit(libc::RLIMIT_NOFILE, 3);
            assert_eq!(child.try_wait().unwrap(), None);
            assert_eq!(child.wait_timeout(SHORT).unwrap(), None);
            drop(stdin);
            assert!(child.wait().unwrap().success());
            limit(libc::RLIMIT_NOFILE, before);
        };
        test();
        greenrt::run(test);
    });
    died.expect_success();
}

#[test]
fn a_full_table_of_processes_is_an_error() {
    let died = Child::new("descriptors::a_full_table_of_processes_is_an_error").run(|| {
        greenrt::run(|| {
            let mut command = sh("echo hello");
            assert!(command.output().unwrap().status.success());
            // Root has no such limit.
            // SAFETY: numbers.
            if unsafe { libc::geteuid() } == 0 {
                // SAFETY: numbers.
                let done = unsafe { libc::setuid(1_234_567) };
                assert_eq!(done, 0);
            }
            let before = limit(libc::RLIMIT_NPROC, 1);
            for _ in 0..10 {
                let error = command.spawn().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(EAGAIN));
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
            limit(libc::RLIMIT_NPROC, before);
            assert_eq!(command.output().unwrap().stdout, b"hello\n");
        });
    });
    died.expect_success();
}

#[test]
fn without_the_thread_that_starts_children_it_is_an_error_and_the_command_stays() {
    let name =
        "descriptors::without_the_thread_that_starts_children_it_is_an_error_and_the_command_stays";
    let died = Child::new(name).run(|| {
        greenrt::run(|| {
            let mut command = sh("echo hello");
            // SAFETY: numbers.
            if unsafe { libc::geteuid() } == 0 {
                // SAFETY: numbers.
                let done = unsafe { libc::setuid(1_234_568) };
                assert_eq!(done, 0);
            }
            let before = limit(libc::RLIMIT_NPROC, 1);
            let error = command.spawn().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            limit(libc::RLIMIT_NPROC, before);
            assert_eq!(command.output().unwrap().stdout, b"hello\n");
        });
    });
    died.expect_success();
}

const ECHILD: i32 = 10;

#[test]
fn signals_of_children_may_be_ignored() {
    let died = Child::new("descriptors::signals_of_children_may_be_ignored").run(|| {
        // SAFETY: no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let ours = || {
            let mut child = cat();
            let stdin = child.stdin.take();
            assert_eq!(child.try_wait().unwrap(), None);
            assert_eq!(child.wait_timeout(SHORT).unwrap(), None);
            drop(stdin);
            // As std has it: the end is waited for, and then there is nobody to ask.
            child.wait().unwrap_err().raw_os_error()
        };
        let stds = {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            child.wait().unwrap_err().raw_os_error()
        };
        assert_eq!((stds, ours()), (Some(ECHILD), Some(ECHILD)));
        assert_eq!(greenrt::run(ours), Some(ECHILD));
        assert_eq!(runtime(2).run(ours), Some(ECHILD));
        // SAFETY: no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    });
    died.expect_success();
}

#[test]
fn signals_of_children_may_have_a_handler_and_it_is_not_ours() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static N: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        N.fetch_add(1, Relaxed);
    }
    let name = "descriptors::signals_of_children_may_have_a_handler_and_it_is_not_ours";
    let died = Child::new(name).run(|| {
        greenrt::run(|| assert!(Command::new("true").status().unwrap().success()));
        // SAFETY: the handler is async-signal-safe.
        let before = unsafe { libc::signal(libc::SIGCHLD, handler as *const () as usize) };
        assert_eq!(before, libc::SIG_DFL);
        greenrt::run(|| {
            for _ in 0..20 {
                assert!(Command::new("true").status().unwrap().success());
                assert_eq!(sh("echo a").output().unwrap().stdout, b"a\n");
            }
        });
        assert!(N.load(Relaxed) > 0);
    });
    died.expect_success();
}

#[test]
fn a_process_ends_at_once_by_exit_on_a_green_thread() {
    for (how, code) in [("exit", 7), ("scope", 8)] {
        let name = "descriptors::a_process_ends_at_once_by_exit_on_a_green_thread";
        let died = Child::new(name).env("HOW", how).run(|| {
            let how = std::env::var("HOW").unwrap();
            greenrt::run(|| {
                greenrt::scope(|s| {
                    s.spawn(greenrt::park);
                    s.spawn(|| match &*how {
                        "exit" => greenstd::process::exit(7),
                        _ => greenrt::spawn(|| greenstd::process::exit(8))
                            .join()
                            .unwrap(),
                    });
                });
            });
        });
        assert_eq!(died.code, Some(code), "{died:?}");
    }
}
