//! Copying from one descriptor to another: `sendfile`, `splice`.

#![expect(unsafe_code, reason = "asks libc")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::thread;
use std::time::Duration;

use crate::support::{a_file_is_read_by_the_pool, tests};

tests! {
    a_file_is_sent
    a_file_is_sent_from_a_place
    files_sent_to_slow_sockets_hold_no_threads
    what_was_sent_before_the_time_was_up_is_told
    a_splice_waits_for_a_sibling
    a_splice_to_slow_sockets_holds_no_threads
    a_splice_of_a_file_waits_for_room
}

/// More than the pool has threads.
const N: usize = 40;

fn file(bytes: &[u8]) -> File {
    let name = format!("greenlibc-copy-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file
}

fn numbered(n: usize) -> Vec<u8> {
    (0..n).map(|n| (n * 31 % 251) as u8).collect()
}

fn result(n: isize) -> io::Result<usize> {
    match n {
        -1 => Err(io::Error::last_os_error()),
        n => Ok(n.cast_unsigned()),
    }
}

fn send_file(
    to: &impl AsRawFd,
    from: &File,
    at: Option<&mut i64>,
    bytes: usize,
) -> io::Result<usize> {
    let at = at.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: a place, or none.
    result(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), at, bytes) })
}

fn splice(from: &impl AsRawFd, to: &impl AsRawFd, bytes: usize, flags: u32) -> io::Result<usize> {
    let none = ptr::null_mut;
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: no places.
    result(unsafe { libc::splice(from, none(), to, none(), bytes, flags) })
}

/// All that comes, by a thread of its own.
fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn a_file_is_sent() {
    let bytes = numbered(1_000_000);
    let mut file = file(&bytes);
    let (near, far) = UnixStream::pair().unwrap();
    let reader = read_all(far);
    // All of it, in one call, and its end.
    assert_eq!(send_file(&near, &file, None, 600_000).unwrap(), 600_000);
    assert_eq!(file.stream_position().unwrap(), 600_000);
    assert_eq!(send_file(&near, &file, None, 600_000).unwrap(), 400_000);
    assert_eq!(send_file(&near, &file, None, 600_000).unwrap(), 0);
    drop(near);
    assert!(reader.join().unwrap() == bytes);
    // To a pipe.
    let (reader, writer) = io::pipe().unwrap();
    let reader = read_all(reader);
    file.rewind().unwrap();
    assert_eq!(send_file(&writer, &file, None, 1 << 30).unwrap(), 1_000_000);
    drop(writer);
    assert!(reader.join().unwrap() == bytes);
}

fn a_file_is_sent_from_a_place() {
    let mut file = file(b"not this but that");
    file.seek(SeekFrom::Start(3)).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let mut at = 4;
    assert_eq!(send_file(&near, &file, Some(&mut at), 4).unwrap(), 4);
    assert_eq!(at, 8);
    at = 13;
    assert_eq!(send_file(&near, &file, Some(&mut at), 100).unwrap(), 4);
    assert_eq!(at, 17);
    assert_eq!(send_file(&near, &file, Some(&mut at), 100).unwrap(), 0);
    assert_eq!(file.stream_position().unwrap(), 3);
    drop(near);
    assert_eq!(read_all(far).join().unwrap(), b"thisthat");
    // What is no file, and a peer that has gone.
    let (reader, _writer) = io::pipe().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    // SAFETY: no places.
    let error =
        result(unsafe { libc::sendfile(near.as_raw_fd(), reader.as_raw_fd(), ptr::null_mut(), 1) });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(far);
    let error = send_file(&near, &file, None, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

fn files_sent_to_slow_sockets_hold_no_threads() {
    let bytes = numbered(1_000_000);
    let (senders, readers): (Vec<_>, Vec<_>) = (0..N)
        .map(|_| {
            let file = file(&bytes);
            let (near, far) = UnixStream::pair().unwrap();
            let sender = thread::spawn(move || send_file(&near, &file, None, 1 << 20).unwrap());
            (sender, far)
        })
        .unzip();
    // Each has sent what there is room for.
    let mut one = [0];
    for mut reader in &readers {
        reader.read_exact(&mut one).unwrap();
    }
    a_file_is_read_by_the_pool();
    assert!(senders.iter().all(|sender| !sender.is_finished()));
    for reader in readers.into_iter().map(read_all) {
        assert!(reader.join().unwrap() == bytes[1..]);
    }
    for sender in senders {
        assert_eq!(sender.join().unwrap(), bytes.len());
    }
}

fn what_was_sent_before_the_time_was_up_is_told() {
    let file = file(&numbered(10_000_000));
    let (near, far) = UnixStream::pair().unwrap();
    near.set_write_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let mut at = 0;
    let n = send_file(&near, &file, Some(&mut at), 10_000_000).unwrap();
    assert!(0 < n && n < 10_000_000 && at == n as i64);
    let error = send_file(&near, &file, Some(&mut at), 1).unwrap_err();
    assert_eq!((error.kind(), at), (ErrorKind::WouldBlock, n as i64));
    drop(near);
    assert_eq!(read_all(far).join().unwrap().len(), n);
}

fn a_splice_waits_for_a_sibling() {
    // From a socket to a pipe, and from there to another socket.
    let (mut begin, from) = UnixStream::pair().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let (to, end) = UnixStream::pair().unwrap();
    let first = thread::spawn(move || while splice(&from, &writer, 1000, 0).unwrap() > 0 {});
    let second = thread::spawn(move || while splice(&reader, &to, 1000, 0).unwrap() > 0 {});
    let read = read_all(end);
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(1));
        begin.write_all(b"0123456789").unwrap();
    }
    drop(begin);
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(read.join().unwrap(), b"0123456789".repeat(10));
    // Who does not want to wait does not.
    let (reader, _writer) = io::pipe().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let error = splice(&reader, &near, 10, libc::SPLICE_F_NONBLOCK).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn a_splice_to_slow_sockets_holds_no_threads() {
    let bytes = numbered(1_000_000);
    let mut threads = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..N {
        let (reader, mut writer) = io::pipe().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let bytes = bytes.clone();
        threads.push(thread::spawn(move || writer.write_all(&bytes).unwrap()));
        threads.push(thread::spawn(move || {
            while splice(&reader, &near, 1 << 20, 0).unwrap() > 0 {}
        }));
        readers.push(far);
    }
    let mut one = [0];
    for mut reader in &readers {
        reader.read_exact(&mut one).unwrap();
    }
    // Until there is no more room anywhere.
    thread::sleep(Duration::from_millis(20));
    a_file_is_read_by_the_pool();
    assert!(threads.iter().all(|thread| !thread.is_finished()));
    for reader in readers.into_iter().map(read_all) {
        assert!(reader.join().unwrap() == bytes[1..]);
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn a_splice_of_a_file_waits_for_room() {
    let bytes = numbered(1_000_000);
    let file = file(&bytes);
    let (reader, writer) = io::pipe().unwrap();
    let splicer = thread::spawn(move || while splice(&file, &writer, 1 << 20, 0).unwrap() > 0 {});
    thread::sleep(Duration::from_millis(2));
    assert!(read_all(reader).join().unwrap() == bytes);
    splicer.join().unwrap();
}
