//! Descriptors of every kind: pipes, polls, duplicates, modes, files.

#![expect(unsafe_code, reason = "asks libc")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::tests;

tests! {
    a_pipe_is_read_while_a_sibling_writes
    a_full_pipe_is_written_whole
    an_eventfd_waits
    poll_of_one
    poll_of_several
    poll_of_none_sleeps
    poll_in_both_directions
    select_waits
    an_epoll_of_the_users_own_waits
    modes_are_what_the_user_has_set
    a_duplicate_has_the_mode_of_the_other
    dup2_replaces_what_was_there
    files
    errors_are_as_ever
    println_from_many_threads
}

fn result(n: isize) -> io::Result<usize> {
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n.cast_unsigned())
    }
}

fn is_nonblocking(fd: RawFd) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

fn later(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(2));
        f();
    })
}

fn a_pipe_is_read_while_a_sibling_writes() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    let sibling = later(move || writer.write_all(b"through").unwrap());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through");
    sibling.join().unwrap();
    assert!(!is_nonblocking(reader.as_raw_fd()));
}

fn a_full_pipe_is_written_whole() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    let sibling = thread::spawn(move || {
        let bytes = vec![7; 500_000];
        assert_eq!(writer.write(&bytes).unwrap(), bytes.len());
    });
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, vec![7; 500_000]);
    sibling.join().unwrap();
}

fn an_eventfd_waits() {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    // SAFETY: new.
    let mut event = unsafe { File::from_raw_fd(fd) };
    let mut other = event.try_clone().unwrap();
    let sibling = later(move || other.write_all(&5_u64.to_ne_bytes()).unwrap());
    let mut number = [0; 8];
    event.read_exact(&mut number).unwrap();
    assert_eq!(u64::from_ne_bytes(number), 5);
    sibling.join().unwrap();
}

fn poll(fds: &mut [libc::pollfd], timeout: i32) -> i32 {
    // SAFETY: as many as is said.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) }
}

fn polled(fd: &impl AsRawFd, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

fn poll_of_one() {
    let (a, mut b) = UnixStream::pair().unwrap();
    let mut fds = [polled(&a, libc::POLLIN)];
    assert_eq!(poll(&mut fds, 0), 0);
    let began = Instant::now();
    assert_eq!(poll(&mut fds, 5), 0);
    assert!(began.elapsed() >= Duration::from_millis(5));
    let sibling = later(move || {
        b.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(5));
    });
    for _ in 0..2 {
        assert_eq!(poll(&mut fds, -1), 1);
        assert_eq!(fds[0].revents, libc::POLLIN);
    }
    sibling.join().unwrap();
    assert_eq!(poll(&mut [polled(&a, libc::POLLOUT)], -1), 1);
}

fn poll_of_several() {
    let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    let mut fds: Vec<_> = pairs.iter().map(|(a, _)| polled(a, libc::POLLIN)).collect();
    // One that is ignored, and one twice.
    fds.push(libc::pollfd {
        fd: -1,
        events: libc::POLLIN,
        revents: 0,
    });
    fds.push(fds[1]);
    assert_eq!(poll(&mut fds, 2), 0);
    let mut writer = pairs[1].1.try_clone().unwrap();
    let sibling = later(move || writer.write_all(b"x").unwrap());
    assert_eq!(poll(&mut fds, -1), 2);
    let came: Vec<_> = fds.iter().map(|fd| fd.revents).collect();
    assert_eq!(came, [0, libc::POLLIN, 0, 0, libc::POLLIN]);
    sibling.join().unwrap();
}

fn poll_of_none_sleeps() {
    let began = Instant::now();
    assert_eq!(poll(&mut [], 5), 0);
    assert!(began.elapsed() >= Duration::from_millis(5));
}

fn poll_in_both_directions() {
    let (a, _b) = UnixStream::pair().unwrap();
    let mut fds = [polled(&a, libc::POLLIN | libc::POLLOUT)];
    assert_eq!(poll(&mut fds, -1), 1);
    assert_eq!(fds[0].revents, libc::POLLOUT);
    let mut bad = [libc::pollfd {
        fd: 100_000,
        events: libc::POLLIN,
        revents: 0,
    }];
    assert_eq!(poll(&mut bad, -1), 1);
    assert_eq!(bad[0].revents, libc::POLLNVAL);
}

fn select_waits() {
    let (a, mut b) = UnixStream::pair().unwrap();
    // SAFETY: all zero is the empty set.
    let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
    let mut select = |timeout: *mut libc::timeval| {
        // SAFETY: below the size of a set.
        unsafe { libc::FD_SET(a.as_raw_fd(), &raw mut set) };
        // SAFETY: a set, and a time or none.
        let n = unsafe {
            let none = ptr::null_mut();
            libc::select(a.as_raw_fd() + 1, &raw mut set, none, none, timeout)
        };
        // SAFETY: below the size of a set.
        (n, unsafe { libc::FD_ISSET(a.as_raw_fd(), &raw const set) })
    };
    let mut time = libc::timeval {
        tv_sec: 0,
        tv_usec: 3000,
    };
    assert_eq!(select(&raw mut time), (0, false));
    let sibling = later(move || b.write_all(b"x").unwrap());
    assert_eq!(select(ptr::null_mut()), (1, true));
    sibling.join().unwrap();
}

fn an_epoll_of_the_users_own_waits() {
    let (a, mut b) = UnixStream::pair().unwrap();
    // SAFETY: no memory is passed.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    // SAFETY: new.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 7,
    };
    // SAFETY: an event to be read.
    let error = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            a.as_raw_fd(),
            &raw mut event,
        )
    };
    assert_eq!(error, 0);
    let wait = |timeout| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for an event.
        let n = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, timeout) };
        (n, event.u64)
    };
    assert_eq!(wait(0), (0, 0));
    assert_eq!(wait(3), (0, 0));
    let sibling = later(move || b.write_all(b"x").unwrap());
    assert_eq!(wait(-1), (1, 7));
    // Level-triggered: it is still there.
    assert_eq!(wait(-1), (1, 7));
    sibling.join().unwrap();
}

fn modes_are_what_the_user_has_set() {
    let (mut a, b) = UnixStream::pair().unwrap();
    let fd = a.as_raw_fd();
    assert!(!is_nonblocking(fd));
    let sibling = later(move || (&b).write_all(b"x").unwrap());
    a.read_exact(&mut [0]).unwrap();
    sibling.join().unwrap();
    assert!(!is_nonblocking(fd));
    // By `ioctl`, as std does it, and by `fcntl`.
    let (mut a, _b) = UnixStream::pair().unwrap();
    let fd = a.as_raw_fd();
    a.set_nonblocking(true).unwrap();
    assert!(is_nonblocking(fd));
    assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // SAFETY: no memory is passed.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: no memory is passed.
    let error = unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) };
    assert_eq!(error, 0);
    assert!(!is_nonblocking(fd));
    a.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let began = Instant::now();
    assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(began.elapsed() >= Duration::from_millis(2));
    // A listening socket that a green thread has accepted on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
    listener.accept().unwrap();
    client.join().unwrap();
    assert!(!is_nonblocking(listener.as_raw_fd()));
    let clone = listener.try_clone().unwrap();
    assert!(!is_nonblocking(clone.as_raw_fd()));
    listener.set_nonblocking(true).unwrap();
    assert!(is_nonblocking(listener.as_raw_fd()));
}

fn a_duplicate_has_the_mode_of_the_other() {
    let (mut a, _b) = UnixStream::pair().unwrap();
    a.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let other = a.try_clone().unwrap();
    other.set_read_timeout(None).unwrap();
    other.set_nonblocking(true).unwrap();
    assert!(is_nonblocking(a.as_raw_fd()));
    // It would wait for ever.
    assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn dup2_replaces_what_was_there() {
    let (mut a, _a_peer) = UnixStream::pair().unwrap();
    // So that it is known, and watched.
    a.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let (b, b_peer) = UnixStream::pair().unwrap();
    // SAFETY: what is replaced is ours.
    assert!(unsafe { libc::dup2(b.as_raw_fd(), a.as_raw_fd()) } >= 0);
    let sibling = later(move || (&b_peer).write_all(b"b").unwrap());
    let mut byte = [0];
    a.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
    sibling.join().unwrap();
}

fn files() {
    let path = std::env::temp_dir().join(format!("greenlibc-file-{}", std::process::id()));
    let mut file = File::create_new(&path).unwrap();
    file.write_all(&[1; 100_000]).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![1; 100_000]);
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    file.seek(io::SeekFrom::Start(50_000)).unwrap();
    file.write_all(b"middle").unwrap();
    file.seek(io::SeekFrom::Start(50_000)).unwrap();
    let mut text = [0; 6];
    file.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"middle");
    assert_eq!(file.stream_position().unwrap(), 50_006);
    assert_eq!(
        fs::read_to_string("/proc/self/comm").unwrap().trim(),
        comm()
    );
    assert_eq!(fs::read("/dev/null").unwrap(), []);
    let mut random = [0; 16];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut random)
        .unwrap();
    fs::remove_file(path).unwrap();
}

/// What the process is called.
fn comm() -> String {
    let path = std::env::current_exe().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    name[..name.len().min(15)].to_string()
}

fn errors_are_as_ever() {
    let mut byte = 0_u8;
    let place: *mut libc::c_void = (&raw mut byte).cast();
    // SAFETY: as much room as is said.
    let error = result(unsafe { libc::read(-1, place, 1) }).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    // SAFETY: as above.
    let error = result(unsafe { libc::recv(100_000, place, 1, 0) }).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    let (reader, writer) = io::pipe().unwrap();
    // SAFETY: as above.
    let error = result(unsafe { libc::recv(reader.as_raw_fd(), place, 1, 0) }).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
    // SAFETY: as above.
    let error = result(unsafe { libc::read(writer.as_raw_fd(), place, 1) }).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    // SAFETY: there is none to be closed.
    let error = result(unsafe { libc::close(-1) } as isize).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}

fn println_from_many_threads() {
    let threads = (0..20).map(|_| thread::spawn(|| (0..5).for_each(|_| print!(""))));
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let mut out = io::stdout().lock();
    // A sibling that prints meanwhile waits for the lock, and not in the kernel.
    let sibling = thread::spawn(|| print!(""));
    thread::sleep(Duration::from_millis(1));
    out.flush().unwrap();
    drop(out);
    sibling.join().unwrap();
}
