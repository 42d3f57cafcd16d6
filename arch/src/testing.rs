//! Time limits and child processes for tests.

#![allow(
    clippy::disallowed_methods,
    reason = "below the runtime, and on OS threads alone"
)]

use std::any::type_name_of_val;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, Output};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The test that a child process was started for.
const ENV_CHILD: &str = "GREENRT_ARCH_TEST_CHILD";

/// With which a child ends that got to the end.
const DONE: i32 = 42;

/// Ends the process if it lives too long.
pub(crate) struct TimeLimit {
    _alive: mpsc::Sender<()>,
}

/// Gives a test so many seconds.
pub(crate) fn time_limit(seconds: u64) -> TimeLimit {
    let (alive, test) = mpsc::channel();
    let (started, start) = mpsc::channel();
    let name = thread::current().name().unwrap_or("?").to_owned();
    thread::spawn(move || {
        // The thread's first allocation. A test that leaves no memory may begin after it.
        let _ = started.send(Box::new(0));
        if test.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name}: not done after {seconds} s");
            process::abort();
        }
    });
    let _ = start.recv();
    TimeLimit { _alive: alive }
}

/// Runs `body` in a child process and returns how that ended.
///
/// The child is this program, running the one test whose function contains the closure `body`;
/// there may be one such closure in it. What precedes this call in the test happens in the child
/// too.
pub(crate) fn in_child(variables: &[(&str, &str)], body: impl FnOnce()) -> Output {
    let path = type_name_of_val(&body).trim_end_matches("::{{closure}}");
    let (_, test) = path.split_once("::").expect("a path begins with the crate");
    if env::var(ENV_CHILD).is_ok_and(|child| child == test) {
        body();
        process::exit(DONE);
    }
    let exe = env::current_exe().expect("a running test has a file");
    let mut command = Command::new(exe);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command
        .env_remove("GREENRT_STACK_GUARDS")
        .env_remove("GREENRT_EPOLL_PWAIT2");
    command.env(ENV_CHILD, test).envs(variables.iter().copied());
    command.output().expect("a child process")
}

/// Checks that a child got to the end of its body.
#[track_caller]
pub(crate) fn assert_done(child: &Output) {
    assert_eq!(
        child.status.code(),
        Some(DONE),
        "{}\n{}",
        child.status,
        stderr(child)
    );
}

/// Checks that a child died by `signal`.
#[track_caller]
pub(crate) fn assert_killed(child: &Output, signal: i32) {
    assert_eq!(
        child.status.signal(),
        Some(signal),
        "{}\n{}",
        child.status,
        stderr(child)
    );
}

/// What a child wrote to standard error.
pub(crate) fn stderr(child: &Output) -> String {
    String::from_utf8_lossy(&child.stderr).into_owned()
}
