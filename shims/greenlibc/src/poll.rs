//! Waiting for several descriptors at once.
//!
//! One descriptor and one direction, which is what std asks for, is waited for as a read or a write would be.
//! For the rest an epoll of its own is made, and that is waited for: the kernel knows best
//! which of them are ready.

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use greenrt::lowlevel::{self, Io, Pause};
use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use crate::errno::{self, result, returned};
use crate::sleep;
use crate::symbol::{Symbol, interpose};
use crate::table::{self, Direction};

interpose! {
    /// `poll(2)`: parks.
    green fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
        let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
        let look = || uninterrupted(|| {
            // SAFETY: as the caller promises.
            unsafe { real::poll(fds, n, 0) }
        });
        // SAFETY: as the caller promises.
        unsafe { poll_with(fds, n, limit, look) }
    }

    /// `ppoll(2)`: parks, and has the mask of signals when it looks, but not while it waits.
    green fn ppoll(
        fds: *mut pollfd,
        n: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let limit = unsafe { sleep::duration(timeout) };
        if !timeout.is_null() && limit.is_none() {
            // SAFETY: as the caller promises; it is an error.
            return unsafe { real::ppoll(fds, n, timeout, mask) };
        }
        let look = || uninterrupted_but_by(mask, || {
            let now = timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: as the caller promises.
            unsafe { real::ppoll(fds, n, &raw const now, mask) }
        });
        // SAFETY: as the caller promises.
        unsafe { poll_with(fds, n, limit, look) }
    }

    /// `select(2)`: parks. What is left of the time is not told.
    green fn select(
        n: c_int,
        read: *mut fd_set,
        write: *mut fd_set,
        except: *mut fd_set,
        timeout: *mut timeval,
    ) -> c_int {
        let block = |timeout| {
            // SAFETY: as the caller promises.
            unsafe { real::select(n, read, write, except, timeout) }
        };
        let limit = if timeout.is_null() {
            None
        } else {
            // SAFETY: as the caller promises.
            let time = unsafe { timeout.read() };
            let nanoseconds = timespec {
                tv_sec: time.tv_sec,
                tv_nsec: time.tv_usec.saturating_mul(1000),
            };
            match sleep::to_duration(nanoseconds) {
                Some(limit) => Some(limit),
                None => return block(timeout),
            }
        };
        // SAFETY: as the caller promises.
        unsafe {
            select_with(n, [read, write, except], limit, || uninterrupted(|| {
                let mut now = timeval { tv_sec: 0, tv_usec: 0 };
                block(&raw mut now)
            }))
        }
    }

    /// `pselect(2)`: as `select` and `ppoll`.
    green fn pselect(
        n: c_int,
        read: *mut fd_set,
        write: *mut fd_set,
        except: *mut fd_set,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int {
        let block = |timeout| {
            // SAFETY: as the caller promises.
            unsafe { real::pselect(n, read, write, except, timeout, mask) }
        };
        // SAFETY: as the caller promises.
        let limit = unsafe { sleep::duration(timeout) };
        if !timeout.is_null() && limit.is_none() {
            return block(timeout);
        }
        // SAFETY: as the caller promises.
        unsafe {
            select_with(n, [read, write, except], limit, || uninterrupted_but_by(mask, || {
                let now = timespec { tv_sec: 0, tv_nsec: 0 };
                block(&raw const now)
            }))
        }
    }

    /// `epoll_wait(2)`: parks.
    green fn epoll_wait(fd: c_int, events: *mut epoll_event, n: c_int, timeout: c_int) -> c_int {
        epoll_with(fd, timeout, Symbol::epoll_wait, |timeout| {
            // SAFETY: as the caller promises.
            unsafe { real::epoll_wait(fd, events, n, timeout) }
        })
    }

    /// `epoll_pwait2(2)`: as `epoll_pwait`.
    green fn epoll_pwait2(
        fd: c_int,
        events: *mut epoll_event,
        n: c_int,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let limit = unsafe { sleep::duration(timeout) };
        if !timeout.is_null() && limit.is_none() {
            // SAFETY: as the caller promises.
            return unsafe { real::epoll_pwait2(fd, events, n, timeout, mask) };
        }
        epoll_until(fd, limit, Symbol::epoll_pwait2, |now| {
            let now = now.then_some(timespec { tv_sec: 0, tv_nsec: 0 });
            let timeout = now.as_ref().map_or(timeout, std::ptr::from_ref);
            // SAFETY: as the caller promises.
            unsafe { real::epoll_pwait2(fd, events, n, timeout, mask) }
        })
    }

    /// `epoll_pwait(2)`: parks, and has the mask of signals when it looks, but not while it waits.
    green fn epoll_pwait(
        fd: c_int,
        events: *mut epoll_event,
        n: c_int,
        timeout: c_int,
        mask: *const sigset_t,
    ) -> c_int {
        epoll_with(fd, timeout, Symbol::epoll_pwait, |timeout| {
            // SAFETY: as the caller promises.
            unsafe { real::epoll_pwait(fd, events, n, timeout, mask) }
        })
    }
}

/// Whether a descriptor is ready, or has an error to tell.
pub(crate) fn is_ready(fd: RawFd, events: i16) -> bool {
    let mut one = pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one descriptor to look at.
    unsafe { real::poll(&raw mut one, 1, 0) > 0 }
}

/// Looks again where a signal was found instead of something that is ready.
fn uninterrupted(look: impl Fn() -> c_int) -> c_int {
    loop {
        let n = look();
        if n >= 0 || errno::get() != libc::EINTR {
            return n;
        }
    }
}

/// As `uninterrupted`, but for signals that a mask lets come, which is what it is for.
fn uninterrupted_but_by(mask: *const sigset_t, look: impl Fn() -> c_int) -> c_int {
    if mask.is_null() {
        uninterrupted(look)
    } else {
        look()
    }
}

/// Blocks the OS thread until a descriptor is ready. `false`: the time is up.
pub(crate) fn block(fd: RawFd, events: i16, timeout: Option<Duration>) -> bool {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let ms = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so as not to come early.
            c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
        });
        let mut one = pollfd {
            fd,
            events,
            revents: 0,
        };
        // SAFETY: one descriptor to look at.
        if unsafe { real::poll(&raw mut one, 1, ms) } > 0 {
            return true;
        }
        if ms == 0 {
            return false;
        }
    }
}

/// The answer, as libc has it, of a wait that nothing but the time has ended.
fn none_if_timed_out(answer: io::Result<c_int>) -> io::Result<c_int> {
    match answer {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        answer => answer,
    }
}

/// An answer; `WouldBlock`: nothing yet.
fn looked(answer: c_int) -> io::Result<c_int> {
    match result(answer)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        n => Ok(n),
    }
}

/// # Safety
///
/// There are `n` descriptors at `fds`. `look` asks without waiting.
unsafe fn poll_with(
    fds: *mut pollfd,
    n: nfds_t,
    limit: Option<Duration>,
    look: impl Fn() -> c_int,
) -> c_int {
    let first = look();
    if first != 0 || limit == Some(Duration::ZERO) {
        lowlevel::spend_credit();
        return first;
    }
    let fds = if n == 0 {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(fds, n as usize) }
    };
    let fds = fds
        .iter()
        .filter(|one| one.fd >= 0)
        .map(|one| (one.fd, one.events));
    wait_for(&fds.collect::<Vec<_>>(), limit, look)
}

/// Waits until `look` finds something.
fn wait_for(fds: &[(RawFd, i16)], limit: Option<Duration>, look: impl Fn() -> c_int) -> c_int {
    if let ([], Some(limit)) = (fds, limit) {
        sleep::park(limit);
        return 0;
    }
    const IN: i16 = libc::POLLIN | libc::POLLRDNORM;
    const OUT: i16 = libc::POLLOUT | libc::POLLWRNORM;
    if let [(fd, events)] = *fds {
        let direction = match (events & IN != 0, events & OUT != 0) {
            (true, false) => Some(Direction::Read),
            (false, true) => Some(Direction::Write),
            _ => None,
        };
        if let Some(direction) = direction.filter(|_| events & !(IN | OUT) == 0)
            && let Some(entry) = table::entry(fd)
        {
            let answer = table::wait(&entry, direction, limit, |_| looked(look()));
            return returned(none_if_timed_out(answer));
        }
    }
    match epoll_of(fds) {
        Ok(epoll) => {
            let answer =
                lowlevel::interrupts_as_errors(|| epoll.read_with(limit, |_| looked(look())));
            returned(none_if_timed_out(answer))
        }
        // Without one nothing tells when to look.
        Err(_) => {
            let mut pause = Pause::new(limit);
            loop {
                let n = look();
                if n != 0 {
                    return n;
                }
                match lowlevel::interrupts_as_errors(|| Ok(pause.wait())) {
                    Ok(true) => {}
                    Ok(false) => return 0,
                    Err(error) => return returned(Err(error)),
                }
            }
        }
    }
}

/// An epoll of its own that watches for what `poll` was asked for.
fn epoll_of(fds: &[(RawFd, i16)]) -> io::Result<Io<OwnedFd>> {
    // SAFETY: no memory is passed.
    let fd = result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: new, and nobody else's.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut merged: Vec<(RawFd, i16)> = Vec::with_capacity(fds.len());
    for &(fd, events) in fds {
        match merged.iter_mut().find(|(other, _)| *other == fd) {
            Some((_, more)) => *more |= events,
            None => merged.push((fd, events)),
        }
    }
    for (fd, events) in merged {
        let mut event = epoll_event {
            // The kernel has the same bits for both.
            events: u32::from(events.cast_unsigned()),
            u64: 0,
        };
        // SAFETY: an event to be read.
        let added =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        result(added)?;
    }
    Ok(Io::new(epoll))
}

/// # Safety
///
/// The sets are null or valid ones. `look` makes the call without waiting, and changes the sets.
unsafe fn select_with(
    n: c_int,
    sets: [*mut fd_set; 3],
    limit: Option<Duration>,
    look: impl Fn() -> c_int,
) -> c_int {
    const EVENTS: [i16; 3] = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
    let asked = sets.map(|set| {
        // SAFETY: the caller's promise.
        (!set.is_null()).then(|| unsafe { set.read() })
    });
    let look = || {
        for (set, asked) in sets.into_iter().zip(asked) {
            if let Some(asked) = asked {
                // SAFETY: the caller's promise.
                unsafe { set.write(asked) };
            }
        }
        look()
    };
    let first = look();
    if first != 0 || limit == Some(Duration::ZERO) {
        lowlevel::spend_credit();
        return first;
    }
    let mut fds = Vec::new();
    for fd in 0..n.min(libc::FD_SETSIZE as c_int) {
        let mut events = 0;
        for (asked, event) in asked.iter().zip(EVENTS) {
            if let Some(asked) = asked
                // SAFETY: below the size of a set.
                && unsafe { libc::FD_ISSET(fd, asked) }
            {
                events |= event;
            }
        }
        if events != 0 {
            fds.push((fd, events));
        }
    }
    wait_for(&fds, limit, look)
}

/// Waits on the user's own epoll.
fn epoll_with(fd: RawFd, timeout: c_int, symbol: Symbol, call: impl Fn(c_int) -> c_int) -> c_int {
    let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
    epoll_until(fd, limit, symbol, |now| call(if now { 0 } else { timeout }))
}

/// As `epoll_with`. `call` is told whether it should not wait.
fn epoll_until(
    fd: RawFd,
    limit: Option<Duration>,
    symbol: Symbol,
    call: impl Fn(bool) -> c_int,
) -> c_int {
    if limit == Some(Duration::ZERO) {
        let n = call(true);
        lowlevel::spend_credit();
        return n;
    }
    let Some(entry) = table::entry(fd) else {
        symbol.blocks();
        return call(false);
    };
    let answer = table::wait(&entry, Direction::Read, limit, |_| looked(call(true)));
    returned(none_if_timed_out(answer))
}

/// So that two sets can be told from one another without a word about their bits.
const _: () = assert!(mem::size_of::<fd_set>() * 8 == libc::FD_SETSIZE);
