//! Waiting until something has become of a child.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use greenrt_arch::errno;
use greenrt_arch::process::{Change, States, Which, look, open};

use crate::reactor::io::Io;
use crate::{park, thread};

/// How soon a wait that nothing wakes looks again, at first and at the most.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(16);

/// How long a wait may take.
pub(super) struct Limit(Option<u64>);

impl Limit {
    pub(super) fn after(timeout: Option<Duration>) -> Limit {
        Limit(timeout.and_then(park::deadline_after))
    }

    /// What is left of it.
    fn left(&self) -> Option<Duration> {
        let left = |at: u64| Duration::from_nanos(at.saturating_sub(park::now()));
        self.0.map(left)
    }

    /// Sleeps, for `pause` at the most. `false`: the time is up.
    fn pause(&self, pause: Duration) -> bool {
        match self.left() {
            Some(Duration::ZERO) => false,
            Some(left) => {
                thread::sleep(left.min(pause));
                true
            }
            None => {
                thread::sleep(pause);
                true
            }
        }
    }
}

/// Waits until the process that `descriptor` means has ended, which must be our child. `None`: the
/// time is up.
pub(super) fn wait_for_end(
    descriptor: &Io<OwnedFd>,
    keep: bool,
    limit: &Limit,
) -> io::Result<Option<Change>> {
    let end = descriptor.read_with(limit.left(), |fd| {
        let end = look(Which::Descriptor(fd.as_raw_fd()), States::ENDED, keep)?;
        end.ok_or_else(errno::would_block)
    });
    match end {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        end => end.map(Some),
    }
}

/// Looks again and again, where nothing tells when.
pub(super) fn look_again(
    limit: &Limit,
    mut look: impl FnMut() -> io::Result<Option<Change>>,
) -> io::Result<Option<Change>> {
    let mut pause = LOOK_FIRST;
    loop {
        let seen = look()?;
        if seen.is_some() || !limit.pause(pause) {
            return Ok(seen);
        }
        pause = (pause * 2).min(LOOK_LAST);
    }
}

/// See [`lowlevel::process::wait_for`](crate::lowlevel::process::wait_for).
pub(crate) fn wait_for(
    which: Which,
    states: States,
    keep: bool,
    timeout: Option<Duration>,
) -> io::Result<Option<Change>> {
    // Before anything is opened: errors, and what has come already.
    if let Some(change) = look(which, states, keep)? {
        return Ok(Some(change));
    }
    let limit = Limit::after(timeout);
    if let (Which::Process(pid), States::ENDED) = (which, states)
        && let Ok(descriptor) = open(pid)
    {
        return wait_for_end(&Io::new(descriptor), keep, &limit);
    }
    look_again(&limit, || look(which, states, keep))
}
