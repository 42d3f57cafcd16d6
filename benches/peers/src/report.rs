//! The table.

use crate::Runtime;
use crate::stats::{Median, figure};

/// What came out of a row: for each runtime its measurements, round by round, and why there are no
/// more if it failed.
pub(crate) struct Outcome {
    pub(crate) runtime: Runtime,
    /// One line of figures for each round, the first of which is the row's own.
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
}

/// Prints the part of the table that belongs to a row.
pub(crate) fn print(name: &str, columns: &[&str], outcomes: &[Outcome], n_disturbed: usize) {
    let n_rounds = outcomes
        .iter()
        .map(|outcome| outcome.rounds.len())
        .max()
        .unwrap_or(0);
    let disturbed = match n_disturbed {
        0 => String::new(),
        n => format!(", {n} measurements disturbed"),
    };
    println!("\n{name}  ({n_rounds} rounds{disturbed})");
    let others: String = columns[1..]
        .iter()
        .map(|column| format!("{column:>12}"))
        .collect();
    println!(
        "  {:8} {:>10}  {:>21}   {:>8}  {:>15}{others}",
        "", columns[0], "95 % interval", "x first", "95 % interval"
    );
    let Some(base) = outcomes.first() else { return };
    let mut noisy = Vec::new();
    for outcome in outcomes {
        let runtime = outcome.runtime.name();
        let Some(median) = Median::of(outcome.column(0)) else {
            println!(
                "  {runtime:8} {}",
                outcome.failure.as_deref().unwrap_or("no figures")
            );
            continue;
        };
        let ratios = outcome
            .column(0)
            .zip(base.column(0))
            .map(|(it, base)| it / base);
        let ratio = match Median::of(ratios) {
            Some(ratio) if outcome.runtime != base.runtime => format!(
                "{:>8.3}  {:>6.3} ..{:>6.3}",
                ratio.middle, ratio.low, ratio.high
            ),
            _ => format!("{:>8}  {:>15}", "", ""),
        };
        let others: String = (1..columns.len())
            .map(|index| {
                let median = Median::of(outcome.column(index));
                format!(
                    "{:>12}",
                    median.map_or("-".into(), |median| figure(median.middle))
                )
            })
            .collect();
        println!(
            "  {runtime:8} {:>10}  {:>9} ..{:>9} {} {ratio}{others}{}",
            figure(median.middle),
            figure(median.low),
            figure(median.high),
            if median.is_noisy() { '~' } else { ' ' },
            outcome
                .failure
                .as_deref()
                .map_or(String::new(), |why| format!("  then: {why}")),
        );
        if median.is_noisy() {
            noisy.push(runtime);
        }
    }
    if !noisy.is_empty() {
        println!(
            "  ~ the interval is wider than a fifth: {}",
            noisy.join(", ")
        );
    }
}
