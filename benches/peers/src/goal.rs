//! What greenrt is to reach, and whether a measurement shows that it does.

use crate::Runtime;
use crate::stats::{Median, figure};

/// A bound for one column of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) column: usize,
    pub(crate) shared: Bound,
    pub(crate) private: Bound,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// The figure itself.
    AtMost(f64),
    /// So many times that of another runtime, in the same rounds.
    Times(f64, Runtime),
    /// So many times its own median in another row.
    TimesRow(f64, &'static str),
}

pub(crate) use Bound::{AtMost, Times, TimesRow};

impl Goal {
    /// The same for both kinds of thread-locals.
    pub(crate) const fn both(column: usize, bound: Bound) -> Goal {
        Goal {
            column,
            shared: bound,
            private: bound,
        }
    }

    pub(crate) const fn new(column: usize, shared: Bound, private: Bound) -> Goal {
        Goal {
            column,
            shared,
            private,
        }
    }

    /// What is asked of a runtime; of greenrt as it is by default, the same as of "private".
    pub(crate) fn of(&self, runtime: Runtime) -> Option<Bound> {
        match runtime {
            Runtime::Shared => Some(self.shared),
            Runtime::Private | Runtime::Greenrt => Some(self.private),
            _ => None,
        }
    }
}

impl Bound {
    /// The number that the measurement is compared with.
    pub(crate) fn limit(self) -> f64 {
        match self {
            AtMost(limit) | Times(limit, _) | TimesRow(limit, _) => limit,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            AtMost(limit) => write!(f, "<= {}", figure(limit)),
            Times(1.0, runtime) => write!(f, "ahead of {}", runtime.name()),
            Times(factor, runtime) => write!(f, "<= {factor} x {}", runtime.name()),
            TimesRow(factor, row) => write!(f, "<= {factor} x {row}"),
        }
    }
}

/// Says whether what was measured, the figure or the ratio that a bound is for, is within it: the
/// whole interval must be, of ten rounds or more.
pub(crate) fn verdict(measured: Median, limit: f64, n_rounds: usize) -> String {
    let by = |value: f64| match limit {
        0.0 => format!("by {}", figure(value)),
        _ => format!("by {:.1} %", (value / limit - 1.0) * 100.0),
    };
    if measured.middle > limit {
        format!("missed {}", by(measured.middle))
    } else if measured.high > limit {
        format!("open: the interval passes it {}", by(measured.high))
    } else if n_rounds < 10 {
        format!("met, of {n_rounds} rounds only")
    } else {
        "met".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_by_the_whole_interval() {
        let of = |low, middle, high| verdict(Median { middle, low, high }, 2.0, 10);
        assert_eq!(of(1.0, 1.5, 2.0), "met");
        assert_eq!(of(1.0, 1.5, 2.2), "open: the interval passes it by 10.0 %");
        assert_eq!(of(1.0, 2.5, 3.0), "missed by 25.0 %");
        let nothing = Median {
            middle: 0.0,
            low: 0.0,
            high: 0.0,
        };
        assert_eq!(verdict(nothing, 0.0, 3), "met, of 3 rounds only");
        let some = Median {
            middle: 4.0,
            ..nothing
        };
        assert_eq!(verdict(some, 0.0, 3), "missed by 4.000");
    }
}
