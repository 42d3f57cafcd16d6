//! Children, forks, and processes that are patched in other ways.

#![expect(unsafe_code, reason = "asks libc")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use crate::probes::{probe, probes};
use crate::support::{a_file_is_read_by_the_pool, calls, tests, wait_until};

tests! {
    a_child_is_waited_for
    the_output_of_a_child
    a_child_that_talks
    many_children_at_once
    a_killed_child
    any_child_is_waited_for
    many_wait_for_any_child
    a_child_that_stops_and_goes_on
    a_group_of_children
    a_program_that_is_not_there
    the_child_of_a_fork_has_libc_as_it_was
    forks_while_green_threads_live
    fork_and_exec_while_green_threads_live
    with_shared_thread_locals_threads_cannot_be_green
    without_a_patch_nothing_is_green
}

fn a_child_is_waited_for() {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = cat.stdin.take();
    // It ends when a sibling lets it.
    let sibling = thread::spawn(move || {
        thread::sleep(Duration::from_millis(2));
        drop(stdin);
    });
    assert!(cat.wait().unwrap().success());
    sibling.join().unwrap();
    assert!(cat.wait().unwrap().success());
}

fn the_output_of_a_child() {
    let output = Command::new("sh")
        .args(["-c", "echo out; echo err >&2; exit 3"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.status.code(), Some(3));
}

fn a_child_that_talks() {
    let mut cat = Command::new("cat");
    let mut cat = cat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let writer = thread::spawn(move || to.write_all(&[7; 300_000]).unwrap());
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [7; 300_000]);
    writer.join().unwrap();
    assert!(cat.wait().unwrap().success());
}

fn many_children_at_once() {
    let threads: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                let status = Command::new("sh")
                    .args(["-c", &format!("exit {n}")])
                    .status();
                status.unwrap().code()
            })
        })
        .collect();
    assert!(
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .eq((0..20).map(Some))
    );
}

fn a_killed_child() {
    use std::os::unix::process::ExitStatusExt;
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[expect(clippy::zombie_processes, reason = "waited for by way of libc")]
fn any_child_is_waited_for() {
    // What the crate libc does not have.
    unsafe extern "C" {
        fn wait3(status: *mut i32, options: i32, usage: *mut libc::rusage) -> libc::pid_t;
    }
    let child = Command::new("true").spawn().unwrap();
    let mut status = -1;
    // SAFETY: room for the status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    assert_eq!((pid, status), (child.id().cast_signed(), 0));
    let child = Command::new("true").spawn().unwrap();
    // SAFETY: room for the status.
    let pid = unsafe { wait3(&raw mut status, 0, std::ptr::null_mut()) };
    assert_eq!((pid, status), (child.id().cast_signed(), 0));
    // SAFETY: room for the status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    assert_eq!(pid, -1);
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::ECHILD)
    );
}

#[expect(clippy::zombie_processes, reason = "waited for by way of libc")]
fn many_wait_for_any_child() {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = cat.stdin.take();
    let cat = cat.id().cast_signed();
    let n_waiting = || calls("wait").0 + calls("waitpid").0 + calls("wait4").0;
    let n_before = n_waiting();
    let waiters: Vec<_> = (0..100)
        .map(|n| {
            thread::spawn(move || {
                let mut status = -1;
                let place = &raw mut status;
                let pid = match n % 3 {
                    // SAFETY: room for the status.
                    0 => unsafe { libc::wait(place) },
                    // SAFETY: as above.
                    1 => unsafe { libc::waitpid(-1, place, libc::WUNTRACED) },
                    // SAFETY: as above.
                    _ => unsafe { libc::wait4(0, place, 0, std::ptr::null_mut()) },
                };
                (pid, status, std::io::Error::last_os_error().raw_os_error())
            })
        })
        .collect();
    wait_until(|| n_waiting() >= n_before + 100);
    // They hold no thread of the pool, which has not as many.
    a_file_is_read_by_the_pool();
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    drop(stdin);
    let told: Vec<_> = waiters
        .into_iter()
        .map(|waiter| waiter.join().unwrap())
        .collect();
    let found = told.iter().filter(|told| (told.0, told.1) == (cat, 0));
    assert_eq!(found.count(), 1);
    let none = told.iter().filter(|told| told.0 == -1);
    assert!(none.clone().all(|told| told.2 == Some(libc::ECHILD)));
    assert_eq!(none.count(), 99);
}

fn a_child_that_stops_and_goes_on() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = child.id().cast_signed();
    let later = move |signal| {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(2));
            // SAFETY: our child.
            assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        })
    };
    let wait = move |options| {
        let mut status = 0;
        // SAFETY: room for the status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, options) }, pid);
        status
    };
    let sibling = later(libc::SIGSTOP);
    let status = wait(libc::WUNTRACED);
    assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP);
    sibling.join().unwrap();
    let sibling = later(libc::SIGCONT);
    assert!(libc::WIFCONTINUED(wait(libc::WCONTINUED)));
    sibling.join().unwrap();
    // By `waitid`, without taking it, and then for good.
    let sibling = later(libc::SIGKILL);
    for options in [
        libc::WEXITED | libc::WNOWAIT | libc::WSTOPPED,
        libc::WEXITED,
    ] {
        // SAFETY: all zero is one.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: room for the answer.
        let error =
            unsafe { libc::waitid(libc::P_PID, pid.cast_unsigned(), &raw mut info, options) };
        // SAFETY: of a child.
        let of = unsafe { info.si_pid() };
        // SAFETY: as above.
        let ended = (of, unsafe { info.si_status() });
        assert_eq!(
            (error, info.si_code, ended),
            (0, libc::CLD_KILLED, (pid, libc::SIGKILL))
        );
    }
    sibling.join().unwrap();
    assert!(child.wait().is_err());
}

#[expect(clippy::zombie_processes, reason = "waited for by way of libc")]
fn a_group_of_children() {
    use std::os::unix::process::CommandExt;
    let group = |group| {
        let mut cat = Command::new("cat");
        let mut cat = cat
            .stdin(Stdio::piped())
            .process_group(group)
            .spawn()
            .unwrap();
        (cat.stdin.take(), cat.id().cast_signed())
    };
    let (first_stdin, first) = group(0);
    let (second_stdin, second) = group(first);
    let (other_stdin, other) = group(0);
    let sibling = thread::spawn(move || {
        drop(other_stdin);
        thread::sleep(Duration::from_millis(2));
        drop(second_stdin);
        thread::sleep(Duration::from_millis(2));
        drop(first_stdin);
    });
    let wait = |pid| {
        // SAFETY: no place for the status.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }
    };
    let mut ended = [wait(-first), wait(-first)];
    ended.sort_unstable();
    let mut wanted = [first, second];
    wanted.sort_unstable();
    assert_eq!(ended, wanted);
    assert_eq!(wait(-first), -1);
    assert_eq!(wait(-other), other);
    sibling.join().unwrap();
}

fn a_program_that_is_not_there() {
    let error = Command::new("/no/such/program").status().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

fn the_child_of_a_fork_has_libc_as_it_was() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child calls what is safe in it, and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // Sleeping, writing and closing, on the one thread that there is.
        let before = calls("clock_nanosleep");
        thread::sleep(Duration::from_millis(1));
        let said = if calls("clock_nanosleep") == before {
            b"libc"
        } else {
            b"ours"
        };
        let _ = writer.write_all(said);
        // SAFETY: no destructors.
        unsafe { libc::_exit(7) };
    }
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "libc");
    let mut status = 0;
    // SAFETY: room for the status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(libc::WEXITSTATUS(status), 7);
}

/// Green threads in the middle of something; they go on until this is dropped, and nothing is wrong then.
struct Siblings {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Siblings {
    fn begin() -> Siblings {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let mut add = |mut f: Box<dyn FnMut() + Send>| {
            let stop = Arc::clone(&stop);
            threads.push(thread::spawn(move || {
                while !stop.load(SeqCst) {
                    f();
                }
            }));
        };
        for n in 0..20 {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            thread::spawn(move || io::copy(&mut far.try_clone().unwrap(), &mut far));
            add(Box::new(move || {
                near.write_all(&[n; 10]).unwrap();
                let mut bytes = [0; 10];
                near.read_exact(&mut bytes).unwrap();
                assert_eq!(bytes, [n; 10]);
            }));
            add(Box::new(|| thread::sleep(Duration::from_micros(300))));
            add(Box::new(|| {
                let mut stdout = io::stdout().lock();
                thread::yield_now();
                stdout.flush().unwrap();
            }));
            add(Box::new(|| drop(std::fs::read("/proc/self/stat").unwrap())));
        }
        Siblings { stop, threads }
    }

    fn end(self) {
        self.stop.store(true, SeqCst);
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

fn forks_while_green_threads_live() {
    let siblings = Siblings::begin();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(1));
        let (mut reader, writer) = io::pipe().unwrap();
        // SAFETY: the child calls what is safe in it, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            near.write_all(b"from the child").unwrap();
            thread::sleep(Duration::from_millis(1));
            let mut bytes = vec![0; 14];
            far.read_exact(&mut bytes).unwrap();
            (&writer).write_all(&bytes).unwrap();
            // SAFETY: no destructors.
            unsafe { libc::_exit(7) };
        }
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from the child");
        let mut status = 0;
        // SAFETY: room for the status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(libc::WEXITSTATUS(status), 7);
    }
    siblings.end();
}

fn fork_and_exec_while_green_threads_live() {
    use std::os::unix::process::CommandExt;
    let siblings = Siblings::begin();
    let threads: Vec<_> = (0..20)
        .map(|n| {
            thread::spawn(move || {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("cat; exit {n}")]);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                // With this std forks, instead of spawning.
                // SAFETY: it does nothing.
                unsafe { command.pre_exec(|| Ok(())) };
                let mut child = command.spawn().unwrap();
                child.stdin.take().unwrap().write_all(b"through").unwrap();
                let output = child.wait_with_output().unwrap();
                assert_eq!(output.stdout, b"through");
                output.status.code()
            })
        })
        .collect();
    let codes = threads.into_iter().map(|thread| thread.join().unwrap());
    assert!(codes.eq((0..20).map(Some)));
    siblings.end();
}

/// Runs a probe.
fn run(name: &str, variables: &[(&str, &str)]) -> (bool, String, String) {
    let output = probe(name, 1)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

probes! { patch no_threads nothing }

fn patch() {
    greenlibc::patch_all();
}

fn no_threads() {
    greenlibc::Patch::all().threads(false).apply();
    let thread = thread::spawn(greenrt::lowlevel::on_green_thread);
    assert!(!thread.join().unwrap());
    greenrt::run(|| {
        let sleeper = greenrt::spawn(|| thread::sleep(Duration::from_secs(1000)));
        thread::sleep(Duration::from_millis(1));
        assert!(!sleeper.is_finished());
        std::process::exit(0);
    });
}

fn nothing() {
    let thread = thread::spawn(greenrt::lowlevel::on_green_thread);
    assert!(!thread.join().unwrap());
    greenrt::run(|| thread::sleep(Duration::from_millis(1)));
    assert!(greenlibc::calls().iter().all(|calls| calls.n == 0));
}

fn with_shared_thread_locals_threads_cannot_be_green() {
    let (success, _, stderr) = run("patch", &[("GREENRT_THREAD_LOCALS", "shared")]);
    assert!(!success);
    assert!(stderr.contains("std's threads cannot be green"), "{stderr}");
    for locals in ["shared", "private"] {
        let (success, _, stderr) = run("no_threads", &[("GREENRT_THREAD_LOCALS", locals)]);
        assert!(success, "{stderr}");
    }
}

fn without_a_patch_nothing_is_green() {
    let (success, _, stderr) = run("nothing", &[]);
    assert!(success, "{stderr}");
}
