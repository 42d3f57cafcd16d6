//! The names under which C code calls some functions when it was compiled with `_FORTIFY_SOURCE`, as
//! Debian's libraries are: with the size of the buffer, which libc checks.

use std::ffi::{c_int, c_void};

use libc::{nfds_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec};

use crate::symbol::interpose;
use crate::{io, net, poll};

interpose! {
    /// `read(2)`.
    green fn __read_chk(fd: c_int, buffer: *mut c_void, bytes: size_t, room: size_t) -> ssize_t {
        check(bytes <= room);
        // SAFETY: as the caller promises.
        unsafe { io::read(fd, buffer, bytes) }
    }

    /// `recv(2)`.
    green fn __recv_chk(
        fd: c_int,
        buffer: *mut c_void,
        bytes: size_t,
        room: size_t,
        flags: c_int,
    ) -> ssize_t {
        check(bytes <= room);
        // SAFETY: as the caller promises.
        unsafe { net::recv(fd, buffer, bytes, flags) }
    }

    /// `recvfrom(2)`.
    green fn __recvfrom_chk(
        fd: c_int,
        buffer: *mut c_void,
        bytes: size_t,
        room: size_t,
        flags: c_int,
        address: *mut sockaddr,
        address_bytes: *mut socklen_t,
    ) -> ssize_t {
        check(bytes <= room);
        // SAFETY: as the caller promises.
        unsafe { net::recvfrom(fd, buffer, bytes, flags, address, address_bytes) }
    }

    /// `poll(2)`.
    green fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: size_t) -> c_int {
        check(n <= (room / size_of::<pollfd>()) as nfds_t);
        // SAFETY: as the caller promises.
        unsafe { poll::poll(fds, n, timeout) }
    }

    /// `ppoll(2)`.
    green fn __ppoll_chk(
        fds: *mut pollfd,
        n: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
        room: size_t,
    ) -> c_int {
        check(n <= (room / size_of::<pollfd>()) as nfds_t);
        // SAFETY: as the caller promises.
        unsafe { poll::ppoll(fds, n, timeout, mask) }
    }
}

fn check(fits: bool) {
    if !fits {
        eprintln!("*** buffer overflow detected ***: terminated");
        std::process::abort();
    }
}
