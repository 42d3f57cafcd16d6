//! Children: 500 times `/bin/true`, up to 100 at once, beside something that wants to go on each
//! millisecond. Written for each runtime that can.
//!
//! What is counted is the CPU time of the children too, which is nearly all of it.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::Runtime;
use crate::child::{self, Cost};

const PROGRAM: &str = "/bin/true";
const N_AT_ONCE: usize = 100;
const N_EACH: usize = 5;
const TICK: Duration = Duration::from_millis(1);

static ENDED: AtomicBool = AtomicBool::new(false);
/// By how much the ticks were late.
static LATE: Mutex<Vec<Duration>> = Mutex::new(Vec::new());

/// Runs it and prints CPU and wall microseconds for each child, how late the ticks were at the 99th
/// percentile and at the most, in milliseconds, and how much of the CPU time was not the children's.
pub(super) fn run(runtime: Runtime) {
    let work: fn() = match runtime {
        Runtime::Shared | Runtime::Private | Runtime::Greenrt => || ::greenrt::run(on_greenrt),
        Runtime::Tokio => || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(on_tokio());
        },
        Runtime::Threads => on_threads,
        other => panic!("{} has no children", other.name()),
    };
    // What the first children bring about is not counted.
    work();
    LATE.lock().unwrap().clear();
    ENDED.store(false, Relaxed);
    let own = child::own_cpu_ns();
    let cpu = own + child::children_cpu_ns();
    let begin = Instant::now();
    work();
    let cost = Cost {
        n_ops: (N_AT_ONCE * N_EACH) as u64,
        wall_ns: begin.elapsed().as_nanos() as u64,
        cpu_ns: child::own_cpu_ns() + child::children_cpu_ns() - cpu,
    };
    let own = child::own_cpu_ns() - own;
    let mut late = std::mem::take(&mut *LATE.lock().unwrap());
    late.sort_unstable();
    let ms = |late: Duration| late.as_secs_f64() * 1e3;
    let each = |ns: u64| ns as f64 / cost.n_ops as f64 / 1e3;
    println!(
        "{} {} {} {} {}",
        each(cost.cpu_ns),
        each(cost.wall_ns),
        ms(late[late.len() * 99 / 100]),
        ms(late[late.len() - 1]),
        each(own),
    );
}

/// Notes how late it is. `false`: the work is done.
fn tick(begin: Instant) -> bool {
    LATE.lock()
        .unwrap()
        .push(begin.elapsed().saturating_sub(TICK));
    !ENDED.load(Relaxed)
}

fn on_greenrt() {
    let children = || {
        for _ in 0..N_EACH {
            let status = greenstd::process::Command::new(PROGRAM).status();
            assert!(status.expect("a child").success());
        }
    };
    let ticker = ::greenrt::spawn(|| {
        loop {
            let begin = Instant::now();
            ::greenrt::sleep(TICK);
            if !tick(begin) {
                break;
            }
        }
    });
    let threads: Vec<_> = (0..N_AT_ONCE).map(|_| ::greenrt::spawn(children)).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    ENDED.store(true, Relaxed);
    ticker.join().unwrap();
}

fn on_threads() {
    let children = || {
        for _ in 0..N_EACH {
            let status = std::process::Command::new(PROGRAM).status();
            assert!(status.expect("a child").success());
        }
    };
    let ticker = thread::spawn(|| {
        loop {
            let begin = Instant::now();
            thread::sleep(TICK);
            if !tick(begin) {
                break;
            }
        }
    });
    let threads: Vec<_> = (0..N_AT_ONCE).map(|_| thread::spawn(children)).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    ENDED.store(true, Relaxed);
    ticker.join().unwrap();
}

async fn on_tokio() {
    let children = || async {
        for _ in 0..N_EACH {
            let status = tokio::process::Command::new(PROGRAM).status().await;
            assert!(status.expect("a child").success());
        }
    };
    let ticker = tokio::spawn(async {
        loop {
            let begin = Instant::now();
            tokio::time::sleep(TICK).await;
            if !tick(begin) {
                break;
            }
        }
    });
    let tasks: Vec<_> = (0..N_AT_ONCE).map(|_| tokio::spawn(children())).collect();
    for task in tasks {
        task.await.unwrap();
    }
    ENDED.store(true, Relaxed);
    ticker.await.unwrap();
}
