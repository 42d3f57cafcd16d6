//! Processes that this program starts of itself, to look at them from outside.

use std::env;
use std::process::Command;

/// Set for processes that are something else than a run of the tests.
const PROBE: &str = "GREENRT_TEST_PROBE";

/// What processes do that are something else than a run of the tests, by name.
pub(crate) type Probes = &'static [(&'static str, fn())];

/// Names probes.
macro_rules! probes {
    ($($name:ident)*) => {
        pub(crate) const PROBES: crate::probes::Probes =
            &[$((stringify!($name), $name as fn()),)*];
    };
}

pub(crate) use probes;

/// This program, as one of the probes, with so many workers.
pub(crate) fn probe(name: &str, n_workers: usize) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .env(PROBE, name)
        .env("GREENRT_WORKERS", n_workers.to_string())
        .env_remove("RUST_BACKTRACE");
    command
}

/// Runs the probe that this process is to be, if it is.
pub(crate) fn is_probe(probes: &[Probes]) -> bool {
    let Ok(name) = env::var(PROBE) else {
        return false;
    };
    let mut probes = probes.iter().copied().flatten();
    let (_, probe) = probes.find(|(known, _)| *known == name).unwrap();
    probe();
    true
}
