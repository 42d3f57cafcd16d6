//! The ways in which a program may be linked: each must find thread-locals and libc's symbols.

#![allow(
    clippy::disallowed_methods,
    reason = "runs the compiler and its results, on plain OS threads"
)]

use std::path::Path;
use std::process::Command;

/// Builds the program of `tests/programs` and runs it; what it says on both streams.
fn build_and_run(name: &str, flags: &str, arguments: &[&str], profile: &str) -> (String, String) {
    build_and_run_one("greenrt-test-programs", name, flags, arguments, profile)
}

/// As `build_and_run`, for one of several programs.
fn build_and_run_one(
    program: &str,
    name: &str,
    flags: &str,
    arguments: &[&str],
    profile: &str,
) -> (String, String) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "greenrt-test-programs",
            "--bin",
            program,
        ])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .arg("--target-dir")
        .arg(&target)
        .args(arguments)
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{name}: {text}");
    let ran = Command::new("timeout")
        .arg("60")
        .arg(target.join(profile).join(program))
        .env("GREENRT_WORKERS", "1")
        .env_remove("GREENRT_THREAD_LOCALS")
        .output()
        .unwrap();
    let [out, err] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ran.status.success(), "{name}: {}\n{out}\n{err}", ran.status);
    (out, err)
}

#[track_caller]
fn assert_private((out, err): (String, String)) {
    assert!(out.ends_with("private\n"), "{out}");
    assert_eq!(err, "");
}

/// Where position-independent executables are the default: one that is not.
#[test]
fn at_a_fixed_address() {
    let flags = "-C relocation-model=static";
    assert_private(build_and_run("fixed", flags, &[], "debug"));
}

#[test]
fn optimised_as_one_and_stripped_and_without_unwinding() {
    assert_private(build_and_run("whole", "", &WHOLE, "release"));
}

const WHOLE: [&str; 5] = [
    "--release",
    "--config=profile.release.lto=\"fat\"",
    "--config=profile.release.codegen-units=1",
    "--config=profile.release.strip=true",
    "--config=profile.release.panic=\"abort\"",
];

/// In one that is patched every function of greenlibc is the one that is called.
#[test]
fn patched() {
    for (name, flags, settings, profile) in [
        ("fixed", "-C relocation-model=static", &[][..], "debug"),
        ("whole", "", &WHOLE, "release"),
    ] {
        let (out, err) = build_and_run_one("patched", name, flags, settings, profile);
        assert_eq!((&*out, &*err), ("green\n", ""));
    }
}

/// The symbols by which blocks are made are not there to be found: it says so, and shares.
#[test]
fn with_a_static_libc() {
    let (out, err) = build_and_run("static", "-C target-feature=+crt-static", &[], "debug");
    assert!(out.ends_with("shared\n"), "{out}");
    assert!(
        err.contains("share the thread-locals of their worker"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
}
