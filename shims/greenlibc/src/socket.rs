//! Sockets: made, connected, accepted, shut down, and their options.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::RawFd;

use greenrt::lowlevel::{self, Pause};
use libc::{sockaddr, socklen_t};

use crate::descriptor::{flags, set_flags};
use crate::errno::{self, pass, result, returned};
use crate::net::{blocking, is_deaf};
use crate::poll;
use crate::symbol::{Symbol, interpose};
use crate::table::{self, Direction, Entry, Kind};

interpose! {
    /// `socket(2)`.
    all fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        // SAFETY: as the caller promises.
        let fd = unsafe { real::socket(domain, kind, protocol) };
        if fd >= 0 {
            if lowlevel::in_user_code() {
                let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
                let kind = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
                table::opened(fd, kind_of(domain, kind), nonblocking);
            } else {
                table::forget(fd);
            }
        }
        fd
    }

    /// `listen(2)`, with the longest backlog that the system allows if at least 128 is asked for, as
    /// std does: a burst of clients overflows that.
    all fn listen(fd: c_int, backlog: c_int) -> c_int {
        let backlog = if backlog >= 128 { c_int::MAX } else { backlog };
        // SAFETY: as the caller promises.
        let error = unsafe { real::listen(fd, backlog) };
        if error == 0 && let Some(entry) = table::entry(fd) {
            entry.listens();
        }
        error
    }

    /// `accept(2)`: parks.
    all fn accept(fd: c_int, address: *mut sockaddr, bytes: *mut socklen_t) -> c_int {
        accept_with(fd, 0, Symbol::accept, || {
            // SAFETY: as the caller promises.
            unsafe { real::accept(fd, address, bytes) }
        })
    }

    /// `accept4(2)`: parks.
    all fn accept4(
        fd: c_int,
        address: *mut sockaddr,
        bytes: *mut socklen_t,
        flags: c_int,
    ) -> c_int {
        accept_with(fd, flags, Symbol::accept4, || {
            // SAFETY: as the caller promises.
            unsafe { real::accept4(fd, address, bytes, flags) }
        })
    }

    /// `connect(2)`: parks until connected.
    green fn connect(fd: c_int, address: *const sockaddr, bytes: socklen_t) -> c_int {
        let call = || {
            // SAFETY: as the caller promises.
            unsafe { real::connect(fd, address, bytes) }
        };
        match blocking(fd, 0) {
            Some(entry) => returned(connect_to(&entry, call)),
            None => call(),
        }
    }

    /// `shutdown(2)`: wakes green threads too.
    all fn shutdown(fd: c_int, how: c_int) -> c_int {
        // SAFETY: no memory is passed.
        let error = unsafe { real::shutdown(fd, how) };
        // In the Unix domain the system does not announce all of it to those who wait.
        if error == 0
            && let Some(entry) = table::get(fd)
            && entry.kind != Kind::Stream
        {
            if how != libc::SHUT_WR {
                entry.was_deafened();
            }
            table::retry(&entry);
        }
        error
    }

    /// `setsockopt(2)`: timeouts are noted.
    all fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        bytes: socklen_t,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let error = unsafe { real::setsockopt(fd, level, name, value, bytes) };
        // Both forms of both timeouts, or something else.
        if level == libc::SOL_SOCKET && matches!(name, 20 | 21 | 66 | 67)
            && let Some(entry) = table::get(fd)
        {
            entry.forget_timeouts();
        }
        error
    }
}

/// What a socket is.
pub(crate) fn kind(fd: RawFd) -> Kind {
    match (option(fd, libc::SO_DOMAIN), option(fd, libc::SO_TYPE)) {
        (Ok(domain), Ok(kind)) => kind_of(domain, kind),
        _ => Kind::Socket,
    }
}

fn kind_of(domain: c_int, kind: c_int) -> Kind {
    match (domain, kind) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => Kind::Stream,
        (_, libc::SOCK_STREAM) => Kind::Local,
        _ => Kind::Socket,
    }
}

/// An option of a socket that is a number.
pub(crate) fn option(fd: RawFd, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut bytes = mem::size_of::<c_int>() as socklen_t;
    let place: *mut c_void = (&raw mut value).cast();
    // SAFETY: there is room for what is asked.
    let error = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &raw mut bytes) };
    result(error).map(|_| value)
}

/// Accepts by `call`.
fn accept_with(fd: RawFd, flags: c_int, symbol: Symbol, call: impl Fn() -> c_int) -> c_int {
    if !symbol.is_green() {
        return accept_off(fd, call);
    }
    let Some(entry) = table::entry(fd).filter(|entry| entry.is_socket()) else {
        return call();
    };
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    if entry.is_nonblocking() {
        let new = pass(call());
        if new >= 0 {
            table::accepted(new, &entry, nonblocking);
        }
        return new;
    }
    let can_try = entry.make_nonblocking();
    let timeout = entry.timeout(Direction::Read);
    let mut is_first = true;
    let new = table::wait(&entry, Direction::Read, timeout, |fd| {
        // Another process may be faster; then the worker waits for the next client.
        if !can_try && !poll::is_ready(fd, libc::POLLIN) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !can_try {
            symbol.blocks();
        }
        match result(call()) {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && is_deaf(&entry, fd, mem::replace(&mut is_first, false)) =>
            {
                // What a call that waits says of a listener of the Unix domain.
                Err(io::Error::from_raw_os_error(libc::EINVAL))
            }
            new => new,
        }
    });
    if let Ok(new) = new {
        table::accepted(new, &entry, nonblocking);
    }
    returned(new)
}

/// On a thread that is not green: the socket may be in non-blocking mode for our sake.
fn accept_off(fd: RawFd, call: impl Fn() -> c_int) -> c_int {
    let entry = table::get(fd).filter(|entry| entry.is_ours() && !entry.is_nonblocking());
    loop {
        let new = call();
        if new >= 0 {
            table::forget(new);
            return new;
        }
        let Some(entry) = &entry else { return new };
        if errno::get() != libc::EAGAIN {
            return new;
        }
        let timeout = entry.timeout(Direction::Read);
        if !poll::block(fd, libc::POLLIN, timeout) {
            errno::set(libc::EAGAIN);
            return -1;
        }
    }
}

/// Connects by `call`.
fn connect_to(entry: &Entry, call: impl Fn() -> c_int) -> io::Result<c_int> {
    let timeout = entry.timeout(Direction::Write);
    let mut pause = Pause::new(timeout);
    loop {
        let fd = entry.io.get_ref().get()?;
        let before = flags(fd)?;
        // For as long as the call takes, which begins to connect and no more.
        set_flags(fd, before | libc::O_NONBLOCK)?;
        let begun = result(call());
        set_flags(fd, before)?;
        let error = match begun {
            Ok(done) => {
                lowlevel::spend_credit();
                return Ok(done);
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EINPROGRESS | libc::EALREADY) => break,
            // In the Unix domain: too many wait to be accepted, and nothing tells when that is over.
            Some(libc::EAGAIN) if lowlevel::interrupts_as_errors(|| Ok(pause.wait()))? => {}
            _ => return Err(error),
        }
    }
    let waited = lowlevel::interrupts_as_errors(|| entry.io.wait_connected(timeout));
    if let Err(error) = waited {
        let timed_out = timeout.is_some() && error.raw_os_error() == Some(libc::ETIMEDOUT);
        return Err(if timed_out {
            io::Error::from_raw_os_error(libc::EINPROGRESS)
        } else {
            error
        });
    }
    let fd = entry.io.get_ref().get()?;
    // What it has to tell, which is nothing afterwards.
    match option(fd, libc::SO_ERROR)? {
        0 => Ok(0),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}
