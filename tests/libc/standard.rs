//! Standard input, which is a pipe or a terminal on which something comes now and then; and standard
//! output, from which somebody reads slowly.

#![expect(unsafe_code, reason = "asks libc for a terminal")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use crate::probes::{probe, probes};
use crate::support::tests;

tests! {
    lines_come_while_siblings_run
    lines_of_a_terminal_come_while_siblings_run
    readers_share_standard_input
    lines_of_many_threads_are_whole
}

probes! { reads_lines share_lines prints_lines }

/// Prints each line, and a tick every millisecond.
fn reads_lines() {
    greenlibc::patch_all();
    thread::spawn(|| {
        loop {
            thread::sleep(Duration::from_millis(1));
            println!("tick");
        }
    });
    let reader = thread::spawn(|| {
        for line in io::stdin().lines() {
            println!("line {}", line.unwrap());
        }
        println!("end");
    });
    reader.join().unwrap();
}

fn share_lines() {
    greenlibc::patch_all();
    let reader = || {
        let mut line = String::new();
        while io::stdin().read_line(&mut line).unwrap() > 0 {
            print!("line {line}");
            line.clear();
            thread::yield_now();
        }
        println!("end");
    };
    let readers: Vec<_> = (0..5).map(|_| thread::spawn(reader)).collect();
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
}

fn start(name: &str, stdin: Stdio) -> (Child, BufReader<ChildStdout>) {
    let mut command = probe(name, 1);
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// What it says, but for ticks.
fn next_line(stdout: &mut impl BufRead) -> String {
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
        if line != "tick\n" {
            return line;
        }
    }
}

/// Its one worker is not blocked: its siblings tick, and nothing else comes.
fn ticks(stdout: &mut impl BufRead) {
    for _ in 0..3 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "tick\n");
    }
}

fn lines_come_while_siblings_run() {
    let (mut child, mut stdout) = start("reads_lines", Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    ticks(&mut stdout);
    for line in ["a line", "", "another one"] {
        writeln!(stdin, "{line}").unwrap();
        assert_eq!(next_line(&mut stdout), format!("line {line}\n"));
        ticks(&mut stdout);
    }
    // A line is one when its end comes.
    stdin.write_all(b"in two ").unwrap();
    ticks(&mut stdout);
    stdin.write_all(b"parts\nand no end").unwrap();
    assert_eq!(next_line(&mut stdout), "line in two parts\n");
    ticks(&mut stdout);
    drop(stdin);
    assert_eq!(next_line(&mut stdout), "line and no end\n");
    assert_eq!(next_line(&mut stdout), "end\n");
    assert!(child.wait().unwrap().success());
}

fn lines_of_a_terminal_come_while_siblings_run() {
    let (mut ours, mut its) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: room for two descriptors.
    let error = unsafe {
        let (name, mode, size) = (none, std::ptr::null(), std::ptr::null());
        libc::openpty(&raw mut ours, &raw mut its, name, mode, size)
    };
    assert_eq!(error, 0);
    // SAFETY: new.
    let mut ours = unsafe { File::from_raw_fd(ours) };
    // SAFETY: new.
    let its = unsafe { OwnedFd::from_raw_fd(its) };
    let (mut child, mut stdout) = start("reads_lines", its.into());
    for line in ["a line", "", "another one"] {
        ticks(&mut stdout);
        writeln!(ours, "{line}").unwrap();
        assert_eq!(next_line(&mut stdout), format!("line {line}\n"));
    }
    ours.write_all(b"in two ").unwrap();
    ticks(&mut stdout);
    ours.write_all(b"parts\n").unwrap();
    assert_eq!(next_line(&mut stdout), "line in two parts\n");
    ticks(&mut stdout);
    // What ends it, at the beginning of a line.
    ours.write_all(&[4]).unwrap();
    assert_eq!(next_line(&mut stdout), "end\n");
    assert!(child.wait().unwrap().success());
}

fn readers_share_standard_input() {
    let (mut child, mut stdout) = start("share_lines", Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    for n in 0..50 {
        writeln!(stdin, "{n}").unwrap();
    }
    drop(stdin);
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    let mut numbers: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..50), "{text}");
    assert_eq!(text.lines().filter(|&line| line == "end").count(), 5);
    assert!(child.wait().unwrap().success());
}

/// More than a pipe has room for.
fn prints_lines() {
    greenlibc::patch_all();
    let threads: Vec<_> = (0..100)
        .map(|n| {
            thread::spawn(move || {
                for m in 0..20 {
                    println!("line {m} of {n} {}", "x".repeat(100));
                    eprint!("");
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn lines_of_many_threads_are_whole() {
    for n_workers in [1, 2] {
        let mut command = probe("prints_lines", n_workers);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut next = [0; 100];
        for line in stdout.lines() {
            let line = line.unwrap();
            let mut words = line.split(' ');
            let mut number = |before| {
                assert_eq!(words.next(), Some(before));
                words.next().unwrap().parse::<usize>().unwrap()
            };
            let (m, n) = (number("line"), number("of"));
            assert_eq!(words.next().unwrap(), "x".repeat(100));
            // Those of one thread are in order.
            assert_eq!(next[n], m);
            next[n] += 1;
            if n == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
        assert_eq!(next, [20; 100]);
        assert!(child.wait().unwrap().success());
    }
}
