//! What waits where the system does not tell when to go on.

#![expect(unsafe_code, reason = "asks libc")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::support::{a_file_is_read_by_the_pool, calls, tests, wait_until};

tests! {
    many_connect_to_a_full_listener
    who_waits_for_a_full_listener_may_be_cancelled
    many_wait_for_the_lock_of_a_file
    many_wait_for_a_lock_in_a_file
    a_lock_in_a_file_by_another_name
}

/// More than the pool has threads.
const N: usize = 40;

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("greenlibc-{name}-{}", std::process::id()))
}

/// One that nobody accepts from, with no room for more.
fn full_listener(name: &str) -> (UnixListener, PathBuf, Vec<UnixStream>) {
    let path = path(name);
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no memory is passed.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
    // One more than it says.
    let clients = (0..2).map(|_| UnixStream::connect(&path).unwrap());
    let clients = clients.collect();
    (listener, path, clients)
}

fn many_connect_to_a_full_listener() {
    let (listener, path, clients) = full_listener("full");
    let n_before = calls("connect").0;
    let connecting: Vec<_> = (0..N)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                let mut stream = UnixStream::connect(path).unwrap();
                stream.write_all(b"x").unwrap();
            })
        })
        .collect();
    wait_until(|| calls("connect").0 >= n_before + N as u64);
    a_file_is_read_by_the_pool();
    assert!(connecting.iter().all(|thread| !thread.is_finished()));
    for _ in clients {
        listener.accept().unwrap();
    }
    for _ in 0..N {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    connecting
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    fs::remove_file(path).unwrap();
}

fn who_waits_for_a_full_listener_may_be_cancelled() {
    let (_listener, path, _clients) = full_listener("cancelled");
    let limit = Duration::from_millis(5);
    let connected = greenrt::timeout(limit, || UnixStream::connect(&path));
    let error = connected.unwrap().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    fs::remove_file(path).unwrap();
}

/// Each adds one to the number in a file, by calls that need the pool, while it has the lock.
fn count_with(name: &'static str, lock: fn(&File) -> i32, unlock: fn(&File) -> i32) {
    let path = path(name);
    fs::write(&path, "0").unwrap();
    let first = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    assert_eq!(lock(&first), 0);
    let threads: Vec<_> = (0..N)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .unwrap();
                assert_eq!(lock(&file), 0, "{}", io::Error::last_os_error());
                let count: usize = fs::read_to_string(&path).unwrap().parse().unwrap();
                a_file_is_read_by_the_pool();
                fs::write(&path, (count + 1).to_string()).unwrap();
                assert_eq!(unlock(&file), 0);
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(5));
    a_file_is_read_by_the_pool();
    assert_eq!(unlock(&first), 0);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), N.to_string());
    fs::remove_file(path).unwrap();
}

fn many_wait_for_the_lock_of_a_file() {
    fn call(file: &File, operation: i32) -> i32 {
        // SAFETY: no memory is passed.
        unsafe { libc::flock(file.as_raw_fd(), operation) }
    }
    count_with(
        "flock",
        |file| call(file, libc::LOCK_EX),
        |file| call(file, libc::LOCK_UN),
    );
}

fn many_wait_for_a_lock_in_a_file() {
    fn call(file: &File, kind: libc::c_int) -> i32 {
        // SAFETY: all zero is one.
        let mut lock: libc::flock = unsafe { mem::zeroed() };
        lock.l_type = kind as libc::c_short;
        // SAFETY: a lock.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw mut lock) }
    }
    count_with(
        "fcntl",
        |file| call(file, libc::F_WRLCK),
        |file| call(file, libc::F_UNLCK),
    );
}

fn a_lock_in_a_file_by_another_name() {
    let path = std::env::temp_dir().join(format!("greenlibc-lockf-{}", std::process::id()));
    let (holder, file) = (File::create(&path).unwrap(), File::create(&path).unwrap());
    let hold = |kind: libc::c_int| {
        // SAFETY: all zero is one.
        let mut lock: libc::flock = unsafe { mem::zeroed() };
        lock.l_type = kind as libc::c_short;
        // SAFETY: a lock.
        unsafe { libc::fcntl(holder.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) }
    };
    assert_eq!(hold(libc::F_WRLCK), 0);
    // SAFETY: no memory is passed.
    let command = move |command| unsafe { libc::lockf(file.as_raw_fd(), command, 0) };
    assert_eq!(command(libc::F_TLOCK), -1);
    let waiting = thread::spawn(move || command(libc::F_LOCK));
    wait_until(|| calls("lockf").0 >= 2);
    a_file_is_read_by_the_pool();
    assert!(!waiting.is_finished());
    assert_eq!(hold(libc::F_UNLCK), 0);
    assert_eq!(waiting.join().unwrap(), 0);
    fs::remove_file(path).unwrap();
}
