//! The table: each row for reading along, and all of them in Markdown.

use std::collections::HashMap;

use crate::Runtime;
use crate::goal::{self, Bound, Goal};
use crate::stats::{Median, figure};

/// Whose figures those of all others are divided by.
const REFERENCES: [Runtime; 2] = [Runtime::Epoll, Runtime::Tokio];

/// What came out of a row: for each runtime its measurements, round by round, and why there are no
/// more if it failed.
pub(crate) struct Outcome {
    pub(crate) runtime: Runtime,
    /// One line of figures for each round, the first of which is the row's own. None for a round
    /// that failed.
    pub(crate) rounds: Vec<Vec<f64>>,
    pub(crate) failure: Option<String>,
}

impl Outcome {
    pub(crate) fn new(runtime: Runtime) -> Outcome {
        Outcome {
            runtime,
            rounds: Vec::new(),
            failure: None,
        }
    }

    fn column(&self, index: usize) -> impl Iterator<Item = f64> + '_ {
        self.rounds
            .iter()
            .filter_map(move |figures| figures.get(index).copied())
    }

    /// Its figures divided by those of another, round by round.
    fn ratio(&self, other: &Outcome, index: usize) -> Option<Median> {
        Median::of(
            self.column(index)
                .zip(other.column(index))
                .map(|(it, other)| it / other),
        )
    }
}

/// A row that was measured.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) goals: &'static [Goal],
    pub(crate) note: &'static str,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) n_disturbed: usize,
}

impl Measured {
    fn of(&self, runtime: Runtime) -> Option<&Outcome> {
        self.outcomes
            .iter()
            .find(|outcome| outcome.runtime == runtime)
    }

    fn n_rounds(&self) -> usize {
        let n = |outcome: &Outcome| outcome.rounds.len();
        self.outcomes.iter().map(n).max().unwrap_or(0)
    }
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Measured>,
}

impl Report {
    /// Prints a row and keeps it.
    pub(crate) fn add(&mut self, row: Measured) {
        self.rows.push(row);
        let row = &self.rows[self.rows.len() - 1];
        let disturbed = match row.n_disturbed {
            0 => String::new(),
            n => format!(", {n} measurements disturbed"),
        };
        println!("\n{}  ({} rounds{disturbed})", row.name, row.n_rounds());
        self.print_figures(row);
        self.print_goals(row);
        if !row.note.is_empty() {
            println!("  note: {}", row.note);
        }
    }

    fn print_figures(&self, row: &Measured) {
        let mut head = format!(
            "  {:8} {:>10}  {:>21}  ",
            "", row.columns[0], "95 % interval"
        );
        let references: Vec<&Outcome> = REFERENCES
            .into_iter()
            .filter_map(|reference| row.of(reference))
            .collect();
        for reference in &references {
            let name = format!("x {}", reference.runtime.name());
            head += &format!("{name:>8}  {:>15} ", "95 % interval");
        }
        for column in &row.columns[1..] {
            head += &format!("{column:>12}");
        }
        println!("{head}");
        let mut noisy = Vec::new();
        for outcome in &row.outcomes {
            let runtime = outcome.runtime.name();
            let Some(median) = Median::of(outcome.column(0)) else {
                let why = outcome.failure.as_deref().unwrap_or("no figures");
                println!("  {runtime:8} {why}");
                continue;
            };
            let mut line = format!(
                "  {runtime:8} {:>10}  {:>9} ..{:>9} {}",
                figure(median.middle),
                figure(median.low),
                figure(median.high),
                if median.is_noisy() { '~' } else { ' ' },
            );
            for reference in &references {
                line += &match outcome.ratio(reference, 0) {
                    Some(ratio) if outcome.runtime != reference.runtime => format!(
                        "{:>8.3}  {:>6.3} ..{:>6.3} ",
                        ratio.middle, ratio.low, ratio.high
                    ),
                    _ => format!("{:>26}", ""),
                };
            }
            for index in 1..row.columns.len() {
                let median = Median::of(outcome.column(index));
                let middle = median.map_or("-".into(), |median| figure(median.middle));
                line += &format!("{middle:>12}");
            }
            if let Some(why) = &outcome.failure {
                line += &format!("  then: {why}");
            }
            println!("{line}");
            if median.is_noisy() {
                noisy.push(runtime);
            }
        }
        if !noisy.is_empty() {
            let noisy = noisy.join(", ");
            println!("  ~ the interval is wider than a fifth: {noisy}");
        }
    }

    fn print_goals(&self, row: &Measured) {
        for outcome in &row.outcomes {
            let goals = row.goals.iter();
            for (goal, bound) in goals.filter_map(|g| Some((g, g.of(outcome.runtime)?))) {
                println!(
                    "  goal of {:8} {:11} {bound}: {}",
                    outcome.runtime.name(),
                    row.columns[goal.column],
                    self.verdict(row, outcome, goal.column, bound)
                );
            }
        }
    }

    fn verdict(&self, row: &Measured, outcome: &Outcome, column: usize, bound: Bound) -> String {
        let n_rounds = outcome.rounds.len();
        let measured = match bound {
            Bound::AtMost(_) => Median::of(outcome.column(column)),
            Bound::Times(_, other) => row.of(other).and_then(|other| outcome.ratio(other, column)),
            // Measured at another time, so only its median can be taken.
            Bound::TimesRow(_, name) => self
                .median(name, outcome.runtime)
                .and_then(|other| Median::of(outcome.column(column).map(|it| it / other))),
        };
        match measured {
            Some(measured) => goal::verdict(measured, bound.limit(), n_rounds),
            None => "was not measured".into(),
        }
    }

    /// The first figure of a row for a runtime.
    fn median(&self, row: &str, runtime: Runtime) -> Option<f64> {
        let row = self.rows.iter().find(|other| other.name == row)?;
        Some(Median::of(row.of(runtime)?.column(0))?.middle)
    }

    /// Prints all rows as one table in Markdown, and below it who was compared and where.
    pub(crate) fn print_markdown(&self) {
        let runtimes: Vec<Runtime> = Runtime::ALL
            .into_iter()
            .filter(|&runtime| self.rows.iter().any(|row| row.of(runtime).is_some()))
            .collect();
        let mut head = "| row | figure |".to_string();
        let mut line = "|---|---|".to_string();
        for runtime in &runtimes {
            head += &format!(" {} |", runtime.title());
            line += "---:|";
        }
        println!("\n{head} goal shared | goal private |\n{line}---|---|");
        for row in &self.rows {
            for (index, column) in row.columns.iter().enumerate() {
                let goals = || row.goals.iter().filter(|goal| goal.column == index);
                // What has no goal, and is not what the row is about, is left out.
                if index > 0 && goals().next().is_none() {
                    continue;
                }
                print!("| {} | {column} |", row.name);
                for &runtime in &runtimes {
                    print!(" {} |", cell(row.of(runtime), index));
                }
                for runtime in [Runtime::Shared, Runtime::Private] {
                    let outcome = row.of(runtime);
                    let texts = goals().filter_map(|goal| {
                        let bound = goal.of(runtime)?;
                        let verdict = match outcome {
                            Some(outcome) => self.verdict(row, outcome, index, bound),
                            None => "was not measured".into(),
                        };
                        Some(format!("{bound}: {verdict}"))
                    });
                    print!(" {} |", texts.collect::<Vec<_>>().join("; "));
                }
                println!();
            }
        }
        for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
            println!("\n{}: {}.", row.name, row.note);
        }
        let rounds: HashMap<usize, usize> =
            self.rows.iter().fold(HashMap::new(), |mut counts, row| {
                *counts.entry(row.n_rounds()).or_default() += 1;
                counts
            });
        let mut rounds: Vec<_> = rounds.into_iter().collect();
        rounds.sort_unstable();
        let rounds: Vec<_> = rounds
            .into_iter()
            .map(|(n_rounds, n_rows)| format!("{n_rounds} in {n_rows} rows"))
            .collect();
        println!(
            "\nMedians, with their 95 % intervals; interleaved rounds: {}. {}; {}.",
            rounds.join(", "),
            machine(),
            versions()
        );
    }
}

fn cell(outcome: Option<&Outcome>, column: usize) -> String {
    let Some(outcome) = outcome else {
        return String::new();
    };
    match Median::of(outcome.column(column)) {
        Some(median) => format!(
            "{} ({}..{})",
            figure(median.middle),
            figure(median.low),
            figure(median.high)
        ),
        None => "fails".into(),
    }
}

/// The system and the CPU.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or("an unknown CPU", |(_, model)| model);
    let n_cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("Linux {}, {n_cpus} CPUs, {model}", kernel.trim())
}

/// The versions of those that take part.
fn versions() -> String {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let package = format!("name = \"{name}\"\nversion = \"");
        let (_, rest) = lock.split_once(&package)?;
        let (version, _) = rest.split_once('"')?;
        Some(format!("{name} {version}"))
    };
    let known: Vec<_> = ["tokio", "may", "smol"]
        .into_iter()
        .filter_map(version)
        .collect();
    known.join(", ")
}
