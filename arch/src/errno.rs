//! `errno`, and the errors that the runtime makes itself, as the system would have made them.

#![expect(unsafe_code, reason = "`errno` is a place in memory")]

use std::io;
use std::marker::PhantomData;

use crate::os;

/// The calling thread's `errno` as it is now, which it is again when this is dropped. Where the system
/// does not tell its place, it is what it has become.
#[derive(Debug)]
#[must_use = "it is kept until this is dropped"]
pub struct Kept {
    number: i32,
    /// It belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

/// Keeps `errno`, for whoever is called where nobody expects it to change.
pub fn keep() -> Kept {
    Kept {
        // SAFETY: none, or the calling thread's own.
        number: os::errno_place().map_or(0, |place| unsafe { place.read() }),
        _not_send: PhantomData,
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(place) = os::errno_place() {
            // SAFETY: the calling thread's own.
            unsafe { place.write(self.number) };
        }
    }
}

/// The call would block: `EAGAIN`, of kind `WouldBlock`. Also what a read or write timeout gives on
/// Unix.
#[must_use]
pub fn would_block() -> io::Error {
    io::Error::from_raw_os_error(libc::EAGAIN)
}

/// The deadline has passed: `ETIMEDOUT`, of kind `TimedOut`.
#[must_use]
pub fn timed_out() -> io::Error {
    io::Error::from_raw_os_error(libc::ETIMEDOUT)
}

/// The call was cancelled: `ECANCELED`. Never `EINTR`, upon which std tries again for ever.
#[must_use]
pub fn canceled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// Whether an error says that there is no such descriptor: `EBADF`.
#[must_use]
pub fn is_bad_descriptor(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    #[test]
    fn kinds_are_those_of_std() {
        assert_eq!(super::would_block().kind(), ErrorKind::WouldBlock);
        assert_eq!(super::timed_out().kind(), ErrorKind::TimedOut);
        assert_ne!(super::canceled().kind(), ErrorKind::Interrupted);
    }
}
