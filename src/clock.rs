//! The clock seam: time as the scheduler sees it.
//!
//! Inside the runtime time is a number of nanoseconds, of the system's monotonic clock or of a
//! [`ManualClock`]. Timeouts become deadlines once, at the edge of the API; below it only
//! deadlines travel.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The system's monotonic clock, in nanoseconds.
#[inline]
pub(crate) fn monotonic() -> u64 {
    greenrt_arch::clock::monotonic_ns()
}

/// `timeout` after `now`; `None` if that is later than can be told, which means never.
#[inline]
pub(crate) fn add(now: u64, timeout: Duration) -> Option<u64> {
    now.checked_add(u64::try_from(timeout.as_nanos()).ok()?)
}

/// One moment on both clocks.
fn base() -> &'static (Instant, u64) {
    static BASE: OnceLock<(Instant, u64)> = OnceLock::new();
    BASE.get_or_init(|| {
        let ns = monotonic();
        (Instant::now(), ns)
    })
}

/// The moment `at` in nanoseconds; `None` if it is too late to be told.
pub(crate) fn from_instant(at: Instant) -> Option<u64> {
    let (base, ns) = *base();
    match at.checked_duration_since(base) {
        Some(after) => add(ns, after),
        None => {
            let before = base.saturating_duration_since(at).as_nanos();
            Some(ns.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX)))
        }
    }
}

/// The moment `ns` as an `Instant`.
pub(crate) fn to_instant(at: u64) -> Instant {
    let (base, ns) = *base();
    if at >= ns {
        base + Duration::from_nanos(at - ns)
    } else {
        base.checked_sub(Duration::from_nanos(ns - at))
            .unwrap_or(base)
    }
}

/// Where a runtime takes its time from.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Clock {
    /// The system's monotonic clock.
    #[default]
    System,
    /// A clock that stands still while green threads run, and jumps to the next deadline when all
    /// of them wait.
    Manual(ManualClock),
}

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self {
            Clock::System => monotonic(),
            Clock::Manual(clock) => clock.now_ns(),
        }
    }

    pub(crate) fn manual(&self) -> Option<&ManualClock> {
        match self {
            Clock::System => None,
            Clock::Manual(clock) => Some(clock),
        }
    }
}

/// A clock for tests: time passes when every green thread of its runtime waits, at once and
/// exactly as far as the next deadline.
///
/// So an hour of sleeping takes no time, and sleeps end in the exact order of their deadlines.
/// A wait without a deadline (a descriptor, another OS thread) does not hold the clock back: it
/// jumps when no worker has anything to run and no descriptor is ready at that moment.
///
/// Clones show the same time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use greenrt::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let runtime = greenrt::Runtime::builder().workers(1).clock(Clock::Manual(clock.clone())).build()?;
/// let before = clock.now();
/// runtime.run(|| greenrt::sleep(Duration::from_secs(3600)));
/// assert_eq!(clock.now() - before, Duration::from_secs(3600));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ManualClock {
    ns: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that begins at the current time.
    pub fn new() -> Self {
        base();
        ManualClock {
            ns: Arc::new(AtomicU64::new(monotonic())),
        }
    }

    /// The time it shows.
    pub fn now(&self) -> Instant {
        to_instant(self.now_ns())
    }

    /// Moves it forward by `by`. Deadlines that have passed fire when their worker looks next;
    /// an idle worker looks at once only if something else wakes it.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let _ = self
            .ns
            .fetch_update(AcqRel, Relaxed, |ns| Some(ns.saturating_add(by)));
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.ns.load(Acquire)
    }

    /// Moves it to `ns`, never back.
    pub(crate) fn jump_to(&self, ns: u64) {
        self.ns.fetch_max(ns, AcqRel);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("now", &self.now())
            .finish()
    }
}
