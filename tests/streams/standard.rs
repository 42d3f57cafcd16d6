//! Standard input, output and error, each in a process of its own.

#![expect(unsafe_code, reason = "what is standard input is changed")]

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek, Write as _};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use greenrt::lowlevel::is_nonblocking;
use greenrt::{spawn, yield_now};
use greenstd::io::{self, IsTerminal as _};

use crate::support::{Child, thread_locals_are_private, wait_until};

/// Makes `fd` one of the standard streams.
fn becomes(fd: impl Into<OwnedFd>, number: i32) {
    let fd = fd.into();
    // SAFETY: numbers only; what the standard streams were nobody here uses any more.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    assert_eq!(result, number);
}

/// A terminal: the end of whoever sits in front of it, and the program's.
fn terminal() -> (File, OwnedFd) {
    let (mut master, mut slave) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: two numbers are written; no name, no settings and no size are asked for.
    let result = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            null,
            null.cast(),
            null.cast(),
        )
    };
    assert_eq!(result, 0);
    // SAFETY: the system has just given it to us.
    let master = unsafe { File::from_raw_fd(master) };
    // SAFETY: as above.
    (master, unsafe { OwnedFd::from_raw_fd(slave) })
}

/// Counts how often a sibling on the same worker has its turn.
fn sibling() -> Arc<AtomicUsize> {
    let turns = Arc::new(AtomicUsize::new(0));
    let mine = Arc::clone(&turns);
    spawn(move || {
        while Arc::strong_count(&mine) > 1 {
            mine.fetch_add(1, Relaxed);
            yield_now();
        }
    });
    turns
}

fn let_others_run(turns: &AtomicUsize) {
    let now = turns.load(Relaxed);
    wait_until(|| turns.load(Relaxed) > now + 5);
}

#[test]
fn who_waits_for_a_line_stops_nobody_else() {
    let died = Child::new("standard::who_waits_for_a_line_stops_nobody_else").run(|| {
        let (input, mut writer) = std::io::pipe().unwrap();
        becomes(input, 0);
        greenrt::run(|| {
            let turns = sibling();
            let reader = spawn(|| {
                let mut lines = io::stdin().lines();
                let first = lines.next().unwrap().unwrap();
                (
                    first,
                    lines.next().unwrap().unwrap(),
                    lines.next().is_none(),
                )
            });
            for part in ["one\ntw", "o", "\n"] {
                let_others_run(&turns);
                writer.write_all(part.as_bytes()).unwrap();
            }
            let_others_run(&turns);
            drop(writer);
            let (first, second, is_end) = reader.join().unwrap();
            assert_eq!((&*first, &*second, is_end), ("one", "two", true));
            assert!(!is_nonblocking(io::stdin().as_fd()).unwrap());
        });
    });
    died.expect_success();
}

#[test]
fn a_terminal_gives_line_by_line() {
    let died = Child::new("standard::a_terminal_gives_line_by_line").run(|| {
        let (mut master, slave) = terminal();
        becomes(slave, 0);
        greenrt::run(|| {
            assert!(io::stdin().is_terminal() && io::stdin().lock().is_terminal());
            let turns = sibling();
            let reader = spawn(|| {
                let mut line = String::new();
                let mut all = Vec::new();
                while io::stdin().read_line(&mut line).unwrap() > 0 {
                    all.push(std::mem::take(&mut line));
                }
                all
            });
            for part in ["hel", "lo\n", "second line\n"] {
                let_others_run(&turns);
                master.write_all(part.as_bytes()).unwrap();
            }
            let_others_run(&turns);
            // End of file, as it is typed.
            master.write_all(b"\x04").unwrap();
            assert_eq!(reader.join().unwrap(), ["hello\n", "second line\n"]);
            assert!(!is_nonblocking(io::stdin().as_fd()).unwrap());
        });
    });
    died.expect_success();
}

#[test]
fn input_from_a_file_a_socket_and_nothing() {
    let died = Child::new("standard::input_from_a_file_a_socket_and_nothing").run(|| {
        let path = crate::places::TempPath::new();
        let text = "a line\n".repeat(100_000);
        std::fs::write(&path, &text).unwrap();
        greenrt::run(|| {
            becomes(File::open(&path).unwrap(), 0);
            assert!(io::read_to_string(io::stdin()).unwrap() == text);
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            becomes(near, 0);
            let reader = spawn(|| io::stdin().lock().lines().count());
            yield_now();
            far.write_all(b"1\n2\n3").unwrap();
            drop(far);
            assert_eq!(reader.join().unwrap(), 3);
            // SAFETY: nobody uses it any more.
            unsafe { libc::close(0) };
            assert_eq!(io::read_to_string(&io::stdin()).unwrap(), "");
        });
    });
    died.expect_success();
}

#[test]
fn a_user_who_asked_not_to_wait_does_not() {
    let died = Child::new("standard::a_user_who_asked_not_to_wait_does_not").run(|| {
        let (input, _writer) = std::io::pipe().unwrap();
        socket2::SockRef::from(&input)
            .set_nonblocking(true)
            .unwrap();
        becomes(input, 0);
        greenrt::run(|| {
            let error = io::stdin().read_line(&mut String::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        });
    });
    died.expect_success();
}

/// Prints by every way there is, to a pipe that nobody reads at first, and returns what came.
fn print_to_a_full_pipe(number: i32, print: fn(usize)) -> String {
    let (mut reader, output) = std::io::pipe().unwrap();
    // SAFETY: a duplicate of what it was, for the end of the process.
    let before = unsafe { libc::dup(number) };
    becomes(output, number);
    let text = greenrt::run(|| {
        let turns = sibling();
        let printers: Vec<_> = (0..4)
            .map(|who| spawn(move || (0..100).for_each(|_| print(who))))
            .collect();
        let_others_run(&turns);
        assert!(printers.iter().all(|printer| !printer.is_finished()));
        // Another one reads, off the worker.
        let reading = greenrt_reads(move || {
            let mut bytes = vec![0; 4 * 100 * 1001];
            reader.read_exact(&mut bytes).unwrap();
            (String::from_utf8(bytes).unwrap(), reader)
        });
        printers.into_iter().for_each(|p| p.join().unwrap());
        let (text, reader) = reading.join().unwrap();
        drop(reader);
        text
    });
    // SAFETY: it is ours since `dup`.
    becomes(unsafe { OwnedFd::from_raw_fd(before) }, number);
    text
}

/// An OS thread.
fn greenrt_reads<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    crate::support::named_os_thread("reader", f)
}

fn check_lines(text: &str) {
    assert_eq!(text.lines().count(), 400);
    for line in text.lines() {
        let first = line.as_bytes()[0];
        assert!(
            line.len() == 1000 && line.bytes().all(|b| b == first),
            "{line}"
        );
    }
}

#[test]
fn who_prints_to_a_full_pipe_stops_nobody_else() {
    let died = Child::new("standard::who_prints_to_a_full_pipe_stops_nobody_else").run(|| {
        let line = |who: usize| who.to_string().repeat(1000);
        let out: [fn(usize); 3] = [
            |who| greenstd::println!("{}", who.to_string().repeat(1000)),
            |who| writeln!(io::stdout().lock(), "{}", who.to_string().repeat(1000)).unwrap(),
            |who| {
                let mut text = who.to_string().repeat(1000);
                text.push('\n');
                io::stdout().write_all(text.as_bytes()).unwrap();
            },
        ];
        for print in out {
            check_lines(&print_to_a_full_pipe(1, print));
        }
        let err: [fn(usize); 2] = [
            |who| greenstd::eprintln!("{}", who.to_string().repeat(1000)),
            |who| {
                let mut text = who.to_string().repeat(1000);
                text.push('\n');
                (&io::stderr()).write_all(text.as_bytes()).unwrap();
            },
        ];
        for print in err {
            check_lines(&print_to_a_full_pipe(2, print));
        }
        assert_eq!(line(3).len(), 1000);
        for stream in [io::stdout().as_fd(), io::stderr().as_fd()] {
            assert!(!is_nonblocking(stream).unwrap());
        }
    });
    died.expect_success();
}

#[test]
fn a_long_text_goes_out_in_its_order_and_whole() {
    let died = Child::new("standard::a_long_text_goes_out_in_its_order_and_whole").run(|| {
        let path = crate::places::TempPath::new();
        // SAFETY: a duplicate of what it was, for the end of the process.
        let before = unsafe { libc::dup(1) };
        becomes(File::create(&path).unwrap(), 1);
        let expected = greenrt::run(|| {
            let mut expected = String::new();
            for n in 0..50 {
                let part = "äöü€𝄞".repeat(n * 7);
                greenstd::print!("{part}");
                expected.push_str(&part);
                if n % 3 == 0 {
                    // Through std, in between.
                    std::println!("{n}");
                    expected.push_str(&format!("{n}\n"));
                }
                let lock = io::stdout().lock();
                // Its owner may print.
                greenstd::println!("[{n}]");
                drop(lock);
                expected.push_str(&format!("[{n}]\n"));
            }
            io::stdout().flush().unwrap();
            expected
        });
        let mut text = String::new();
        let mut file = File::open(&path).unwrap();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        // SAFETY: it is ours since `dup`.
        becomes(unsafe { OwnedFd::from_raw_fd(before) }, 1);
        assert!(text == expected);
    });
    died.expect_success();
}

#[test]
fn a_lock_on_output_keeps_the_others_out() {
    let died = Child::new("standard::a_lock_on_output_keeps_the_others_out").run(|| {
        let path = crate::places::TempPath::new();
        // SAFETY: a duplicate of what it was, for the end of the process.
        let before = unsafe { libc::dup(1) };
        becomes(File::create(&path).unwrap(), 1);
        for n_workers in [1, 2] {
            crate::support::runtime(n_workers).run(|| {
                let threads: Vec<_> = (0..4)
                    .map(|who| {
                        spawn(move || {
                            for _ in 0..20 {
                                let mut out = io::stdout().lock();
                                for _ in 0..3 {
                                    write!(out, "{who}").unwrap();
                                    yield_now();
                                }
                                writeln!(out).unwrap();
                            }
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|t| t.join().unwrap());
            });
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // SAFETY: it is ours since `dup`.
        becomes(unsafe { OwnedFd::from_raw_fd(before) }, 1);
        assert_eq!(text.lines().count(), 160);
        for line in text.lines() {
            assert!(["000", "111", "222", "333"].contains(&line), "{line}");
        }
    });
    died.expect_success();
}

#[test]
fn output_to_nowhere() {
    let died = Child::new("standard::output_to_nowhere").run(|| {
        let before = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        greenrt::run(|| {
            // SAFETY: std writes nothing then, without an error.
            unsafe { libc::close(1) };
            greenstd::println!("to nobody");
            io::stdout().write_all(&[b'x'; 5000]).unwrap();
            io::stdout().flush().unwrap();
        });
        becomes(before, 1);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let before = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        becomes(writer, 1);
        greenrt::run(|| {
            let error = io::stdout().write_all(b"a line\n").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        });
        becomes(before, 1);
    });
    died.expect_success();
}

#[test]
fn who_prints_to_a_terminal_that_is_stuck_stops_nobody_else() {
    let name = "standard::who_prints_to_a_terminal_that_is_stuck_stops_nobody_else";
    let died = Child::new(name).run(|| {
        let (mut master, slave) = terminal();
        // SAFETY: a duplicate of what it was, for the end of the process.
        let before = unsafe { libc::dup(1) };
        becomes(slave, 1);
        let n_lines = 3000;
        greenrt::run(|| {
            let turns = sibling();
            let printed = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&printed);
            let printer = spawn(move || {
                for n in 0..n_lines {
                    // Where they are shared, only the latter leaves the worker alone.
                    if n % 2 == 0 && thread_locals_are_private() {
                        greenstd::println!("{}", "#".repeat(99));
                    } else {
                        writeln!(io::stdout(), "{}", "#".repeat(99)).unwrap();
                    }
                    count.fetch_add(1, Relaxed);
                }
            });
            // Until it gets no further.
            let mut n = usize::MAX;
            while std::mem::replace(&mut n, printed.load(Relaxed)) != printed.load(Relaxed) {
                greenrt::sleep(std::time::Duration::from_millis(20));
            }
            assert!(n < n_lines);
            let_others_run(&turns);
            let reading = greenrt_reads(move || {
                let (mut n_printed, mut room) = (0, [0; 1000]);
                while n_printed < n_lines * 99 {
                    let n = master.read(&mut room).unwrap();
                    n_printed += room[..n].iter().filter(|&&byte| byte == b'#').count();
                }
                master
            });
            printer.join().unwrap();
            drop(reading.join().unwrap());
        });
        // SAFETY: it is ours since `dup`.
        becomes(unsafe { OwnedFd::from_raw_fd(before) }, 1);
    });
    died.expect_success();
}

/// What a child inherits besides its standard streams.
const INHERITED: [i32; 3] = [100, 101, 102];

/// Waits for everything that it has at the same time, and answers.
fn uses_what_it_inherits() {
    // SAFETY: they were put there for it.
    let [questions, listener, socket] = INHERITED.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let listener = greenstd::net::TcpListener::from(listener);
    let socket = greenstd::net::UdpSocket::from(socket);
    greenrt::run(|| {
        let threads = [
            spawn(|| (0..2000).for_each(|_| greenstd::println!("{}", "#".repeat(99)))),
            spawn(|| assert_eq!(io::stdin().lines().count(), 2)),
            spawn(move || drop(listener.accept().unwrap())),
            spawn(move || assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4)),
        ];
        let mut questions = greenstd::os::unix::net::UnixStream::from(questions);
        let mut byte = [0];
        while questions.read(&mut byte).unwrap() > 0 {
            questions.write_all(&byte).unwrap();
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
        greenstd::eprintln!("done");
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process of its own")]
fn nobody_sets_the_mode_of_what_others_share() {
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt as _;
    if std::env::var_os("GREENRT_TEST_INHERITS").is_some() {
        uses_what_it_inherits();
        std::process::exit(0);
    }
    crate::support::limited(|| {
        let (mut keyboard, terminal) = terminal();
        let (mut output, their_output) = std::io::pipe().unwrap();
        let (mut errors, their_errors) = UnixStream::pair().unwrap();
        let (mut questions, their_questions) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = (listener.local_addr().unwrap(), socket.local_addr().unwrap());
        // The same open files as the child's.
        let shared: [OwnedFd; 6] = [
            terminal,
            their_output.into(),
            their_errors.into(),
            their_questions.into(),
            listener.into(),
            socket.into(),
        ];
        let modes = || {
            shared
                .each_ref()
                .map(|fd| is_nonblocking(fd.as_fd()).unwrap())
        };
        let theirs = shared.each_ref().map(|fd| fd.try_clone().unwrap());
        let numbers = theirs.each_ref().map(AsRawFd::as_raw_fd);
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "standard::nobody_sets_the_mode_of_what_others_share",
                "--exact",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env("GREENRT_TEST_INHERITS", "1");
        let inherits = move || {
            for (from, to) in numbers
                .into_iter()
                .zip([0, 1, 2].into_iter().chain(INHERITED))
            {
                // SAFETY: numbers only.
                if unsafe { libc::dup2(from, to) } == -1 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `dup2` may be called between fork and exec.
        unsafe { command.pre_exec(inherits) };
        let mut child = command.spawn().unwrap();
        drop(theirs);
        let mut asks = |n: u8| {
            let mut answer = [0];
            questions.write_all(&[n]).unwrap();
            questions.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [n]);
            assert_eq!(modes(), [false; 6]);
        };
        // By then everybody waits, and the pipe is full.
        (0..100).for_each(&mut asks);
        // It drains slowly, and all the others go on.
        let mut n_printed = 0;
        let mut part = [0; 500];
        while n_printed < 2000 * 99 {
            let n = output.read(&mut part).unwrap();
            n_printed += part[..n].iter().filter(|&&byte| byte == b'#').count();
            asks(n as u8);
        }
        keyboard.write_all(b"a line\n").unwrap();
        asks(1);
        keyboard.write_all(b"another\n\x04").unwrap();
        asks(2);
        std::net::TcpStream::connect(address.0).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"four", address.1).unwrap();
        questions.shutdown(std::net::Shutdown::Write).unwrap();
        let mut told = [0; 5];
        errors.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"done\n");
        assert!(child.wait().unwrap().success());
        assert_eq!(modes(), [false; 6]);
    });
}
