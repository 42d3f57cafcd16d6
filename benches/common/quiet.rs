//! Waits for the machine to be quiet, and tells whether it stayed so.
//!
//! On a machine that does something else now and then, a measurement beside that says little. So
//! one begins when nothing else has run for a moment, and is made again if something else ran
//! meanwhile; all this within limits, after which the figure is taken as it is and counted as
//! disturbed.
//!
//! Everything is read from `/proc`, in hundredths of a second; where there is none, nothing ever
//! disturbs.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "shared by several benchmarks, which use parts of it, outside any runtime"
)]

use std::fs;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long is looked before a measurement.
const LOOK: Duration = Duration::from_millis(60);
/// How much of one CPU others may use.
const OTHERS_MAX: f64 = 0.06;
/// What the clocks do not see, in seconds: a tick on each of two CPUs.
const CLOCK_ERROR: f64 = 0.02;
/// How often a measurement is made, at most.
const ATTEMPTS_MAX: usize = 4;

/// The children that live.
static CHILDREN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Counts a child process to us, whose CPU time does not disturb.
pub(crate) fn born(id: u32) {
    CHILDREN.lock().unwrap().push(id);
}

/// A child process ends, or has ended.
pub(crate) fn dead(id: u32) {
    CHILDREN.lock().unwrap().retain(|&other| other != id);
}

/// How much time may be lost, and how many measurements were disturbed all the same.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Duration,
    pub(crate) n_disturbed: usize,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Patience {
        Patience {
            left: limit,
            n_disturbed: 0,
        }
    }

    /// Measures when nothing else runs.
    pub(crate) fn measure<T>(&mut self, mut measure: impl FnMut() -> T) -> T {
        let mut attempt = 1;
        loop {
            let start = Instant::now();
            while start.elapsed() < self.left {
                let before = Moment::now();
                sleep(LOOK);
                if before.others() <= OTHERS_MAX {
                    break;
                }
            }
            let waited = start.elapsed();
            let before = Moment::now();
            let measured = measure();
            let disturbed = before.others() > OTHERS_MAX;
            let lost = match disturbed {
                true => start.elapsed(),
                // The look itself is no loss.
                false => waited.saturating_sub(2 * LOOK),
            };
            self.left = self.left.saturating_sub(lost);
            if !disturbed {
                return measured;
            }
            if attempt == ATTEMPTS_MAX || self.left.is_zero() {
                self.n_disturbed += 1;
                return measured;
            }
            attempt += 1;
        }
    }
}

/// CPU time at one moment, in seconds: of the whole machine, and of us.
struct Moment {
    clock: Instant,
    machine: f64,
    ours: f64,
}

impl Moment {
    fn now() -> Moment {
        let children = CHILDREN.lock().unwrap();
        let children: f64 = children.iter().map(|id| cpu_seconds(&id.to_string())).sum();
        Moment {
            clock: Instant::now(),
            machine: busy_seconds(),
            ours: children + cpu_seconds("self"),
        }
    }

    /// How much of one CPU others have used since.
    fn others(&self) -> f64 {
        let now = Moment::now();
        let others = (now.machine - self.machine) - (now.ours - self.ours);
        (others - CLOCK_ERROR) / (now.clock - self.clock).as_secs_f64()
    }
}

fn numbers(text: &str) -> Vec<f64> {
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

/// What all CPUs together have done but idle and wait for disks.
fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = numbers(text.lines().next().unwrap_or_default());
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
    let busy = |&(index, _): &(usize, &f64)| index < 8 && index != 3 && index != 4;
    let ticks: f64 = fields.iter().enumerate().filter(busy).map(|(_, n)| n).sum();
    ticks / 100.0
}

/// What a process has used, with the children that it has waited for.
fn cpu_seconds(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything, comes field 3; the times are 14 to 17.
    let Some((_, fields)) = text.rsplit_once(')') else {
        return 0.0;
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let times = fields.iter().skip(11).take(4);
    times.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}
