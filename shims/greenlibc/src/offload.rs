//! Libc's functions on an OS thread of the pool, with their `errno`.

use greenrt::lowlevel::{self, Lane};

use crate::errno::{self, Returned};

/// Arguments of the caller's, which waits until the call has returned.
struct Lent<F>(F);

// SAFETY: what is lent is used by one thread at a time: the caller's waits. Libc's functions keep
// nothing that belongs to a thread but `errno`.
unsafe impl<F> Send for Lent<F> {}

impl<F: Fn() -> R, R> Lent<F> {
    fn call(&self) -> R {
        (self.0)()
    }
}

/// Makes a call of libc's in `lane`; `errno` is that of the call, which is made again if a signal ends it.
pub(crate) fn call<R: Returned + Send>(lane: Lane, f: impl Fn() -> R) -> R {
    let lent = Lent(f);
    let (returned, number) = lowlevel::offload_borrowing(lane, move || {
        loop {
            errno::set(0);
            let returned = lent.call();
            let number = errno::get();
            if !returned.has_failed() || number != libc::EINTR {
                return (returned, number);
            }
        }
    });
    if number != 0 {
        errno::set(number);
    }
    returned
}
