//! Libc's functions on an OS thread of the pool, with their `errno`.

use greenrt::lowlevel::{self, Lane};

use crate::errno;

/// Arguments of the caller's, which waits until the call has returned.
struct Lent<F>(F);

// SAFETY: what is lent is used by one thread at a time: the caller's waits. Libc's functions keep
// nothing that belongs to a thread but `errno`.
unsafe impl<F> Send for Lent<F> {}

impl<F: FnOnce() -> R, R> Lent<F> {
    fn call(self) -> R {
        (self.0)()
    }
}

/// Makes a call of libc's in `lane`; `errno` is that of the call.
pub(crate) fn call<R: Send>(lane: Lane, f: impl FnOnce() -> R) -> R {
    let lent = Lent(f);
    let (returned, number) = lowlevel::offload_borrowing(lane, move || {
        errno::set(0);
        let returned = lent.call();
        (returned, errno::get())
    });
    if number != 0 {
        errno::set(number);
    }
    returned
}
