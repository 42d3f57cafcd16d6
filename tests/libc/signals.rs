//! Signals in the middle of everything: every OS thread is sent one every millisecond.

#![expect(
    unsafe_code,
    reason = "handles signals, and asks libc itself, not std, which asks again"
)]

use std::fs;
use std::io::{self, Read};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{tests, wait_until};

tests! {
    calls_are_not_interrupted
    calls_are_not_interrupted_where_nothing_restarts_them
    a_handler_posts_to_a_semaphore
    a_handler_writes_to_a_pipe
}

static N_HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn counts(_: libc::c_int) {
    N_HANDLED.fetch_add(1, SeqCst);
}

fn handle(handler: extern "C" fn(libc::c_int), flags: libc::c_int) {
    // SAFETY: all zero is a valid one.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: the handlers are async-signal-safe.
    let error = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) };
    assert_eq!(error, 0);
}

/// Sends signals until it is dropped.
struct Sender {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sender {
    fn begin() -> Sender {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = Arc::clone(&stop);
            greenlibc::os_threads(|| thread::spawn(move || send(&stop)))
        };
        Sender {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn send(stop: &AtomicBool) {
    // SAFETY: no conditions.
    let this = unsafe { libc::syscall(libc::SYS_gettid) };
    let process = std::process::id();
    while !stop.load(SeqCst) {
        for thread in fs::read_dir("/proc/self/task").unwrap() {
            let name = thread.unwrap().file_name();
            let thread: libc::c_long = name.to_str().unwrap().parse().unwrap();
            if thread != this {
                // SAFETY: it is handled; one that has ended is an error.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn check(n: isize) -> usize {
    assert!(n >= 0, "{}", io::Error::last_os_error());
    n.cast_unsigned()
}

fn receive(fd: RawFd, bytes: &mut [u8]) -> usize {
    // SAFETY: as much room as is said.
    check(unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), 0) })
}

fn transmit(fd: RawFd, bytes: &[u8]) {
    // SAFETY: as many bytes as is said.
    let n = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0) };
    // All of them, in blocking mode.
    assert_eq!(check(n), bytes.len());
}

/// A connection by which bytes go round.
fn echoes(n: u8) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut address: libc::sockaddr_in = {
        // SAFETY: all zero is one.
        unsafe { mem::zeroed() }
    };
    let mut bytes = size_of_val(&address) as libc::socklen_t;
    // SAFETY: room for the address.
    let named = unsafe {
        libc::getsockname(
            listener.as_raw_fd(),
            (&raw mut address).cast(),
            &raw mut bytes,
        )
    };
    check(named as isize);
    let client = thread::spawn(move || {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        // SAFETY: an address.
        check(unsafe { libc::connect(fd, (&raw const address).cast(), bytes) } as isize);
        // More than there is room for on the way.
        let sent = vec![n; 500_000];
        transmit(fd, &sent);
        let mut buffer = vec![0; 500_000];
        let mut n_came = 0;
        while n_came < sent.len() {
            let came = receive(fd, &mut buffer[n_came..]);
            assert!(came > 0);
            n_came += came;
        }
        assert!(buffer == sent);
        // SAFETY: ours.
        check(unsafe { libc::close(fd) } as isize);
    });
    let none = ptr::null_mut();
    // SAFETY: no room for the address.
    let fd = unsafe { libc::accept(listener.as_raw_fd(), none, ptr::null_mut()) };
    check(fd as isize);
    let mut kept = Vec::new();
    let mut buffer = vec![0; 50_000];
    while kept.len() < 500_000 {
        let came = receive(fd, &mut buffer);
        kept.extend_from_slice(&buffer[..came]);
    }
    transmit(fd, &kept);
    client.join().unwrap();
    // SAFETY: ours.
    check(unsafe { libc::close(fd) } as isize);
}

fn sleeps() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 3_000_000,
    };
    let began = Instant::now();
    // SAFETY: a time.
    check(unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) } as isize);
    assert!(began.elapsed() >= Duration::from_millis(3));
}

fn polls() {
    let (reader, _writer) = io::pipe().unwrap();
    let mut one = libc::pollfd {
        fd: reader.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let began = Instant::now();
    // SAFETY: one to look at.
    assert_eq!(unsafe { libc::poll(&raw mut one, 1, 3) }, 0);
    assert!(began.elapsed() >= Duration::from_millis(3));
}

/// A pipe through which much goes.
fn pipes(n: u8) {
    let (mut reader, writer) = io::pipe().unwrap();
    let sender = thread::spawn(move || {
        let bytes = vec![n; 200_000];
        // SAFETY: as many bytes as is said.
        let n = unsafe { libc::write(writer.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(check(n), bytes.len());
    });
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == vec![n; 200_000]);
    sender.join().unwrap();
}

#[expect(clippy::zombie_processes, reason = "waited for by way of libc")]
fn waits_for_a_child() {
    let child = Command::new("sleep").arg("0.01").spawn().unwrap();
    let pid = child.id().cast_signed();
    // SAFETY: no room for the status.
    let waited = unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    assert_eq!(check(waited as isize), pid as usize);
}

fn waits_for_a_condition() {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let began = Instant::now();
    let ended =
        shared
            .1
            .wait_timeout_while(shared.0.lock().unwrap(), Duration::from_millis(3), |done| {
                !*done
            });
    assert!(ended.unwrap().1.timed_out());
    assert!(began.elapsed() >= Duration::from_millis(3));
    let other = Arc::clone(&shared);
    let sibling = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1));
        *other.0.lock().unwrap() = true;
        other.1.notify_all();
    });
    let done = shared.0.lock().unwrap();
    assert!(*shared.1.wait_while(done, |done| !*done).unwrap());
    sibling.join().unwrap();
}

/// On an OS thread of the pool.
fn waits_for_a_file() {
    static N: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "greenlibc-{}-{}",
        std::process::id(),
        N.fetch_add(1, SeqCst)
    );
    let path = std::env::temp_dir().join(name);
    let first = fs::File::create_new(&path).unwrap();
    let second = fs::File::open(&path).unwrap();
    // SAFETY: no memory is passed.
    check(unsafe { libc::flock(first.as_raw_fd(), libc::LOCK_EX) } as isize);
    let sibling = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        drop(first);
    });
    // SAFETY: no memory is passed.
    check(unsafe { libc::flock(second.as_raw_fd(), libc::LOCK_EX) } as isize);
    sibling.join().unwrap();
    fs::remove_file(path).unwrap();
}

/// All of it, at once, until there were as many signals.
fn everything(flags: libc::c_int) {
    handle(counts, flags);
    let n_wanted = N_HANDLED.load(SeqCst) + 300;
    let sender = Sender::begin();
    let mut threads = Vec::new();
    let mut add = |f: fn()| {
        threads.push(thread::spawn(move || {
            while N_HANDLED.load(SeqCst) < n_wanted {
                f();
            }
        }));
    };
    for _ in 0..3 {
        add(|| echoes(7));
        add(sleeps);
        add(polls);
        add(|| pipes(9));
        add(waits_for_a_child);
        add(waits_for_a_condition);
        add(waits_for_a_file);
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    drop(sender);
}

fn calls_are_not_interrupted() {
    everything(libc::SA_RESTART);
}

fn calls_are_not_interrupted_where_nothing_restarts_them() {
    everything(0);
}

struct Semaphore(std::cell::UnsafeCell<mem::MaybeUninit<libc::sem_t>>);

// SAFETY: made for it.
unsafe impl Sync for Semaphore {}

static SEMAPHORE: Semaphore = Semaphore(std::cell::UnsafeCell::new(mem::MaybeUninit::uninit()));

extern "C" fn posts(_: libc::c_int) {
    // SAFETY: initialised before there is a signal.
    unsafe { libc::sem_post(SEMAPHORE.0.get().cast()) };
}

fn a_handler_posts_to_a_semaphore() {
    let semaphore = SEMAPHORE.0.get().cast();
    // SAFETY: nobody has it yet.
    check(unsafe { libc::sem_init(semaphore, 0, 0) } as isize);
    handle(posts, 0);
    let sender = Sender::begin();
    // One that is busy meanwhile, and one that is idle, is interrupted.
    for n in 0..200 {
        // SAFETY: initialised.
        check(unsafe { libc::sem_wait(semaphore) } as isize);
        if n % 3 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
    }
    drop(sender);
    handle(counts, libc::SA_RESTART);
}

static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn writes(_: libc::c_int) {
    // SAFETY: the caller's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { errno.read() };
    let byte = b"s";
    // SAFETY: one byte; the pipe is open for as long as there are signals.
    unsafe { libc::write(PIPE.load(SeqCst), byte.as_ptr().cast(), 1) };
    // SAFETY: as above.
    unsafe { errno.write(before) };
}

fn a_handler_writes_to_a_pipe() {
    let (mut reader, writer) = io::pipe().unwrap();
    PIPE.store(writer.as_raw_fd(), SeqCst);
    handle(writes, libc::SA_RESTART);
    let sender = Sender::begin();
    for _ in 0..200 {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"s");
    }
    drop(sender);
    handle(counts, libc::SA_RESTART);
    // One may still be on its way to a thread.
    wait_until(|| thread::spawn(|| ()).join().is_ok());
    let stream = TcpStream::connect("127.0.0.1:1");
    assert!(stream.is_err());
    drop((reader, writer));
}
