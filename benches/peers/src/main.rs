//! The same work on greenrt, tokio, may, smol, OS threads and a bare epoll loop, in turn.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [rows] [options]
//!
//! rows             parts of names: `yield`, `echo/1000`, `http`; all rows if there is none
//! --list           prints the rows and who takes part
//! --pairs N        measurements of each runtime in a row, interleaved; 10 if not said, 3 in slow rows
//! --runtimes a,b   only these: shared, private, greenrt, unmodified, tokio, may, smol, threads, epoll
//! --quick          three measurements, and shorter ones
//! --patience S     seconds to lose in a row of the table on a machine that does other things; 30
//! --strace         also counts the system calls of an echo (needs strace)
//! --markdown       at the end prints all rows again, as a table in Markdown
//! ```
//!
//! # How it measures
//!
//! Every runtime runs in a child process of its own, which is this program with other arguments.
//! One is measured after the other, a short while each, and the order turns round each time. If
//! something else runs on the machine it is waited for, and what it disturbed is measured again. The
//! *ratio* of a runtime to bare epoll, and to tokio, is taken within each round, so that what slows
//! the machine down for a while slows both. Intervals are those of the median, at 95 % (from the order of the
//! figures, without assuming a distribution); with fewer than six rounds, smallest and largest.
//!
//! Workloads without a network, and servers, are pinned to the first CPU; the clients, written once
//! for all servers, to the second. CPU time is that of the server's process, read from its clock.
//! The runtimes "shared" and "private" are greenrt with the thread-locals of that kind, set by
//! `GREENRT_THREAD_LOCALS` and verified in the child; "greenrt" is what it does by default;
//! "unmodified" is the server for OS threads, in plain std, made green by greenlibc. What
//! greenrt is to reach is said below each row: it is *met* if the whole interval is within it.

mod child;
mod goal;
mod load;
mod options;
mod report;
mod rows;
mod serve;
mod stats;
mod work;

#[path = "../../common/quiet.rs"]
mod quiet;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["work", work, runtime] => work::child(work, runtime),
        ["serve", protocol, runtime, n_workers] => serve::child(protocol, runtime, n_workers),
        ["load", server] => load::child(server),
        _ => match Options::parse(&words) {
            Ok(options) => rows::run(&options),
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Shared,
    Private,
    Greenrt,
    Unmodified,
    Epoll,
    Tokio,
    May,
    Smol,
    Threads,
}

impl Runtime {
    const ALL: [Runtime; 9] = [
        Runtime::Shared,
        Runtime::Private,
        Runtime::Greenrt,
        Runtime::Unmodified,
        Runtime::Epoll,
        Runtime::Tokio,
        Runtime::May,
        Runtime::Smol,
        Runtime::Threads,
    ];

    fn name(self) -> &'static str {
        match self {
            Runtime::Greenrt => "greenrt",
            Runtime::Unmodified => "unmodified",
            Runtime::Shared => "shared",
            Runtime::Private => "private",
            Runtime::Tokio => "tokio",
            Runtime::May => "may",
            Runtime::Smol => "smol",
            Runtime::Threads => "threads",
            Runtime::Epoll => "epoll",
        }
    }

    /// For readers who know no more than the table.
    fn title(self) -> &'static str {
        match self {
            Runtime::Shared => "greenrt, shared",
            Runtime::Private => "greenrt, private",
            Runtime::Unmodified => "std by greenlibc",
            Runtime::Threads => "OS threads",
            Runtime::Epoll => "bare epoll",
            _ => self.name(),
        }
    }

    fn from_name(name: &str) -> Option<Runtime> {
        Runtime::ALL
            .into_iter()
            .find(|runtime| runtime.name() == name)
    }

    /// Whether it is greenrt, with some setting.
    fn is_greenrt(self) -> bool {
        matches!(self, Runtime::Shared | Runtime::Private | Runtime::Greenrt)
    }

    /// The setting of greenrt for its thread-locals.
    fn thread_locals(self) -> Option<&'static str> {
        matches!(self, Runtime::Shared | Runtime::Private).then_some(self.name())
    }

    /// Ends the process, saying so, unless the green threads of the caller's worker have the
    /// thread-locals that this runtime is about. Called by a green thread.
    fn verify_thread_locals(self) {
        thread_local! {
            static PLACE: u8 = const { 0 };
        }
        let place = || PLACE.with(|place| std::ptr::from_ref(place).addr());
        // Some of them run on the caller's worker.
        let mut siblings = (0..100).map(|_| greenrt::spawn(place).join().expect("no panic"));
        let found = if siblings.any(|sibling| sibling == place()) {
            "shared"
        } else {
            "private"
        };
        if self.thread_locals().is_some_and(|wanted| wanted != found) {
            println!("fails: greenrt has {found} thread-locals here");
            std::process::exit(1);
        }
    }
}
