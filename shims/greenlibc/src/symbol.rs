//! The functions that are stood in for: which there are, where libc's own are, how often they were
//! called.
//!
//! # Rules
//!
//! - *A branch, and no more.* Where nothing was patched, or the caller is no green thread, a function
//!   looks at one static and one thread-local and jumps to libc's.
//! - *Libc's own* is found by `dlsym(RTLD_NEXT)`, all of them when something is patched; one that is
//!   called earlier is found then. Nothing else is set up at first use, so every function works before
//!   `main`, in signal handlers, and in the child of a fork.
//! - *The runtime's own calls* are libc's: `greenrt::lowlevel::in_user_code`.

use std::ffi::{CStr, c_void};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use greenrt::lowlevel;

/// A part of libc that can be made green.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Part {
    Threads = 1,
    Sleep = 1 << 1,
    Net = 1 << 2,
    Locks = 1 << 3,
    Processes = 1 << 4,
    Dns = 1 << 5,
    Files = 1 << 6,
}

/// The parts that were patched.
static PARTS: AtomicU32 = AtomicU32::new(0);

/// Set in the child of a fork, which has one thread, and shares descriptors with its parent that are
/// being watched there.
static FORKED: AtomicBool = AtomicBool::new(false);

pub(crate) fn patch(parts: u32) {
    PARTS.fetch_or(parts, Relaxed);
}

/// Takes a part back that nobody can have used yet.
pub(crate) fn take_back(part: Part) {
    PARTS.fetch_and(!(part as u32), Relaxed);
}

/// In the child of a fork: libc is what it was. Threads still know who they are.
pub(crate) extern "C" fn unpatch_in_child() {
    FORKED.store(true, Relaxed);
    PARTS.fetch_and(Part::Threads as u32 | Part::Locks as u32, Relaxed);
}

/// Whether this is the child of a fork.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Relaxed)
}

pub(crate) fn patched() -> u32 {
    PARTS.load(Relaxed)
}

macro_rules! symbols {
    ($($part:ident: $($module:ident::$name:ident)*;)*) => {
        /// A function that is stood in for.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(non_camel_case_types, reason = "the names of libc's functions")]
        #[repr(usize)]
        pub(crate) enum Symbol {
            $($($name,)*)*
        }

        impl Symbol {
            pub(crate) const ALL: &[Symbol] = &[$($(Symbol::$name,)*)*];

            #[inline(always)]
            const fn part(self) -> Part {
                match self {
                    $($(Symbol::$name => Part::$part,)*)*
                }
            }

            fn c_name(self) -> &'static CStr {
                const NAMES: &[&str] = &[$($(concat!(stringify!($name), "\0"),)*)*];
                CStr::from_bytes_with_nul(NAMES[self as usize].as_bytes()).unwrap_or_default()
            }

            /// The function of this crate.
            fn ours(self) -> usize {
                match self {
                    $($(Symbol::$name => crate::$module::$name as *const () as usize,)*)*
                }
            }
        }
    };
}

symbols! {
    Threads:
        pthread::pthread_create pthread::pthread_join pthread::pthread_tryjoin_np
        pthread::pthread_detach pthread::pthread_self attributes::pthread_setname_np
        attributes::pthread_getname_np attributes::pthread_kill attributes::sigaltstack pthread::pthread_exit
        pthread::pthread_timedjoin_np pthread::pthread_clockjoin_np attributes::pthread_cancel
        attributes::pthread_getcpuclockid attributes::pthread_setaffinity_np
        attributes::pthread_getaffinity_np attributes::pthread_setschedparam
        attributes::pthread_getschedparam attributes::pthread_setschedprio attributes::pthread_sigqueue;
    Sleep:
        sleep::nanosleep sleep::clock_nanosleep sleep::usleep sleep::sleep sleep::sched_yield;
    Net:
        socket::socket socket::listen socket::accept socket::accept4 socket::connect
        net::recv net::recvfrom net::recvmsg net::send net::sendto net::sendmsg
        socket::shutdown socket::setsockopt
        io::read io::readv io::write io::writev descriptor::close descriptor::fcntl descriptor::ioctl
        descriptor::dup descriptor::dup2 descriptor::dup3 descriptor::close_range descriptor::fcntl64
        net::recvmmsg net::sendmmsg
        fortified::__read_chk fortified::__recv_chk fortified::__recvfrom_chk
        fortified::__poll_chk fortified::__ppoll_chk
        poll::poll poll::ppoll poll::select poll::pselect poll::epoll_wait poll::epoll_pwait poll::epoll_pwait2;
    Locks:
        lock::pthread_mutex_lock lock::pthread_mutex_timedlock lock::pthread_mutex_clocklock
        lock::pthread_mutex_unlock
        lock::pthread_rwlock_rdlock lock::pthread_rwlock_wrlock lock::pthread_rwlock_unlock
        lock::pthread_rwlock_timedrdlock lock::pthread_rwlock_timedwrlock
        lock::pthread_spin_lock lock::sem_wait lock::sem_timedwait lock::sem_clockwait lock::sem_post
        condition::pthread_cond_init condition::pthread_cond_destroy condition::pthread_cond_wait
        condition::pthread_cond_timedwait condition::pthread_cond_clockwait
        condition::pthread_cond_signal condition::pthread_cond_broadcast
        barrier::pthread_barrier_init barrier::pthread_barrier_destroy barrier::pthread_barrier_wait
        barrier::pthread_once;
    Processes:
        process::wait process::waitpid process::wait4 process::wait3 process::waitid process::system;
    Files:
        file::pread file::pread64 file::pwrite file::pwrite64 file::preadv file::preadv64
        file::pwritev file::pwritev64 file::fsync file::fdatasync file::syncfs file::flock file::lockf
        copy::copy_file_range copy::sendfile copy::sendfile64 copy::splice;
    Dns:
        dns::getaddrinfo dns::getnameinfo
        hosts::gethostbyname hosts::gethostbyname2 hosts::gethostbyaddr
        hosts::gethostbyname_r hosts::gethostbyname2_r hosts::gethostbyaddr_r;
}

const N: usize = Symbol::ALL.len();
/// Further workers share counts.
const N_SHARDS: usize = 16;

#[repr(align(128))]
struct Counts([AtomicU64; N]);

static REAL: [AtomicUsize; N] = [const { AtomicUsize::new(0) }; N];
/// How often each was called, by worker: one count for all would go from cache to cache with each call.
static N_CALLS: [Counts; N_SHARDS] = [const { Counts([const { AtomicU64::new(0) }; N]) }; N_SHARDS];
static N_BLOCKED: [AtomicU64; N] = [const { AtomicU64::new(0) }; N];

impl Symbol {
    pub(crate) fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }

    /// Where libc's own function is.
    #[inline(always)]
    pub(crate) fn real(self) -> usize {
        match REAL[self as usize].load(Relaxed) {
            0 => self.find(),
            address => address,
        }
    }

    #[cold]
    #[inline(never)]
    fn find(self) -> usize {
        // SAFETY: a name of libc's, with its zero.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.c_name().as_ptr()) } as usize;
        if address == 0 {
            // Somebody calls what this libc does not have, and would have failed to link.
            std::process::abort();
        }
        REAL[self as usize].store(address, Relaxed);
        address
    }

    /// Finds libc's own, if this libc has it; an error if the program does not use ours.
    pub(crate) fn check(self) -> Result<(), String> {
        // SAFETY: a name of libc's, with its zero.
        let real = unsafe { libc::dlsym(libc::RTLD_NEXT, self.c_name().as_ptr()) };
        if real.is_null() {
            return Ok(());
        }
        REAL[self as usize].store(real as usize, Relaxed);
        // SAFETY: a name of libc's, with its zero.
        let used: *mut c_void = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.c_name().as_ptr()) };
        if used as usize == self.ours() {
            Ok(())
        } else {
            Err(format!(
                "greenlibc: `{}` of this program is not the one that greenlibc defines",
                self.name()
            ))
        }
    }

    /// Whether its part is patched.
    #[inline(always)]
    pub(crate) fn is_patched(self) -> bool {
        PARTS.load(Relaxed) & self.part() as u32 != 0
    }

    /// Whether a call is the user's, on a green thread, and its part is patched. It is counted then.
    #[inline(always)]
    pub(crate) fn is_green(self) -> bool {
        if !self.is_patched() || !lowlevel::in_user_code() {
            return false;
        }
        self.counts();
        true
    }

    /// A call that is served here.
    #[inline(always)]
    pub(crate) fn counts(self) {
        let shard = lowlevel::worker_index().unwrap_or(0) % N_SHARDS;
        N_CALLS[shard].0[self as usize].fetch_add(1, Relaxed);
    }

    /// A call that is about to block the worker.
    pub(crate) fn blocks(self) {
        N_BLOCKED[self as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn n_calls(self) -> u64 {
        let counts = N_CALLS.iter().map(|counts| &counts.0[self as usize]);
        counts.map(|n| n.load(Relaxed)).sum()
    }

    pub(crate) fn n_blocked(self) -> u64 {
        N_BLOCKED[self as usize].load(Relaxed)
    }
}

/// Defines functions in front of libc's, and a module `real` with libc's own.
///
/// A function `green` is called on green threads once its part is patched, one that is `all` on every
/// thread then; otherwise libc's is. The signature is compared with that of the crate libc, so one that is wrong
/// does not compile.
macro_rules! interpose {
    ($(
        $(#[doc = $doc:literal])*
        $who:ident fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty $body:block
    )*) => {
        /// Libc's own.
        pub(crate) mod real {
            #![allow(unused_imports, dead_code, reason = "not every one is called by name")]
            use super::*;
            $(
                #[inline(always)]
                pub(crate) unsafe fn $name($($arg: $type),*) -> $ret {
                    let address = $crate::symbol::Symbol::$name.real();
                    // SAFETY: found by this name, whose signature this is.
                    let function = unsafe {
                        std::mem::transmute::<usize, unsafe extern "C" fn($($type),*) -> $ret>(address)
                    };
                    // SAFETY: as the caller promises.
                    unsafe { function($($arg),*) }
                }
            )*
        }

        $(
            interpose!(@define $who [$($doc)*] $name($($arg: $type),*) -> $ret $body);
            interpose!(@check $name($($type),*) -> $ret);
        )*
    };
    // Out of line, so that libc's own has nothing to save for it.
    (@define green [$($doc:literal)*] $name:ident($($arg:ident: $type:ty),*) -> $ret:ty $body:block) => {
        interpose!(@symbol [$($doc)*] is_green, inline(never), $name($($arg: $type),*) -> $ret $body);
    };
    (@define all [$($doc:literal)*] $name:ident($($arg:ident: $type:ty),*) -> $ret:ty $body:block) => {
        interpose!(@symbol [$($doc)*] is_patched, inline, $name($($arg: $type),*) -> $ret $body);
    };
    (@symbol [$($doc:literal)*] $is_ours:ident, $inline:meta, $name:ident($($arg:ident: $type:ty),*) -> $ret:ty $body:block) => {
        $(#[doc = $doc])*
        ///
        /// # Safety
        ///
        /// As the manual page says.
        // SAFETY: the name is libc's, and the function keeps what libc's promises.
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $ret {
            #[$inline]
            unsafe fn ours($($arg: $type),*) -> $ret $body
            if $crate::symbol::Symbol::$name.$is_ours() {
                // SAFETY: as the caller promises.
                unsafe { ours($($arg),*) }
            } else {
                // SAFETY: as the caller promises.
                unsafe { real::$name($($arg),*) }
            }
        }
    };
    // Functions with a variable number of arguments, which ours has in the registers in which they come.
    (@check fcntl($($type:ty),*) -> $ret:ty) => {
        const _: unsafe extern "C" fn(c_int, c_int, ...) -> $ret = libc::fcntl;
    };
    // What the crate libc does not know.
    (@check pthread_cond_clockwait($($type:ty),*) -> $ret:ty) => {};
    (@check pthread_mutex_clocklock($($type:ty),*) -> $ret:ty) => {};
    (@check sem_clockwait($($type:ty),*) -> $ret:ty) => {};
    (@check pthread_rwlock_timedrdlock($($type:ty),*) -> $ret:ty) => {};
    (@check pthread_rwlock_timedwrlock($($type:ty),*) -> $ret:ty) => {};
    (@check pthread_clockjoin_np($($type:ty),*) -> $ret:ty) => {};
    (@check wait3($($type:ty),*) -> $ret:ty) => {};
    (@check gethostbyname($($type:ty),*) -> $ret:ty) => {};
    (@check gethostbyname2($($type:ty),*) -> $ret:ty) => {};
    (@check gethostbyaddr($($type:ty),*) -> $ret:ty) => {};
    (@check gethostbyname_r($($type:ty),*) -> $ret:ty) => {};
    (@check gethostbyname2_r($($type:ty),*) -> $ret:ty) => {};
    (@check gethostbyaddr_r($($type:ty),*) -> $ret:ty) => {};
    (@check __read_chk($($type:ty),*) -> $ret:ty) => {};
    (@check __recv_chk($($type:ty),*) -> $ret:ty) => {};
    (@check __recvfrom_chk($($type:ty),*) -> $ret:ty) => {};
    (@check __poll_chk($($type:ty),*) -> $ret:ty) => {};
    (@check __ppoll_chk($($type:ty),*) -> $ret:ty) => {};
    (@check fcntl64($($type:ty),*) -> $ret:ty) => {
        const _: unsafe extern "C" fn(c_int, c_int, ...) -> $ret = libc::fcntl;
    };
    (@check ioctl($($type:ty),*) -> $ret:ty) => {
        const _: unsafe extern "C" fn(c_int, c_ulong, ...) -> $ret = libc::ioctl;
    };
    (@check $name:ident($($type:ty),*) -> $ret:ty) => {
        const _: unsafe extern "C" fn($($type),*) -> $ret = libc::$name;
    };
}

pub(crate) use interpose;

#[cfg(test)]
mod tests {
    use super::Symbol;

    #[test]
    fn the_table_in_the_docs_names_every_symbol() {
        let docs = include_str!("lib.rs");
        for symbol in Symbol::ALL {
            let name = symbol.name();
            // "And with `64`", "and with `_r`".
            let short = name.strip_suffix("64").or(name.strip_suffix("_r"));
            let is_there = |name: &str| docs.contains(&format!("`{name}`"));
            assert!(is_there(name) || short.is_some_and(is_there), "{name}");
        }
    }
}
