//! Child processes, their CPU clocks and their memory; pinning.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::Runtime;
use crate::quiet;

/// Where workloads and servers run.
pub(crate) const SERVER_CPU: usize = 0;
/// Where clients run.
pub(crate) const CLIENT_CPU: usize = 1;

/// Lets the calling thread, and those that it starts, run on one CPU only.
pub(crate) fn pin_to(cpu: usize) {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number is far below the size of a set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is as large as is said.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } != 0 {
        eprintln!(
            "cannot pin to CPU {cpu}: {}; figures mean less",
            io::Error::last_os_error()
        );
    }
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a place for the answer.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(
        result,
        0,
        "a clock cannot be read: {}",
        io::Error::last_os_error()
    );
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU time of the calling process.
pub(crate) fn own_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the children of the calling process that have ended.
pub(crate) fn children_cpu_ns() -> u64 {
    // SAFETY: all zeros is one.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: a place for the answer.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(result, 0, "the use of CPU by children cannot be read");
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    ns(usage.ru_utime) + ns(usage.ru_stime)
}

/// A stopwatch for wall and CPU time of this process.
pub(crate) struct Watch {
    wall: Instant,
    cpu: u64,
}

/// What a piece of work has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) n_ops: u64,
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
}

impl Watch {
    pub(crate) fn start() -> Watch {
        Watch {
            cpu: own_cpu_ns(),
            wall: Instant::now(),
        }
    }

    pub(crate) fn stop(self, n_ops: u64) -> Cost {
        let wall_ns = self.wall.elapsed().as_nanos() as u64;
        Cost {
            n_ops,
            wall_ns,
            cpu_ns: own_cpu_ns() - self.cpu,
        }
    }
}

/// This program again, as a child that we talk to by lines.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(arguments: &[&str], runtime: Runtime) -> Result<Peer, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // What a peer says when it fails is caught as the last line it prints.
        command.stderr(Stdio::null());
        // Nothing else that greenrt may be told by its environment.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GREENRT_") {
                command.env_remove(name);
            }
        }
        if let Some(kind) = runtime.thread_locals() {
            command.env("GREENRT_THREAD_LOCALS", kind);
        }
        if let (Runtime::Unmodified, ["serve", .., n_workers]) = (runtime, arguments) {
            command.env("GREENRT_WORKERS", n_workers);
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        quiet::born(child.id());
        let input = child.stdin.take().expect("asked for above");
        let output = BufReader::new(child.stdout.take().expect("asked for above"));
        Ok(Peer {
            child,
            input,
            output,
        })
    }

    /// The next line it prints. An error if it ends instead, or the line says "fails".
    pub(crate) fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(n) if n > 0 && !line.starts_with("fails") => Ok(line.trim_end().to_string()),
            Ok(n) if n > 0 => Err(line.trim_end().to_string()),
            _ => Err(match self.child.wait() {
                Ok(status) => format!("fails ({status})"),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Sends a line and waits for one.
    pub(crate) fn ask(&mut self, line: &str) -> Result<String, String> {
        writeln!(self.input, "{line}").map_err(|error| error.to_string())?;
        self.line()
    }

    /// As `ask`, for an answer made of numbers.
    pub(crate) fn ask_numbers(&mut self, line: &str) -> Result<Vec<f64>, String> {
        self.ask(line).map(|answer| numbers(&answer))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time that all its threads have used, those that have ended included.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let mut clock = 0;
        // SAFETY: `clock` is a place for the answer.
        let result = unsafe { libc::clock_getcpuclockid(self.id() as i32, &raw mut clock) };
        assert_eq!(result, 0, "a child has no CPU clock");
        clock_ns(clock)
    }

    /// Bytes resident, and bytes of page tables.
    pub(crate) fn memory(&self) -> (u64, u64) {
        memory(&format!("/proc/{}/status", self.id()))
    }

    /// How often its threads have gone to sleep.
    pub(crate) fn n_sleeps(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id()));
        tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
            .map(|status| field(&status, "voluntary_ctxt_switches:"))
            .sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        quiet::dead(self.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers in a line.
pub(crate) fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Bytes resident, and bytes of page tables, of this process.
pub(crate) fn own_memory() -> (u64, u64) {
    memory("/proc/self/status")
}

fn memory(path: &str) -> (u64, u64) {
    let status = fs::read_to_string(path).unwrap_or_default();
    (
        field(&status, "VmRSS:") * 1024,
        field(&status, "VmPTE:") * 1024,
    )
}

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Ends the process when the one that started it has gone, and answers its questions.
pub(crate) fn answer_parent(answer: impl Fn(&str) -> String + Send + 'static) {
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            println!("{}", answer(&line));
        }
        std::process::exit(0);
    });
}
