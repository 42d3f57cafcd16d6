//! Names for sockets that nobody else has, and descriptors to pass.

#![expect(unsafe_code, reason = "std has no stable way to pass descriptors")]

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

fn number() -> String {
    static N: AtomicUsize = AtomicUsize::new(0);
    format!(
        "greenstd-{}-{}",
        std::process::id(),
        N.fetch_add(1, Relaxed)
    )
}

/// A path where there is nothing yet; what will be there goes with it.
#[derive(Debug)]
pub(crate) struct TempPath(PathBuf);

impl TempPath {
    pub(crate) fn new() -> Self {
        TempPath(std::env::temp_dir().join(number()))
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An abstract name that nobody else has.
pub(crate) fn abstract_name() -> Vec<u8> {
    number().into_bytes()
}

/// Passing descriptors.
pub(crate) struct Fds;

impl Fds {
    /// Sends bytes, and the socket's own descriptor with them.
    pub(crate) fn send(socket: &impl AsFd, bytes: &[u8]) {
        let fd = socket.as_fd().as_raw_fd();
        let mut slice = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut room = [0_u64; 8];
        // SAFETY: all zeros are a message of nothing.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        // SAFETY: a computation.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as usize;
        // SAFETY: the message has room for a header.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: as above.
        let header = unsafe { &mut *header };
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: a computation.
        header.cmsg_len = unsafe { libc::CMSG_LEN(4) } as usize;
        // SAFETY: there is room for four bytes behind the header.
        let place = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: as above.
        unsafe { place.cast::<i32>().write_unaligned(fd) };
        // SAFETY: the message is whole; the kernel only reads it.
        let n = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) };
        assert_eq!(n, bytes.len() as isize);
    }
}
