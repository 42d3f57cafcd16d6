//! The crate from outside.

#![allow(
    clippy::disallowed_methods,
    clippy::missing_const_for_thread_local,
    reason = "written for std"
)]

extern crate whole_crate;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use whole_crate::{all_at_once, chat, push_all};

thread_local!(static KEY: u32 = 7);

/// What `std` should be here.
fn expected() -> &'static str {
    if env!("CARGO_PKG_NAME").contains("green") {
        "greenstd"
    } else {
        "std"
    }
}

#[test]
fn std_is_what_the_manifest_says() {
    assert_eq!(whole_crate::name_of_std(), expected());
    let key = std::any::type_name_of_val(&KEY);
    assert!(
        key.starts_with(&format!("{}::thread", expected())),
        "{}",
        key
    );
    let handle = thread_name_of(std::thread::spawn(|| ()));
    assert!(handle.starts_with(expected()), "{}", handle);
}

fn thread_name_of<T>(_: T) -> &'static str {
    std::any::type_name::<T>()
}

#[test]
fn everybody_hears_everybody() {
    let (address, server) = whole_crate::serve("127.0.0.1:0", 2).unwrap();
    let [mut one, mut other] = [(); 2].map(|()| {
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, "welcome\n");
        stream
    });
    writeln!(one.get_mut(), "hello").unwrap();
    for member in [&mut one, &mut other] {
        let mut line = String::new();
        member.read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
    }
    drop(one);
    drop(other);
    assert_eq!(server.join().unwrap(), 2);
}

#[test]
fn questions_and_answers() {
    let answers = all_at_once![chat::ask("what").unwrap(), chat::ask("when").unwrap()];
    let mut all = Vec::new();
    let [first, second] = answers;
    push_all!(all, first, second);
    assert_eq!(all, ["what", "when"]);
    assert_eq!(chat::around(&"text".repeat(50_000)).unwrap().len(), 200_000);
}

#[test]
fn printing_to_nobody_stops_nobody() {
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().parent().unwrap();
    let mut child = Command::new(program.join(env!("CARGO_PKG_NAME")))
        .env("GREENRT_WORKERS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "alive\n");
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(text.lines().count(), 3001);
    assert!(text.ends_with(&format!("the end, in {}", expected())));
}

#[test]
fn an_example_reads_lines_and_gives_an_exit_code() {
    let program = std::env::current_exe().unwrap();
    let directory = program.parent().unwrap().parent().unwrap();
    let name = format!("examples/{}-example", env!("CARGO_PKG_NAME"));
    let mut child = Command::new(directory.join(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"1\n2\n3").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("3 lines, by {}\n", expected()));
}
