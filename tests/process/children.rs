//! Many of them, and large ones.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use greenrt::sync::Semaphore;
use greenrt::{run, spawn, yield_now};
use greenstd::process::{Command, Stdio};

use crate::extras::cat;
use crate::support::{join_all, limited, on_each_runtime, runtime};

#[test]
fn a_hundred_mebibytes_come_by_both_pipes() {
    const N: usize = 100 << 20;
    let both = || {
        let script = format!("head -c {N} /dev/zero & head -c {N} /dev/zero >&2; wait");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (N, N));
    };
    limited(|| {
        run(both);
        runtime(2).run(both);
    });
}

/// 500 of them, up to 100 at a time.
fn five_hundred() {
    let permits = Arc::new(Semaphore::new(100));
    let running = Arc::new(AtomicUsize::new(0));
    let threads = (0..500).map(|n: i32| {
        let (permits, running) = (Arc::clone(&permits), Arc::clone(&running));
        spawn(move || {
            let _permit = permits.acquire();
            assert!(running.fetch_add(1, Relaxed) < 100);
            let script = format!("exit {}", n % 200);
            let status = Command::new("sh").args(["-c", &script]).status().unwrap();
            running.fetch_sub(1, Relaxed);
            assert_eq!(status.code(), Some(n % 200));
        })
    });
    join_all(threads.collect::<Vec<_>>());
}

#[test]
fn five_hundred_children_a_hundred_at_a_time() {
    limited(|| {
        run(five_hundred);
        runtime(2).run(five_hundred);
    });
}

#[test]
fn nobody_waits_while_another_does() {
    // On one worker: each child ends only because somebody goes on while the others wait.
    on_each_runtime(|| {
        let mut children: Vec<_> = (0..50).map(|_| cat()).collect();
        let stdins: Vec<_> = children
            .iter_mut()
            .map(|child| child.stdin.take())
            .collect();
        let waiters: Vec<_> = children
            .into_iter()
            .map(|child| spawn(move || child.wait_with_output().unwrap()))
            .collect();
        yield_now();
        for (n, stdin) in stdins.into_iter().enumerate().rev() {
            write!(stdin.unwrap(), "{n}").unwrap();
        }
        for (n, output) in join_all(waiters).into_iter().enumerate() {
            assert_eq!(output.stdout, n.to_string().as_bytes());
        }
    });
}

#[test]
fn a_pipe_moves_between_workers() {
    limited(|| {
        runtime(4).run(|| {
            let mut child = cat();
            let mut ends = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            for n in 0..100_u8 {
                ends = crate::support::spawn_at(usize::from(n % 4), move || {
                    let (mut stdin, mut stdout) = ends;
                    let reader = spawn(move || {
                        let mut byte = [0];
                        stdout.read_exact(&mut byte).unwrap();
                        assert_eq!(byte, [n]);
                        stdout
                    });
                    yield_now();
                    stdin.write_all(&[n]).unwrap();
                    (stdin, reader.join().unwrap())
                })
                .join()
                .unwrap();
            }
            drop(ends);
            child.wait().unwrap();
        });
    });
}

#[test]
fn standard_streams_of_a_child_may_be_another_childs() {
    on_each_runtime(|| {
        // Fifty in a row.
        let mut first = cat();
        let mut into = first.stdin.take().unwrap();
        let mut children = vec![first];
        for _ in 0..50 {
            let from = children.last_mut().unwrap().stdout.take().unwrap();
            let mut next = Command::new("cat");
            children.push(next.stdin(from).stdout(Stdio::piped()).spawn().unwrap());
        }
        into.write_all(b"through all of them").unwrap();
        drop(into);
        let last = children.pop().unwrap();
        assert_eq!(
            last.wait_with_output().unwrap().stdout,
            b"through all of them"
        );
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    });
}
