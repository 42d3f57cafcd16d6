//! Children, their pipes and their ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::process::{self, Child, Command, ExitStatus, Output, Stdio};
use super::root::os::unix::process::CommandExt;
use super::{run, thread};

const ECHILD: i32 = 10;
const SIGKILL: i32 = 9;

fn sh(script: &str) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", script]);
    sh
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Something that ends when its standard input does.
fn cat() -> Child {
    let mut cat = Command::new("cat");
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    cat.spawn().unwrap()
}

/// Waits until the child is a zombie, by asking nobody but the system.
fn until_zombie(pid: u32) {
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.rsplit_once(") ").unwrap().1.starts_with('Z') {
            return;
        }
        thread::yield_now();
    }
}

#[test]
fn a_status_is_that_of_the_child() {
    run(|| {
        assert!(Command::new("true").status().unwrap().success());
        assert!(!Command::new("false").status().unwrap().success());
        for code in [0, 1, 7, 255] {
            let status = sh(&format!("exit {code}")).status().unwrap();
            assert_eq!((status.code(), status.signal()), (Some(code), None));
        }
        let status = sh("kill -9 $$").status().unwrap();
        assert_eq!((status.code(), status.signal()), (None, Some(SIGKILL)));
        assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
        assert!(!status.success() && !status.core_dumped());
        assert_eq!(sh("exit 3").status().unwrap().to_string(), "exit status: 3");
    });
}

#[test]
fn a_child_gets_its_arguments_environment_and_directory() {
    run(|| {
        let mut printf = Command::new("printf");
        printf.arg("%s-").args(["a b", "", "$HOME"]);
        assert_eq!(text(printf.output().unwrap()), "a b--$HOME-");

        let mut env = Command::new("/usr/bin/env");
        env.env_clear().env("ONE", "1").envs([("TWO", "2")]);
        assert_eq!(text(env.output().unwrap()), "ONE=1\nTWO=2\n");
        env.env_remove("ONE");
        assert_eq!(text(env.output().unwrap()), "TWO=2\n");
        env.env_clear();
        assert_eq!(text(env.output().unwrap()), "");

        let mut pwd = sh("pwd");
        pwd.current_dir("/usr");
        assert_eq!(text(pwd.output().unwrap()), "/usr\n");
        assert_eq!(
            text(sh("echo $$").arg0("me").output().unwrap())
                .lines()
                .count(),
            1
        );
        let mut name = sh("echo $0");
        assert_eq!(text(name.arg("me").output().unwrap()), "me\n");
    });
}

#[test]
fn a_command_tells_what_it_was_told() {
    run(|| {
        let mut command = Command::new("program");
        command.args(["a", "b c"]).env("X", "1").env_remove("Y");
        assert_eq!(command.get_program(), "program");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(command.get_args().len(), 2);
        let envs: BTreeMap<_, _> = command.get_envs().collect();
        assert_eq!(envs.len(), 2);
        assert_eq!(command.get_current_dir(), None);
        command.current_dir("/tmp");
        assert_eq!(command.get_current_dir(), Some(Path::new("/tmp")));
        let mut command = Command::new("program");
        command.arg("a b");
        assert_eq!(format!("{command:?}"), r#""program" "a b""#);
    });
}

#[test]
fn output_takes_both_pipes() {
    run(|| {
        let output = sh("echo out; echo err >&2; exit 5").output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"err\n");
    });
}

#[test]
fn output_of_any_size_is_whole() {
    run(|| {
        for n in [0, 1, 4096, 65_535, 65_536, 65_537, 1_000_000] {
            let script = format!("head -c {n} /dev/zero; head -c {n} /dev/zero >&2");
            let output = sh(&script).output().unwrap();
            assert_eq!((output.stdout.len(), output.stderr.len()), (n, n));
            let mut one = sh(&script);
            one.stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let output = one.spawn().unwrap().wait_with_output().unwrap();
            assert_eq!((output.stdout.len(), output.stderr.len()), (n, 0));
            one.stdout(Stdio::null()).stderr(Stdio::piped());
            let output = one.spawn().unwrap().wait_with_output().unwrap();
            assert_eq!((output.stdout.len(), output.stderr.len()), (0, n));
        }
    });
}

#[test]
fn both_pipes_are_drained_at_once() {
    run(|| {
        const N: usize = 4 << 20;
        // Whoever reads one to its end before the other never ends.
        let both = format!("head -c {N} /dev/zero & head -c {N} /dev/zero >&2; wait");
        for script in [
            &*both,
            &format!("head -c {N} /dev/zero; head -c {N} /dev/zero >&2"),
            &format!("head -c {N} /dev/zero >&2; head -c {N} /dev/zero"),
        ] {
            let output = sh(script).output().unwrap();
            assert_eq!((output.stdout.len(), output.stderr.len()), (N, N));
        }
    });
}

#[test]
fn what_output_does_not_ask_for_it_leaves() {
    run(|| {
        // Not a terminal's or the test's standard input, but nothing.
        assert_eq!(text(Command::new("cat").output().unwrap()), "");
        // What was asked for stays so, and asking for output changes nothing for later.
        let mut command = sh("echo out; echo err >&2");
        command.stdout(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (&b""[..], &b"err\n"[..])
        );
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        let output = child.wait_with_output().unwrap();
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        let mut command = Command::new("true");
        command.output().unwrap();
        let mut child = command.spawn().unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        child.wait().unwrap();
    });
}

#[test]
fn what_goes_in_comes_out_while_it_goes() {
    run(|| {
        for n in [0, 1, 8192, 8193, 219_263, 219_264, 1_000_000] {
            let mut child = cat();
            let mut stdin = child.stdin.take().unwrap();
            let bytes: Vec<u8> = (0..n).map(|i: usize| (i % 251) as u8).collect();
            let sent = bytes.clone();
            let writer = thread::spawn(move || stdin.write_all(&sent).unwrap());
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.stdout == bytes, "{n}");
        }
    });
}

#[test]
fn pipes_take_several_buffers() {
    run(|| {
        let mut child = cat();
        let mut stdin = child.stdin.take().unwrap();
        let hello = [IoSlice::new(b"hel"), IoSlice::new(b""), IoSlice::new(b"lo")];
        assert_eq!(stdin.write_vectored(&hello).unwrap(), 5);
        assert_eq!((&stdin).write_vectored(&[]).unwrap(), 0);
        (&stdin).flush().unwrap();
        drop(stdin);
        let mut stdout = child.stdout.take().unwrap();
        let (mut one, mut two) = ([0; 2], [0; 3]);
        let mut n = 0;
        while n < 5 {
            let mut slices = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            n += stdout.read_vectored(&mut slices).unwrap();
        }
        assert_eq!(stdout.read(&mut one).unwrap(), 0);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn one_that_closes_its_pipes_lives_on() {
    run(|| {
        let mut sh = sh("echo all; exec >&- 2>&-; read line; exit 4");
        sh.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = sh.spawn().unwrap();
        let mut all = String::new();
        let stdin = child.stdin.take();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut all)
            .unwrap();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut all)
            .unwrap();
        assert_eq!(all, "all\n");
        assert_eq!(child.try_wait().unwrap(), None);
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(4));
    });
}

#[test]
fn one_that_leaves_a_grandchild_with_its_pipe_is_waited_for_alone() {
    run(|| {
        let mut sh = sh("exec 3<&0; cat <&3 & exit 7");
        let mut child = sh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7));
        // The pipe has not met its end.
        stdin.write_all(b"late").unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut late = [0; 4];
        stdout.read_exact(&mut late).unwrap();
        assert_eq!(&late, b"late");
        drop(stdin);
        assert_eq!(stdout.read(&mut late).unwrap(), 0);
    });
}

#[test]
fn output_waits_for_whoever_holds_the_pipe() {
    run(|| {
        let mut sh = sh("exec 3<&0; cat <&3 & exit 7");
        let mut child = sh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let pid = child.id();
        let output = thread::spawn(move || child.wait_with_output().unwrap());
        until_zombie(pid);
        stdin.write_all(b"late").unwrap();
        drop(stdin);
        let output = output.join().unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"late");
    });
}

#[test]
fn one_that_has_ended_before_anybody_looks_is_not_missed() {
    run(|| {
        for code in 0..5 {
            let mut child = sh(&format!("exit {code}")).spawn().unwrap();
            until_zombie(child.id());
            if code % 2 == 0 {
                assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(code));
            }
            for _ in 0..3 {
                assert_eq!(child.wait().unwrap().code(), Some(code));
                assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(code));
            }
            // It is known to have ended.
            child.kill().unwrap();
        }
    });
}

#[test]
fn one_is_killed_while_somebody_waits() {
    run(|| {
        let mut child = cat();
        // Held here: whoever waits lets go of the child's own.
        let _stdin = child.stdin.take();
        let pid = child.id();
        let waiter = thread::spawn(move || child.wait().unwrap());
        thread::yield_now();
        assert!(sh(&format!("kill -9 {pid}")).status().unwrap().success());
        assert_eq!(waiter.join().unwrap().signal(), Some(SIGKILL));

        let mut child = cat();
        let _stdin = child.stdin.take();
        child.kill().unwrap();
        // A signal to one who is dead and not waited for is none.
        until_zombie(child.id());
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGKILL));
        child.kill().unwrap();
    });
}

#[test]
fn waiting_closes_standard_input() {
    run(|| {
        assert!(cat().wait().unwrap().success());
        assert!(cat().wait_with_output().unwrap().status.success());
        let mut child = cat();
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(child.stdin.is_some());
        child.wait().unwrap();
        assert!(child.stdin.is_none());
    });
}

#[test]
fn whoever_looks_again_and_again_sees_the_end() {
    run(|| {
        let mut child = sh("exit 6").spawn().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        assert_eq!(status.code(), Some(6));
    });
}

#[test]
fn a_child_that_waits_holds_up_nobody() {
    run(|| {
        // Each ends only when the one after it was ended by its own thread.
        let mut children: Vec<Child> = (0..20).map(|_| cat()).collect();
        let stdins: Vec<_> = children
            .iter_mut()
            .map(|child| child.stdin.take())
            .collect();
        let waiters: Vec<_> = children
            .into_iter()
            .map(|mut child| thread::spawn(move || child.wait().unwrap()))
            .collect();
        thread::yield_now();
        for stdin in stdins.into_iter().rev() {
            drop(stdin);
        }
        for waiter in waiters {
            assert!(waiter.join().unwrap().success());
        }
    });
}

#[test]
fn many_children_at_once() {
    run(|| {
        let threads: Vec<_> = (0..20)
            .map(|n| {
                thread::spawn(move || {
                    for round in 0..3 {
                        let output = sh(&format!("echo {n}; exit {round}")).output().unwrap();
                        assert_eq!(output.stdout, format!("{n}\n").as_bytes());
                        assert_eq!(output.status.code(), Some(round));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_cannot_be_started_is_an_error() {
    run(|| {
        for _ in 0..7 {
            let error = Command::new("/no/such/program").spawn().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!(error.raw_os_error(), Some(2));
            let error = Command::new("no-such-program-anywhere")
                .output()
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        let error = Command::new("/usr").status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let error = Command::new("/etc/passwd").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let error = Command::new("a\0b").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = Command::new("true").arg("a\0b").spawn().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let mut nowhere = Command::new("true");
        nowhere.current_dir("/no/such/folder");
        assert_eq!(nowhere.spawn().unwrap_err().kind(), ErrorKind::NotFound);
        // The command is as it was.
        nowhere.current_dir("/");
        assert!(nowhere.status().unwrap().success());
    });
}

#[test]
fn standard_input_that_nobody_reads() {
    run(|| {
        // Whoever writes waits for room, and is told when there is nobody left to make some.
        let mut child = sh("read line; exec sleep 1000")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || {
            let error = stdin.write_all(&vec![b'\n'; 4 << 20]).unwrap_err();
            error.kind()
        });
        thread::yield_now();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);

        let mut child = sh("exec <&-; echo; read line <&1; true");
        let mut child = child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A child that another test is starting may have the other end for a moment.
        let error = loop {
            if let Err(error) = stdin.write(&[0; 131_072]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn the_order_of_output_is_kept() {
    run(|| {
        let script = "exec 2>&1; n=0; while [ $n -lt 500 ]; do echo $n; n=$((n+1)); \
                      echo $n >&2; n=$((n+1)); done";
        let mut child = sh(script).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers: Vec<u32> = lines.map(|line| line.unwrap().parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..500));
        child.wait().unwrap();
    });
}

#[test]
fn output_comes_line_by_line_as_it_is_written() {
    run(|| {
        let mut child = sh("while read line; do echo \"<$line>\"; done");
        let mut child = child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for n in 0..50 {
            writeln!(stdin, "{n}").unwrap();
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, format!("<{n}>\n"));
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
    });
}

/// `O_NONBLOCK` in the flags that the system shows of a descriptor.
fn shows_nonblocking(fdinfo: &str) -> Vec<bool> {
    let flags = fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix("flags:"));
    let number = |flags: &str| u32::from_str_radix(flags.trim(), 8).unwrap();
    flags.map(|flags| number(flags) & 0o4000 != 0).collect()
}

#[test]
fn a_child_never_sees_another_mode() {
    run(|| {
        // Asked for while we wait at the other ends.
        let mut child = sh("read line; cd /proc/self/fdinfo; cat 0; cat 1; cat 2");
        child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let reader = thread::spawn(move || child.wait_with_output().unwrap());
        thread::yield_now();
        stdin.write_all(b"\n").unwrap();
        let shown = shows_nonblocking(&text(reader.join().unwrap()));
        assert_eq!(shown, [false; 3]);
    });
}

#[test]
fn our_own_ends_may_go_to_a_child_after_we_have_waited_there() {
    run(|| {
        let mut first = cat();
        let mut stdin = first.stdin.take().unwrap();
        let mut stdout = first.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            stdout.read_exact(&mut [0; 3]).unwrap();
            stdout
        });
        thread::yield_now();
        stdin.write_all(b"abc").unwrap();
        let stdout = reader.join().unwrap();
        let clone = stdout.as_fd().try_clone_to_owned().unwrap();
        for stdio in [Stdio::from(stdout), Stdio::from(clone)] {
            let mut command = sh("cat /proc/self/fdinfo/0");
            assert_eq!(
                shows_nonblocking(&text(command.stdin(stdio).output().unwrap())),
                [false]
            );
        }
        drop(stdin);
        first.wait().unwrap();
    });
}

#[test]
fn children_are_joined_by_pipes() {
    run(|| {
        let mut echo = sh("echo one two").stdout(Stdio::piped()).spawn().unwrap();
        let mut upper = Command::new("tr");
        upper
            .args(["a-z", "A-Z"])
            .stdin(echo.stdout.take().unwrap());
        let mut upper = upper.stdout(Stdio::piped()).spawn().unwrap();
        let mut last = Command::new("cat");
        let output = last.stdin(upper.stdout.take().unwrap()).output().unwrap();
        assert_eq!(output.stdout, b"ONE TWO\n");
        assert!(echo.wait().unwrap().success() && upper.wait().unwrap().success());

        // And the other way: what the second writes goes into the first.
        let mut first = cat();
        let into = first.stdin.take().unwrap();
        assert!(sh("echo hello").stdout(into).status().unwrap().success());
        assert_eq!(text(first.wait_with_output().unwrap()), "hello\n");

        // Errors of one as the input of another.
        let mut first = sh("echo err >&2").stderr(Stdio::piped()).spawn().unwrap();
        let mut second = Command::new("cat");
        second.stdin(first.stderr.take().unwrap());
        assert_eq!(text(second.output().unwrap()), "err\n");
        first.wait().unwrap();
    });
}

#[test]
fn files_may_be_standard_streams() {
    run(|| {
        let path = scratch("files");
        let file = fs::File::create(&path).unwrap();
        let mut both = sh("echo out; echo err >&2");
        both.stdout(file.try_clone().unwrap()).stderr(file);
        assert!(both.status().unwrap().success());
        let mut cat = Command::new("cat");
        let output = cat.stdin(fs::File::open(&path).unwrap()).output().unwrap();
        assert_eq!(output.stdout, b"out\nerr\n");
        fs::remove_file(&path).unwrap();
    });
}

/// A file of this test's own.
fn scratch(name: &str) -> PathBuf {
    let me = format!("{}-{name}-{:?}", process::id(), std::thread::current().id());
    let name: String = me
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '-')
        .collect();
    std::env::temp_dir().join(format!("greenrt-{name}"))
}

#[test]
fn a_pipe_goes_through_a_descriptor() {
    run(|| {
        let mut child = cat();
        let stdin = OwnedFd::from(child.stdin.take().unwrap());
        child.stdin = Some(stdin.into());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello").unwrap();
        assert_eq!(stdin.as_fd().as_raw_fd(), stdin.as_raw_fd());
        let number = stdin.as_raw_fd();
        assert_eq!(stdin.into_raw_fd(), number);
        #[expect(unsafe_code, reason = "a number becomes a descriptor")]
        // SAFETY: ours since `into_raw_fd`.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        let stdout = OwnedFd::from(child.stdout.take().unwrap());
        child.stdout = Some(stdout.into());
        assert_eq!(text(child.wait_with_output().unwrap()), "hello");
    });
}

#[test]
fn any_descriptor_may_be_taken_for_a_pipe() {
    run(|| {
        let path = scratch("any");
        fs::write(&path, "of a file").unwrap();
        let fd = OwnedFd::from(fs::File::open(&path).unwrap());
        let mut all = String::new();
        process::ChildStdout::from(fd)
            .read_to_string(&mut all)
            .unwrap();
        assert_eq!(all, "of a file");
        let fd = OwnedFd::from(fs::File::create(&path).unwrap());
        process::ChildStdin::from(fd)
            .write_all(b"to a file")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"to a file");
        fs::remove_file(&path).unwrap();

        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut stdin = process::ChildStdin::from(OwnedFd::from(one));
        let mut stderr = process::ChildStderr::from(OwnedFd::from(other));
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            stderr.read_to_end(&mut all).unwrap();
            all.len()
        });
        stdin.write_all(&vec![1; 1 << 20]).unwrap();
        drop(stdin);
        assert_eq!(reader.join().unwrap(), 1 << 20);
    });
}

#[test]
fn whoever_asks_a_pipe_not_to_wait_is_told() {
    run(|| {
        let mut child = cat();
        let mut stdout = child.stdout.take().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for fd in [stdout.as_raw_fd(), stdin.as_raw_fd()] {
            #[expect(unsafe_code, reason = "std has no such call")]
            // SAFETY: numbers.
            let result = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
            assert_eq!(result, 0);
        }
        let error = stdout.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = loop {
            match stdin.write(&[0; 65_536]) {
                Ok(n) => assert!(n > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

/// What the descriptors of a child of this command are, but for the first three.
fn inherited(command: &mut Command) -> Vec<String> {
    let listed = text(command.args(["-l", "/proc/self/fd"]).output().unwrap());
    let number_and_target = |line: &str| {
        let (head, target) = line.split_once(" -> ")?;
        let number: u32 = head.rsplit(' ').next()?.parse().ok()?;
        (number > 2).then(|| target.to_string())
    };
    listed.lines().filter_map(number_and_target).collect()
}

#[test]
fn descriptors_do_not_leak_into_children() {
    run(|| {
        // All kinds that are ours, while they are in use.
        let listener = super::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut other = cat();
        let mut stdin = other.stdin.take().unwrap();
        let mut stdout = other.stdout.take().unwrap();
        let numbers = [listener.as_raw_fd(), stdin.as_raw_fd(), stdout.as_raw_fd()];
        let target = |n| fs::read_link(format!("/proc/self/fd/{n}")).unwrap();
        let ours = numbers.map(|number| target(number).to_str().unwrap().to_string());
        let reader = thread::spawn(move || stdout.read(&mut [0]).unwrap());
        thread::yield_now();
        let is_ours = |target: &String| ours.contains(target) || target.contains("anon_inode");
        let mut plain = Command::new("ls");
        // What runs in the child before it is another program takes the way of `fork`.
        let mut forked = Command::new("ls");
        #[expect(unsafe_code, reason = "runs in the child")]
        // SAFETY: it does nothing.
        unsafe {
            forked.pre_exec(|| Ok(()));
        }
        for command in [&mut plain, &mut forked] {
            let inherited = inherited(command);
            // The folder that it reads is one.
            assert!(!inherited.is_empty());
            assert!(!inherited.iter().any(is_ours), "{inherited:?}");
        }
        stdin.write_all(b"a").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        drop((stdin, listener));
        other.wait().unwrap();
    });
}

#[test]
fn something_may_run_in_the_child_before() {
    run(|| {
        let mut fails = Command::new("true");
        #[expect(unsafe_code, reason = "runs in the child")]
        // SAFETY: it makes an error of a number.
        unsafe {
            fails.pre_exec(|| Err(std::io::Error::from_raw_os_error(42)));
        }
        assert_eq!(fails.spawn().unwrap_err().raw_os_error(), Some(42));
        assert_eq!(fails.status().unwrap_err().raw_os_error(), Some(42));
        let mut leader = sh("read pid rest < /proc/self/stat; set -- $rest; echo $$ $4");
        leader.process_group(0);
        let output = text(leader.output().unwrap());
        let (pid, group) = output.trim().split_once(' ').unwrap();
        assert_eq!(pid, group);
    });
}

#[test]
fn an_end_that_somebody_else_has_taken_is_an_error() {
    run(|| {
        let mut child = sh("exit 3").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut status = 0;
        #[expect(unsafe_code, reason = "takes the end of a child")]
        // SAFETY: a place for the status.
        let taken = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((taken, ExitStatus::from_raw(status).code()), (pid, Some(3)));
        assert_eq!(child.wait().unwrap_err().raw_os_error(), Some(ECHILD));
        assert_eq!(child.try_wait().unwrap_err().raw_os_error(), Some(ECHILD));
    });
}

#[test]
fn the_ends_of_others_children_are_left_to_them() {
    run(|| {
        let theirs = std::process::Command::new("sh")
            .args(["-c", "exit 9"])
            .spawn();
        let mut theirs = theirs.unwrap();
        until_zombie(theirs.id());
        for _ in 0..5 {
            assert!(Command::new("true").status().unwrap().success());
            assert_eq!(sh("exit 1").output().unwrap().status.code(), Some(1));
        }
        assert_eq!(theirs.wait().unwrap().code(), Some(9));
    });
}

#[test]
fn a_child_is_started_here_and_waited_for_there() {
    run(|| {
        let children: Vec<Child> = (0..10).map(|_| cat()).collect();
        let waiters: Vec<_> = children
            .into_iter()
            .map(|mut child| {
                thread::spawn(move || {
                    assert_eq!(child.try_wait().unwrap(), None);
                    child.wait().unwrap()
                })
            })
            .collect();
        for waiter in waiters {
            assert!(waiter.join().unwrap().success());
        }
        // And on an OS thread that knows nothing of all this.
        let mut child = cat();
        let wait = move || child.wait().unwrap();
        assert!(std::thread::spawn(wait).join().unwrap().success());
        let status = || Command::new("true").status().unwrap();
        assert!(std::thread::spawn(status).join().unwrap().success());
    });
}

#[test]
fn a_command_is_used_again() {
    run(|| {
        let mut command = sh("echo $N");
        for n in 0..5 {
            command.env("N", n.to_string());
            assert_eq!(text(command.output().unwrap()), format!("{n}\n"));
        }
        let mut children: Vec<Child> = (0..5)
            .map(|_| command.stdout(Stdio::null()).spawn().unwrap())
            .collect();
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
    });
}

#[test]
fn types_are_as_stds() {
    fn all<
        T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe + std::fmt::Debug,
    >() {
    }
    all::<Child>();
    all::<process::ChildStdin>();
    all::<process::ChildStdout>();
    all::<process::ChildStderr>();
    all::<Output>();
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<Command>();
    fn main() -> impl process::Termination {
        process::ExitCode::from(3)
    }
    assert_eq!(
        process::Termination::report(main()),
        process::ExitCode::from(3)
    );
    assert_eq!(process::id(), std::process::id());
    let _: fn(i32) -> ! = process::exit;
    let _: fn() -> ! = process::abort;
    type Of<T> = std::io::Result<T>;
    let _: fn(&Child) -> u32 = Child::id;
    let _: fn(&mut Child) -> Of<()> = Child::kill;
    let _: fn(&mut Child) -> Of<ExitStatus> = Child::wait;
    let _: fn(&mut Child) -> Of<Option<ExitStatus>> = Child::try_wait;
    let _: fn(Child) -> Of<Output> = Child::wait_with_output;
    let _: fn(String) -> Command = Command::new;
    let _: fn(&mut Command) -> Of<Child> = Command::spawn;
    let _: fn(&mut Command) -> Of<Output> = Command::output;
    let _: fn(&mut Command) -> Of<ExitStatus> = Command::status;
    let _: fn(&Command) -> process::CommandArgs<'_> = Command::get_args;
    let _: fn(&Command) -> process::CommandEnvs<'_> = Command::get_envs;
    let _: fn(&mut Command, u32) -> &mut Command = <Command as CommandExt>::uid;
    let _: fn(&mut Command, u32) -> &mut Command = <Command as CommandExt>::gid;
    let _: fn(&mut Command) -> std::io::Error = <Command as CommandExt>::exec;
    let _: fn(Output) -> (ExitStatus, Vec<u8>, Vec<u8>) = |output| {
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        (status, stdout, stderr)
    };
    let _: fn() -> u32 = super::root::os::unix::process::parent_id;
    fn into_stdio<T: Into<Stdio>>() {}
    into_stdio::<process::ChildStdin>();
    into_stdio::<process::ChildStdout>();
    into_stdio::<process::ChildStderr>();
    into_stdio::<std::process::ChildStdout>();
    into_stdio::<fs::File>();
    into_stdio::<OwnedFd>();
    run(|| {
        let child = Arc::new(cat());
        assert!(format!("{child:?}").starts_with("Child { stdin: Some(ChildStdin { .. })"));
        let mut child = Arc::into_inner(child).unwrap();
        child.wait().unwrap();
    });
}
