//! Private thread-locals that cannot be had, or are large.

#![expect(
    clippy::disallowed_methods,
    reason = "runs the compiler, and programs that look at others"
)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};

use greenrt::{Builder, Runtime, ThreadLocals, spawn, yield_now};

use super::support::{Child, join_all, limited, runtime_with, thread_locals_are_private};

fn mode() -> ThreadLocals {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.thread_locals()
}

#[test]
fn the_environment_chooses_and_the_builder_has_the_last_word() {
    for (value, expected) in [
        ("private", ThreadLocals::Private),
        ("shared", ThreadLocals::Shared),
        ("PRIVATE", ThreadLocals::Private),
        ("", ThreadLocals::Private),
    ] {
        let name = "fallback::the_environment_chooses_and_the_builder_has_the_last_word";
        let died = Child::new(name)
            .env("GREENRT_THREAD_LOCALS", value)
            .run(|| {
                let value = env::var("GREENRT_THREAD_LOCALS").unwrap();
                let shared = value == "shared";
                assert_eq!(mode() == ThreadLocals::Shared, shared);
                for mode in [ThreadLocals::Shared, ThreadLocals::Private] {
                    assert_eq!(runtime_with(mode, 1).thread_locals(), mode);
                }
            });
        died.expect_success();
        let reported = died.stderr.contains("neither `private` nor `shared`");
        let known = ["private", "shared"].contains(&value);
        assert_eq!(reported, !known, "{expected:?} {died:?}");
    }
}

/// A library with so many bytes of thread-locals, which is there from the start.
fn preloaded(bytes: usize) -> PathBuf {
    let name = format!("tls-{}-{bytes}", id());
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (source, library) = (base.with_extension("c"), base.with_extension("so"));
    let text =
        format!("__thread char large[{bytes}] = {{1}};\nchar *get(void) {{ return large; }}\n");
    fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(compiled.success());
    fs::remove_file(source).unwrap();
    library
}

#[test]
fn large_thread_locals_fit_beside_the_stacks() {
    let name = "fallback::large_thread_locals_fit_beside_the_stacks";
    for bytes in [64 << 10, 1 << 20] {
        let library = preloaded(bytes);
        let died = Child::new(name)
            .env("LD_PRELOAD", library.to_str().unwrap())
            .env("GREENRT_THREAD_LOCALS", "private")
            .run(|| {
                let uses_its_stack = || {
                    let mut large = [0_u8; 30 << 10];
                    std::hint::black_box(&mut large);
                    yield_now();
                };
                for n_workers in [1, 2] {
                    runtime_with(ThreadLocals::Private, n_workers).run(move || {
                        let threads: Vec<_> = (0..200)
                            .map(|n| match n % 2 {
                                0 => spawn(uses_its_stack),
                                _ => {
                                    let small = Builder::new().stack_size(64 << 10);
                                    small.spawn(uses_its_stack).unwrap()
                                }
                            })
                            .collect();
                        join_all(threads);
                    });
                }
                greenrt::run(|| {
                    join_all((0..10).map(|_| spawn(uses_its_stack)).collect::<Vec<_>>());
                    let most = Builder::new().stack_size(8 << 20);
                    most.spawn(uses_its_stack).unwrap().join().unwrap();
                });
            });
        died.expect_success();
        fs::remove_file(library).unwrap();
    }
}

#[test]
fn too_large_ones_are_refused_and_shared_ones_serve() {
    let name = "fallback::too_large_ones_are_refused_and_shared_ones_serve";
    let library = preloaded(6 << 20);
    let died = Child::new(name)
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("GREENRT_THREAD_LOCALS", "default, please")
        // libc takes them out of a thread's stack.
        .env("RUST_MIN_STACK", "16000000")
        .run(|| {
            let builder = Runtime::builder().thread_locals(ThreadLocals::Private);
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains("a stack has room for"), "{error}");
            for _ in 0..3 {
                assert_eq!(mode(), ThreadLocals::Shared);
            }
            greenrt::run(|| spawn(|| ()).join().unwrap());
        });
    died.expect_success();
    assert_eq!(died.stderr.matches("a stack has room for").count(), 1);
    fs::remove_file(library).unwrap();
}

/// Where private ones are asked for and cannot be had: an error that says why.
#[test]
fn valgrind_is_told_about_and_shared_ones_serve() {
    let available = Command::new("valgrind").arg("--version").output();
    if !available.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: there is no valgrind here");
    }
    let name = "fallback::valgrind_is_told_about_and_shared_ones_serve";
    let under_valgrind = "if [ -z \"$UNDER\" ]; then export UNDER=1; \
                          exec valgrind --quiet --tool=none \"$@\"; fi;";
    let died = Child::new(name)
        .env("GREENRT_THREAD_LOCALS", "shared?")
        .env("RUST_MIN_STACK", "8000000")
        .shell(under_valgrind)
        .run(|| {
            let builder = Runtime::builder().thread_locals(ThreadLocals::Private);
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains("valgrind"), "{error}");
            assert_eq!(mode(), ThreadLocals::Shared);
            assert_eq!(mode(), ThreadLocals::Shared);
        });
    died.expect_success();
    assert_eq!(
        died.stderr
            .matches("share the thread-locals of their worker: valgrind")
            .count(),
        1,
        "{died:?}"
    );
}

// Those who look at the process, or interrupt it.

/// A part of the tests, in a child that is interrupted a thousand times a second.
const INTERRUPTED: [&str; 8] = [
    "like_a_thread::",
    "exploits::",
    "park::",
    "panics::",
    "generator::",
    "scope::",
    "cancel::",
    "spawn::",
];

/// The tests that start children of their own or count what the process does are not among them.
const NOT_INTERRUPTED: [&str; 4] = ["print", "stdout", "aborts", "stack"];

#[test]
fn signals_at_any_moment_do_no_harm() {
    if env::var_os("GREENRT_TEST_TIMER").is_some() {
        return eprintln!("skipped: every test is interrupted");
    }
    // A timer of real time interrupts those who wait too.
    for (mode, timer) in [("shared", "prof"), ("private", "real")] {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(INTERRUPTED)
            .args(NOT_INTERRUPTED.map(|name| format!("--skip={name}")))
            .arg("--test-threads=2")
            .env("GREENRT_THREAD_LOCALS", mode)
            .env("GREENRT_TEST_TIMER", timer);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{mode} {timer}: {:?}\n{text}\n{errors}",
            output.status
        );
        assert!(!text.contains("running 0 tests"), "{text}");
    }
}

/// Something to look at, until a file says that it is enough.
fn switch_until_told() {
    let enough = env::var("GREENRT_TEST_ENOUGH").unwrap();
    let private = thread_locals_are_private();
    runtime_with(
        if private {
            ThreadLocals::Private
        } else {
            ThreadLocals::Shared
        },
        2,
    )
    .run(move || {
        println!("running");
        while !Path::new(&enough).exists() {
            let threads = (0..100).map(|n| {
                spawn(move || {
                    let text = format!("{n}");
                    (0..10).for_each(|_| yield_now());
                    assert_eq!(text.parse(), Ok(n));
                })
            });
            join_all(threads.collect::<Vec<_>>());
        }
    });
}

#[test]
fn debuggers_and_profilers_do_no_harm() {
    let name = "fallback::debuggers_and_profilers_do_no_harm";
    let enough = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("enough-{}", id()));
    // Each looks at `$$`, which becomes the program, and then says that it is enough.
    let gdb = "timeout 60 gdb -p $PID -batch -ex bt -ex 'thread apply all bt 3' -ex detach";
    let perf = "timeout 60 perf record -o /dev/null -F 997 -g -p $PID -- sleep 0.5";
    for (tool, command) in [("gdb", gdb), ("perf", perf)] {
        let available = Command::new(tool).arg("--version").output();
        if !available.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: there is no {tool} here");
            continue;
        }
        let enough = enough.with_extension(tool);
        let looks = format!(
            "PID=$$; (sleep 0.3; {command} >/dev/null 2>&1; \
             : > {}) & ",
            enough.display()
        );
        for mode in ["shared", "private"] {
            let died = Child::new(name)
                .env("GREENRT_THREAD_LOCALS", mode)
                .env("GREENRT_TEST_ENOUGH", enough.to_str().unwrap())
                .shell(&looks)
                .run(switch_until_told);
            died.expect_success();
            fs::remove_file(&enough).unwrap();
        }
    }
}

#[test]
fn runtimes_of_both_kinds_join_each_others_threads() {
    limited(|| {
        let private = runtime_with(ThreadLocals::Private, 2);
        let shared = runtime_with(ThreadLocals::Shared, 2);
        private.run(move || {
            let threads: Vec<_> = (0..50)
                .map(|n| {
                    let theirs = shared.spawn(move || {
                        yield_now();
                        std::thread::current().id()
                    });
                    spawn(move || {
                        let own = std::thread::current().id();
                        assert_ne!(theirs.join().unwrap(), own);
                        assert_eq!(std::thread::current().id(), own);
                        n
                    })
                })
                .collect();
            let here = shared.spawn(move || join_all(threads));
            assert_eq!(here.join().unwrap(), (0..50).collect::<Vec<_>>());
        });
    });
}
