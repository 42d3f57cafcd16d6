//! Waits for the machine to be quiet, and tells whether it stayed so.
//!
//! On a machine that does something else now and then, a measurement beside that says little. So
//! one begins when nothing else has run for a moment, and is made again if something else ran
//! meanwhile; all this with limits, after which the figure is taken as it is and counted as
//! disturbed.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::child;

/// How long is looked before a measurement.
const LOOK: Duration = Duration::from_millis(60);
/// How much of one CPU others may use.
const OTHERS_MAX: f64 = 0.06;
/// How often a measurement is made, at most.
const ATTEMPTS_MAX: usize = 4;

/// The children that live.
static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// Measurements beside which something else ran.
static N_DISTURBED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn born(id: u32) {
    ALIVE.lock().unwrap().push(id);
}

pub(crate) fn dead(id: u32) {
    ALIVE.lock().unwrap().retain(|&other| other != id);
}

/// How many measurements were disturbed since the last call.
pub(crate) fn take_disturbed() -> usize {
    N_DISTURBED.swap(0, Relaxed)
}

/// CPU time at one moment: of the whole machine, and of this process and its children.
struct Moment {
    clock: Instant,
    machine: f64,
    ours: f64,
}

impl Moment {
    fn now() -> Moment {
        let alive: u64 = ALIVE
            .lock()
            .unwrap()
            .iter()
            .filter_map(|&id| child::cpu_ns_of(id))
            .sum();
        let ours = (alive + child::own_cpu_ns() + child::reaped_cpu_ns()) as f64 / 1e9;
        Moment {
            clock: Instant::now(),
            machine: busy_seconds(),
            ours,
        }
    }

    /// How much of one CPU others have used since.
    fn others(&self) -> f64 {
        let now = Moment::now();
        let others = (now.machine - self.machine) - (now.ours - self.ours);
        // The machine's time comes in hundredths of a second for each CPU.
        (others - 0.02) / (now.clock - self.clock).as_secs_f64()
    }
}

/// Seconds that all CPUs together did not idle, waits for disks not counted.
fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = child::numbers(text.lines().next().unwrap_or_default());
    let idle = fields.iter().skip(3).take(2).sum::<f64>();
    // The last two are guests, which are counted as users already.
    (fields.iter().take(8).sum::<f64>() - idle) / 100.0
}

/// Measures when nothing else runs, as far as `patience` allows, from which the time is taken that
/// was lost.
pub(crate) fn measure<T>(patience: &mut Duration, measure: &mut dyn FnMut() -> T) -> T {
    let mut attempt = 1;
    loop {
        let start = Instant::now();
        while start.elapsed() < *patience {
            let before = Moment::now();
            sleep(LOOK);
            if before.others() < OTHERS_MAX {
                break;
            }
        }
        let waited = start.elapsed();
        let before = Moment::now();
        let measured = measure();
        let disturbed = before.others() > OTHERS_MAX;
        // A look is not a loss.
        let lost = if disturbed {
            start.elapsed()
        } else {
            waited.saturating_sub(2 * LOOK)
        };
        *patience = patience.saturating_sub(lost);
        if !disturbed {
            return measured;
        }
        if attempt == ATTEMPTS_MAX || patience.is_zero() {
            N_DISTURBED.fetch_add(1, Relaxed);
            return measured;
        }
        attempt += 1;
    }
}
