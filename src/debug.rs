//! What every green thread does, and why it does not run.

use std::fmt::{self, Write};
use std::panic::{Location, PanicHookInfo};
use std::ptr;

use crate::record::{Record, RecordRef, arena};
use crate::thread::ThreadId;

/// One green thread, as it was at the moment of the dump.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadInfo {
    /// Its number.
    pub id: ThreadId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for, or that it runs.
    pub waits_for: String,
    /// Whether it was asked to end.
    pub cancelled: bool,
    /// Where it switched away last: stack, frame and instruction pointer; zeros if never.
    pub stack_pointer: usize,
    /// See `stack_pointer`.
    pub frame_pointer: usize,
    /// See `stack_pointer`.
    pub instruction_pointer: usize,
}

impl ThreadInfo {
    pub(crate) fn of(record: &RecordRef) -> Self {
        let registers = record.registers();
        let mut waits_for = record.reason().to_string();
        if record.reason().is_wait() && !record.word.is_parked() {
            waits_for.push_str(", woken");
        }
        ThreadInfo {
            id: ThreadId::new(record.id()),
            name: record.name().map(String::from),
            spawned_at: record.site(),
            waits_for,
            cancelled: record.word.is_cancelled(),
            stack_pointer: registers.sp,
            frame_pointer: registers.fp,
            instruction_pointer: registers.ip,
        }
    }
}

impl fmt::Display for ThreadInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "green thread {}", self.id.as_u64())?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, ": {}", self.waits_for)?;
        if self.cancelled {
            f.write_str(", cancelled")?;
        }
        write!(f, "; spawned at {}", self.spawned_at)?;
        if self.stack_pointer != 0 {
            let Self {
                stack_pointer: sp,
                frame_pointer: fp,
                instruction_pointer: ip,
                ..
            } = self;
            write!(f, "; sp {sp:#x} fp {fp:#x} ip {ip:#x}")?;
        }
        Ok(())
    }
}

/// All green threads of the process, as they were at the moment of [`dump`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// Sorted by number: the order in which each worker spawned them.
    pub threads: Vec<ThreadInfo>,
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} green threads", self.threads.len())?;
        self.threads
            .iter()
            .try_for_each(|thread| writeln!(f, "  {thread}"))
    }
}

/// Looks at every green thread of the process that has not ended, those that have not started
/// included.
///
/// Stops nobody: what runs meanwhile may be shown as it was a moment before or after. May be
/// called from any thread. Takes about 20 ns for each green thread that ever lived at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// greenrt::run(|| {
///     greenrt::Builder::new().name("sleeper".into()).spawn(|| greenrt::sleep(Duration::MAX))?;
///     greenrt::yield_now();
///     let dump = greenrt::debug::dump().to_string();
///     assert!(dump.contains("\"sleeper\": sleep"), "{dump}");
///     Ok::<(), std::io::Error>(())
/// }).unwrap();
/// ```
pub fn dump() -> Dump {
    let live = arena::live();
    let mut threads: Vec<ThreadInfo> = live
        .iter()
        .filter(|record| !record.is_done())
        .map(ThreadInfo::of)
        .collect();
    threads.sort_by_key(|thread| thread.id.as_u64());
    Dump { threads }
}

/// Writes who owns a stack, in a signal handler: nothing here allocates or locks.
pub(crate) fn describe_overflow(owner: usize, out: &mut dyn Write) {
    let record: *const Record = ptr::with_exposed_provenance(owner);
    #[expect(
        unsafe_code,
        reason = "the handler knows the owner by its address only"
    )]
    // SAFETY: the owner of a stack is set while its green thread has it (`Frame::build`), and one
    // that overflows its stack has it. Alignment keeps the mark of generators apart.
    let Some(record) = (unsafe { record.as_ref() }).filter(|_| owner > 1) else {
        let _ = out.write_str("generator");
        return;
    };
    let id = record.id();
    let _ = match record.name() {
        Some(name) => write!(
            out,
            "green thread '{name}' ({id}, spawned at {})",
            record.site()
        ),
        None => write!(out, "green thread {id} (spawned at {})", record.site()),
    };
}

/// Makes panics in green threads say which green thread it was.
///
/// Std prints the name of the OS thread, which is that of a worker. After this call a panic in a
/// green thread prints the green thread's name and number and where it was spawned; all else, other
/// threads included, is as before. Call it once, early in `main`.
///
/// # Examples
///
/// ```
/// greenrt::panic_hook();
/// let thread = greenrt::Builder::new().name("acceptor".into()).spawn(|| panic!("no"))?;
/// // thread 'acceptor' (green thread 17, spawned at src/main.rs:3:14) panicked at ...
/// assert!(thread.join().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn panic_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        match crate::thread::current_record() {
            Some(record) => print_panic(&record, info),
            None => previous(info),
        }
    }));
}

fn print_panic(record: &RecordRef, info: &PanicHookInfo<'_>) {
    let name = record.name().unwrap_or("<unnamed>");
    let place = info
        .location()
        .map_or_else(String::new, |at| format!(" at {at}"));
    let message = info.payload_as_str().unwrap_or("Box<dyn Any>");
    let mut text = format!(
        "\nthread '{name}' (green thread {}, spawned at {}) panicked{place}:\n{message}\n",
        record.id(),
        record.site(),
    );
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            let _ = write!(text, "stack backtrace:\n{backtrace}");
        }
        _ => text.push_str(
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
        ),
    }
    eprint!("{text}");
}
