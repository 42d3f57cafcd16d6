//! Looking up names: made on an OS thread of the pool, in a lane of its own.
//!
//! Libc's own calls inside these functions cannot be stood in for, so they cannot yield. A literal
//! address takes no looking up, and no thread.

use std::ffi::{c_char, c_int};
use std::ptr;

use libc::{addrinfo, sockaddr, socklen_t};

use crate::offload;
use crate::symbol::interpose;
use greenrt::lowlevel::Lane;

interpose! {
    /// `getaddrinfo(3)`: offloaded, unless the name is an address.
    green fn getaddrinfo(
        node: *const c_char,
        service: *const c_char,
        hints: *const addrinfo,
        result: *mut *mut addrinfo,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let mut numeric = unsafe { hints.as_ref() }.copied().unwrap_or(NO_HINTS);
        numeric.ai_flags |= libc::AI_NUMERICHOST;
        if !node.is_null() {
            // SAFETY: as the caller promises, and the hints are ours.
            let error = unsafe { real::getaddrinfo(node, service, &raw const numeric, result) };
            if error != libc::EAI_NONAME {
                return error;
            }
        }
        offload::call(Lane::Dns, || {
            // SAFETY: as the caller promises, who waits.
            unsafe { real::getaddrinfo(node, service, hints, result) }
        })
    }

    /// `getnameinfo(3)`: offloaded.
    green fn getnameinfo(
        address: *const sockaddr,
        address_bytes: socklen_t,
        host: *mut c_char,
        host_bytes: socklen_t,
        service: *mut c_char,
        service_bytes: socklen_t,
        flags: c_int,
    ) -> c_int {
        offload::call(Lane::Dns, || {
            // SAFETY: as the caller promises, who waits.
            unsafe {
                real::getnameinfo(
                    address, address_bytes, host, host_bytes, service, service_bytes, flags,
                )
            }
        })
    }
}

/// What libc takes no hints for.
const NO_HINTS: addrinfo = addrinfo {
    ai_flags: libc::AI_V4MAPPED | libc::AI_ADDRCONFIG,
    ai_family: libc::AF_UNSPEC,
    ai_socktype: 0,
    ai_protocol: 0,
    ai_addrlen: 0,
    ai_addr: ptr::null_mut(),
    ai_canonname: ptr::null_mut(),
    ai_next: ptr::null_mut(),
};
