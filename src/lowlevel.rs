//! What shims and other libraries build on.
//!
//! Everything here is safe and stays so; it is lower than the rest only in that it speaks of
//! descriptors, credits and cancellation, where the rest of the crate speaks of threads.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use greenrt_arch::socket;

pub use crate::reactor::io::Io;
use crate::thread::Thread;

/// Whether the caller is a green thread.
#[inline]
pub fn on_green_thread() -> bool {
    crate::scheduler::on_green_thread()
}

/// Spends one of the calling green thread's 128 credits, and yields when there are none left.
///
/// For operations that can succeed for ever without waiting: call it on each success, and whoever
/// loops on them starves nobody. On an OS thread it does nothing.
#[inline]
pub fn spend_credit() {
    crate::scheduler::spend_credit();
}

/// Asks a green thread to end.
///
/// If it waits at a point it unwinds from there, with [`Cancelled`](crate::Cancelled) as payload;
/// otherwise at its next point, and if it swallows that, at the one after. If it has not started
/// its closure is dropped without being run. An OS thread is not affected.
///
/// # Examples
///
/// See [`Cancelled`](crate::Cancelled).
pub fn cancel(thread: &Thread) {
    crate::cancel::cancel(thread);
}

/// Calls `listen(2)` on a listening socket again, with the largest backlog that the system allows.
///
/// # Errors
///
/// Those of `listen(2)`.
pub fn listen_max(fd: BorrowedFd<'_>) -> io::Result<()> {
    greenrt_arch::fd::listen_max(fd)
}

/// Whether a descriptor is in non-blocking mode (`O_NONBLOCK`).
///
/// # Errors
///
/// Those of `fcntl(2)`.
pub fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    greenrt_arch::fd::is_nonblocking(fd)
}

/// Whether `fd` can be read (or written) without waiting, asked of the system.
///
/// For descriptors in blocking mode whose operations have no form that does not wait.
///
/// # Errors
///
/// Those of `poll(2)`.
pub fn is_ready(fd: BorrowedFd<'_>, writable: bool) -> io::Result<bool> {
    greenrt_arch::fd::wait(fd, writable, Some(Duration::ZERO))
}

/// Whether a descriptor is a stream socket, such as TCP, so that
/// [`Io::read_stream_with`] and [`Io::write_stream_with`] are right for it.
pub fn is_stream_socket(fd: BorrowedFd<'_>) -> bool {
    greenrt_arch::fd::is_stream_socket(fd)
}
