//! Both kinds of thread-locals, side by side.
//!
//! A process has one kind by default, so each is measured in a child process of its own, which lives
//! as long as the benchmark and does what it is told, line by line.

#![allow(
    clippy::disallowed_methods,
    reason = "child processes, outside any runtime"
)]

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::{Row, Sample};
use crate::quiet;
use crate::timers;

const VARIABLE: &str = "GREENRT_THREAD_LOCALS";

/// The kinds to measure: both, or what the environment asks for.
pub(crate) fn all() -> Vec<&'static str> {
    let both = ["shared", "private"];
    let asked = env::var(VARIABLE).unwrap_or_default();
    match both.iter().find(|&&mode| mode == asked) {
        Some(mode) => vec![mode],
        None => both.to_vec(),
    }
}

/// This program, as a child in which green threads have thread-locals of this kind.
pub(crate) fn command(mode: &str, arguments: &[&str]) -> Command {
    let program = env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command.arg("--child").args(arguments).env(VARIABLE, mode);
    command
}

/// A child that measures.
pub(crate) struct Measurer {
    pub(crate) mode: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What rows said besides their figures.
    pub(crate) notes: Vec<String>,
}

impl Measurer {
    pub(crate) fn start(mode: &'static str) -> io::Result<Measurer> {
        let mut command = command(mode, &["measure"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        quiet::born(child.id());
        Ok(Measurer {
            mode,
            orders: child.stdin.take().ok_or_else(missing)?,
            answers: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            child,
            notes: Vec::new(),
        })
    }

    /// Has `n_ops` operations of a row measured.
    ///
    /// # Panics
    ///
    /// If the child has failed; it has said why.
    pub(crate) fn measure(&mut self, row: &Row, n_ops: u64) -> Sample {
        let died = |what: &str| -> ! { panic!("{}, {}: {what}", row.name, self.mode) };
        if writeln!(self.orders, "{} {n_ops}", row.name).is_err() {
            died("the child has ended");
        }
        loop {
            let mut line = String::new();
            match self.answers.read_line(&mut line) {
                Ok(0) | Err(_) => died("the child has ended"),
                Ok(_) => {}
            }
            match (line.strip_prefix("note "), line.parse()) {
                (Some(note), _) => {
                    let note = format!("{}, {}", self.mode, note.trim_end());
                    self.notes.push(note);
                }
                (None, Ok(sample)) => return sample,
                (None, Err(())) => died(&format!("the child has printed {line:?}")),
            }
        }
    }
}

impl Drop for Measurer {
    fn drop(&mut self) {
        quiet::dead(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's part.
pub(crate) fn obey(rows: &[Row]) {
    for order in io::stdin().lines().map_while(Result::ok) {
        let Some((name, n_ops)) = order.split_once(' ') else {
            continue;
        };
        let row = rows.iter().find(|row| row.name == name);
        let row = row.expect("the parent has the same rows");
        let n_ops = n_ops.parse().expect("a number of operations");
        let sample = (row.run)(n_ops);
        for note in timers::notes() {
            println!("note {note}");
        }
        println!("{sample}");
    }
}
