//! Processes that end while their green threads are in the middle of something.

#![expect(unsafe_code, reason = "asks libc")]

use std::env;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, abort, exit};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::probes::{probe, probes};
use crate::support::{tests, wait_until};

tests! {
    main_may_return
    exit_from_main
    exit_from_a_green_thread
    abort_from_main
    abort_from_a_green_thread
    exit_while_standard_output_is_locked
    a_panic_of_main
}

const LONG: Duration = Duration::from_secs(1000);

/// How a probe ends.
const HOW: &str = "GREENRT_TEST_HOW";

probes! { ends }

extern "C" fn at_exit() {
    let text = b"; at exit";
    // SAFETY: as many bytes as is said.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
}

/// Two thousand green threads in every kind of wait.
fn fill() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let reader = Arc::new(reader);
    // It is never written to.
    std::mem::forget(writer);
    let locked = Arc::new((Mutex::new(()), Condvar::new(), Mutex::new(0)));
    let guard = locked.0.lock().unwrap();
    for n in 0..2000 {
        let (reader, locked) = (Arc::clone(&reader), Arc::clone(&locked));
        thread::spawn(move || {
            *locked.2.lock().unwrap() += 1;
            match n % 6 {
                0 => thread::sleep(LONG),
                1 => _ = (&*reader).read(&mut [0]),
                2 => drop(locked.0.lock()),
                3 => drop(locked.1.wait(locked.2.lock().unwrap())),
                4 => greenrt::offload(|| thread::sleep(LONG)),
                _ => loop {
                    thread::yield_now();
                },
            }
        });
    }
    wait_until(|| *locked.2.lock().unwrap() == 2000);
    std::mem::forget(guard);
}

fn ends() {
    greenlibc::patch_all();
    // SAFETY: a function that may be called at any time.
    assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
    fill();
    // Not a line yet, so it is written when the process ends.
    print!("last words");
    let green = |f: fn()| thread::spawn(f).join().unwrap();
    match &*env::var(HOW).unwrap() {
        "return" => {}
        "exit" => exit(7),
        "green exit" => green(|| exit(7)),
        "abort" => abort(),
        "green abort" => green(|| abort()),
        "panic" => std::panic::resume_unwind(Box::new(())),
        "locked" => {
            let (told, is_locked) = std::sync::mpsc::channel();
            thread::spawn(move || {
                let _stdout = io::stdout().lock();
                told.send(()).unwrap();
                thread::sleep(LONG);
            });
            is_locked.recv().unwrap();
            thread::spawn(|| println!("waits for the lock"));
            thread::sleep(Duration::from_millis(1));
            exit(7);
        }
        _ => unreachable!(),
    }
}

/// Has probes end so; each time they end so, and have said that.
fn end(how: &str, ended: impl Fn(ExitStatus) -> bool, said: &str) {
    for n_workers in [1, 2] {
        for _ in 0..3 {
            let output = probe("ends", n_workers).env(HOW, how).output().unwrap();
            assert!(ended(output.status), "{output:?}");
            assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        }
    }
}

const ALL: &str = "last words; at exit";

fn main_may_return() {
    end("return", |status| status.success(), ALL);
}

fn exit_from_main() {
    end("exit", |status| status.code() == Some(7), ALL);
}

fn exit_from_a_green_thread() {
    end("green exit", |status| status.code() == Some(7), ALL);
}

fn abort_from_main() {
    let aborted = |status: ExitStatus| status.signal() == Some(libc::SIGABRT);
    end("abort", aborted, "");
}

fn abort_from_a_green_thread() {
    let aborted = |status: ExitStatus| status.signal() == Some(libc::SIGABRT);
    end("green abort", aborted, "");
}

fn exit_while_standard_output_is_locked() {
    // As with OS threads, what another one has locked is not written.
    end("locked", |status| status.code() == Some(7), "; at exit");
}

fn a_panic_of_main() {
    end("panic", |status| status.code() == Some(101), ALL);
}
