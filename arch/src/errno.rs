//! The errors that the runtime makes itself, as the system would have made them.

use std::io;

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
