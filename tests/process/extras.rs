//! What greenrt has and std has not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt::lowlevel::process::{States, Which, look, on_spawning_thread, wait_for};
use greenrt::process::{ChildExt, CommandExt as _, OnDrop, signal};
use greenrt::{spawn, timeout};
use greenstd::os::unix::process::CommandExt as _;
use greenstd::process::{Child, Command, Stdio};

use crate::support::{
    self, on_each_runtime, on_each_runtime_and_off, on_manual_clocks, os_thread_name, runtime,
};

const HOUR: Duration = support::HOUR;
const SHORT: Duration = Duration::from_millis(2);

pub(crate) fn sh(script: &str) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    sh
}

/// Something that ends when its standard input does.
pub(crate) fn cat() -> Child {
    sh("exec cat").spawn().unwrap()
}

/// The state of a process; `None`: there is none.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until somebody has taken the end of a process.
pub(crate) fn until_gone(pid: u32) {
    support::wait_until(|| state(pid).is_none());
}

fn line(child: &mut Child) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn a_wait_ends_when_its_time_is_up_and_is_taken_up_again() {
    on_each_runtime_and_off(|| {
        let mut child = cat();
        let stdin = child.stdin.take();
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(child.wait_timeout(SHORT).unwrap(), None);
            assert!(begin.elapsed() >= SHORT);
            assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), None);
        }
        drop(stdin);
        assert!(child.wait_timeout(HOUR).unwrap().unwrap().success());
        assert!(child.wait_timeout(Duration::ZERO).unwrap().is_some());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_wait_for_a_time_takes_the_runtimes_time() {
    on_manual_clocks(|clock| {
        let before = clock.now();
        let mut child = cat();
        let _stdin = child.stdin.take();
        assert_eq!(child.wait_timeout(HOUR).unwrap(), None);
        assert!(clock.now() - before >= HOUR);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_wait_is_cancelled_and_taken_up_again() {
    on_each_runtime(|| {
        let mut child = cat();
        let stdin = child.stdin.take();
        for _ in 0..3 {
            timeout(SHORT, || child.wait()).unwrap_err();
            assert_eq!(child.try_wait().unwrap(), None);
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());

        // And by another thread than the one that began.
        let mut child = cat();
        let stdin = child.stdin.take();
        let mut stdout = child.stdout.take().unwrap();
        let waiter = spawn(move || drop(child.wait()));
        greenrt::yield_now();
        greenrt::lowlevel::cancel(waiter.thread());
        assert!(waiter.join().unwrap_err().is::<greenrt::Cancelled>());
        // It runs on.
        let mut stdin = stdin.unwrap();
        stdin.write_all(b"still").unwrap();
        stdout.read_exact(&mut [0; 5]).unwrap();
        drop(stdin);
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn reading_and_writing_are_cancelled() {
    on_each_runtime(|| {
        let mut child = cat();
        let mut stdout = child.stdout.take().unwrap();
        timeout(SHORT, || stdout.read(&mut [0])).unwrap_err();
        let mut stdin = child.stdin.take().unwrap();
        // Until both pipes and `cat` are full.
        timeout(SHORT, || {
            loop {
                stdin.write_all(&[7; 65_536]).unwrap();
            }
        })
        .map(|never: std::convert::Infallible| never)
        .unwrap_err();
        let reader = spawn(move || stdout.read_to_end(&mut Vec::new()).unwrap());
        stdin.write_all(b"more").unwrap();
        drop(stdin);
        assert!(reader.join().unwrap() > 4);
        child.wait().unwrap();
    });
}

/// A file for a child to write its number to.
struct Note(std::path::PathBuf);

impl Note {
    fn new(name: &str) -> Note {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBERS.fetch_add(1, Relaxed);
        let name = format!("greenrt-{name}-{}-{number}", std::process::id());
        Note(std::env::temp_dir().join(name))
    }

    /// What the child has written; waits for it.
    fn number(&self) -> u32 {
        loop {
            let text = fs::read_to_string(&self.0).unwrap_or_default();
            if let Some(number) = text.strip_suffix('\n') {
                return number.parse().unwrap();
            }
            greenrt::yield_now();
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A command that notes its number and sleeps.
fn sleeper(note: &Note) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$NOTE\"; exec sleep 1000"]);
    command.env("NOTE", &note.0).stdin(Stdio::null());
    command
}

fn kill(pid: u32) {
    greenrt_arch::process::signal_pid(pid, signal::KILL).unwrap();
}

#[test]
fn what_is_cancelled_runs_on_and_leaves_no_zombie() {
    on_each_runtime(|| {
        for with_output in [true, false] {
            let note = Note::new("cancelled");
            let mut command = sleeper(&note);
            let begun = timeout(SHORT, || match with_output {
                true => command.output().map(|output| output.status),
                false => command.status(),
            });
            begun.unwrap_err();
            let pid = note.number();
            assert_ne!(state(pid), Some('Z'));
            assert!(state(pid).is_some());
            kill(pid);
            until_gone(pid);
        }
    });
}

#[test]
fn one_that_is_dropped_is_killed_if_that_was_asked_for() {
    on_each_runtime_and_off(|| {
        let note = Note::new("dropped");
        let child = sleeper(&note).on_drop(OnDrop::Kill).spawn().unwrap();
        let pid = child.id();
        drop(child);
        until_gone(pid);

        // Also by a cancel of whoever has it, and also while that waits for its output.
        let note = Note::new("cancelled");
        let mut command = sleeper(&note);
        command.on_drop(OnDrop::Kill);
        let owner = spawn(move || drop(command.output()));
        let pid = note.number();
        greenrt::lowlevel::cancel(owner.thread());
        owner.join().unwrap_err();
        until_gone(pid);
    });
}

#[test]
fn one_that_is_dropped_is_left_alone_otherwise() {
    on_each_runtime_and_off(|| {
        let note = Note::new("left");
        let child = sleeper(&note).spawn().unwrap();
        let pid = child.id();
        drop(child);
        assert_eq!(note.number(), pid);
        kill(pid);
        // Its end is there for whoever asks, as in std.
        let end = wait_for(Which::Process(pid), States::ENDED, false, None)
            .unwrap()
            .unwrap();
        assert_eq!((end.pid, end.status), (pid, signal::KILL));

        let note = Note::new("reaped");
        let child = sleeper(&note).on_drop(OnDrop::Reap).spawn().unwrap();
        drop(child);
        let pid = note.number();
        assert!(state(pid).is_some());
        kill(pid);
        until_gone(pid);
    });
}

#[test]
fn one_whose_end_is_known_is_dropped_in_peace() {
    on_each_runtime_and_off(|| {
        let mut command = sh("exit 3");
        let mut child = command.on_drop(OnDrop::Kill).spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        child.signal(signal::KILL).unwrap();
        drop(child);
    });
}

#[test]
fn signals_reach_a_child() {
    on_each_runtime_and_off(|| {
        let mut child =
            sh("trap 'echo asked; exit 5' TERM; echo ready; while :; do read line; done");
        let mut child = child.spawn().unwrap();
        assert_eq!(line(&mut child), "ready");
        child.signal(signal::TERMINATE).unwrap();
        let stdin = child.stdin.take();
        assert_eq!(line(&mut child), "asked");
        assert_eq!(child.wait().unwrap().code(), Some(5));
        drop(stdin);
        assert_eq!(
            child.signal_group(signal::TERMINATE).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    });
}

#[test]
fn a_group_is_ended_as_one() {
    on_each_runtime_and_off(|| {
        // The grandchild would hold the pipe for ever.
        let mut family = sh("sleep 1000 & echo $!; wait");
        let mut child = family.process_group(0).spawn().unwrap();
        let grandchild: u32 = line(&mut child).parse().unwrap();
        assert!(state(grandchild).is_some());
        let status = child.stop(HOUR).unwrap();
        assert_eq!(status.signal(), Some(signal::TERMINATE));
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);

        // By a drop too.
        family.on_drop(OnDrop::Kill);
        let mut child = family.spawn().unwrap();
        line(&mut child);
        let mut stdout = child.stdout.take().unwrap();
        drop(child);
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);

        // And by signal.
        family.on_drop(OnDrop::Leave);
        let mut child = family.spawn().unwrap();
        line(&mut child);
        child.signal_group(signal::KILL).unwrap();
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        assert_eq!(child.wait().unwrap().signal(), Some(signal::KILL));
        child.signal_group(signal::KILL).unwrap();
    });
}

#[test]
fn one_that_does_not_listen_is_ended_after_a_time_of_grace() {
    on_each_runtime_and_off(|| {
        let deaf = "trap '' TERM; echo ready; while :; do sleep 1000; done";
        for group in [false, true] {
            let mut command = sh(deaf);
            // Alone, so that nobody is left to hold the pipe.
            if group {
                command.process_group(0);
            } else {
                command = sh("trap '' TERM; echo ready; exec sleep 1000");
            }
            let mut child = command.spawn().unwrap();
            assert_eq!(line(&mut child), "ready");
            let begin = Instant::now();
            assert_eq!(child.stop(SHORT).unwrap().signal(), Some(signal::KILL));
            assert!(begin.elapsed() >= SHORT);
            assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        }
        // And what of a group lives on when its leader has listened.
        let mut command = sh("sh -c \"trap '' TERM; echo ready; exec sleep 1000\" & wait");
        let mut child = command.process_group(0).spawn().unwrap();
        assert_eq!(line(&mut child), "ready");
        assert_eq!(child.stop(HOUR).unwrap().signal(), Some(signal::TERMINATE));
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_child_dies_with_its_parent() {
    let name = "extras::a_child_dies_with_its_parent";
    for end in ["exit", "abort", "kill"] {
        let died = support::Child::new(name).env("END", end).run(|| {
            // Standard error is the pipe whose end the parent of this process waits for: as long as
            // the sleeper lives, it does not come.
            let start = || {
                let mut command = Command::new("sleep");
                command.arg("1000").stdin(Stdio::null());
                command.parent_death_signal(Some(signal::KILL));
                command.spawn().unwrap();
                // It may be turned off again.
                command.parent_death_signal(None);
                assert!(Command::new("true").status().unwrap().success());
            };
            start();
            greenrt::run(start);
            // The thread that has asked is gone, and the process is not.
            runtime(2).run(move || {
                let mut command = sh("exec cat");
                command.parent_death_signal(Some(signal::KILL));
                let mut child = spawn(move || command.spawn().unwrap()).join().unwrap();
                child.stdin.as_mut().unwrap().write_all(b"alive\n").unwrap();
                assert_eq!(line(&mut child), "alive");
                start();
            });
            match &*std::env::var("END").unwrap() {
                "abort" => std::process::abort(),
                "kill" => kill(std::process::id()),
                _ => std::process::exit(0),
            }
        });
        let expected = match end {
            "exit" => (Some(0), None),
            "abort" => (None, Some(6)),
            _ => (None, Some(9)),
        };
        assert_eq!((died.code, died.signal), expected, "{died:?}");
    }
}

#[test]
fn children_start_on_threads_that_stay() {
    on_each_runtime_and_off(|| {
        let first = on_spawning_thread(os_thread_name).unwrap();
        assert_eq!(first, "greenrt-spawner");
        let text = support::panic_of(|| on_spawning_thread(|| panic!("{}", support::EXPECTED)));
        assert_eq!(text, support::EXPECTED);
        let started = |n| spawn(move || (n, on_spawning_thread(support::os_thread).unwrap()));
        let (numbers, threads): (Vec<_>, BTreeSet<_>) =
            support::join_all((0..100).map(started).collect::<Vec<_>>())
                .into_iter()
                .unzip();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        let n_cpus = std::thread::available_parallelism().unwrap().get();
        assert!(threads.len() <= n_cpus, "{threads:?}");
        for thread in threads {
            assert!(fs::exists(format!("/proc/self/task/{thread}")).unwrap());
        }
    });
}

#[test]
fn a_child_is_waited_for_by_its_number() {
    on_each_runtime_and_off(|| {
        let mut child = cat();
        let which = Which::Process(child.id());
        let wait = |keep, time| wait_for(which, States::ENDED, keep, time).unwrap();
        assert_eq!(wait(false, Some(SHORT)), None);
        drop(child.stdin.take());
        let end = wait(true, None).unwrap();
        assert_eq!((end.pid, end.status), (child.id(), 0));
        // It was left there, for as many as like.
        assert_eq!(wait(true, None), Some(end));
        assert!(child.wait().unwrap().success());
        let error = wait_for(which, States::ENDED, false, None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(10));
    });
}

#[test]
fn many_wait_for_one() {
    on_each_runtime(|| {
        let mut child = cat();
        let pid = child.id();
        let wait = move || wait_for(Which::Process(pid), States::ENDED, true, None).unwrap();
        let waiters: Vec<_> = (0..5).map(|_| spawn(wait)).collect();
        greenrt::yield_now();
        drop(child.stdin.take());
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().unwrap().pid, pid);
        }
        child.wait().unwrap();
    });
}

#[test]
fn a_group_and_a_stop_are_waited_for() {
    on_each_runtime_and_off(|| {
        let mut child = sh("exec cat").process_group(0).spawn().unwrap();
        let group = Which::Group(child.id());
        let states = States {
            stopped: true,
            continued: true,
            ended: true,
        };
        assert_eq!(wait_for(group, states, false, Some(SHORT)).unwrap(), None);
        child.signal(signal::STOP).unwrap();
        let stopped = wait_for(group, states, false, None).unwrap().unwrap();
        assert_eq!(stopped.status & 0xff, 0x7f);
        child.signal(signal::CONTINUE).unwrap();
        let goes_on = wait_for(group, states, false, None).unwrap().unwrap();
        assert_eq!(goes_on.status, 0xffff);
        drop(child.stdin.take());
        let end = wait_for(group, states, false, None).unwrap().unwrap();
        assert_eq!((end.pid, end.status), (child.id(), 0));
        assert_eq!(
            look(group, states, false).unwrap_err().raw_os_error(),
            Some(10)
        );
    });
}

#[test]
fn the_pipes_may_be_stds() {
    on_each_runtime_and_off(|| {
        let mut command = greenrt::process::Command::new("cat");
        command
            .as_std_mut()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello");
        assert!(child.wait().unwrap().success());
        // And become greenstd's.
        let mut child = Child::from(command.spawn().unwrap());
        let stdin = std::process::ChildStdin::from(child.stdin.take().unwrap());
        child.stdin = Some(stdin.into());
        assert!(child.wait_with_output().unwrap().status.success());
    });
}
