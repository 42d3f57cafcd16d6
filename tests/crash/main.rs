//! Processes that must die well: this program runs itself as a child for each case, and checks the
//! signal and what was written.
//!
//! A harness of its own, because some cases need the real main thread. As arguments it takes parts of
//! the names of cases.

#![expect(
    clippy::disallowed_methods,
    reason = "OS threads and child processes are what it is about"
)]

mod cases;

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};

use cases::CASES;

/// Says to the child which case it is.
const CASE: &str = "GREENRT_CRASH_CASE";

/// One way to die.
struct Case {
    name: &'static str,
    /// `RUST_BACKTRACE` of the child.
    backtrace: &'static str,
    /// What the child does.
    body: fn(),
    /// What must have come of it.
    check: fn(&Died),
}

/// How a child has ended.
#[derive(Debug)]
struct Died {
    code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Case {
    fn run(&self) -> Died {
        let program = env::current_exe().expect("this program");
        let output = Command::new("sh")
            .args(["-c", "ulimit -c 0; exec \"$@\"", "sh"])
            .arg(program)
            .env(CASE, self.name)
            .env("RUST_BACKTRACE", self.backtrace)
            .env_remove("GREENRT_STACK_SIZE")
            .stdin(Stdio::null())
            .output()
            .expect("a child process");
        Died {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn main() -> ExitCode {
    if let Ok(name) = env::var(CASE) {
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        (case.body)();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wanted = |case: &&Case| {
        filters.is_empty() || filters.iter().any(|filter| case.name.contains(&**filter))
    };
    let wanted: Vec<&Case> = CASES.iter().filter(wanted).collect();
    if env::args().any(|arg| arg == "--list") {
        wanted
            .iter()
            .for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", wanted.len());
    let mut n_failed = 0;
    for case in &wanted {
        let died = case.run();
        let passed = catch_unwind(AssertUnwindSafe(|| (case.check)(&died))).is_ok();
        println!(
            "test {} ... {}",
            case.name,
            if passed { "ok" } else { "FAILED" }
        );
        if !passed {
            println!("{died:#?}");
            n_failed += 1;
        }
    }
    let n_passed = wanted.len() - n_failed;
    println!("\ntest result: {n_passed} passed; {n_failed} failed\n");
    ExitCode::from(u8::from(n_failed > 0))
}
