//! Looking up hosts, as programs did before there was `getaddrinfo`: as that (`dns.rs`).

#![expect(clippy::too_many_arguments, reason = "as many as libc has them take")]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use libc::{hostent, size_t, socklen_t};

use crate::offload;
use crate::symbol::interpose;
use greenrt::lowlevel::Lane;

interpose! {
    /// `gethostbyname(3)`: offloaded.
    green fn gethostbyname(name: *const c_char) -> *mut hostent {
        host(|| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::gethostbyname(name) }
        })
    }

    /// `gethostbyname2(3)`: offloaded.
    green fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
        host(|| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::gethostbyname2(name, family) }
        })
    }

    /// `gethostbyaddr(3)`: offloaded.
    green fn gethostbyaddr(address: *const c_void, bytes: socklen_t, family: c_int) -> *mut hostent {
        host(|| {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::gethostbyaddr(address, bytes, family) }
        })
    }

    /// `gethostbyname_r(3)`: offloaded.
    green fn gethostbyname_r(
        name: *const c_char,
        host: *mut hostent,
        buffer: *mut c_char,
        bytes: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int {
        offload::call(Lane::Dns, || {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::gethostbyname_r(name, host, buffer, bytes, result, error) }
        })
    }

    /// `gethostbyname2_r(3)`: offloaded.
    green fn gethostbyname2_r(
        name: *const c_char,
        family: c_int,
        host: *mut hostent,
        buffer: *mut c_char,
        bytes: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int {
        offload::call(Lane::Dns, || {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::gethostbyname2_r(name, family, host, buffer, bytes, result, error) }
        })
    }

    /// `gethostbyaddr_r(3)`: offloaded.
    green fn gethostbyaddr_r(
        address: *const c_void,
        address_bytes: socklen_t,
        family: c_int,
        host: *mut hostent,
        buffer: *mut c_char,
        bytes: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int {
        offload::call(Lane::Dns, || {
            // SAFETY: as the caller promises, who waits.
            unsafe {
                real::gethostbyaddr_r(
                    address, address_bytes, family, host, buffer, bytes, result, error,
                )
            }
        })
    }
}

unsafe extern "C" {
    /// Where the calling thread's `h_errno` is.
    safe fn __h_errno_location() -> *mut c_int;
}

/// Looks a host up by `call`; `h_errno` is that of the call.
fn host(call: impl Fn() -> *mut hostent) -> *mut hostent {
    let number = Cell::new(0);
    let found = offload::call(Lane::Dns, || {
        let found = call().expose_provenance();
        // SAFETY: the calling thread's own.
        number.set(unsafe { __h_errno_location().read() });
        found.cast_signed()
    });
    if found == 0 {
        // SAFETY: the calling thread's own.
        unsafe { __h_errno_location().write(number.get()) };
    }
    ptr::with_exposed_provenance_mut(found.cast_unsigned())
}
