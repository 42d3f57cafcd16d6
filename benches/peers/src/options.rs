//! The command line.

use std::time::Duration;

use crate::Runtime;

pub(crate) struct Options {
    rows: Vec<String>,
    pub(crate) pairs: Option<usize>,
    runtimes: Option<Vec<Runtime>>,
    pub(crate) quick: bool,
    pub(crate) strace: bool,
    pub(crate) markdown: bool,
    pub(crate) list: bool,
    pub(crate) patience: Duration,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Options, String> {
        let mut options = Options {
            rows: Vec::new(),
            pairs: None,
            runtimes: None,
            quick: false,
            strace: false,
            markdown: false,
            list: false,
            patience: Duration::from_secs(30),
        };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument {
                "--pairs" => {
                    let n = value()?
                        .parse()
                        .map_err(|error| format!("--pairs: {error}"))?;
                    options.pairs = Some(std::cmp::max(n, 1));
                }
                "--patience" => {
                    let seconds = value()?
                        .parse()
                        .map_err(|error| format!("--patience: {error}"))?;
                    options.patience = Duration::from_secs(seconds);
                }
                "--runtimes" => {
                    let names = value()?.split(',').map(|name| {
                        Runtime::from_name(name).ok_or(format!("{name} is none of the runtimes"))
                    });
                    options.runtimes = Some(names.collect::<Result<_, _>>()?);
                }
                "--quick" => options.quick = true,
                "--strace" => options.strace = true,
                "--markdown" => options.markdown = true,
                "--list" => options.list = true,
                flag if flag.starts_with('-') => return Err(format!("{flag} is not known")),
                row => options.rows.push(row.to_string()),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.contains(part))
    }

    /// Those that were asked for of the `runtimes` that can do a row; greenrt as it is by default
    /// only if named.
    pub(crate) fn runtimes(&self, runtimes: &[Runtime]) -> Vec<Runtime> {
        let Some(wanted) = &self.runtimes else {
            return runtimes.to_vec();
        };
        let can = |wanted: &Runtime| wanted.is_greenrt() || runtimes.contains(wanted);
        wanted.iter().copied().filter(can).collect()
    }

    pub(crate) fn n_rounds(&self, usual: usize) -> usize {
        self.pairs
            .unwrap_or(if self.quick { usual.min(3) } else { usual })
    }
}
