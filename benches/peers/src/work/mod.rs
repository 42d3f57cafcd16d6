//! The workloads without a network, each written for every runtime.
//!
//! A child process does one of them, on one CPU, and prints numbers on one line.

mod greenrt;
mod may;
mod processes;
mod smol;
mod threads;
mod tokio;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::Runtime;
use crate::child::{self, Cost};

/// How long a workload that can be of any size should take.
const SAMPLE_NS: u64 = 150_000_000;

#[derive(Clone, Copy, Debug)]
enum Work {
    /// So many threads or tasks yield to each other.
    Yield(u64),
    /// Two hand a number to each other and back.
    PingPong,
    /// Four send and four receive, by one channel with room for `ROOM` messages.
    FourToFour,
    /// A thousand want one mutex, and yield while they have it.
    Contenders,
    /// One after the other is spawned and joined.
    SpawnJoin,
    /// All are spawned, then all are joined.
    SpawnBurst,
    /// A tree of a million leaves.
    Skynet,
    /// Each sleeps three times.
    Sleeps,
    /// All wait for something that does not come.
    Parked,
}

const N_ENDS: u64 = 4;
const ROOM: usize = 64;
const N_CONTENDERS: u64 = 1000;

/// Does the work and prints what it has cost.
pub(crate) fn child(work: &str, runtime: &str) {
    // What shall use both CPUs is not pinned.
    if work != "processes_2_cpus" {
        child::pin_to(child::SERVER_CPU);
    }
    std::panic::set_hook(Box::new(|info| {
        println!(
            "fails after {} spawns: {}",
            SPAWNED.load(Relaxed),
            brief(&info.to_string())
        );
        std::process::exit(1);
    }));
    let runtime = Runtime::from_name(runtime).expect("a runtime");
    if work.starts_with("processes") {
        return processes::run(runtime);
    }
    let run: fn(Work, u64) -> Cost = match runtime {
        Runtime::Greenrt | Runtime::Shared | Runtime::Private => {
            ::greenrt::run(move || runtime.verify_thread_locals());
            greenrt::run
        }
        Runtime::Tokio => tokio::run,
        Runtime::May => may::run,
        Runtime::Smol => smol::run,
        Runtime::Threads => threads::run,
        Runtime::Unmodified => panic!("its threads are greenrt's"),
        Runtime::Epoll => panic!("a bare epoll loop has no threads"),
    };
    match work {
        "yield_2" => print_each(timed(|n| run(Work::Yield(2), n))),
        "yield_1000" => print_each(timed(|n| run(Work::Yield(1000), n))),
        "ping_pong" => print_each(timed(|n| run(Work::PingPong, n))),
        "four_to_four" => print_each(timed(|n| run(Work::FourToFour, n))),
        "contenders" => print_each(timed(|n| run(Work::Contenders, n))),
        "spawn_join" => print_each(timed(|n| run(Work::SpawnJoin, n))),
        "spawn_burst" => print_each(warm(5, || run(Work::SpawnBurst, 100_000))),
        "skynet" => print_whole(run(Work::Skynet, 1_000_000)),
        "sleeps" => {
            let cost = run(Work::Sleeps, 100_000);
            let mut late = std::mem::take(&mut *LATE.lock().unwrap());
            late.sort_unstable();
            let at = |share: f64| late[(late.len() as f64 * share) as usize] as f64 / 1e6;
            print!("{} {} ", at(0.5), at(0.99));
            print_whole(cost);
        }
        "parked" => {
            BYTES_BEFORE.store(bytes_held(), Relaxed);
            run(Work::Parked, 1_000_000);
        }
        _ => panic!("there is no work {work}"),
    }
}

/// Nanoseconds and CPU nanoseconds of an operation.
fn print_each(cost: Cost) {
    let each = |ns| ns as f64 / cost.n_ops as f64;
    println!("{} {}", each(cost.wall_ns), each(cost.cpu_ns));
}

/// Seconds and CPU seconds of everything.
fn print_whole(cost: Cost) {
    println!("{} {}", cost.wall_ns as f64 / 1e9, cost.cpu_ns as f64 / 1e9);
}

/// Runs with ever more operations, until that takes long enough; the last run counts.
fn timed(run: impl Fn(u64) -> Cost) -> Cost {
    let mut n_ops = 1000;
    loop {
        let cost = run(n_ops);
        if cost.cpu_ns >= SAMPLE_NS {
            return cost;
        }
        let factor = SAMPLE_NS as f64 * 1.2 / cost.cpu_ns.max(1) as f64;
        n_ops = (n_ops as f64 * factor.clamp(1.3, 20.0)) as u64;
    }
}

/// Runs several times; the median of all but the first.
fn warm(n_runs: usize, run: impl Fn() -> Cost) -> Cost {
    run();
    let mut costs: Vec<Cost> = (1..n_runs).map(|_| run()).collect();
    costs.sort_by_key(|cost| cost.wall_ns);
    costs[costs.len() / 2]
}

/// Bytes that the process held before anything was parked.
static BYTES_BEFORE: AtomicU64 = AtomicU64::new(0);

fn bytes_held() -> u64 {
    let (resident, tables) = child::own_memory();
    resident + tables
}

/// Prints what parked threads hold and have cost. Ends the process, so that nobody must end them.
fn end_parked(cost: Cost) -> ! {
    let bytes = bytes_held() - BYTES_BEFORE.load(Relaxed);
    print!("{} ", bytes as f64 / cost.n_ops as f64);
    print_whole(cost);
    std::process::exit(0)
}

/// How many were spawned, for what is said when that fails.
static SPAWNED: AtomicU64 = AtomicU64::new(0);

/// Counts a spawn. Only in workloads that may not succeed.
fn count_spawn() {
    SPAWNED.store(SPAWNED.load(Relaxed) + 1, Relaxed);
}

/// A message on one line, not too long.
fn brief(message: &str) -> String {
    message
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(120)
        .collect()
}

/// By how many nanoseconds sleeps ended too late.
static LATE: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn note_late(begin: Instant, duration: Duration) {
    let late = begin
        .elapsed()
        .checked_sub(duration)
        .expect("a sleep ended early");
    // Never contended for long: everything runs on one CPU, and nothing waits in here.
    LATE.lock().unwrap().push(late.as_nanos() as u64);
}

fn make_room_for_late(n: u64) {
    LATE.lock().unwrap().reserve(n as usize);
}

/// Three durations between 10 and 1000 ms.
fn durations(number: u64) -> impl Iterator<Item = Duration> + Send {
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..3).map(move |_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Duration::from_nanos(10_000_000 + random % 990_000_000)
    })
}
