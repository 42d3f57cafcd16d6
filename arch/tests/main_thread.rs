//! After `overflow::install`, std still reports for the main thread, and greenrt for a green
//! thread's guard that the main thread touches. Runs itself as a child, which must die well.

#![expect(unsafe_code, reason = "touches a guard")]
#![allow(
    clippy::disallowed_methods,
    reason = "below the runtime, and on OS threads alone"
)]

use std::env;
use std::hint::black_box;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command};
use std::ptr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use greenrt_arch::overflow;
use greenrt_arch::stack::{self, Class};

/// `SIGABRT`, wherever this runs.
const ABORT: i32 = 6;

const TIME_LIMIT: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    let (_alive, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(TIME_LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("not done after {TIME_LIMIT:?}");
            process::abort();
        }
    });
    // The harness's own arguments, such as a filter, come without this one and change nothing.
    match env::args().nth(1).as_deref() {
        Some("--child-recurses") => {
            overflow::install(|_, _| ())?;
            black_box(recurse(0));
        }
        Some("--child-touches-guard") => {
            overflow::install(|owner, out| {
                let _ = write!(out, "green thread {owner}");
            })?;
            touch_guard()?;
        }
        _ => {
            assert_dies("--child-recurses", "\nthread 'main'")?;
            assert_dies(
                "--child-touches-guard",
                "\ngreen thread 17 has overflowed its stack\n  stack: ",
            )?;
        }
    }
    Ok(())
}

fn assert_dies(how: &str, words: &str) -> io::Result<()> {
    let child = Command::new(env::current_exe()?).arg(how).output()?;
    let text = String::from_utf8_lossy(&child.stderr);
    assert_eq!(
        child.status.signal(),
        Some(ABORT),
        "{}\n{text}",
        child.status
    );
    assert!(text.contains(words), "{text}");
    assert_eq!(
        text.matches("has overflowed its stack").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains("fatal runtime error: stack overflow, aborting"),
        "{text}"
    );
    Ok(())
}

fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    if depth == usize::MAX {
        frame[0]
    } else {
        recurse(depth + 1) + black_box(frame)[63]
    }
}

fn touch_guard() -> io::Result<()> {
    let mut slots = Vec::new();
    stack::take(Class::Kib256, 1, &mut slots)?;
    for slot in &slots {
        slot.set_owner(17);
        let guard = ptr::without_provenance_mut::<u8>(slot.limit());
        // SAFETY: the fault is what this process is for.
        unsafe { guard.write_volatile(1) };
    }
    Ok(())
}
