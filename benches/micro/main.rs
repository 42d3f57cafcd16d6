//! Micro benchmarks: what one operation of the runtime costs.
//!
//! ```text
//! cargo bench --bench micro                  # everything, about two minutes
//! cargo bench --bench micro -- switch        # rows whose name contains "switch"
//! cargo bench --bench micro -- --quick       # fewer and shorter rounds
//! cargo bench --bench micro -- --patience 60 # seconds to lose on a machine that does other things
//! ```
//!
//! Rows are measured in turn, round after round, so that what disturbs the machine for a while
//! disturbs all of them alike. If something else runs it is waited for, and what it disturbed is
//! measured again, within limits. A row that shows more wall than CPU time although it never waits
//! is marked `~`: something else ran beside it, and the CPU column is the one to read.
//!
//! What is cold, or large, runs in a child process of its own.
//!
//! Each row is measured with both kinds of thread-locals, in turn, unless `GREENRT_THREAD_LOCALS` asks
//! for one.

mod channels;
mod harness;
mod locks;
mod memory;
mod mode;
mod processes;
mod rows;
mod sync;
mod timers;

#[path = "../common/quiet.rs"]
mod quiet;

use std::process::ExitCode;

use harness::{Counting, Options, Row};
use quiet::Patience;

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("--child").is_some() {
        let arguments: Vec<String> = arguments.collect();
        return child(&arguments);
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let mut rows = all_rows();
    rows.retain(|row| options.wants(row.name));
    let mut patience = Patience::new(options.patience());
    harness::run(&rows, &options, &mut patience);
    memory::print_table(&options, &mut patience);
    if patience.n_disturbed > 0 {
        println!(
            "\n{} measurements were disturbed by what else runs here",
            patience.n_disturbed
        );
    }
    ExitCode::SUCCESS
}

fn all_rows() -> Vec<Row> {
    let mut rows: Vec<Row> = rows::all();
    rows.extend(locks::rows());
    rows.extend(sync::rows());
    rows.extend(channels::rows());
    rows.extend(timers::rows());
    rows.extend(processes::rows());
    rows
}

/// The part of a child process: measurements, printed on one line each.
fn child(arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["measure"] => mode::obey(&all_rows()),
        ["parked", n] => memory::child(n.parse().expect("a number of threads")),
        ["cold", n] => println!(
            "{}",
            rows::spawn_cold(n.parse().expect("a number of threads"))
        ),
        _ => {
            eprintln!("unknown child: {arguments:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
