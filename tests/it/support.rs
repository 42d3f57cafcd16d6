//! What the tests share: a time limit for each, every kind of runtime, seeds, child processes.

#![expect(
    clippy::disallowed_methods,
    reason = "plain OS threads and child processes are part of what is tested"
)]

use std::env;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use greenrt::lowlevel::Io;
use greenrt::{Clock, JoinHandle, ManualClock, Runtime, Thread, ThreadLocals};

/// The number of the calling OS thread, whichever green thread asks, and whoever has its
/// thread-locals.
pub(crate) fn os_thread() -> u64 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    let number = link.file_name().unwrap().to_str().unwrap();
    number.parse().unwrap()
}

/// The name of the calling OS thread, whichever green thread asks: its first 15 bytes.
pub(crate) fn os_thread_name() -> String {
    let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    name.trim_end().to_string()
}

/// A test that takes longer than this hangs, or the machine is very busy.
const LIMIT: Duration = Duration::from_secs(120);

/// Set for child processes to the name of the test that they are.
const CHILD: &str = "GREENRT_TEST_CHILD";

/// Panics with this text print nothing.
pub(crate) const EXPECTED: &str = "expected panic";

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Runs a test; if it does not end in time, says what its green threads do and aborts.
#[track_caller]
pub(crate) fn limited<T>(test: impl FnOnce() -> T) -> T {
    limited_to(LIMIT, test)
}

/// As [`limited`], with a limit of its own.
#[track_caller]
pub(crate) fn limited_to<T>(limit: Duration, test: impl FnOnce() -> T) -> T {
    expected_panics_are_quiet();
    interrupt::begin();
    let (done, watch) = channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_string();
    let watchdog = thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            // Not by `eprintln`, whose output is lost when the test is aborted.
            let dump = greenrt::debug::dump();
            let _ = writeln!(io::stderr(), "{name} did not end within {limit:?}\n{dump}");
            std::process::abort();
        }
    });
    let result = panic::catch_unwind(AssertUnwindSafe(test));
    drop(done);
    watchdog.join().unwrap();
    result.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Keeps the output for panics that mean something.
fn expected_panics_are_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.contains(EXPECTED) && text != "a scoped thread panicked" {
                previous(info);
            }
        }));
    });
}

/// Signals, a thousand times a second, if `GREENRT_TEST_TIMER` asks for them.
mod interrupt {
    #![expect(unsafe_code, reason = "asks libc for a timer and a handler")]

    use std::cell::Cell;
    use std::sync::Once;

    thread_local!(static HANDLED: Cell<usize> = const { Cell::new(0) });

    /// Touches what belongs to the thread that it interrupts.
    extern "C" fn handler(_signal: libc::c_int) {
        // SAFETY: the caller's own.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        let before = unsafe { errno.read() };
        HANDLED.set(HANDLED.get() + 1);
        // SAFETY: no such descriptor; sets `errno`.
        unsafe { libc::close(-1) };
        // SAFETY: as above.
        unsafe { errno.write(before) };
    }

    pub(super) fn begin() {
        static ONCE: Once = Once::new();
        let Ok(timer) = std::env::var("GREENRT_TEST_TIMER") else {
            return;
        };
        ONCE.call_once(|| {
            let (timer, signal) = match &*timer {
                "prof" => (libc::ITIMER_PROF, libc::SIGPROF),
                _ => (libc::ITIMER_REAL, libc::SIGALRM),
            };
            // SAFETY: all zero is a valid one.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            // SAFETY: the handler is async-signal-safe.
            let error = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
            assert_eq!(error, 0);
            let time = libc::timeval {
                tv_sec: 0,
                tv_usec: 1000,
            };
            let every = libc::itimerval {
                it_interval: time,
                it_value: time,
            };
            // SAFETY: no conditions.
            let error = unsafe { libc::setitimer(timer, &raw const every, std::ptr::null_mut()) };
            assert_eq!(error, 0);
        });
    }
}

/// Runs a test as the first green thread of `greenrt::run`, of runtimes with 1, 2 and 4 workers,
/// and of the global runtime.
#[track_caller]
pub(crate) fn on_each_runtime(test: impl Fn() + Send + Sync + 'static) {
    limited(|| on_each_runtime_of(&shared(test)));
}

/// As [`on_each_runtime`], and on a plain OS thread too.
#[track_caller]
pub(crate) fn on_each_runtime_and_off(test: impl Fn() + Send + Sync + 'static) {
    let test = shared(test);
    limited(&*test);
    limited(|| on_each_runtime_of(&test));
}

/// Runs a test under `greenrt::run` and on a runtime with one worker, where order is certain.
#[track_caller]
pub(crate) fn on_one_worker(test: impl Fn() + Send + Sync + 'static) {
    limited(|| on_one_worker_of(&shared(test)));
}

/// A test without its type, so that what runs it is compiled once and not for each.
type Test = Arc<dyn Fn() + Send + Sync>;

fn shared(test: impl Fn() + Send + Sync + 'static) -> Test {
    Arc::new(test)
}

fn on_each_runtime_of(test: &Test) {
    on_one_worker_of(test);
    for n_workers in [2, 4] {
        let test = Arc::clone(test);
        runtime(n_workers).run(move || test());
    }
    let test = Arc::clone(test);
    let main = greenrt::Builder::new()
        .stack_size(8 << 20)
        .spawn(move || test())
        .unwrap();
    main.join()
        .unwrap_or_else(|payload| panic::resume_unwind(payload));
}

fn on_one_worker_of(test: &Test) {
    greenrt::run(|| test());
    let test = Arc::clone(test);
    runtime(1).run(move || test());
}

/// Runs a test on runtimes with 1, 2 and 4 workers whose time is that of a manual clock.
#[track_caller]
pub(crate) fn on_manual_clocks(test: impl Fn(&ManualClock) + Send + Sync + 'static) {
    let test: Arc<dyn Fn(&ManualClock) + Send + Sync> = Arc::new(test);
    limited(|| {
        for n_workers in [1, 2, 4] {
            let test = Arc::clone(&test);
            on_manual_clock(n_workers, move |clock| test(clock));
        }
    });
}

/// Runs a test on a runtime whose time is that of a manual clock.
pub(crate) fn on_manual_clock<T: Send + 'static>(
    n_workers: usize,
    test: impl FnOnce(&ManualClock) -> T + Send + 'static,
) -> T {
    let clock = ManualClock::new();
    let builder = Runtime::builder().workers(n_workers);
    let runtime = builder.clock(Clock::Manual(clock.clone())).build().unwrap();
    runtime.run(move || test(&clock))
}

pub(crate) fn runtime(n_workers: usize) -> Runtime {
    Runtime::builder().workers(n_workers).build().unwrap()
}

/// A runtime whose green threads have their own thread-locals, or have not.
pub(crate) fn runtime_with(thread_locals: ThreadLocals, n_workers: usize) -> Runtime {
    let builder = Runtime::builder().workers(n_workers);
    builder.thread_locals(thread_locals).build().unwrap()
}

/// Whether green threads have their own where nobody says: as the environment has it.
pub(crate) fn thread_locals_are_private() -> bool {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.thread_locals() == ThreadLocals::Private
}

/// Runs a test as a green thread, with both kinds of thread-locals, on 1, 2 and 4 workers.
#[track_caller]
pub(crate) fn in_both_modes(test: impl Fn() + Send + Sync + 'static) {
    let test = shared(test);
    limited(|| {
        for mode in [ThreadLocals::Shared, ThreadLocals::Private] {
            on_some_workers(mode, &test);
        }
    });
}

/// As [`in_both_modes`], for what holds with private thread-locals only.
#[track_caller]
pub(crate) fn with_private_thread_locals(test: impl Fn() + Send + Sync + 'static) {
    let test = shared(test);
    limited(|| on_some_workers(ThreadLocals::Private, &test));
}

fn on_some_workers(mode: ThreadLocals, test: &Test) {
    for n_workers in [1, 2, 4] {
        let test = Arc::clone(test);
        runtime_with(mode, n_workers).run(move || test());
    }
}

/// Joins all of them; their results.
#[track_caller]
pub(crate) fn join_all<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let join = |thread: JoinHandle<T>| {
        let result = thread.join();
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    };
    threads.into_iter().map(join).collect()
}

/// Spawns on a worker of the caller's runtime.
#[track_caller]
pub(crate) fn spawn_at<T: Send + 'static>(
    worker: usize,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    greenrt::Builder::new().worker(worker).spawn(f).unwrap()
}

/// Runs `f` on a plain OS thread and waits for it, without blocking a worker, and without parking.
pub(crate) fn on_os_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(f);
    wait_until(|| thread.is_finished());
    thread
        .join()
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// A plain OS thread with a name.
pub(crate) fn named_os_thread<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::Builder::new().name(name.into()).spawn(f).unwrap()
}

/// Stops the OS thread, and with it the worker that it may be.
pub(crate) fn os_sleep(time: Duration) {
    thread::sleep(time);
}

/// Waits until something is true that other threads make true, letting them run.
#[track_caller]
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    while !done() {
        greenrt::yield_now();
    }
}

/// Waits until a green thread waits for something, letting others run.
#[track_caller]
pub(crate) fn until_it_waits(thread: &Thread) {
    wait_until(|| {
        let dump = greenrt::debug::dump();
        let mut all = dump.threads.iter();
        let info = all.find(|info| info.id == thread.id());
        let not_waiting = [
            "not started",
            "runnable",
            "running",
            "a free stack",
            "ended",
        ];
        info.is_some_and(|info| {
            !not_waiting.contains(&&*info.waits_for) && !info.waits_for.ends_with(", woken")
        })
    });
}

/// Computes until something is true, without ever letting a sibling run.
pub(crate) fn spin_until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::hint::spin_loop();
    }
}

/// Runs a test with `n` seeds, and says which one failed. `GREENRT_TEST_SEED` runs that one only;
/// `GREENRT_TEST_SEEDS` is a factor for `n`.
#[track_caller]
pub(crate) fn with_seeds(n: u64, mut test: impl FnMut(&mut Random)) {
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("GREENRT_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..n * number("GREENRT_TEST_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| test(&mut random))) {
            eprintln!("failed with GREENRT_TEST_SEED={seed}");
            panic::resume_unwind(payload);
        }
    }
}

/// Numbers that look random and come again with the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Another source of numbers, for another thread.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }

    /// Computes for a random time below `n` steps of about a nanosecond.
    pub(crate) fn dawdle(&mut self, n: u64) {
        for _ in 0..self.below(n) {
            std::hint::spin_loop();
        }
    }
}

/// Notes from many threads, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn notes(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        let text = text.into();
        self.notes().push(text);
    }

    /// All notes, with spaces between.
    pub(crate) fn text(&self) -> String {
        self.notes().join(" ")
    }

    pub(crate) fn len(&self) -> usize {
        self.notes().len()
    }

    /// A value that makes a note when it is dropped.
    pub(crate) fn on_drop(&self, text: impl Into<String>) -> NotedDrop {
        NotedDrop {
            log: self.clone(),
            text: text.into(),
        }
    }
}

/// See [`Log::on_drop`].
#[derive(Debug)]
pub(crate) struct NotedDrop {
    log: Log,
    text: String,
}

impl Drop for NotedDrop {
    fn drop(&mut self) {
        self.log.note(&*self.text);
    }
}

/// Runs something when dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A turn that goes round between threads of any kind, by `park` and `unpark`.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    turn: AtomicUsize,
    players: OnceLock<Vec<Thread>>,
}

impl Ring {
    pub(crate) fn new() -> Arc<Ring> {
        Arc::default()
    }

    /// Says who they are, in their order. Turn `n` is that of player `n % players.len()`.
    pub(crate) fn start(&self, players: Vec<Thread>) {
        self.players.set(players).unwrap();
        self.players.wait().iter().for_each(Thread::unpark);
    }

    /// Parks until it is turn `turn`.
    pub(crate) fn wait_for(&self, turn: usize) {
        while self.players.get().is_none() || self.turn.load(Relaxed) < turn {
            greenrt::park();
        }
        assert_eq!(self.turn.load(Relaxed), turn);
    }

    /// Makes it the next one's turn.
    pub(crate) fn pass_on(&self) {
        let turn = self.turn.fetch_add(1, Relaxed) + 1;
        let players = self.players.wait();
        players[turn % players.len()].unpark();
    }
}

/// One end of a stream whose operations park.
pub(crate) struct Stream(Io<UnixStream>);

impl Stream {
    pub(crate) fn pair() -> (Stream, Stream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (Stream(Io::new(a)), Stream(Io::new(b)))
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_timeout(buffer, None)
    }

    pub(crate) fn read_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        self.0.read_with(timeout, |mut socket| socket.read(buffer))
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_with(None, |mut socket| socket.write(bytes))
    }

    pub(crate) fn read_byte(&self) -> u8 {
        let mut byte = [0];
        assert_eq!(self.read(&mut byte).unwrap(), 1, "end of stream");
        byte[0]
    }

    pub(crate) fn write_byte(&self, byte: u8) {
        assert_eq!(self.write(&[byte]).unwrap(), 1);
    }
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload without a text")
}

/// The text with which `f` panics.
#[track_caller]
pub(crate) fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("did not panic"),
        Err(payload) => panic_text(&*payload).to_string(),
    }
}

/// How a child process has ended.
#[derive(Debug)]
pub(crate) struct Died {
    pub(crate) code: Option<i32>,
    #[expect(dead_code, reason = "shown when a child died otherwise than expected")]
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process of its own for the body of a test: the same test again, in the same program.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    name: String,
    env: Vec<(String, String)>,
    shell: String,
}

impl Child {
    /// `name` is the path of the calling test from the root of its crate.
    pub(crate) fn new(name: &str) -> Child {
        Child {
            name: name.into(),
            env: Vec::new(),
            shell: String::new(),
        }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Child {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Commands for the shell that starts it, such as `ulimit`.
    pub(crate) fn shell(mut self, commands: &str) -> Child {
        let _ = writeln!(self.shell, "{commands}");
        self
    }

    /// In the child: runs the body and ends the process. In the parent: runs the child.
    ///
    /// A test has one body, which may run in several children that differ in their environment.
    pub(crate) fn run(self, body: impl FnOnce()) -> Died {
        if env::var(CHILD).is_ok_and(|name| name == self.name) {
            limited(body);
            let _ = io::stdout().flush();
            std::process::exit(0);
        }
        let program = env::current_exe().unwrap();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{} exec \"$@\"", self.shell))
            .arg("sh")
            .arg(program)
            .args([&*self.name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, &self.name)
            .env_remove("RUST_BACKTRACE")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let died = Died {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(
            !died.stdout.contains("running 0 tests"),
            "no test is called {}",
            self.name
        );
        died
    }
}

impl Died {
    #[track_caller]
    pub(crate) fn expect_success(&self) -> &Died {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }
}
