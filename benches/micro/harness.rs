//! Measures rows in turn and prints what came out.

#![expect(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use greenrt_arch::clock;

use crate::mode::{self, Measurer};
use crate::quiet::Patience;

/// How long one sample of a row should take, in nanoseconds.
const SAMPLE_NS: u64 = 40_000_000;
const SAMPLE_NS_QUICK: u64 = 8_000_000;

/// The system's allocator, and how often it was called.
pub(crate) struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[inline]
fn count() {
    // Not an atomic addition, which would cost more than it counts; two threads that allocate at
    // the same moment may count as one.
    ALLOCATIONS.store(ALLOCATIONS.load(Relaxed) + 1, Relaxed);
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What one run of a row has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) n_ops: u64,
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) n_allocations: u64,
}

impl Sample {
    /// Measures `work`, which does `n_ops` operations.
    pub(crate) fn of(n_ops: u64, work: impl FnOnce()) -> Sample {
        let (allocations, cpu, wall) = (
            ALLOCATIONS.load(Relaxed),
            clock::process_cpu_ns(),
            Instant::now(),
        );
        work();
        let (wall, cpu) = (wall.elapsed(), clock::process_cpu_ns() - cpu);
        Sample {
            n_ops,
            wall_ns: wall.as_nanos() as u64,
            cpu_ns: cpu,
            n_allocations: ALLOCATIONS.load(Relaxed).saturating_sub(allocations),
        }
    }

    /// Measures in a child process that prints a sample; with the caller's kind of thread-locals.
    pub(crate) fn of_child(arguments: &[&str]) -> Sample {
        let mode = std::env::var("GREENRT_THREAD_LOCALS").unwrap_or_default();
        let printed = run_child(&mode, arguments);
        printed
            .parse()
            .unwrap_or_else(|()| panic!("child {arguments:?} printed {printed:?}"))
    }

    fn per_op(self, total: u64) -> f64 {
        total as f64 / self.n_ops as f64
    }
}

/// One line, for the process that started a child.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.n_ops, self.wall_ns, self.cpu_ns, self.n_allocations
        )
    }
}

impl FromStr for Sample {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let [n_ops, wall_ns, cpu_ns, n_allocations] = numbers[..] else {
            return Err(());
        };
        Ok(Sample {
            n_ops,
            wall_ns,
            cpu_ns,
            n_allocations,
        })
    }
}

/// Runs this program again with `--child` and `arguments`; what it printed.
#[expect(
    clippy::disallowed_methods,
    reason = "called on an OS thread, outside any runtime"
)]
pub(crate) fn run_child(mode: &str, arguments: &[&str]) -> String {
    let output = mode::command(mode, arguments).output();
    let output = output.expect("to start a child process");
    assert!(
        output.status.success(),
        "child {arguments:?} failed: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How much work one sample of a row is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    /// As much as fills the time of a sample.
    Timed,
    /// That many operations, in so many rounds.
    Fixed(u64, usize),
}

/// A benchmark.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) op: &'static str,
    pub(crate) size: Size,
    /// Whether its threads wait for something outside the process, so that wall time is more than
    /// CPU time.
    pub(crate) waits: bool,
    /// Does so many operations, and measures them.
    pub(crate) run: fn(u64) -> Sample,
}

/// The command line.
pub(crate) struct Options {
    filter: String,
    pub(crate) quick: bool,
    /// Not run as a benchmark: see only that everything works.
    pub(crate) smoke: bool,
    patience: Duration,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            filter: String::new(),
            quick: false,
            smoke: true,
            patience: Duration::from_secs(60),
        };
        while let Some(argument) = arguments.next() {
            match &*argument {
                // What `cargo bench` passes, and `cargo test --benches` does not.
                "--bench" => options.smoke = false,
                "--quick" => options.quick = true,
                "--patience" => {
                    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
                    let seconds = seconds.ok_or("--patience needs a number of seconds")?;
                    options.patience = Duration::from_secs(seconds);
                }
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "{flag} is not known; there are --quick, --patience and a filter"
                    ));
                }
                filter => options.filter = filter.to_string(),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    /// How much time may be lost in waiting for the machine to be quiet.
    pub(crate) fn patience(&self) -> Duration {
        if self.smoke {
            Duration::ZERO
        } else {
            self.patience
        }
    }

    fn n_rounds(&self, size: Size) -> usize {
        match size {
            _ if self.smoke => 1,
            Size::Timed if self.quick => 5,
            Size::Timed => 15,
            Size::Fixed(_, n) if self.quick => n.min(2),
            Size::Fixed(_, n) => n,
        }
    }

    /// Picks the number of operations so that a sample takes its time. Warms the row up, too.
    fn n_ops(&self, row: &Row, measurer: &mut Measurer) -> u64 {
        let target = if self.quick {
            SAMPLE_NS_QUICK
        } else {
            SAMPLE_NS
        };
        match row.size {
            Size::Fixed(n_ops, _) if self.smoke => (n_ops / 100).max(1),
            Size::Fixed(n_ops, _) => n_ops,
            Size::Timed if self.smoke => 1000,
            Size::Timed => {
                let mut n_ops = 100;
                loop {
                    let sample = measurer.measure(row, n_ops);
                    // Without the time that others have had.
                    let took = match row.waits {
                        true => sample.wall_ns.max(1),
                        false => sample.cpu_ns.max(1),
                    };
                    if took > target / 2 {
                        return (n_ops as u128 * target as u128 / took as u128) as u64;
                    }
                    n_ops = (n_ops * (target / took).clamp(2, 100)).min(1 << 40);
                }
            }
        }
    }
}

/// The middle, and the ends, of some figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let last = figures.len() - 1;
        let median = (figures[last / 2] + figures[figures.len() / 2]) / 2.0;
        Spread {
            median,
            min: figures[0],
            max: figures[last],
        }
    }
}

/// What was measured of one row with one kind of thread-locals.
#[derive(Default)]
struct Measured {
    n_ops: u64,
    samples: Vec<Sample>,
}

impl Measured {
    fn spread(&self, total: fn(&Sample) -> u64) -> Spread {
        Spread::of(self.samples.iter().map(|s| s.per_op(total(s))))
    }

    /// Nanoseconds by the clock with their ends, those of the CPU, and allocations.
    fn columns(&self, row: &Row) -> String {
        let wall = self.spread(|s| s.wall_ns);
        let cpu = self.spread(|s| s.cpu_ns);
        let disturbed = !row.waits && wall.median > 1.1 * cpu.median;
        format!(
            "{}{:>10}  {:>8} ..{:>9}  {:>9}  {:>6.2}",
            if disturbed { '~' } else { ' ' },
            figure(wall.median),
            figure(wall.min),
            figure(wall.max),
            figure(cpu.median),
            self.spread(|s| s.n_allocations).median,
        )
    }
}

/// Measures all rows, with each kind of thread-locals in turn, and prints the table.
pub(crate) fn run(rows: &[Row], options: &Options, patience: &mut Patience) {
    if rows.is_empty() {
        return;
    }
    let start = |mode| Measurer::start(mode).expect("to start a child process");
    let mut measurers: Vec<Measurer> = mode::all().into_iter().map(start).collect();
    let mut all: Vec<Vec<Measured>> = Vec::new();
    for row in rows {
        let measured = measurers.iter_mut().map(|measurer| Measured {
            n_ops: options.n_ops(row, measurer),
            samples: Vec::new(),
        });
        all.push(measured.collect());
    }
    let n_rounds = rows.iter().map(|row| options.n_rounds(row.size)).max();
    for round in 0..n_rounds.unwrap_or(1) {
        for (row, measured) in rows.iter().zip(&mut all) {
            if round >= options.n_rounds(row.size) {
                continue;
            }
            for (measurer, measured) in measurers.iter_mut().zip(measured) {
                let sample = patience.measure(|| measurer.measure(row, measured.n_ops));
                measured.samples.push(sample);
            }
        }
    }
    print(rows, &all, &measurers);
}

fn print(rows: &[Row], all: &[Vec<Measured>], measurers: &[Measurer]) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    print!("{:width$}", "row");
    for measurer in measurers {
        let ns = format!("{} ns/op", measurer.mode);
        print!(
            "  {ns:>13}  {:>18}  {:>9}  {:>6}",
            "min .. max", "CPU ns/op", "allocs"
        );
    }
    println!("  rounds  an operation is");
    for (row, measured) in rows.iter().zip(all) {
        print!("{:width$}", row.name);
        measured
            .iter()
            .for_each(|measured| print!("    {}", measured.columns(row)));
        let n_rounds = measured
            .first()
            .map_or(0, |measured| measured.samples.len());
        println!("  {n_rounds:>6}  {}", row.op);
    }
    for note in measurers.iter().flat_map(|measurer| &measurer.notes) {
        println!("{note}");
    }
}

/// A number with about four digits.
pub(crate) fn figure(number: f64) -> String {
    match number {
        small if small < 100.0 => format!("{small:.2}"),
        middle if middle < 10_000.0 => format!("{middle:.1}"),
        large => format!("{large:.0}"),
    }
}
