//! Medians and their intervals.

/// The middle of some figures, and between what it lies at 95 %.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Median {
    pub(crate) middle: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Median {
    /// `None` without figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Median> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        let skip = skipped(figures.len());
        Some(Median {
            middle: (figures[last / 2] + figures[figures.len() / 2]) / 2.0,
            low: figures[skip],
            high: figures[last - skip],
        })
    }

    /// Whether the interval is wider than a fifth of the middle.
    pub(crate) fn is_noisy(&self) -> bool {
        self.high - self.low > self.middle.abs() / 5.0
    }
}

/// How many of `n` sorted figures may be left out at each end so that the rest still spans the
/// median of what they were drawn from with 95 %: each figure is below it with one half.
fn skipped(n: usize) -> usize {
    // The chance that exactly, and that at most, `skip` figures are below the median.
    let mut exactly = 0.5_f64.powi(n as i32);
    let mut at_most = exactly;
    let mut skip = 0;
    loop {
        exactly *= (n - skip) as f64 / (skip + 1) as f64;
        at_most += exactly;
        if at_most > 0.025 {
            return skip;
        }
        skip += 1;
    }
}

/// A number with four digits, and at most three behind the point.
pub(crate) fn figure(number: f64) -> String {
    match number.abs() {
        small if small < 10.0 => format!("{number:.3}"),
        small if small < 100.0 => format!("{number:.2}"),
        middle if middle < 1000.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_skip_as_tables_say() {
        let table = [
            (1, 0),
            (5, 0),
            (6, 0),
            (8, 0),
            (9, 1),
            (10, 1),
            (12, 2),
            (15, 3),
            (20, 5),
        ];
        for (n, skip) in table {
            assert_eq!(skipped(n), skip, "{n} figures");
        }
    }
}
