//! A hundred subprocesses at once, with live progress, on one OS thread and without `async`.
//!
//! ```sh
//! cargo run --release --example processes
//! ```
//!
//! Each takes between 0.2 and 1.2 seconds, all of them together 1.2. They are ended when this program
//! is, however it ends.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use greenrt::process::{CommandExt, signal};
use greenrt::sync::channel;
use greenstd::process::Command;

const N: usize = 100;

/// Runs one of them; what it has printed.
fn run(n: usize) -> io::Result<String> {
    let ms = 200 + n * 617 % 1000;
    let script = format!("sleep {}.{:03}; echo $(({n} * {n}))", ms / 1000, ms % 1000);
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    command.parent_death_signal(Some(signal::KILL));
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("number {n}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn main() -> io::Result<()> {
    greenrt::run(|| {
        let start = Instant::now();
        let (done, results) = channel::unbounded();
        for n in 0..N {
            let done = done.clone();
            greenrt::spawn(move || done.send((n, run(n))));
        }
        drop(done);
        // Goes on while all of them are waited for.
        let spinner = greenrt::spawn(|| {
            for shape in ['|', '/', '-', '\\'].into_iter().cycle() {
                print!("\r{shape}");
                let _ = io::stdout().flush();
                greenrt::sleep(Duration::from_millis(100));
            }
        });
        let mut sum = 0;
        for n_done in 1..=N {
            let Ok((n, result)) = results.recv() else {
                break;
            };
            let square: usize = result?.parse().map_err(io::Error::other)?;
            sum += square;
            let bar = "#".repeat(n_done * 40 / N);
            print!("\r  [{bar:40}] {n_done:3}/{N}  {n}² = {square}    ");
            io::stdout().flush()?;
        }
        greenrt::lowlevel::cancel(spinner.thread());
        println!(
            "\n{N} children in {:.2?}; the squares add up to {sum}",
            start.elapsed()
        );
        Ok(())
    })
}
